"""Recordings from files: AEDAT4, Prophesee's RAW and DAT, HDF5, ``.npy``, ``.npz`` and CSV, all to ``Events``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from neuroaccel.datasets.events import Events
from neuroaccel.datasets.readers.detect import detect
from neuroaccel.datasets.readers.recording import IMU_DTYPE, Columns, Frame, Options, Recording, Source
from neuroaccel.datasets.repair import OnError, Repairs, check_on_error, repair, report, with_counts
from neuroaccel.errors import EventsError

__all__ = ["IMU_DTYPE", "Frame", "Recording", "iterate_recording", "open_recording"]

_READERS = {
    "aedat4": "aedat4",
    "prophesee": "prophesee",
    "npy": "arrays",
    "npz": "arrays",
    "hdf5": "hdf5",
    "csv": "csv_file",
}


def open_recording(
    path: str | Path,
    *,
    sensor_size: tuple[int, int, int] | None = None,
    on_error: OnError = "raise",
    key: str | int | None = None,
    time_unit: str | None = None,
) -> Recording:
    """Read a recording of an event camera from a file of any of the formats known here.

    The format is found by the file's first bytes. The events' time is the file's own but for AEDAT4, whose clock is
    the calendar's: there it counts from the first event, and ``start_us`` holds that one's time.

    Arguments:
        path: the file.
        sensor_size: ``(W, H, P)``; None: as the file states it, else just large enough for the events.
        on_error: what to do with a damaged file's wrong events: ``raise``, ``drop`` or ``clip`` (see ``repair``). A
            file that ends amid an event or a packet is read up to there with the latter two.
        key: of an HDF5 file the recording's number or its group's path; of an ``.npz`` the array's name; of columns
            without names their order, such as ``"txyp"``.
        time_unit: ``s``, ``ms``, ``us`` or ``ns`` of HDF5, arrays and CSV that do not state it; None: seconds where
            times have decimals, else µs. ``metadata["time_unit"]`` says which it was.

    Returns:
        The recording.

    Raises:
        FileFormatError: a file that is missing, truncated, foreign or damaged; the message names it and the offset.
        EventsError: events that no sensor can have given, with ``on_error="raise"``.
        MissingExtra: AEDAT4 without dv-processing.
    """
    path = Path(path)
    options = Options(sensor_size, on_error, key, time_unit)
    source = _source(path, options)
    columns = _joined(source.blocks)
    size = sensor_size or source.sensor_size
    events, repairs = repair(*columns, size, on_error, str(path))
    repairs = report(with_counts(repairs, **source.lost), str(path))
    stated = "given" if sensor_size else ("file" if source.sensor_size else "events")
    metadata = {"start_us": 0, **source.metadata, "sensor_size_from": stated}
    return Recording(path, source.format, events, repairs, metadata, source)


def iterate_recording(
    path: str | Path,
    events: int = 1 << 20,
    *,
    sensor_size: tuple[int, int, int] | None = None,
    on_error: OnError = "raise",
    key: str | int | None = None,
    time_unit: str | None = None,
) -> Iterator[Events]:
    """Read a recording part by part, for files that are larger than memory.

    Arguments:
        path: the file.
        events: about how many events a part has; compressed ``.npz`` files are decoded whole.
        sensor_size: ``(W, H, P)``; needed where the file does not state it.
        on_error: as in ``open_recording``.
        key: as in ``open_recording``.
        time_unit: as in ``open_recording``.

    Returns:
        The parts one after the other; their times go on from part to part.

    Raises:
        EventsError: as ``open_recording``; or the file states no sensor size and none is given.
        FileFormatError: as ``open_recording``; damage is found when the part that has it is read.
    """
    if events < 1:
        raise EventsError(f"events is {events}; expected a number ≥ 1")
    path = Path(path)
    source = _source(path, Options(sensor_size, on_error, key, time_unit, events))
    size = sensor_size or source.sensor_size
    if size is None:
        raise EventsError(f"{path}: the file does not state the sensor's size; give sensor_size=(W, H, P)")
    return _parts(path, source, size, on_error)


def _parts(path: Path, source: Source, size: tuple[int, int, int], on_error: OnError) -> Iterator[Events]:
    total, after = Repairs(), 0
    for columns in source.blocks:
        where = f"{path}, part from event {total.events}"
        found, repairs = repair(*columns, size, on_error, where, after=after)
        total += repairs
        if len(found):
            after = int(found.data["t"][-1])
            yield found
    report(replace(total, **source.lost), str(path))


def _source(path: Path, options: Options) -> Source:
    check_on_error(options.on_error)
    name = _READERS[detect(path)]
    source: Source = import_module(f"{__name__}.{name}").read(path, options)
    return source


def _joined(blocks: Iterator[Columns]) -> Columns:
    found = list(blocks)
    if len(found) == 1:
        return found[0]
    if not found:
        empty = np.empty(0, np.int64)
        return empty, empty, empty, empty
    x, y, t, p = (np.concatenate(column) for column in zip(*found, strict=True))
    return x, y, t, p
