"""EventStream: what an executor reads, events sorted by tick and address (CSR over time)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from neuroaccel.engine.npz import read_npz, write_npz
from neuroaccel.errors import EventsError, FileFormatError

Binning = Literal["binary", "count", "first"]
BINNINGS: tuple[str, ...] = get_args(Binning)
FILE_KIND, FILE_VERSION = "neuroaccel-eventstream", 1


@dataclass(frozen=True, eq=False)
class EventStream:
    """Events of one sequence, sorted by tick and, within a tick, by address.

    The events of tick ``t`` are ``index[indptr[t]:indptr[t + 1]]``; every address occurs at most once in a tick.

    Arguments:
        indptr: int64 ``[T + 1]``, where each tick's events start.
        index: int32 ``[n]``, C-order address over ``shape``.
        shape: torch shape without batch, for example ``(2, 34, 34)``: polarity 0 is channel 0.
        dt: length of a tick in seconds.
        value: int32 or float32 ``[n]``, non-zero and finite; None where every event is a 1.
        binning: how a sensor's events became these. ``binary``: several at one address and tick became one;
            ``count``: they became their number, in ``value``; ``first``: of all events of one pixel and tick, of either
            polarity, the first was kept.
        merged: number of the sensor's events that the binning left without an event of their own.

    Raises:
        EventsError: the arrays do not fit together; the message names the event and its tick.
    """

    indptr: NDArray[np.int64]
    index: NDArray[np.int32]
    shape: tuple[int, ...]
    dt: float
    value: NDArray[np.int32] | NDArray[np.float32] | None = None
    binning: Binning = "binary"
    merged: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "indptr", _integers("indptr", self.indptr, np.int64))
        object.__setattr__(self, "index", _integers("index", self.index, np.int32))
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "dt", float(self.dt))
        object.__setattr__(self, "merged", int(self.merged))
        if self.value is not None:
            object.__setattr__(self, "value", _values(self.value))
        _check_header(self)
        _check_addresses(self)
        _check_values(self)

    @classmethod
    def of_kernel(
        cls,
        indptr: NDArray[np.int64],
        index: NDArray[np.int32],
        shape: tuple[int, ...],
        dt: float,
        value: NDArray[Any] | None,
        binning: Binning,
    ) -> EventStream:
        """A stream of arrays whose types and order a kernel vouches for; only values are checked."""
        stream = object.__new__(cls)
        stream.__dict__.update(indptr=indptr, index=index, shape=shape, dt=dt, value=value, binning=binning, merged=0)
        if value is not None:
            object.__setattr__(stream, "value", _values(value))
            _check_values(stream)
        return stream

    @classmethod
    def from_dense(cls, x: ArrayLike, dt: float, binning: Binning = "binary", merged: int = 0) -> EventStream:
        """Turn a dense sequence into events without loss: ``from_dense(x, dt).to_dense(x.dtype)`` equals ``x``.

        Arguments:
            x: ``[T, *shape]``, boolean, integer or float; every non-zero element becomes an event.
            dt: length of a tick in seconds.
            binning: recorded in the stream, changes nothing.
            merged: recorded in the stream, changes nothing.

        Returns:
            The stream, with ``value`` None where every non-zero element is 1.

        Raises:
            EventsError: an element is not finite, or neither int32 nor float32 can hold it.
        """
        dense = np.asarray(x)
        if dense.ndim < 1:
            raise EventsError("a dense sequence needs the shape [T, *shape]; found a scalar")
        flat = dense.reshape(len(dense), math.prod(dense.shape[1:]))
        tick, address = np.nonzero(flat)  # NaN counts as non-zero, so that _values sees it
        indptr = np.zeros(len(flat) + 1, np.int64)
        np.cumsum(np.bincount(tick, minlength=len(flat)), out=indptr[1:])
        value = flat[tick, address]
        ones = dense.dtype.kind == "b" or bool(np.all(value == 1))
        index = address.astype(np.int32)  # _check_header refuses shapes with more addresses than that
        return cls(indptr, index, dense.shape[1:], dt, None if ones else value, binning, merged)

    def to_dense(self, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return the dense sequence ``[T, *shape]``.

        Arguments:
            dtype: element type; it must hold every value exactly.

        Raises:
            EventsError: ``dtype`` cannot hold a value.
        """
        dense = np.zeros((self.ticks, math.prod(self.shape)), dtype)
        if self.value is None:
            dense[self.tick_of_event, self.index] = 1
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                cast = self.value.astype(dtype)
            lost = np.flatnonzero(cast.astype(np.float64) != self.value)
            if lost.size:
                raise EventsError(f"{self._where(lost[0])} has value {self.value[lost[0]]}, which {dense.dtype} loses")
            dense[self.tick_of_event, self.index] = cast
        return dense.reshape(self.ticks, *self.shape)

    @property
    def ticks(self) -> int:
        """Number of ticks T."""
        return len(self.indptr) - 1

    @property
    def tick_of_event(self) -> NDArray[np.int64]:
        """Tick of every event, int64 ``[n]``."""
        return np.repeat(np.arange(self.ticks), np.diff(self.indptr))

    @property
    def rate(self) -> float:
        """Events per address and tick, between 0 and 1."""
        cells = self.ticks * math.prod(self.shape)
        return len(self.index) / cells if cells else 0.0

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        return self.indptr.nbytes + self.index.nbytes + (0 if self.value is None else self.value.nbytes)

    def __len__(self) -> int:
        return len(self.index)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EventStream):
            return NotImplemented
        return (
            (self.shape, self.dt, self.binning, self.merged) == (other.shape, other.dt, other.binning, other.merged)
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.index, other.index)
            and (self.value is None) == (other.value is None)
            and (self.value is None or other.value is None or np.array_equal(self.value, other.value))
        )

    __hash__ = None  # type: ignore[assignment]  # arrays inside

    def slice(self, t0: int, t1: int) -> EventStream:
        """Return ticks ``t0`` to ``t1 - 1`` as a stream of their own.

        ``merged`` is known of the whole only, and is 0 in a part.

        Raises:
            EventsError: not ``0 <= t0 <= t1 <= T``.
        """
        if not 0 <= t0 <= t1 <= self.ticks:
            raise EventsError(f"ticks {t0} to {t1} do not lie within the stream's {self.ticks} ticks")
        first, last = self.indptr[t0], self.indptr[t1]
        value = None if self.value is None else self.value[first:last]
        merged = self.merged if t1 - t0 == self.ticks else 0
        indptr = self.indptr[t0 : t1 + 1] - first
        return EventStream(indptr, self.index[first:last], self.shape, self.dt, value, self.binning, merged)

    def save(self, path: str | Path) -> Path:
        """Write the stream as an ``.npz`` file, whole or not at all, and return its path."""
        arrays: dict[str, NDArray[Any]] = {"indptr": self.indptr, "index": self.index}
        arrays |= {"shape": np.array(self.shape, np.int64), "dt": np.array(self.dt)}
        arrays |= {"binning": np.array(self.binning), "merged": np.array(self.merged)}
        if self.value is not None:
            arrays["value"] = self.value
        return write_npz(path, FILE_KIND, FILE_VERSION, arrays)

    @classmethod
    def load(cls, path: str | Path) -> EventStream:
        """Read a stream that ``save`` wrote.

        Raises:
            FileFormatError: the file is missing, truncated, foreign, newer than this reader, or inconsistent.
        """
        names = ("indptr", "index", "shape", "dt", "binning", "merged")
        arrays = read_npz(path, FILE_KIND, FILE_VERSION, names)
        try:
            shape = tuple(_integers("shape", arrays["shape"], np.int64).tolist())
            dt, binning, merged = (arrays[name].item() for name in ("dt", "binning", "merged"))
            return cls(arrays["indptr"], arrays["index"], shape, dt, arrays.get("value"), binning, merged)
        except (ValueError, TypeError, AttributeError) as error:  # an EventsError is a ValueError
            raise FileFormatError(f"{path}: the file is inconsistent: {error}") from error

    def _where(self, event: int) -> str:
        """Name an event by its place, its tick and its address."""
        tick = int(np.searchsorted(self.indptr, event, side="right")) - 1
        return f"event {event} (tick {tick}, address {self.index[event]})"


