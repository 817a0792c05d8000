"""Reading a data set through tonic's own class: what is there, what the files say without events, and the events."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import logging
import lzma
import os
import struct
import tarfile
import urllib.error
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets import store
from neuroaccel.datasets.cache import Progress, cache_key
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.repair import OnError, Repairs, check_on_error, repair
from neuroaccel.datasets.store import Sample
from neuroaccel.datasets.tonic_sets import Part, TonicSet
from neuroaccel.datasets.tonic_splits import Listing
from neuroaccel.errors import DataUnavailable, EventsError, FileFormatError, MissingExtra
from neuroaccel.extras import require

log = logging.getLogger("neuroaccel")

READER_VERSION = 1
"""Raised whenever the same files give other recordings."""

_UNPACKING = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)
_DOWNLOADING = (OSError, RuntimeError, ValueError, http.client.HTTPException, *_UNPACKING)
# What the readers behind tonic raise for damaged files: numpy, h5py, scipy (a TypeError or KeyError for a .mat without
# the variables), struct, tonic's index arithmetic.
_READING = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    RuntimeError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Download:
    """What tonic would fetch for a part, and where it would put it."""

    below: Path
    url: str
    archive: Path
    md5: str

    @classmethod
    def of(cls, reader: type[Any], part: Part, root: Path) -> Download:
        """Look the class's attributes up; a class without an address brings its archive along."""
        below = root / reader.__name__
        url = "".join(str(getattr(reader, name, "")) for name in part.url)
        return cls(below, url, below / str(getattr(reader, part.archive)), str(getattr(reader, part.md5)))

    def by_hand(self) -> str:
        """Say what to put where."""
        source = f"from {self.url} " if self.url else ""
        return (
            f"fetch it {source}by hand and put it at {self.archive}, from where the next call unpacks it (where it is "
            "unpacked already, tonic still wants a file of that name beside all of the set's files; an empty one will "
            "do)"
        )


def read_split(
    name: str, found: TonicSet, split: str, root: Path, progress: Progress | None, on_error: OnError
) -> Recordings:
    """Return one split from the cache, decoded first where it has none of these very files.

    The key holds name, size and time of change of every file that the part consists of, so that replaced files are
    decoded anew.

    Raises:
        As ``tonic_sets.load``.
    """
    check_on_error(on_error)
    part_name, rule = found.splits[split]
    part = found.parts[part_name]
    dataset = open_part(name, found, part, root)
    below = root / found.tonic_class
    where = f"{name} in {below}"
    listing, classes = _listing(dataset, found, below, where)
    chosen = rule(split, listing, where)
    key = cache_key(
        READER_VERSION,
        {
            "set": name,
            "split": split,
            "on_error": on_error,
            "tonic": version("tonic"),
            "files": _fingerprint(dataset),
            "samples": hashlib.sha256("\n".join(listing.names[i] for i in chosen).encode()).hexdigest(),
        },
    )
    reading = Reading(dataset, found, listing, chosen, where, on_error)
    return store.build(f"{name}-{split}", key, reading.samples, found.sensor_size, classes, len(chosen), progress)


def open_part(name: str, found: TonicSet, part: Part, root: Path) -> Any:
    """Make tonic's data set, downloading if needed, and raise an error that helps if that fails.

    Raises:
        MissingExtra: tonic, or what it needs for this set, is not installed.
        DataUnavailable: nothing is there and the download failed.
        FileFormatError: the archive or the extracted files are damaged.
    """
    reader = getattr(require("tonic.datasets", "datasets"), found.tonic_class)
    require("numpy.lib.recfunctions", "datasets")  # tonic uses it without importing it
    download = Download.of(reader, part, root)
    there = any(p.is_file() for p in download.below.glob(part.contents))
    had = download.archive.is_file()
    if had and not there and download.archive.suffix != Path(part.contents).suffix:
        _check_archive(name, download)  # else tonic would fetch it anew over the user's file
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            dataset = reader(save_to=str(root), **dict(part.options))
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    except (*_DOWNLOADING, *_READING) as error:
        if there and not _of_a_download(error):
            raise FileFormatError(f"{name}: the files in {download.below} cannot be read: {_say(error)}") from error
        _remove_partial(download, had)
        host = urlparse(download.url).hostname or "its package"
        raise DataUnavailable(
            f"{name}: {download.archive.name} (MD5 {download.md5}) could not be fetched from {host} "
            f"({_say(error)}); {download.by_hand()}"
        ) from error
    finally:
        for line in said.getvalue().splitlines():
            log.debug("tonic: %s", line)
    return dataset


