"""Events of the density of DVS128 Gesture, and the speed of memory."""

import numpy as np
from engine_bench.table import Contender
from numpy.typing import NDArray

from neuroaccel.datasets import Events
from neuroaccel.datasets.packed import PackedEvents

SIZE = (128, 128, 2)
SPAN_US, EVENTS = 6_000_000, 350_000  # of a recording
COPIED = 256 * 2**20  # bytes that one run of the limit reads; as many are written


def gesture(seed: int, events: int = EVENTS, span_us: int = SPAN_US) -> Events:
    """A spot that circles over the sensor, its front brighter and its back darker, and some noise everywhere."""
    rng = np.random.default_rng(seed)
    t_us = np.sort(rng.integers(0, span_us, events))
    t_us[[0, -1]] = 0, span_us - 1  # peers count from the first event, and up to the last
    angle = 2 * np.pi * (rng.random() + rng.uniform(0.5, 2) * t_us / 1e6)
    spread = rng.normal(0, 6, (2, events))
    x, y = 64 + 35 * np.cos(angle) + spread[0], 64 + 35 * np.sin(angle) + spread[1]
    noise = rng.random(events) < 0.05
    x[noise], y[noise] = rng.uniform(0, 128, (2, np.count_nonzero(noise)))
    p = np.where(noise, rng.random(events) < 0.5, spread[1] * np.cos(angle) > spread[0] * np.sin(angle))
    columns = [np.clip(np.floor(each), 0, 127).astype(np.int64) for each in (x, y)]
    return Events.from_arrays(columns[0], columns[1], t_us, p, SIZE)


def batch(recordings: list[Events]) -> PackedEvents:
    return PackedEvents.of(recordings).validate()


def copier() -> Contender:
    """Who copies memory that no cache holds."""
    source = np.ones(COPIED // 8)
    target = np.ones_like(source)
    return Contender(COPY, lambda: np.copyto(target, source))


COPY = "limit (memory)"


def bandwidth(seconds: dict[str, float]) -> float:
    """Bytes per second, read and written, of the ``copier`` among contenders."""
    return 2 * COPIED / seconds[COPY]


def moved(packed: PackedEvents, frames: NDArray) -> int:
    """Bytes that making these frames must move: addresses in, frames out, and the cells that events touch."""
    return 4 * len(packed.address) + frames.nbytes + np.count_nonzero(frames) * frames.itemsize
