"""Augmentations of where events are: mirrored, moved, cut and made coarser; frames allow all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.augmentation import Augmentation, Generator, number, probability
from neuroaccel.datasets.frames import LIMITS
from neuroaccel.datasets.kernels import load
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.engine.events import BINNINGS
from neuroaccel.errors import EventsError, RecipeError

Column = NDArray[np.int32]
Each = Callable[[NDArray[Any]], NDArray[Any]]
Place = Callable[[Column, Column, Column, Each], tuple[Column, Column, Column]]


@dataclass(frozen=True)
class FlipX(Augmentation):
    """Mirrors a sample left to right: x → W − 1 − x.

    Arguments:
        p: probability, per sample.

    Raises:
        RecipeError: a probability that is none.
    """

    kind: ClassVar[str] = "flip_x"
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self, "p")

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        chosen, last = self._draw(len(packed), rng), packed.sensor_size[0] - 1
        return placed(packed, packed.sensor_size, lambda x, y, p, each: (np.where(each(chosen), last - x, x), y, p))

    def on_frames(self, x: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return frames ``[T, N, C, H, W]`` with the chosen samples mirrored."""
        chosen = self._draw(x.shape[1], rng)
        return np.where(chosen[:, None, None, None], x[..., ::-1], x)

    def _draw(self, samples: int, rng: Generator) -> NDArray[np.bool_]:
        return rng.random(samples) < self.p