def _of_a_download(error: BaseException) -> bool:
    """Was tonic on its way to fetch something, rather than reading? It is, too, where it misses some of the files."""
    if isinstance(error, (urllib.error.URLError, http.client.HTTPException)):
        return True
    return type(error).__module__.partition(".")[0] in ("requests", "urllib3") or "not found or corrupted" in str(error)


def _check_archive(name: str, download: Download) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with open(download.archive, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != download.md5:
        raise FileFormatError(
            f"{name}: {download.archive} is damaged or another file: its MD5 is {digest.hexdigest()}, expected "
            f"{download.md5}; remove it to have it fetched again, or {download.by_hand()}"
        )


def _remove_partial(download: Download, had: bool) -> None:
    """Leave nothing half-downloaded that the next call would take for the archive."""
    if not had:
        with contextlib.suppress(FileNotFoundError):
            download.archive.unlink()
        with contextlib.suppress(OSError):  # only an empty folder goes
            download.below.rmdir()


def _missing(error: ModuleNotFoundError) -> MissingExtra:
    return MissingExtra(
        f"module '{error.name}', which tonic needs for this data set, is not installed; the extra 'datasets' holds it: "
        'pip install "neuroaccel[datasets]"'
    )


def _listing(dataset: Any, found: TonicSet, below: Path, where: str) -> tuple[Listing, tuple[str, ...]]:
    """Return names, labels and groups of a part's recordings in tonic's order, and the classes' names."""
    try:
        if found.tonic_class in ("SHD", "SSC"):
            names, targets, groups, classes = _heidelberg(dataset)
        elif found.tonic_class == "NTIDIGITS18":
            names, targets, groups, classes = _tidigits(dataset, found.classes)
        else:
            names, targets, groups, classes = _files(dataset, found.classes, below)
        labels = np.array(targets, np.int64).reshape(-1)
    except _READING as error:
        raise FileFormatError(f"{where}: the labels cannot be read: {_say(error)}") from error
    if len(labels) != len(names) or (groups is not None and len(groups) != len(names)):
        counts = f"{len(labels)} labels and {'no' if groups is None else len(groups)} speakers or subjects"
        raise FileFormatError(f"{where}: {len(names)} recordings have {counts}; expected one for each")
    if not len(names):
        raise FileFormatError(f"{where}: there is no recording; expected files such as {below}/{_pattern(found)}")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise FileFormatError(
            f"{where}: {names[wrong[0]]} has label {labels[wrong[0]]}; expected 0 to {len(classes) - 1}"
        )
    return Listing(tuple(names), labels, None if groups is None else np.array(groups, np.int64)), classes


_Rows = tuple[list[str], Any, Any, tuple[str, ...]]


def _heidelberg(dataset: Any) -> _Rows:
    import h5py

    with h5py.File(os.path.join(dataset.location_on_system, dataset.data_filename), "r") as file:
        count = len(file["spikes/times"])
        if len(file["spikes/units"]) != count:
            raise ValueError(f"spikes/times holds {count} recordings, spikes/units {len(file['spikes/units'])}")
        targets, groups = file["labels"][()], file["extra/speaker"][()]
    classes = tuple(key.decode() if isinstance(key, bytes) else str(key) for key in dataset.classes)
    return [f"recording {i}" for i in range(count)], targets, groups, classes


def _tidigits(dataset: Any, classes: tuple[str, ...]) -> _Rows:
    names = [str(sample) for sample in dataset._samples]  # such as man-ah-7: tonic takes what follows the last dash
    speakers = [name.rpartition("-")[0] for name in names]
    # A speaker's number is a hash of the name: the same whoever else is in the files.
    groups = [int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:4], "big") for speaker in speakers]
    return names, [dataset.class_map[name.rpartition("-")[2]] for name in names], groups, classes