def _integers(name: str, array: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """Return a one-dimensional contiguous array of ``dtype``; refuse other kinds and numbers that do not fit."""
    found = np.asarray(array)
    if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
        raise EventsError(f"{name} is {found.dtype}{list(found.shape)}; expected one dimension of integers")
    if found.size and found.dtype != dtype:
        limits = np.iinfo(np.dtype(dtype))
        outside = np.flatnonzero((found < limits.min) | (found > limits.max))
        if outside.size:
            raise EventsError(f"{name}[{outside[0]}] is {found[outside[0]]}, too large for {np.dtype(dtype)}")
    return np.ascontiguousarray(found, dtype)


def _values(array: ArrayLike) -> NDArray[Any]:
    """Return values as int32 or float32, whichever holds them exactly."""
    found = np.asarray(array)
    if found.ndim != 1 or found.dtype.kind not in "biuf":
        raise EventsError(f"value is {found.dtype}{list(found.shape)}; expected one dimension of integers or floats")
    target = np.float32 if found.dtype.kind == "f" else np.int32
    with np.errstate(over="ignore"):
        cast = found.astype(target)
    lost = np.flatnonzero((cast != found) & (found == found))  # NaN is _check_values' business
    if lost.size:
        raise EventsError(f"event {lost[0]} has value {found[lost[0]]}, which {np.dtype(target)} loses")
    return np.ascontiguousarray(cast)


def _check_header(stream: EventStream) -> None:
    if any(size < 0 for size in stream.shape) or math.prod(stream.shape) > np.iinfo(np.int32).max:
        raise EventsError(
            f"shape {stream.shape} has no int32 addresses; expected sizes ≥ 0 and at most 2³¹ − 1 elements"
        )
    if not (math.isfinite(stream.dt) and stream.dt > 0):
        raise EventsError(f"dt is {stream.dt} s; expected a positive, finite number of seconds")
    if stream.binning not in BINNINGS:
        raise EventsError(f"binning is {stream.binning!r}; expected one of {', '.join(BINNINGS)}")
    if stream.merged < 0:
        raise EventsError(f"merged is {stream.merged}; expected a number of events ≥ 0")
    if len(stream.indptr) < 1 or stream.indptr[0] != 0 or stream.indptr[-1] != len(stream.index):
        ends = (int(stream.indptr[0]), int(stream.indptr[-1])) if len(stream.indptr) else "nothing"
        raise EventsError(f"indptr goes from and to {ends}; expected (0, {len(stream.index)}), the number of events")
    falling = np.flatnonzero(np.diff(stream.indptr) < 0)
    if falling.size:
        tick = falling[0]
        start, end = stream.indptr[tick : tick + 2]
        raise EventsError(f"tick {tick} ends at event {end}, before its start at {start}")


def _check_addresses(stream: EventStream) -> None:
    index, size = stream.index, math.prod(stream.shape)
    outside = np.flatnonzero((index < 0) | (index >= size))
    if outside.size:
        raise EventsError(f"{stream._where(outside[0])} lies outside shape {stream.shape} with {size} addresses")
    falling = index[1:] <= index[:-1]
    inner = stream.indptr[1:-1]
    falling[inner[(inner > 0) & (inner < len(index))] - 1] = False  # addresses start anew in every tick
    wrong = np.flatnonzero(falling)
    if wrong.size:
        event = wrong[0] + 1
        before = index[event - 1]
        what = "a duplicate" if before == index[event] else f"not sorted, the one before it is at {before}"
        raise EventsError(f"{stream._where(event)} is {what}; expected rising addresses within a tick")


def _check_values(stream: EventStream) -> None:
    if stream.value is None:
        return
    if len(stream.value) != len(stream.index):
        raise EventsError(f"there are {len(stream.value)} values for {len(stream.index)} events")
    wrong = np.flatnonzero(~np.isfinite(stream.value) | (stream.value == 0))
    if wrong.size:
        raise EventsError(f"{stream._where(wrong[0])} has value {stream.value[wrong[0]]}; expected finite and not 0")
