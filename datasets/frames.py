"""Frames ``[T, N, C, H, W]`` of a batch of packed events: by time, by count, by window, voxel grid, time surface."""

from __future__ import annotations

import dataclasses
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.datasets.events import tick_us
from neuroaccel.datasets.kernels import load
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.engine.events import BINNINGS, Binning
from neuroaccel.errors import EventsError, RecipeError

if TYPE_CHECKING:
    import torch

    from neuroaccel.datasets.device_frames import PackedTensors

log = logging.getLogger("neuroaccel")

LIMITS = {"float32": 2**24, "int16": 2**15 - 1, "uint8": 2**8 - 1}
"""Types that frames may have, and where a count in them stops: the last number that each still counts to."""


@dataclass(frozen=True)
class Frames(ABC):
    """How a batch of events becomes frames; its subclasses are the kinds there are.

    Arguments:
        ticks: T.
    """

    kind: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    ticks: int

    def __post_init__(self) -> None:
        _check(self, "ticks", _whole(self.ticks), "a whole number ≥ 1")

    def sample_shape(self, sensor_size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return ``(C, H, W)`` of a sensor ``(W, H, P)``; C is P unless the kind says otherwise."""
        width, height, polarities = sensor_size
        return polarities, height, width

    @abstractmethod
    def lengths(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return how many ticks every sample really covers, int64 ``[N]``, at most T; the rest of it is 0."""

    @abstractmethod
    def left_out(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return how many events of every sample are in no frame, int64 ``[N]``."""

    @abstractmethod
    def _fill(self, packed: PackedEvents, out: NDArray[Any]) -> int:
        """Write all of ``out [T, N, C·H·W]``; return the first bad event or −1."""

    def frames(
        self, packed: PackedEvents, out: NDArray[Any] | None = None, dtype: DTypeLike = np.float32
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return a batch's frames and lengths.

        Arguments:
            packed: N samples, each in the order of time.
            out: C-contiguous ``[T, N, C, H, W]`` to write to, whatever it holds; None: new memory.
            dtype: of new memory: float32, and for frames of counts int16 or uint8, where a count stops at the largest
                number of the type.

        Returns:
            ``(x [T, N, C, H, W], length int64 [N])``, the length as ``lengths`` says it.

        Raises:
            EventsError: an event outside the sensor.
            RecipeError: ``out`` or ``dtype`` does not fit.
        """
        shape = (self.ticks, len(packed), *self.sample_shape(packed.sensor_size))
        kind = np.dtype(dtype if out is None else out.dtype)
        if kind.name not in self.dtypes:
            raise RecipeError(f"frames of type {kind} by {self}; expected {' or '.join(self.dtypes)}")
        if out is not None and (out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable):
            raise RecipeError(f"out is {list(out.shape)}; expected writable C-contiguous memory {list(shape)}")
        # Not zeros: memory that the system clears is touched twice, a frame that a kernel clears is filled in cache.
        x = np.empty(shape, kind) if out is None else out
        if not x.size:
            return x, self.lengths(packed)
        bad = self._fill(packed, x.reshape(self.ticks, len(packed), -1))
        if bad >= 0:
            packed.validate()
            raise EventsError(f"event {bad} of the batch is outside the sensor {packed.sensor_size} or out of order")
        if log.isEnabledFor(logging.DEBUG) and (lost := int(self.left_out(packed).sum())):
            log.debug("%d of %d events lie in no frame and are left out", lost, len(packed.t_us))
        return x, self.lengths(packed)

    def on_device(
        self, packed: PackedTensors | PackedEvents, device: torch.device | str | None = None, dtype: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``frames`` does as tensors that are made on a device, from the events shipped there.

        Arguments:
            packed: N samples; of events in this process's memory no more is shipped than these frames need.
            device: where; None: where the events are.
            dtype: of the frames, a torch type; None: float32.

        Raises:
            RecipeError: ``dtype`` does not fit.
        """
        from neuroaccel.datasets.device_frames import frames_on_device

        return frames_on_device(self, packed, device, dtype)


class RangedFrames(Frames):
    """Frames of which each holds the events of one range, merged by ``binning``."""

    dtypes: ClassVar[tuple[str, ...]] = tuple(LIMITS)
    binning: Binning  # a field of every subclass, the last one

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "binning", self.binning in BINNINGS, " or ".join(BINNINGS))

    @abstractmethod
    def ranges(self, packed: PackedEvents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ``(first, last)`` int64 ``[T, N]``: a frame's events are those from ``first`` to ``last − 1``."""

    def left_out(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return how many events of every sample are in no frame, int64 ``[N]``."""
        first, last = self.ranges(packed)
        before = np.concatenate([packed.start[None, :-1], np.maximum.accumulate(last)[:-1]])
        inside: NDArray[np.int64] = np.maximum(last - np.maximum(first, before), 0).sum(0)
        return packed.counts - inside

    def _fill(self, packed: PackedEvents, out: NDArray[Any]) -> int:
        first, last = self.ranges(packed)
        width, height, _ = packed.sensor_size
        kind, policy = out.dtype.type, BINNINGS.index(self.binning)
        fill = load("fill", out.dtype.name)
        limit = kind(LIMITS[out.dtype.name])
        return int(fill(packed.address, first, last, out, width * height, policy, kind(1), limit))


@dataclass(frozen=True)
class TimeBins(RangedFrames):
    """Ticks of one length, as ``bin_events`` makes them.

        tick = t_us // dt_us

    Arguments:
        ticks: T; events past the last tick are left out (``left_out`` counts them).
        dt: length of a tick in seconds, a whole number of µs.
        binning: ``binary``, ``count`` or ``first`` (see ``EventStream``).

    Raises:
        RecipeError: ``ticks`` or ``binning`` is none.
        EventsError: ``dt`` is no whole number of µs.
    """

    kind: ClassVar[str] = "time"
    dt: float
    binning: Binning = "binary"

    def __post_init__(self) -> None:
        super().__post_init__()
        tick_us(self.dt)

    def lengths(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return the ticks up to every sample's last event, int64 ``[N]``."""
        return np.minimum(packed.last_us // tick_us(self.dt) + 1, self.ticks)

    def ranges(self, packed: PackedEvents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ``(first, last)`` int64 ``[T, N]``."""
        edges = np.arange(self.ticks + 1) * tick_us(self.dt)
        return _between(packed, edges[:-1], edges[1:])


@dataclass(frozen=True)
class CountBins(RangedFrames):
    """Frames of so many events each; a sample's last frame holds what is left.

        tick = number of the event within its sample // events

    Arguments:
        ticks: T; events after the T-th frame are left out.
        events: of a frame.
        binning: ``binary``, ``count`` or ``first``.

    Raises:
        RecipeError: a value that is none.
    """

    kind: ClassVar[str] = "count"
    events: int
    binning: Binning = "binary"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "events", _whole(self.events), "a whole number ≥ 1")

    def lengths(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return the frames with events, int64 ``[N]``."""
        return np.minimum(-(-packed.counts // self.events), self.ticks)

    def ranges(self, packed: PackedEvents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ``(first, last)`` int64 ``[T, N]``."""
        edges = packed.start[:-1] + np.arange(self.ticks + 1)[:, None] * self.events
        edges = np.minimum(edges, packed.start[1:])
        return np.ascontiguousarray(edges[:-1]), np.ascontiguousarray(edges[1:])


@dataclass(frozen=True)
class Windows(RangedFrames):
    """Windows that may overlap, or leave gaps: frame k holds the times from k·stride to k·stride + length.

    Arguments:
        ticks: T.
        length: of a window in seconds, a whole number of µs.
        stride: from one window's start to the next one's in seconds, a whole number of µs.
        binning: ``binary``, ``count`` or ``first``, within each window.

    Raises:
        RecipeError: ``ticks`` or ``binning`` is none.
        EventsError: ``length`` or ``stride`` is no whole number of µs.
    """

    kind: ClassVar[str] = "window"
    length: float
    stride: float
    binning: Binning = "binary"

    def __post_init__(self) -> None:
        super().__post_init__()
        tick_us(self.length)
        tick_us(self.stride)

    def lengths(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return the windows that start up to every sample's last event, int64 ``[N]``."""
        return np.minimum(packed.last_us // tick_us(self.stride) + 1, self.ticks)

    def ranges(self, packed: PackedEvents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ``(first, last)`` int64 ``[T, N]``."""
        begin = np.arange(self.ticks) * tick_us(self.stride)
        return _between(packed, begin, begin + tick_us(self.length))


@dataclass(frozen=True)
class VoxelGrid(Frames):
    """Events spread over the two nearest of T moments, from a sample's first event to its last.

        t* = (T − 1) · (t − t_first) / (t_last − t_first)
        V[k, y, x] = Σ ±max(0, 1 − |k − t*|)        + for polarity 1 (and for a sensor of one), − for polarity 0

    Arguments:
        ticks: T.
        signed: one channel of signed sums, as in the source; False: a channel per polarity, nothing negative.

    Raises:
        RecipeError: a value that is none.

    Source: Zhu, Yuan, Chaney, Daniilidis, CVPR 2019, equations 1 and 2.
    """

    kind: ClassVar[str] = "voxel"
    signed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "signed", isinstance(self.signed, bool), "true or false")

    def sample_shape(self, sensor_size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return ``(1, H, W)``, or ``(P, H, W)`` where not signed."""
        width, height, polarities = sensor_size
        return 1 if self.signed else polarities, height, width

    def lengths(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return T for every sample with events, else 0, int64 ``[N]``."""
        return np.where(packed.counts > 0, self.ticks, 0)

    def left_out(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return zeros, int64 ``[N]``: the grid spans every sample."""
        return np.zeros(len(packed), np.int64)

    def _fill(self, packed: PackedEvents, out: NDArray[Any]) -> int:
        cells = math.prod(packed.sensor_size)
        fill = load("voxel")
        return int(fill(packed.start, packed.t_us, packed.address, out, cells, self.signed))


@dataclass(frozen=True)
class TimeSurface(Frames):
    """How long ago every pixel had its last event of each polarity, at every tick's end.

        S[k, p, y, x] = exp(−((k + 1) · dt − t_last) / tau)        0 where there was none, or where it is below 2⁻¹⁰⁰

    Arguments:
        ticks: T; events past the last tick are left out.
        dt: length of a tick in seconds, a whole number of µs.
        tau: time constant in seconds.

    Raises:
        RecipeError: ``ticks`` or ``tau`` is none.
        EventsError: ``dt`` is no whole number of µs.

    Source: Lagorce, Orchard, Galluppi, Shi, Benosman, IEEE TPAMI 39(7) (2017), over the whole sensor as in tonic.
    """

    kind: ClassVar[str] = "surface"
    dt: float
    tau: float

    def __post_init__(self) -> None:
        super().__post_init__()
        tick_us(self.dt)
        positive = isinstance(self.tau, (int, float)) and math.isfinite(self.tau) and self.tau > 0
        _check(self, "tau", positive, "seconds above 0")

    def lengths(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return the ticks up to every sample's last event, int64 ``[N]``; the surface decays on after them."""
        return self._bins().lengths(packed)

    def left_out(self, packed: PackedEvents) -> NDArray[np.int64]:
        """Return how many events of every sample come after the last tick, int64 ``[N]``."""
        return self._bins().left_out(packed)

    def _bins(self) -> TimeBins:
        return TimeBins(self.ticks, self.dt)

    def _fill(self, packed: PackedEvents, out: NDArray[Any]) -> int:
        first, last = self._bins().ranges(packed)
        fill = load("surface")
        return int(fill(packed.t_us, packed.address, first, last, out, tick_us(self.dt), self.tau * 1e6))


KINDS: dict[str, type[Frames]] = {kind.kind: kind for kind in (TimeBins, CountBins, Windows, VoxelGrid, TimeSurface)}


def frames_from(table: Mapping[str, Any]) -> Frames:
    """Build the frames that a recipe's table asks for.

    Arguments:
        table: ``kind`` (``time``, ``count``, ``window``, ``voxel`` or ``surface``) and that kind's fields.

    Raises:
        RecipeError: an unknown kind or field, a field that is missing, or a value that is none.

    Example:
        >>> frames_from({"kind": "time", "ticks": 16, "dt": 0.1, "binning": "count"})
        TimeBins(ticks=16, dt=0.1, binning='count')
    """
    given = dict(table)
    name = given.pop("kind", None)
    if name not in KINDS:
        raise RecipeError(f"frames of kind {name!r}; expected {', '.join(KINDS)}")
    made: Frames = build(KINDS[name], f"frames of kind {name!r}", given)
    return made


def build(kind: type[Any], what: str, given: Mapping[str, Any]) -> Any:
    """Return ``kind(**given)``, or a RecipeError that names the fields that are unknown, missing or of no use."""
    fields = dataclasses.fields(kind)
    names = [field.name for field in fields]
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if set(given) - set(names) or needed - set(given):
        raise RecipeError(f"{what} with the fields {sorted(given)}; expected {', '.join(names)}")
    try:
        return kind(**given)
    except (TypeError, EventsError) as error:
        raise RecipeError(f"{what}: {error}") from error


def _between(
    packed: PackedEvents, begin: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(first, last)`` of the events of every sample between times in µs, each ``[T, N]``."""
    first = np.empty((len(begin), len(packed)), np.int64)
    last = np.empty_like(first)
    load("ranges")(packed.start, packed.t_us, begin, end, first, last)
    return first, last


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1


def _check(made: Any, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise RecipeError(f"{type(made).__name__}: {name} is {getattr(made, name)!r}; expected {expected}")
