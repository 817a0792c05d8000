"""Events: what a sensor gave, lossless, in tonic's structured arrays; and their binning into an EventStream."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.events import BINNINGS, Binning, EventStream
from neuroaccel.engine.npz import read_npz, write_npz
from neuroaccel.errors import EventsError, FileFormatError

log = logging.getLogger("neuroaccel")

EVENT_DTYPE = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
FILE_KIND, FILE_VERSION = "neuroaccel-events", 1


@dataclass(frozen=True, eq=False)
class Events:
    """One recording of an event camera.

    Arguments:
        data: structured array ``[n]`` with the fields ``x``, ``y``, ``t`` in µs and ``p`` (False darker, True
            brighter), in the order of time. Other integer widths, such as those of ``tonic.datasets.NMNIST``, are
            converted without loss.
        sensor_size: ``(W, H, P)``: width, height and number of polarities, as in tonic.

    Raises:
        EventsError: see ``validate``.
    """

    data: NDArray[Any]
    sensor_size: tuple[int, int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sensor_size", tuple(int(size) for size in self.sensor_size))
        self.validate()
        converted = np.ascontiguousarray(self.data.astype(EVENT_DTYPE)) if self.data.dtype != EVENT_DTYPE else self.data
        object.__setattr__(self, "data", converted)

    @classmethod
    def of_checked(cls, data: NDArray[Any], sensor_size: tuple[int, int, int]) -> Events:
        """A recording of events of ``EVENT_DTYPE`` that somebody has checked already: they are not looked at again."""
        events = object.__new__(cls)
        events.__dict__.update(data=data, sensor_size=tuple(int(size) for size in sensor_size))
        return events

    @classmethod
    def from_arrays(
        cls,
        x: NDArray[Any],
        y: NDArray[Any],
        t_us: NDArray[Any],
        p: NDArray[Any],
        sensor_size: tuple[int, int, int],
    ) -> Events:
        """Build a recording from one array per field, each ``[n]``."""
        columns = {"x": np.asarray(x), "y": np.asarray(y), "t": np.asarray(t_us), "p": np.asarray(p)}
        if len({column.shape for column in columns.values()}) > 1 or columns["x"].ndim != 1:
            shapes = {name: column.shape for name, column in columns.items()}
            raise EventsError(f"the fields have the shapes {shapes}; expected one dimension, the same for all")
        data = np.empty(len(columns["x"]), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            data[name] = column
        return cls(data, sensor_size)

    def validate(self) -> None:
        """Check type, place, polarity and time of every event.

        Raises:
            EventsError: naming the first event that is wrong and what it holds.
        """
        data, size = self.data, self.sensor_size
        if len(size) != 3 or min(size) < 1 or max(size[:2]) > 2**15 or size[2] > 2:
            raise EventsError(f"sensor_size is {size}; expected (W, H, P) with 1 to 32768 pixels a side and P 1 or 2")
        kinds = {"x": "iu", "y": "iu", "t": "iu", "p": "biu"}
        names = data.dtype.names or ()
        if data.ndim != 1 or any(name not in names or data.dtype[name].kind not in kinds[name] for name in kinds):
            raise EventsError(
                f"events are {data.dtype} of shape {data.shape}; expected one dimension with the fields "
                f"x, y, t (integers) and p (boolean), as {EVENT_DTYPE.descr}"
            )
        limits = {"x": size[0], "y": size[1], "t": 2**62, "p": size[2]}
        wrong = {}
        for name, limit in limits.items():
            column = data[name].view(np.int8) if data[name].dtype.kind == "b" else data[name]
            where = "time, which starts at 0" if name == "t" else f"the range 0 to {limit - 1} of a sensor {size}"
            wrong[f"has {name} outside {where}"] = (column < 0) | (column >= limit)
        back = np.zeros(len(data), bool)
        back[1:] = data["t"][1:] < data["t"][:-1]
        wrong["is earlier than the event before it; expected time that does not decrease"] = back
        first = {what: int(np.argmax(found)) for what, found in wrong.items() if found.any()}
        if first:
            what, event = min(first.items(), key=lambda item: item[1])
            raise EventsError(f"event {event} {_fields(data, event)} {what}")

    def __len__(self) -> int:
        return len(self.data)

    def bin(self, dt: float, ticks: int | None = None, binning: Binning = "binary") -> EventStream:
        """Return ``bin_events(self, dt, ticks, binning)``."""
        return bin_events(self, dt, ticks, binning)

    def save(self, path: str | Path) -> Path:
        """Write the recording as an ``.npz`` file, whole or not at all, and return its path."""
        arrays = {"data": self.data, "sensor_size": np.array(self.sensor_size, np.int64)}
        return write_npz(path, FILE_KIND, FILE_VERSION, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Events:
        """Read a recording that ``save`` wrote.

        Raises:
            FileFormatError: the file is missing, truncated, foreign, newer than this reader, or inconsistent.
        """
        arrays = read_npz(path, FILE_KIND, FILE_VERSION, ("data", "sensor_size"))
        try:
            return cls(arrays["data"], tuple(arrays["sensor_size"].tolist()))
        except (ValueError, TypeError) as error:  # an EventsError is a ValueError
            raise FileFormatError(f"{path}: the file is inconsistent: {error}") from error


def bin_events(events: Events, dt: float, ticks: int | None = None, binning: Binning = "binary") -> EventStream:
    """Bin a recording into ticks: ``tick = t_us // dt_us``, channel 0 holds polarity 0.

    Binning loses the time within a tick, and events that share one: the stream's ``merged`` says how many of these
    have no event of their own any more. Events past the last tick are left out, and a warning says how many.

    Arguments:
        events: the recording.
        dt: length of a tick in seconds, a whole number of µs.
        ticks: number of ticks T; None: up to the last event.
        binning: ``binary``, ``count`` or ``first`` (see ``EventStream``).

    Returns:
        A stream of shape ``(P, H, W)``.

    Raises:
        EventsError: ``dt``, ``ticks`` or ``binning`` is not of that kind.
    """
    step_us = tick_us(dt)
    if ticks is not None and ticks < 0:
        raise EventsError(f"ticks is {ticks}; expected a number ≥ 0")
    width, height, polarities = events.sensor_size
    data = events.data
    tick = data["t"] // step_us
    length = (int(tick[-1]) + 1 if len(tick) else 0) if ticks is None else ticks
    kept = int(np.searchsorted(tick, length))
    if kept < len(tick):
        log.warning("%d of %d events lie after the last tick and are left out", len(tick) - kept, len(tick))
    pixel = data["y"][:kept].astype(np.int64) * width + data["x"][:kept]
    polarity = data["p"][:kept].astype(np.int64)
    cell, count = merge(tick[:kept], pixel, polarity, (polarities, height * width), binning)
    addresses = polarities * height * width
    indptr = np.zeros(length + 1, np.int64)
    np.cumsum(np.bincount(cell // addresses, minlength=length), out=indptr[1:])
    value = count.astype(np.int32) if binning == "count" else None
    merged = kept - len(cell)
    log.debug("binned %d events into %d ticks (%s), %d merged", kept, length, binning, merged)
    index = (cell % addresses).astype(np.int32)
    return EventStream(indptr, index, (polarities, height, width), dt, value, binning, merged)


def merge(
    tick: NDArray[np.int64],
    pixel: NDArray[np.int64],
    polarity: NDArray[np.int64],
    sizes: tuple[int, int],
    binning: Binning,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Merge the events that share a tick and an address.

    Arguments:
        tick: tick of every event ``[n]``; ticks of several recordings may be numbered one after the other.
        pixel: pixel of every event ``[n]``, in C-order.
        polarity: polarity of every event ``[n]``.
        sizes: number of polarities and of pixels.
        binning: the policy.

    Returns:
        ``(cell, count)``: the rising ``(tick · polarities + polarity) · pixels + pixel`` of every event that remains,
        and how many events of the sensor it stands for.

    Raises:
        EventsError: an unknown policy.
    """
    if binning not in BINNINGS:
        raise EventsError(f"binning is {binning!r}; expected one of {', '.join(BINNINGS)}")
    polarities, pixels = sizes
    cell = (tick * polarities + polarity) * pixels + pixel
    if binning == "first":  # events come in the order of time, so the first of each (tick, pixel) is the earliest
        _, first, count = np.unique(tick * pixels + pixel, return_index=True, return_counts=True)
        order = np.argsort(cell[first])
        return cell[first][order], count[order]
    return np.unique(cell, return_counts=True)


def tick_us(dt: float) -> int:
    """Return a tick's length in whole µs, or raise an EventsError."""
    step = round(dt * 1e6) if np.isfinite(dt) else 0
    if step < 1 or abs(dt * 1e6 - step) > 1e-6 * step:
        raise EventsError(f"dt is {dt} s; expected a positive whole number of µs, since events carry whole µs")
    return step


def _fields(data: NDArray[Any], event: int) -> str:
    return "(" + ", ".join(f"{name}={int(data[name][event])}" for name in ("x", "y", "t", "p")) + ")"
