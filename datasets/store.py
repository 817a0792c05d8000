"""Recordings on disk: streamed into the cache one after the other, once, and memory-mapped from then on."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets import cache
from neuroaccel.datasets.cache import Progress, log
from neuroaccel.datasets.events import Events
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.errors import CacheError, EventsError, FileFormatError

LAST_US = 2**31 - 1
"""The latest time that an event may have: 35 minutes."""

_HEADER = 128


@dataclass(frozen=True)
class Sample:
    """One recording on its way to the store.

    Arguments:
        events: what the sensor gave, times from the recording's start; none at all is allowed.
        label: its class; None is refused when it is stored.
        index: its number in the whole set; None: counted from 0.
        group: speaker or subject; None: unknown.
        duration_us: its length; None: up to its last event.
        where: its file, for messages.
    """

    events: Events
    label: int | None
    index: int | None = None
    group: int | None = None
    duration_us: int | None = None
    where: str = ""


Append = Callable[[NDArray[np.int32]], None]
Samples = Iterable[Sample] | Callable[[], Iterable[Sample]]


def build(
    name: str,
    key: str,
    samples: Samples,
    sensor_size: tuple[int, int, int],
    classes: Sequence[str] = (),
    total: int | None = None,
    progress: Progress | None = None,
) -> Recordings:
    """Return the recordings under a key, streamed to disk first if they are not there.

    No more than one recording is in memory. Where the cache cannot be written at all, they are kept in memory, with a
    warning.

    Arguments:
        name: readable start of the entry's name.
        key: from ``cache_key``.
        samples: the recordings, or what gives them; not looked at where the cache has them.
        sensor_size: ``(W, H, P)`` of all of them.
        classes: a name per label.
        total: how many there are, for ``progress``.
        progress: called with (done, total).

    Returns:
        The recordings, memory-mapped.

    Raises:
        EventsError: a recording without a label, of another sensor, or too long; the message names it.
        CacheError: the disk filled up on the way. Nothing is left behind.
    """
    begun = False

    def made() -> Iterator[Sample]:
        nonlocal begun
        begun = True
        yield from _named(name, samples() if callable(samples) else samples)

    def fill(folder: Path) -> dict[str, Any]:
        with _File(folder / "t_us.npy") as t_us, _File(folder / "address.npy") as address:
            columns = _written(name, made(), sensor_size, classes, (t_us.append, address.append), total, progress)
            t_us.finish()
            address.finish()
        for label, column in columns.items():
            cache.write_array(folder / f"{label}.npy", column)
        return {"sensor_size": list(sensor_size), "classes": list(classes)}

    try:
        entry = cache.make(name, key, fill)
    except CacheError as error:
        if begun:
            raise
        log.warning("%s; the recordings are kept in memory and made again next time", error)
        return _in_memory(name, made(), sensor_size, classes, total, progress)
    return _recordings(entry.arrays, sensor_size, tuple(classes))


def read(name: str, key: str) -> Recordings | None:
    """Return the recordings under a key if the cache has them, whole."""
    entry = cache.open_entry(name, key)
    if entry is None or "sensor_size" not in entry.extra:
        return None
    width, height, polarities = entry.extra["sensor_size"]
    return _recordings(entry.arrays, (width, height, polarities), tuple(entry.extra["classes"]))


class _File:
    """A ``.npy`` file of int32 that grows; its header is written last, when the length is known."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        with self._telling():
            self.file = self.path.open("wb")
            try:
                self.file.write(b"\0" * _HEADER)
            except OSError:
                self.__exit__()
                raise
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # finish has flushed; what is not finished is thrown away
            self.file.close()

    def append(self, array: NDArray[np.int32]) -> None:
        with self._telling():
            self.file.write(array.data)

    def finish(self) -> None:
        with self._telling():
            count = (self.file.tell() - _HEADER) // 4
            text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({count},), }}"
            self.file.seek(0)
            self.file.write(b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little"))
            self.file.write(text.ljust(_HEADER - 11).encode() + b"\n")
            self.file.flush()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cache.cannot_write(self.path, error) from error


def _named(name: str, samples: Iterable[Sample]) -> Iterator[Sample]:
    """The recordings; an error on the way to one says which one it was."""
    iterator = iter(samples)
    for number in itertools.count():
        try:
            sample = next(iterator)
        except StopIteration:
            return
        except (EventsError, FileFormatError) as error:
            raise type(error)(f"{name}, recording {number}: {error}") from error
        yield sample


def _written(
    name: str,
    samples: Iterator[Sample],
    sensor_size: tuple[int, int, int],
    classes: Sequence[str],
    append: tuple[Append, Append],
    total: int | None,
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """Append every recording's times and addresses, and return the columns that have one entry per recording."""
    counts, rows = [0], []
    for number, sample in enumerate(samples):
        where = f"{name}, recording {number}{f' ({sample.where})' if sample.where else ''}"
        t_us, address, row = _packed(where, number, sample, sensor_size, len(classes))
        append[0](t_us)
        append[1](address)
        counts.append(len(t_us))
        rows.append(row)
        if progress is not None:
            progress(number + 1, total if total is not None else number + 1)
    table = np.array(rows, np.int64).reshape(-1, 4)
    columns = {"start": np.cumsum(counts, dtype=np.int64), "labels": table[:, 0], "indices": table[:, 1]}
    columns["durations_us"] = table[:, 2]
    return columns if np.all(table[:, 3] == -1) else {**columns, "groups": table[:, 3]}


def _packed(
    where: str, number: int, sample: Sample, sensor_size: tuple[int, int, int], classes: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], tuple[int, int, int, int]]:
    events, data = sample.events, sample.events.data
    if events.sensor_size != tuple(sensor_size):
        raise EventsError(f"{where}: of a sensor {events.sensor_size}; expected {tuple(sensor_size)} as in all of them")
    if sample.label is None:
        raise EventsError(f"{where}: has no label")
    if sample.label < 0 or (classes and sample.label >= classes):
        raise EventsError(f"{where}: its label is {sample.label}; expected 0 to {classes - 1 if classes else '…'}")
    end = int(data["t"][-1]) if len(data) else -1
    if end > LAST_US:
        raise EventsError(f"{where}: its last event is at {end} µs; expected at most {LAST_US} µs after its start")
    duration = end + 1 if sample.duration_us is None else int(sample.duration_us)
    if duration <= end:
        raise EventsError(f"{where}: its last event is at {end} µs, after its end at {duration} µs")
    width, height, _ = sensor_size
    address = data["p"].astype(np.int32)
    address *= height
    address += data["y"]
    address *= width
    address += data["x"]
    index = number if sample.index is None else int(sample.index)
    group = -1 if sample.group is None else int(sample.group)
    t_us = np.ascontiguousarray(data["t"], np.int32)
    return t_us, address, (int(sample.label), index, duration, group)


def _in_memory(
    name: str,
    samples: Iterator[Sample],
    sensor_size: tuple[int, int, int],
    classes: Sequence[str],
    total: int | None,
    progress: Progress | None,
) -> Recordings:
    empty = np.empty(0, np.int32)
    t_us, address = [empty], [empty]
    arrays = _written(name, samples, sensor_size, classes, (t_us.append, address.append), total, progress)
    arrays |= {"t_us": np.concatenate(t_us), "address": np.concatenate(address)}
    return _recordings(arrays, sensor_size, tuple(classes))


def _recordings(
    arrays: Mapping[str, NDArray[Any]], sensor_size: tuple[int, int, int], classes: tuple[str, ...]
) -> Recordings:
    named = {label: arrays[label] for label in ("start", "t_us", "address", "labels", "indices", "durations_us")}
    return Recordings(**named, sensor_size=sensor_size, classes=classes, groups=arrays.get("groups"))