def _files(dataset: Any, classes: tuple[str, ...], below: Path) -> _Rows:
    if dataset.data and isinstance(dataset.data[0], np.ndarray):  # read already: named by what is in them
        names = [hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest() for data in dataset.data]
        names = [f"recording {name[:16]} of {label}" for name, label in zip(names, dataset.targets, strict=True)]
        seen: dict[str, int] = {}
        for i, name in enumerate(names):
            seen[name] = seen.get(name, -1) + 1
            names[i] = f"{name}.{seen[name]}"
    else:
        names = [Path(os.path.relpath(path, below)).as_posix() for path in dataset.data]
    targets = list(dataset.targets)
    if not classes:
        classes = tuple(sorted({str(target) for target in targets}))
        targets = [classes.index(str(target)) for target in targets]
    return names, targets, getattr(dataset, "users", None), classes


Columns = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Reading:
    """The decoding of one split."""

    dataset: Any
    found: TonicSet
    listing: Listing
    chosen: NDArray[np.int64]
    where: str
    on_error: OnError

    def samples(self) -> Iterator[Sample]:
        """Decode the chosen recordings in the order of their names, which a file system's own order is not."""
        numbered = self.found.tonic_class in ("SHD", "SSC")
        order = self.chosen.tolist() if numbered else sorted(self.chosen.tolist(), key=self.listing.names.__getitem__)
        repairs, left_out = Repairs(), 0
        for index in order:
            this = f"{self.where}: {self.listing.names[index]}"
            columns = self._decode(index, this)
            if columns is None:
                left_out += 1
                continue
            events, made = repair(*columns, self.found.sensor_size, self.on_error, this)
            repairs += made
            if not len(events) and self.on_error != "clip":
                if self.on_error == "raise":
                    raise EventsError(f"{this}: has no events; on_error='drop' leaves it out, 'clip' keeps it empty")
                left_out += 1
                continue
            label = int(self.listing.labels[index])
            group = None if self.listing.groups is None else int(self.listing.groups[index])
            yield Sample(events, label, index, group, where=self.listing.names[index])
        if left_out == len(order):
            raise EventsError(f"{self.where}: of {len(order)} recordings none is left")
        if left_out or repairs:
            log.warning("%s: %s; %d of %d recordings left out", self.where, repairs, left_out, len(order))

    def _decode(self, index: int, this: str) -> Columns | None:
        """Return x, y, t, p of one recording; None: it is damaged and to be left out."""
        try:
            events, _ = self.dataset[index]
            return _columns(events, self.found)
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        except BaseException as error:
            if not _damage(error):
                raise
            if self.on_error == "drop":
                log.debug("%s: left out: %s", this, _say(error))
                return None
            raise FileFormatError(
                f"{this}: cannot be decoded ({_say(error)}); on_error='drop' leaves such recordings out"
            ) from error


def _damage(error: BaseException) -> bool:
    """Is it what the decoders raise for a damaged file? Those of AEDAT4 raise a bare Exception, and a panic of Rust."""
    return isinstance(error, _READING) or type(error) is Exception or type(error).__name__ == "PanicException"


def _columns(events: Any, found: TonicSet) -> Columns:
    """Return x, y, t, p; sound has neither y nor polarity."""
    t = np.asarray(events["t"]).reshape(-1)
    if t.dtype.kind == "u" and len(t) and int(t.max()) >= 2**63:
        raise ValueError(f"a time of {int(t.max())} µs")
    t = t.astype(np.int64)
    if found.from_first_event and len(t):
        t = t - t.min()
    if len(t) and int(t.max()) >= 2**31:
        raise ValueError(f"a time of {int(t.max())} µs; a recording lasts less than {2**31} µs")
    x = np.asarray(events["x"]).reshape(-1).astype(np.int64)
    if "y" not in (events.dtype.names or ()):
        return x, np.zeros_like(x), t, np.zeros_like(x)
    return x, np.asarray(events["y"]).reshape(-1).astype(np.int64), t, np.asarray(events["p"]).reshape(-1)


def _fingerprint(dataset: Any) -> str:
    """Hash name, size and time of change of every file that the reader opens, found by looking at what it remembers."""
    if hasattr(dataset, "data_filename") and not dataset.data:  # SHD, SSC
        paths = [os.path.join(dataset.location_on_system, dataset.data_filename)]
    elif hasattr(dataset, "file_path"):  # N-TIDIGITS
        paths = [dataset.file_path]
    else:  # what is read already is named by its content, which the key holds
        paths = [path for path in dataset.data if isinstance(path, str)]
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = os.stat(path)
        name = os.path.relpath(path, dataset.location_on_system)
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _pattern(found: TonicSet) -> str:
    return next(iter(found.parts.values())).contents


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
