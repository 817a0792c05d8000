"""delayed-match: two events, and only the delay between them tells the class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.cache import Progress, cache_key, cached
from neuroaccel.datasets.generated import Packed, in_chunks, numbers
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.registry import About
from neuroaccel.errors import RecipeError

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other events."""

CHUNK = 500

CLASSES = tuple(f"{delay} ms" for delay in range(20, 180, 20))

ABOUT = About(
    title="a pair of events on one channel whose class is only the delay between them",
    classes=CLASSES,
    sensor_size=(8, 1, 1),
    splits=("train", "validation", "test"),
    source="generated here",
    licence="generated here",
)


@dataclass(frozen=True)
class DelayedMatch:
    """How delayed-match is made; every field goes into the cache's key.

    One event on a channel drawn by chance, at a time drawn by chance, and a second one on the same channel after

        delay = (class + 1) · step_us + jitter,    jitter uniform from −jitter_us to jitter_us

    What is left when time is summed up, two events on a channel, has the same distribution in every class.

    Arguments:
        seed: draws every recording.
        channels: number of channels.
        train: recordings of the training split; the classes take turns.
        validation: recordings of the validation split.
        test: recordings of the test split.
        step_us: difference between the delays of neighbouring classes; there are eight.
        jitter_us: largest deviation from the class's delay.
        latest_us: the first event comes before this time.
        duration_us: length of every recording.

    Raises:
        RecipeError: a parameter is out of its range.

    # ours: the task and every constant.
    """

    seed: int = 0
    channels: int = 8
    train: int = 2000
    validation: int = 504
    test: int = 504
    step_us: int = 20_000
    jitter_us: int = 4_000
    latest_us: int = 130_000
    duration_us: int = 300_000

    def __post_init__(self) -> None:
        longest = len(CLASSES) * self.step_us + self.jitter_us
        checks = {
            "seed ≥ 0": self.seed >= 0,
            "1 ≤ channels ≤ 32768": 1 <= self.channels <= 32768,
            "train, validation, test ≥ 1": min(self.train, self.validation, self.test) >= 1,
            "0 ≤ jitter_us < step_us": 0 <= self.jitter_us < self.step_us,
            "latest_us ≥ 1": self.latest_us >= 1,
            "duration_us ≥ latest_us + the longest delay": self.duration_us >= self.latest_us + longest,
        }
        for rule, holds in checks.items():
            if not holds:
                raise RecipeError(f"{self}: expected {rule}")

    @property
    def sizes(self) -> dict[str, int]:
        """Recordings per split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def load(
    split: str | None = "train",
    seed: int = 0,
    progress: Progress | None = None,
    parameters: DelayedMatch | None = None,
    subset: Sequence[int] | None = None,
) -> Recordings:
    """Return the recordings of one split, generated on first use (less than a second) and cached.

    Arguments:
        split: ``train``, ``validation`` or ``test``; None: the whole set.
        seed: generation seed; used where ``parameters`` is None.
        progress: called with (done, total) during generation.
        parameters: every parameter of the generator.
        subset: numbers of the recordings to make, of the whole set; the split keeps those that belong to it.

    Raises:
        RecipeError: an unknown split, or a number that is not there.
    """
    parameters = parameters or DelayedMatch(seed=seed)
    indices = numbers(split, parameters.sizes, subset)
    key = cache_key(GENERATOR_VERSION, {**dataclasses.asdict(parameters), "indices": indices.tolist()})
    arrays = cached("delayed-match", key, lambda: generate(parameters, indices, progress))
    classes = tuple(f"{(k + 1) * parameters.step_us / 1000:g} ms" for k in range(len(CLASSES)))
    return Recordings(
        start=arrays["start"],
        t_us=arrays["t_us"],
        address=arrays["address"],
        labels=indices % len(CLASSES),
        indices=indices,
        sensor_size=(parameters.channels, 1, 1),
        durations_us=np.full(len(indices), parameters.duration_us, np.int64),
        classes=classes,
    )


def generate(
    parameters: DelayedMatch, indices: NDArray[np.int64], progress: Progress | None = None
) -> dict[str, NDArray[Any]]:
    """Make recordings; each depends on its number and the seed alone.

    Arguments:
        parameters: how.
        indices: numbers of the recordings, whose class is their remainder modulo 8.
        progress: called with (done, total).

    Returns:
        ``start`` ``[N + 1]``, ``t_us`` and ``address`` of all events, one recording after the other.
    """

    def record(chunk: NDArray[np.int64]) -> Packed:
        rngs = [np.random.default_rng([parameters.seed, int(index)]) for index in chunk]
        channel, first, jitter = np.array(
            [
                (
                    rng.integers(parameters.channels),
                    rng.integers(parameters.latest_us),
                    rng.integers(-parameters.jitter_us, parameters.jitter_us + 1),
                )
                for rng in rngs
            ]
        ).T
        second = first + (chunk % len(CLASSES) + 1) * parameters.step_us + jitter
        t_us = np.stack([first, second], axis=1).reshape(-1).astype(np.int32)
        return np.arange(0, 2 * len(chunk) + 1, 2), t_us, np.repeat(channel, 2).astype(np.int32)

    return in_chunks(indices, CHUNK, record, progress)
