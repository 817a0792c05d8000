"""Augmentations of when events are, whether they are, and whose they are; most of them need the events."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.augmentation import Augmentation, Generator, each, number, probability
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import RecipeError

LATEST_US = 2**31 - 1


@dataclass(frozen=True)
class TimeJitter(Augmentation):
    """Moves every event in time by a normal number, rounded to µs, and puts each sample in order again.

    Arguments:
        std_us: standard deviation in µs; nothing moves to before 0.

    Raises:
        RecipeError: a deviation that is none.
    """

    kind: ClassVar[str] = "time_jitter"
    std_us: float

    def __post_init__(self) -> None:
        number(self, "std_us", float, 0, math.inf)

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        moved = rng.standard_normal(len(packed.t_us), np.float32).astype(np.float64) * self.std_us
        t_us = np.clip(np.rint(moved) + packed.t_us, 0, LATEST_US).astype(np.int64)
        order = _order(packed.sample, t_us)
        return replace(packed, t_us=t_us[order].astype(np.int32), address=packed.address[order])


@dataclass(frozen=True)
class DropEvents(Augmentation):
    """Removes every event with one probability, each on its own.

    Arguments:
        p: the probability.

    Raises:
        RecipeError: a probability that is none.

    Source: RandomDrop of Gu, Sng, Hu, Yu, "EventDrop", IJCAI 2021.
    """

    kind: ClassVar[str] = "drop_events"
    p: float

    def __post_init__(self) -> None:
        probability(self, "p")

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        # In float64: a number of float32 that is below p is not of probability p.
        return packed.keep(rng.random(len(packed.t_us)) >= self.p)


@dataclass(frozen=True)
class DropTime(Augmentation):
    """Removes all events of an interval of time, one per sample: whole steps from 0 to max_us, placed within span_us.

    Arguments:
        span_us: length of a sample in µs.
        max_us: longest interval in µs.
        step_us: what begin and length are multiples of; the length of a tick, where ``on_frames`` is to do the same.
        p: probability, per sample.

    Raises:
        RecipeError: a number that is none, or steps that do not fit into ``max_us`` and ``span_us``.

    Source: DropByTime of Gu, Sng, Hu, Yu, "EventDrop", IJCAI 2021.
    """

    kind: ClassVar[str] = "drop_time"
    span_us: int
    max_us: int
    step_us: int = 1
    p: float = 1.0

    def __post_init__(self) -> None:
        number(self, "span_us", int, 1, LATEST_US)
        number(self, "max_us", int, 0, self.span_us)
        number(self, "step_us", int, 1, self.span_us)
        probability(self, "p")

    def __call__(self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None) -> PackedEvents:
        begin, end = (each(packed, edge * self.step_us) for edge in self._draw(len(packed), rng))
        return packed.keep((packed.t_us < begin) | (packed.t_us >= end))

    def on_frames(self, x: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return frames by time ``[T, N, C, H, W]``, whose ticks last ``step_us``, with every sample's interval 0."""
        left = x.copy()
        for n, (begin, end) in enumerate(zip(*self._draw(x.shape[1], rng), strict=True)):
            left[begin:end, n] = 0
        return left

    def _draw(self, samples: int, rng: Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last step ``[N]`` of what goes, the last one excluded."""
        steps, most = self.span_us // self.step_us, self.max_us // self.step_us
        length = rng.integers(0, most + 1, samples) * (rng.random(samples) < self.p)
        begin = rng.integers(0, steps - length + 1)
        return begin, begin + length


@dataclass(frozen=True)
class EventMix(Augmentation):
    """Mixes each chosen sample with another of its batch: that one's events inside an ellipsoid, its own outside.

    The ellipsoid lies in (x / W, y / H, t / t_last), its centre anywhere in the unit cube, its volume

        λ ~ Beta(alpha, alpha),   semi-axes r · (s_x, s_y, s_t),   s of product 1,   r³ = 3 λ / (4 π)

    and a label weighs what its sample has of the events that remain.

    Arguments:
        classes: number of classes.
        alpha: of the Beta distribution.
        p: probability, per sample.

    Raises:
        RecipeError: a number that is none.

    Source: Shen, Zhao, Zeng, "EventMix", Information Sciences 644 (2023), for the random volume and labels by events.
    # ours: one ellipsoid in place of the source's mixture of Gaussians.
    """

    kind: ClassVar[str] = "event_mix"
    classes: int
    alpha: float = 1.0
    p: float = 0.5

    def __post_init__(self) -> None:
        number(self, "classes", int, 1, math.inf)
        number(self, "alpha", float, 1e-3, 1e3)
        probability(self, "p")

    def __call__(
        self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None
    ) -> tuple[PackedEvents, NDArray[np.float32]]:
        """Mix a batch.

        Arguments:
            packed: N samples.
            rng: draws partners, who is mixed, and the ellipsoids.
            labels: int64 ``[N]``, or weights ``[N, classes]``.

        Returns:
            ``(packed, weights)``: the mixed batch, and float32 ``[N, classes]`` whose rows add up to 1.

        Raises:
            RecipeError: no labels, or labels that do not fit.
        """
        own = self._weights(labels, len(packed))
        partner = rng.permutation(len(packed))
        chosen = rng.random(len(packed)) < self.p
        centre = rng.random((3, len(packed)))
        volume = rng.beta(self.alpha, self.alpha, len(packed)) * chosen
        stretch = np.exp(rng.uniform(-0.5, 0.5, (3, len(packed))))
        stretch /= stretch.prod(0) ** (1 / 3)
        axes = stretch * (3 * volume / (4 * math.pi)) ** (1 / 3)
        others = PackedEvents.gathered(packed.start, packed.t_us, packed.address, packed.sensor_size, partner)
        last = np.maximum(np.maximum(packed.last_us, others.last_us), 0) + 1
        mine = packed.keep(~_inside(packed, centre, axes, last))
        theirs = others.keep(_inside(others, centre, axes, last))
        total = mine.counts + theirs.counts
        share = np.where(total > 0, mine.counts / np.maximum(total, 1), 1.0)[:, None]
        weights = share * own + (1 - share) * own[partner]
        return _joined(mine, theirs), weights.astype(np.float32)

    def _weights(self, labels: NDArray[Any] | None, samples: int) -> NDArray[np.float64]:
        if labels is None:
            raise RecipeError("EventMix mixes labels too; expected labels, int64 [N]")
        given = np.asarray(labels)
        if given.shape == (samples, self.classes):
            return given.astype(np.float64)
        whole = given.shape == (samples,) and given.dtype.kind in "iu"
        if not whole or (samples and not 0 <= given.min() <= given.max() < self.classes):
            raise RecipeError(
                f"EventMix: labels are {given.dtype} {list(given.shape)}; expected {samples} whole numbers from 0 to "
                f"{self.classes - 1}, or weights [{samples}, {self.classes}]"
            )
        weights: NDArray[np.float64] = np.eye(self.classes)[given]
        return weights


def _inside(
    packed: PackedEvents, centre: NDArray[np.float64], axes: NDArray[np.float64], last: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether every event lies inside its sample's ellipsoid; an ellipsoid without volume holds none."""
    width, height, _ = packed.sensor_size
    distance = np.zeros(len(packed.t_us))
    places = ((packed.x + 0.5) / width, (packed.y + 0.5) / height, packed.t_us / each(packed, last))
    for axis, place in enumerate(places):
        size = each(packed, np.maximum(axes[axis], 1e-12))
        distance += ((place - each(packed, centre[axis])) / size) ** 2
    inside: NDArray[np.bool_] = (distance < 1) & each(packed, axes[0] > 0)
    return inside


def _joined(one: PackedEvents, two: PackedEvents) -> PackedEvents:
    """Two batches as one: the events of each sample of both, in the order of time, the first batch's before."""
    sample = np.concatenate([one.sample, two.sample])
    t_us = np.concatenate([one.t_us, two.t_us])
    order = _order(sample, t_us)
    address = np.concatenate([one.address, two.address])
    return PackedEvents(one.start + two.start, t_us[order], address[order], one.sensor_size)


def _order(sample: NDArray[np.int64], t_us: NDArray[Any]) -> NDArray[np.int64]:
    """What puts events in the order of samples and, within one, of time; those of one moment stay as they are."""
    order: NDArray[np.int64] = np.argsort((sample << 32) + t_us, kind="stable")
    return order