@dataclass(frozen=True)
class FlipPolarity(Augmentation):
    """Swaps brighter and darker of a sample; a sensor of one polarity stays as it is.

    Arguments:
        p: probability, per sample.

    Raises:
        RecipeError: a probability that is none.
    """

    kind: ClassVar[str] = "flip_polarity"
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self, "p")

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        chosen, last = rng.random(len(packed)) < self.p, packed.sensor_size[2] - 1
        return placed(packed, packed.sensor_size, lambda x, y, p, each: (x, y, np.where(each(chosen), last - p, p)))

    def on_frames(self, x: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return frames ``[T, N, C, H, W]`` with the channels of the chosen samples swapped."""
        chosen = rng.random((x.shape[1],)) < self.p
        return np.where(chosen[:, None, None, None], x[:, :, ::-1], x)


@dataclass(frozen=True)
class Crop(Augmentation):
    """Keeps a part of the sensor, which becomes the sensor.

    Arguments:
        size: ``(width, height)`` of the part, or one number for both.
        centred: the middle of the sensor; False: a place per sample.

    Raises:
        RecipeError: a size that is none or, when used, larger than the sensor.
    """

    kind: ClassVar[str] = "crop"
    size: int | tuple[int, int]
    centred: bool = False

    def __post_init__(self) -> None:
        given = self.size
        sides = tuple(given) if isinstance(given, Sequence) else (given, given)
        if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
            raise RecipeError(f"Crop: size is {given!r}; expected (width, height) or one number, each at least 1")
        object.__setattr__(self, "size", sides)

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        (width, height), (_, _, polarities) = self._sides(), packed.sensor_size
        left, top = self._draw(packed.sensor_size[:2], len(packed), rng)
        size = (width, height, polarities)
        return placed(packed, size, lambda x, y, p, each: (x - each(left), y - each(top), p))

    def on_frames(self, x: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return the part of frames ``[T, N, C, H, W]``: ``[T, N, C, height, width]``."""
        width, height = self._sides()
        left, top = self._draw((x.shape[4], x.shape[3]), x.shape[1], rng)
        parts = [x[:, n, :, top[n] : top[n] + height, left[n] : left[n] + width] for n in range(x.shape[1])]
        return np.stack(parts, 1) if parts else x[..., :height, :width]

    def _sides(self) -> tuple[int, int]:
        assert not isinstance(self.size, int)
        return self.size

    def _draw(
        self, sensor: tuple[int, int], samples: int, rng: Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        room = [whole - side for whole, side in zip(sensor, self._sides(), strict=True)]
        if min(room) < 0:
            raise RecipeError(f"Crop: size is {self.size}; expected at most the sensor's {sensor}")
        if self.centred:
            return np.full(samples, room[0] // 2, np.int32), np.full(samples, room[1] // 2, np.int32)
        return tuple(rng.integers(0, side + 1, samples, np.int32) for side in room)  # type: ignore[return-value]


@dataclass(frozen=True)
class Shift(Augmentation):
    """Moves a sample by whole pixels in x and y; what leaves the sensor is gone.

    Arguments:
        max_pixels: largest move each way.

    Raises:
        RecipeError: a number that is none.
    """

    kind: ClassVar[str] = "shift"
    max_pixels: int

    def __post_init__(self) -> None:
        number(self, "max_pixels", int, 0, math.inf)

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        right, down = self._draw(len(packed), rng)
        return placed(packed, packed.sensor_size, lambda x, y, p, each: (x + each(right), y + each(down), p))

    def on_frames(self, x: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return frames ``[T, N, C, H, W]`` with every sample moved, 0 where nothing moved in."""
        moved = np.zeros_like(x)
        height, width = x.shape[3:]
        for n, (right, down) in enumerate(zip(*self._draw(x.shape[1], rng), strict=True)):
            to_y, from_y = _overlap(int(down), height)
            to_x, from_x = _overlap(int(right), width)
            moved[:, n, :, to_y, to_x] = x[:, n, :, from_y, from_x]
        return moved

    def _draw(self, samples: int, rng: Generator) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        both = rng.integers(-self.max_pixels, self.max_pixels + 1, (2, samples), np.int32)
        return both[0], both[1]


@dataclass(frozen=True)
class DropRegion(Augmentation):
    """Removes all events of a rectangle, one per sample.

        width = W · √area, height = H · √area, rounded;  area uniform from 0 to max_area

    Arguments:
        max_area: largest share of the sensor that goes.
        p: probability, per sample.

    Raises:
        RecipeError: a share or a probability that is none.

    Source: DropByArea of Gu, Sng, Hu, Yu, "EventDrop", IJCAI 2021.
    """

    kind: ClassVar[str] = "drop_region"
    max_area: float = 0.25
    p: float = 1.0

    def __post_init__(self) -> None:
        probability(self, "max_area")
        probability(self, "p")

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        width, height, _ = packed.sensor_size
        left, right, top, bottom = self._draw(width, height, len(packed), rng)

        def place(x: Column, y: Column, p: Column, each: Each) -> tuple[Column, Column, Column]:
            inside = (x >= each(left)) & (x < each(right)) & (y >= each(top)) & (y < each(bottom))
            return np.where(inside, np.int32(-1), x), y, p

        return placed(packed, packed.sensor_size, place)

    def on_frames(self, x: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return frames ``[T, N, C, H, W]`` with every sample's rectangle 0."""
        left = x.copy()
        for n, edges in enumerate(self._draw(x.shape[4], x.shape[3], x.shape[1], rng).T):
            left[:, n, :, edges[2] : edges[3], edges[0] : edges[1]] = 0
        return left

    def _draw(self, width: int, height: int, samples: int, rng: Generator) -> NDArray[np.int32]:
        """Edges left, right, top, bottom ``[4, N]``."""
        side = np.sqrt(rng.random(samples) * self.max_area) * (rng.random(samples) < self.p)
        edges = []
        for whole in (width, height):
            length = np.rint(whole * side)
            begin = np.floor(rng.random(samples) * (whole - length + 1))
            edges += [begin, begin + length]
        return np.array(edges).astype(np.int32)


@dataclass(frozen=True)
class Downsample(Augmentation):
    """Makes squares of pixels one pixel; draws nothing, so that it may be applied before a set is stored as well.

        x → x // factor, y → y // factor        W → ⌈W / factor⌉, H → ⌈H / factor⌉

    Arguments:
        factor: pixels per side of a square.
        binning: of the frames that ``on_frames`` gets: ``binary`` takes the largest value of a square, ``count`` the
            sum; ``first`` needs the events.

    Raises:
        RecipeError: a number or binning that is none.
    """

    kind: ClassVar[str] = "downsample"
    factor: int
    binning: str = "binary"

    def __post_init__(self) -> None:
        number(self, "factor", int, 1, math.inf)
        if self.binning not in BINNINGS:
            raise RecipeError(f"Downsample: binning is {self.binning!r}; expected {', '.join(BINNINGS)}")

    def __call__(
        self, packed: PackedEvents, rng: Generator | None = None, labels: NDArray[Any] | None = None
    ) -> PackedEvents:
        width, height, polarities = packed.sensor_size
        factor = np.int32(self.factor)
        size = (-(-width // self.factor), -(-height // self.factor), polarities)
        return placed(packed, size, lambda x, y, p, each: (x // factor, y // factor, p))

    def on_frames(self, x: NDArray[Any], rng: Generator | None = None) -> NDArray[Any]:
        """Return frames ``[T, N, C, ⌈H / factor⌉, ⌈W / factor⌉]``.

        Raises:
            RecipeError: of a square's first event frames do not know which polarity came first.
        """
        if self.binning == "first":
            raise RecipeError("Downsample: frames of binning 'first' do not say what came first; bin after it")
        factor, (height, width) = self.factor, x.shape[3:]
        whole = np.pad(x, ((0, 0),) * 3 + ((0, -height % factor), (0, -width % factor)))
        squares = whole.reshape(*x.shape[:3], whole.shape[3] // factor, factor, whole.shape[4] // factor, factor)
        if self.binning == "binary":
            largest: NDArray[Any] = squares.max((4, 6))
            return largest
        most = LIMITS.get(x.dtype.name, np.inf)  # where a count of the binning stops
        total: NDArray[Any] = np.minimum(squares.sum((4, 6)), most).astype(x.dtype)
        return total


def placed(packed: PackedEvents, size: tuple[int, int, int], place: Place) -> PackedEvents:
    """Put events elsewhere.

    Arguments:
        packed: N samples.
        size: ``(W, H, P)`` of the sensor that they come to; who is not on it is gone.
        place: ``(x, y, p, each)`` to the new x, y and p, by broadcasting; ``each`` makes N values broadcast as well.

    Raises:
        EventsError: an event outside the sensor.
    """
    width, height, _ = (np.int32(side) for side in size)

    def moved(x: Column, y: Column, p: Column, each: Each) -> Column:
        x, y, p = place(x, y, p, each)
        address = (p * height + y) * width + x
        return np.where((x >= 0) & (x < width) & ((y >= 0) & (y < height)), address, np.int32(-1))

    samples, events, cells = len(packed), len(packed.t_us), math.prod(packed.sensor_size)
    if samples * cells > events:  # a table per sample would hold more than there are events
        address = moved(packed.x, packed.y, packed.p, lambda values: np.repeat(values, packed.counts))
        return replace(packed, address=address, sensor_size=size).keep(address >= 0)
    columns, rows, channels = (np.arange(side, dtype=np.int32) for side in packed.sensor_size)
    table = moved(columns, rows[:, None], channels[:, None, None], lambda values: values[:, None, None, None])
    table = np.broadcast_to(table, (samples, *packed.sensor_size[::-1])).reshape(samples, cells)
    table, address = np.ascontiguousarray(table), np.empty(events, np.int32)
    if (table >= 0).all():  # nobody goes: times and starts stay what they are
        start, t_us = packed.start, packed.t_us
        bad = load("readdress")(start, packed.address, table, address)
    else:
        start, t_us = np.empty(samples + 1, np.int64), np.empty(events, np.int32)
        bad = load("place")(packed.start, packed.t_us, packed.address, table, start, t_us, address)
    if bad >= 0:
        raise EventsError(
            f"event {bad} of the batch has the address {packed.address[bad]}; expected 0 to {cells - 1} on a sensor "
            f"{packed.sensor_size}"
        )
    return PackedEvents(start, t_us[: start[-1]], address[: start[-1]], size)


def _overlap(move: int, size: int) -> tuple[slice, slice]:
    """Where pixels come to lie and where they come from, on a side of that size."""
    move = max(-size, min(size, move))
    return slice(max(move, 0), size + min(move, 0)), slice(max(-move, 0), size - max(move, 0))
