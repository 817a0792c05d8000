"""A cache folder for data: keyed by every parameter, made once by whoever comes first, checked, limited in size.

An entry is a folder ``NAME-KEY`` of ``.npy`` files, a ``meta.json`` that says what they hold, and a ``stamp.json``.

- It is made under another name and renamed when whole, under a lock that the kernel drops with its process: a killed
  builder leaves a folder that nobody takes for an entry, and that the next builder removes.
- ``meta.json`` has the SHA-256 of every file. Sums are computed when a file's size or time of change is not the one in
  ``stamp.json``, which holds those of the last time that they were right; a file that rots without being written to
  is thus not noticed.
- Whoever uses an entry holds a shared lock on its ``meta.json`` for as long as its arrays live; only entries that
  nobody uses are removed to keep to ``NEUROACCEL_CACHE_LIMIT``, the least recently used ones first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.locking import hold, keep, lock_file
from neuroaccel.errors import CacheError, FileFormatError, InputError
from neuroaccel.folders import user_cache

log = logging.getLogger("neuroaccel")

Progress = Callable[[int, int], None]
"""Called with (done, total) while something is generated."""

KIND, VERSION = "neuroaccel-cache", 2
META, STAMP = "meta.json", "stamp.json"
BUILDING, REMOVED, LOCK = ".building", ".removed", ".lock"
_ENTRY = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)-(?P<key>[0-9a-f]{32})")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{letter}I": 1024**power for power, letter in enumerate("KMGT", 1)}


@dataclass(frozen=True, eq=False)
class Entry:
    """An entry that has been opened.

    Arguments:
        path: its folder.
        arrays: memory-mapped and read-only, by name.
        extra: what its maker noted beside them.
    """

    path: Path
    arrays: dict[str, NDArray[Any]]
    extra: dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """An entry as a listing shows it: size in bytes, and seconds since 1970 of its last use."""

    path: Path
    name: str
    key: str
    bytes: int
    last_used: float


def cache_dir() -> Path:
    """Return ``NEUROACCEL_CACHE``, else ``XDG_CACHE_HOME/neuroaccel``, else ``~/.cache/neuroaccel``."""
    own = os.environ.get("NEUROACCEL_CACHE")
    return Path(own) if own else user_cache()


def cache_key(version: int, parameters: Mapping[str, Any]) -> str:
    """Return a hash of a generator's version and of all of its parameters.

    Arguments:
        version: version of the generator, raised whenever the same parameters give other data.
        parameters: plain JSON values by name; their order does not matter.

    Returns:
        32 hexadecimal digits.
    """
    text = json.dumps({"version": version, "parameters": dict(parameters)}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def size_limit() -> int | None:
    """Return ``NEUROACCEL_CACHE_LIMIT`` in bytes (``20G`` is 20·10⁹, ``20Gi`` 20·2³⁰), None where there is none.

    Raises:
        InputError: it is no size.
    """
    text = os.environ.get("NEUROACCEL_CACHE_LIMIT", "").strip()
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", text.upper())
    if not found or found[2] not in _UNITS:
        raise InputError(f"NEUROACCEL_CACHE_LIMIT is {text!r}; expected a size such as 500M or 20G")
    return int(float(found[1]) * _UNITS[found[2]])


def cached(name: str, key: str, build: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the arrays under a key, generated and stored if they are not there or are damaged.

    Of many processes that ask at once, one generates and the others wait for it.

    Arguments:
        name: readable start of the entry's name.
        key: from ``cache_key``.
        build: generates the arrays.

    Returns:
        The arrays by name, read-only and memory-mapped; in memory, with a warning, where the cache cannot be written.

    Raises:
        FileFormatError: ``name`` or ``key`` would leave the cache folder.
        InputError: ``NEUROACCEL_CACHE_LIMIT`` is no size.
    """
    arrays: dict[str, NDArray[Any]] | None = None

    def fill(folder: Path) -> dict[str, Any]:
        nonlocal arrays
        arrays = build()
        for label, array in arrays.items():
            write_array(folder / f"{label}.npy", array)
        return {}

    try:
        return make(name, key, fill).arrays
    except CacheError as error:  # a full or read-only disk costs the next run's time, not this run
        log.warning("%s; the data is generated again next time", error)
        return build() if arrays is None else arrays


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file.

    Raises:
        CacheError: it cannot be written, or the array holds Python objects.
    """
    try:
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    except OSError as error:
        raise cannot_write(path, error) from error
    except ValueError as error:
        raise CacheError(f"{path}: cannot be cached ({error})") from error


def cannot_write(path: Path, error: OSError) -> CacheError:
    """Return what to raise for an OSError of writing to the cache: what is wrong, and what to do."""
    free = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with contextlib.suppress(OSError):
            free = f", {shutil.disk_usage(cache_dir()).free / 1e6:,.0f} MB free"
    cure = "make room (neuroaccel data clear), or set NEUROACCEL_CACHE to a folder that can be written"
    return CacheError(f"{path}: cannot be written ({error.strerror or error}{free}); {cure}")


def make(name: str, key: str, fill: Callable[[Path], dict[str, Any]]) -> Entry:
    """Return an entry, made first if it is not there or is damaged.

    Arguments:
        name: readable start of its name.
        key: from ``cache_key``.
        fill: writes ``.npy`` files into the folder that it is given, and returns what to note beside them (plain JSON
            values). It raises ``CacheError`` where it cannot write.

    Raises:
        CacheError: the cache cannot be written. Nothing is left behind.
        FileFormatError: ``name`` or ``key`` would leave the cache folder.
        InputError: ``NEUROACCEL_CACHE_LIMIT`` is no size.
    """
    limit = size_limit()
    path = _path(name, key)
    found = open_entry(name, key)
    if found is not None:
        return found
    with _locked(path):
        found = open_entry(name, key)  # made by another process while this one waited
        if found is not None:
            return found
        _sweep(path)
        building = path.with_name(f".{path.name}{BUILDING}")
        try:
            try:
                building.mkdir()
            except OSError as error:
                raise cannot_write(building, error) from error
            extra = fill(building)
            try:
                _finish(building, name, key, extra)
                _move_away(path)  # a damaged entry
                building.rename(path)
            except OSError as error:
                raise cannot_write(building, error) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        found = open_entry(name, key)
        if found is None:
            raise CacheError(f"{path}: was written and cannot be read back; the disk may be damaged")
    if limit is not None:
        evict(limit)
    return found


def open_entry(name: str, key: str) -> Entry | None:
    """Return an entry that is there and whole, else None (with a warning if it is damaged)."""
    path = _path(name, key)
    handle = hold(path / META)
    if handle is None:
        return None
    try:
        meta = _checked(path)
        arrays = {label: _mapped(path / f"{label}.npy", facts) for label, facts in meta["arrays"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        os.close(handle)
        log.warning("%s: damaged (%s); it is made again", path, error)
        return None
    except BaseException:
        os.close(handle)
        raise
    keep(handle, arrays)
    with contextlib.suppress(OSError):  # a cache on a read-only disk serves as well
        os.utime(path / META)
    log.debug("read %s", path)
    return Entry(path, arrays, meta["extra"])


def entries() -> list[Listed]:
    """Return the entries of the cache, the least recently used one first."""
    found = []
    for path in _folder_of_entries():
        match = _ENTRY.fullmatch(path.name)
        with contextlib.suppress(OSError):  # removed meanwhile
            if match and (path / META).is_file():
                used = (path / META).stat().st_mtime
                found.append(Listed(path, match["name"], match["key"], _bytes(path), used))
    return sorted(found, key=lambda entry: (entry.last_used, entry.path.name))


def evict(limit: int) -> list[Listed]:
    """Remove the least recently used entries that nobody uses until the rest fits, and return what was removed."""
    found = entries()
    total = sum(entry.bytes for entry in found)
    gone = []
    for entry in found:
        if total <= limit:
            break
        try:
            removed = remove(entry)
        except CacheError as error:
            log.warning("%s", error)
            continue
        if removed:
            log.info("%s: removed, %.1f MB, to keep to NEUROACCEL_CACHE_LIMIT", entry.path, entry.bytes / 1e6)
            gone.append(entry)
            total -= entry.bytes
    if total > limit:
        log.warning("%s: %.1f MB are in use, more than NEUROACCEL_CACHE_LIMIT allows", cache_dir(), total / 1e6)
    return gone


def remove(entry: Listed) -> bool:
    """Remove an entry, and return whether it is gone; one that a process uses stays.

    Raises:
        CacheError: the folder cannot be written.
    """
    handle = hold(entry.path / META, alone=True)
    if handle is None:
        return not entry.path.exists()
    try:
        _move_away(entry.path)
    except OSError as error:
        raise cannot_write(entry.path, error) from error
    finally:
        os.close(handle)
    return True


def sweep() -> int:
    """Remove what killed builders and older versions left behind, and return its bytes."""
    return _sweep(None)


def _path(name: str, key: str) -> Path:
    if not _ENTRY.fullmatch(f"{name}-{key}") or name.startswith("."):
        raise FileFormatError(f"cache entry {name!r}, {key!r}: expected a plain name and a hexadecimal key")
    return cache_dir() / f"{name}-{key}"


def _folder_of_entries() -> list[Path]:
    try:
        return sorted(cache_dir().iterdir())
    except OSError:
        return []


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of an entry's building; the file goes with it, so whoever waited for it looks for a new one."""
    lock = path.with_name(f".{path.name}{LOCK}")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock_file(lock, wait=True)
    except OSError as error:
        raise cannot_write(lock, error) from error
    assert handle is not None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _move_away(path: Path) -> None:
    """Take a folder's name away at once, then its content; processes that have it mapped keep what they see."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{REMOVED}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(own: Path | None) -> int:
    """Remove left-overs: those of the entry whose lock the caller has, and of every entry that nobody is making."""
    freed = 0
    for path in _folder_of_entries():
        hidden = path.name.startswith(".")
        unread = path.suffix == ".npz" and _ENTRY.fullmatch(path.stem)  # the entries of older versions
        if unread or (hidden and path.name.endswith(REMOVED)):
            freed += _discard(path)
        elif hidden and path.name.endswith((BUILDING, LOCK)):
            name = path.name[1:].removesuffix(BUILDING).removesuffix(LOCK)
            if own is not None and name == own.name:
                freed += _discard(path) if path.name.endswith(BUILDING) else 0
                continue
            with contextlib.suppress(OSError):
                lock = path.with_name(f".{name}{LOCK}")
                handle = lock_file(lock, wait=False)
                if handle is not None:
                    freed += _discard(path)
                    lock.unlink(missing_ok=True)
                    os.close(handle)
    return freed


def _discard(path: Path) -> int:
    try:
        size = _bytes(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.debug("%s: cannot be removed (%s)", path, error)
        return 0
    return size


def _finish(folder: Path, name: str, key: str, extra: dict[str, Any]) -> None:
    """Write what makes a folder of arrays an entry, down to the disk."""
    arrays = {}
    for file in sorted(folder.glob("*.npy")):
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        arrays[file.stem] = {"dtype": array.dtype.str, "shape": list(array.shape), "sha256": _sha256(file)}
        with file.open("rb") as written:
            os.fsync(written.fileno())
    meta = {"kind": KIND, "version": VERSION, "name": name, "key": key, "arrays": arrays, "extra": extra}
    _write_json(folder / META, {**meta, "checksum": _checksum(meta)})
    _write_json(folder / STAMP, _stamp(folder, arrays))


def _checked(folder: Path) -> dict[str, Any]:
    """What ``meta.json`` says, once the files are known to be those that it speaks of."""
    meta: dict[str, Any] = json.loads((folder / META).read_text("utf-8"))
    if not isinstance(meta, dict) or meta.pop("checksum", None) != _checksum(meta):
        raise ValueError(f"{META} is damaged")
    if (meta["kind"], meta["version"]) != (KIND, VERSION):
        raise ValueError(f"found {meta['kind']} {meta['version']}, expected {KIND} {VERSION}")
    now = _stamp(folder, meta["arrays"])
    try:
        known = json.loads((folder / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        known = None
    if known != now:
        for label, facts in meta["arrays"].items():
            if _sha256(folder / f"{label}.npy") != facts["sha256"]:
                raise ValueError(f"the checksum of {label}.npy does not fit its content")
        with contextlib.suppress(OSError):
            _write_json(folder / STAMP, now)
    return meta


def _stamp(folder: Path, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Size and time of change of every file: the cheap rule by which files count as unchanged."""
    stats = {label: (folder / f"{label}.npy").stat() for label in sorted(arrays)}
    return {label: [stat.st_size, stat.st_mtime_ns] for label, stat in stats.items()}


def _mapped(path: Path, facts: Mapping[str, Any]) -> NDArray[Any]:
    empty = 0 in facts["shape"]
    array: NDArray[Any] = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False)
    if array.dtype.str != facts["dtype"] or list(array.shape) != facts["shape"]:
        raise ValueError(f"{path.name} holds {array.dtype.str} {array.shape}, {META} says {facts}")
    if empty:
        array.flags.writeable = False
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
