"""Frames made on a device by torch's own operations: events go there packed, and dense frames never travel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuroaccel.datasets.events import tick_us
from neuroaccel.datasets.frames import (
    LIMITS,
    CountBins,
    Frames,
    RangedFrames,
    TimeBins,
    TimeSurface,
    VoxelGrid,
    Windows,
)
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import RecipeError

TINY = 2.0**-100


@dataclass(frozen=True, eq=False)
class Ranges:
    """Which events are in which frame, found before they travel: then their times need not.

    Arguments:
        frames: the kind of frames that they are of.
        first: int64 ``[T, N]``, a frame's first event.
        size: int64 ``[T, N]``, how many events it has.
        length: int64 ``[N]``, how many ticks each sample covers.
        total: sum of ``size``, which the host has to know without asking the device.
    """

    frames: RangedFrames
    first: torch.Tensor
    size: torch.Tensor
    length: torch.Tensor
    total: int


@dataclass(frozen=True, eq=False)
class PackedTensors:
    """``PackedEvents`` as tensors of one device: for any frames 8 bytes per event; for some that are known, 4 or 2.

    Arguments:
        start: int64 ``[N + 1]``.
        t_us: int32 ``[n]``; None where ``ranges`` say all that times are needed for.
        address: int32 ``[n]``; int16 that holds the bits of an uint16 where a sensor has no more than 65,536 addresses.
        sensor_size: ``(W, H, P)``.
        ranges: of the frames that are to be made, or None.
    """

    start: torch.Tensor
    t_us: torch.Tensor | None
    address: torch.Tensor
    sensor_size: tuple[int, int, int]
    ranges: Ranges | None = None

    @classmethod
    def of(cls, packed: PackedEvents, frames: Frames | None = None) -> PackedTensors:
        """Take over a batch, after a look at every event.

        Arguments:
            packed: the batch; its memory is shared where it may be written.
            frames: what is to be made of it, so that no more than that needs has to travel; None: anything.

        Raises:
            EventsError: an event that is wrong: a device cannot say which.
        """
        packed.validate()
        small = math.prod(packed.sensor_size) <= 2**16
        address = packed.address.astype(np.uint16).view(np.int16) if small else packed.address
        start, places = _tensor(packed.start), _tensor(address)
        if not isinstance(frames, RangedFrames):
            return cls(start, _tensor(packed.t_us), places, packed.sensor_size)
        first, last = frames.ranges(packed)
        size, length = torch.from_numpy(last - first), torch.from_numpy(frames.lengths(packed))
        ranges = Ranges(frames, torch.from_numpy(first), size, length, int(size.sum()))
        return cls(start, None, places, packed.sensor_size, ranges)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedTensors:
        """Return the batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self, device: Any = None) -> PackedTensors:
        """Return the batch in memory that a device reads by itself; the loader of a training set calls this."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PackedTensors:
        ranges = self.ranges
        if ranges is not None:
            first, size, length = change(ranges.first), change(ranges.size), change(ranges.length)
            ranges = Ranges(ranges.frames, first, size, length, ranges.total)
        t_us = None if self.t_us is None else change(self.t_us)
        return PackedTensors(change(self.start), t_us, change(self.address), self.sensor_size, ranges)

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.address.device

    @property
    def nbytes(self) -> int:
        """Bytes that go to a device."""
        parts = [self.start, self.address, *([] if self.t_us is None else [self.t_us])]
        if self.ranges is not None:
            parts += [self.ranges.first, self.ranges.size, self.ranges.length]
        return sum(part.nbytes for part in parts)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def frames_on_device(
    frames: Frames, packed: PackedTensors | PackedEvents, device: torch.device | str | None, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``(x [T, N, C, H, W], length int64 [N])`` on a device, as ``frames.frames`` has them.

    Frames by time, count and window are equal to the CPU's bit for bit. Voxel grids are added up in no fixed order on
    a GPU, and time surfaces decay in another order: both are close.

    Arguments:
        frames: the kind.
        packed: N samples.
        device: where; None: where the events are.
        dtype: float32 (None), int16 or uint8.

    Raises:
        RecipeError: a type that this kind of frames does not have.
        EventsError: events of this process's memory that are wrong.
    """
    dtype = dtype or torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in frames.dtypes:
        raise RecipeError(f"frames of type {name} by {frames}; expected {' or '.join(frames.dtypes)}")
    given = PackedTensors.of(packed, frames) if isinstance(packed, PackedEvents) else packed
    if given.ranges is not None and given.ranges.frames != frames:
        raise RecipeError(f"{frames} of events that were shipped for {given.ranges.frames}; expected the same frames")
    given = given if device is None else given.to(device)
    shape = (frames.ticks, len(given), *frames.sample_shape(given.sensor_size))
    if isinstance(frames, RangedFrames):
        flat = _ranged(frames, given, dtype)
    elif isinstance(frames, VoxelGrid):
        flat = _voxel(frames, given)
    elif isinstance(frames, TimeSurface):
        flat = _surface(frames, given)
    else:
        raise RecipeError(f"{frames} is of no kind that a device makes")
    return flat.view(shape), _lengths(frames, given) if given.ranges is None else given.ranges.length


def _samples(packed: PackedTensors) -> torch.Tensor:
    """The sample of every event, int64 [n]; unlike repeat_interleave without a size this does not wait."""
    number = torch.arange(len(packed.address), device=packed.device)
    return torch.searchsorted(packed.start[1:], number, right=True)


def _cells(packed: PackedTensors) -> int:
    return math.prod(packed.sensor_size)


def _addresses(packed: PackedTensors, whole: torch.dtype = torch.int64) -> torch.Tensor:
    """Every event's address [n], of a type of whole numbers."""
    address = packed.address.to(whole)
    return address & 0xFFFF if packed.address.dtype == torch.int16 else address


def _times(packed: PackedTensors) -> torch.Tensor:
    """Every event's time in µs, int64 [n]."""
    if packed.t_us is None:
        raise RecipeError("the events were shipped without their times; expected PackedTensors.of for these frames")
    return packed.t_us.long()


def _rows(frames: RangedFrames, packed: PackedTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """``(base, address, kept)`` of every event in every frame that holds it, a frame's events in the order of time.

    ``base`` is the frame's first cell, (t · N + n) · cells. ``kept``, where it is not None, says which of the events
    are in a frame at all.
    """
    cells, ranges = _cells(packed), packed.ranges
    # Half the traffic of int64, wherever it can count the cells.
    whole = torch.int32 if frames.ticks * len(packed) * cells < 2**31 else torch.int64
    address = _addresses(packed, whole)
    if ranges is not None:
        ticks = torch.arange(frames.ticks, dtype=whole, device=packed.device)
        samples = torch.arange(len(packed), dtype=whole, device=packed.device)
        size = ranges.size.t().reshape(-1)  # sample by sample, which is the order of the events
        bases = ((ticks * len(packed) + samples[:, None]) * cells).reshape(-1)
        base = torch.repeat_interleave(bases, size, output_size=ranges.total)
        if ranges.total == len(address) and not isinstance(frames, Windows):  # every event, once and in its order
            return base, address, None
        before = ranges.first.t().reshape(-1) - (size.cumsum(0) - size)
        event = torch.repeat_interleave(before, size, output_size=ranges.total)
        return base, address[event + torch.arange(ranges.total, device=packed.device)], None
    sample = _samples(packed)
    if isinstance(frames, CountBins):
        number = torch.arange(len(sample), device=packed.device)
        tick = (number - packed.start[sample]) // frames.events
        kept = tick < frames.ticks
    elif isinstance(frames, TimeBins):
        tick = _times(packed) // tick_us(frames.dt)
        kept = tick < frames.ticks
    elif isinstance(frames, Windows):
        length, stride = tick_us(frames.length), tick_us(frames.stride)
        back, t_us = torch.arange(-(-length // stride), device=packed.device)[:, None], _times(packed)
        tick = t_us // stride - back
        kept = (tick >= 0) & (tick < frames.ticks) & (t_us < tick * stride + length)
    else:
        raise RecipeError(f"{frames} is of no kind that a device makes")
    base = (tick.clamp(0, frames.ticks - 1) * len(packed) + sample) * cells
    return base.reshape(-1).to(whole), address.expand(tick.shape).reshape(-1), kept.reshape(-1)


def _ranged(frames: RangedFrames, packed: PackedTensors, dtype: torch.dtype) -> torch.Tensor:
    size = frames.ticks * len(packed) * _cells(packed)
    if not size or not len(packed.address):
        return torch.zeros(size, dtype=dtype, device=packed.device)
    base, address, kept = _rows(frames, packed)
    place = base + address
    if frames.binning == "count":
        # An event that is left out adds a 0: no list whose length the host would have to wait for.
        exact = dtype == torch.float32
        x = torch.zeros(size, dtype=dtype if exact else torch.int32, device=packed.device)
        one = torch.ones((), dtype=x.dtype, device=packed.device).expand(place.shape)
        x.index_add_(0, place, one if kept is None else kept.to(x.dtype))
        return x if exact else x.clamp_(max=LIMITS[str(dtype).removeprefix("torch.")]).to(dtype)
    if frames.binning == "first":
        width, height, polarities = packed.sensor_size
        pixel, none = (base // polarities + address % (width * height)).long(), len(place)
        number = torch.arange(none, device=packed.device, dtype=torch.int32)
        earliest = torch.full((size // polarities,), none, dtype=torch.int32, device=packed.device)
        earliest.scatter_reduce_(0, pixel, number if kept is None else torch.where(kept, number, none), "amin")
        won = earliest[pixel] == number
        kept = won if kept is None else won & kept
    # What is left out goes to one cell more, behind the last.
    x = torch.zeros(size + 1, dtype=dtype, device=packed.device)
    x.scatter_(0, (place if kept is None else torch.where(kept, place, size)).long(), 1)
    return x[:-1]


def _voxel(frames: VoxelGrid, packed: PackedTensors) -> torch.Tensor:
    cells, pixels = _cells(packed), packed.sensor_size[0] * packed.sensor_size[1]
    channel = pixels if frames.signed else cells
    x = torch.zeros(frames.ticks * len(packed) * channel, device=packed.device)
    if not len(packed.address):
        return x
    sample, address, t_us = _samples(packed), _addresses(packed), _times(packed)
    first = t_us[packed.start[:-1].clamp(max=len(t_us) - 1)]
    span = t_us[(packed.start[1:] - 1).clamp(min=0)] - first
    scale = torch.where(span > 0, (frames.ticks - 1) / span.clamp(min=1).double(), 0.0)
    place = ((t_us - first[sample]).double() * scale[sample]).clamp(max=frames.ticks - 1)
    tick = place.long()
    right = place - tick
    left = 1.0 - right
    if frames.signed and cells > pixels:
        sign = torch.where(address < pixels, -1.0, 1.0).double()
        left, right, address = left * sign, right * sign, address % pixels
    row = (tick * len(packed) + sample) * channel + address
    x.index_add_(0, row, left.float())
    # The last moment's events have nothing for a moment after it: they add a 0 to their own.
    inside = tick + 1 < frames.ticks
    after = torch.where(inside, row + len(packed) * channel, row)
    return x.index_add_(0, after, torch.where(inside, right, 0.0).float())


def _surface(frames: TimeSurface, packed: PackedTensors) -> torch.Tensor:
    cells, step, tau = _cells(packed), tick_us(frames.dt), frames.tau * 1e6
    size = frames.ticks * len(packed) * cells
    flat = torch.zeros(size + 1, device=packed.device)
    x = flat[:-1].view(frames.ticks, -1)
    if not size or not len(packed.address):
        return x.view(-1)
    t_us = _times(packed)
    tick = t_us // step
    row = tick * len(packed) + _samples(packed)
    place = torch.where(tick < frames.ticks, row * cells + _addresses(packed), size)
    # The latest event of a cell has the largest value, and more than any that an earlier tick left.
    value = torch.exp((t_us - (tick + 1) * step).double() / tau).float()
    flat.scatter_reduce_(0, place, value, "amax")
    decay = torch.exp(torch.tensor(-step / tau, dtype=torch.float64, device=packed.device)).float()
    x[0].mul_(x[0] >= TINY)
    for now in range(1, frames.ticks):
        torch.maximum(x[now], x[now - 1] * decay, out=x[now])
        x[now].mul_(x[now] >= TINY)
    return x.view(-1)


def _lengths(frames: Frames, packed: PackedTensors) -> torch.Tensor:
    count = packed.start[1:] - packed.start[:-1]
    if isinstance(frames, CountBins):
        return (-(-count // frames.events)).clamp(max=frames.ticks)
    if isinstance(frames, VoxelGrid) or not len(packed.address):
        return torch.where(count > 0, frames.ticks, 0)
    if not isinstance(frames, (TimeBins, TimeSurface, Windows)):
        raise RecipeError(f"{frames} is of no kind that a device makes")
    stride = frames.stride if isinstance(frames, Windows) else frames.dt
    last = _times(packed)[(packed.start[1:] - 1).clamp(min=0)]
    ticks = (last // tick_us(stride) + 1).clamp(max=frames.ticks)
    return torch.where(count > 0, ticks, 0)
