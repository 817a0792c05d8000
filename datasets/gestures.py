"""moving-gestures: eleven gestures of two hands that differ only in how they move."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.cache import Progress, cache_key, cached
from neuroaccel.datasets.dvs import PixelArray, simulate
from neuroaccel.datasets.generated import Packed, in_chunks, numbers
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.registry import About
from neuroaccel.errors import RecipeError

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other events."""

CLASSES = (
    "rotate clockwise",
    "rotate anticlockwise",
    "circle clockwise",
    "circle anticlockwise",
    "wave right",
    "wave left",
    "clap",
    "pull apart",
    "roll right",
    "roll left",
    "wander",
)

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
"""Classes that are each other's reversal in time; ``wander`` is its own."""

SIDES = (128, 32)

FAST = 0.25
"""# ours: share of its period that the quick stroke of a wave or a clap takes."""

ABOUT = About(
    title="eleven gestures of two bars or blobs that differ only in their motion",
    classes=CLASSES,
    sensor_size=(128, 128, 2),
    splits=("train", "validation", "test"),
    source="generated here, after the classes of DVS128 Gesture (Amir et al., CVPR 2017)",
    licence="generated here",
)

ABOUT_32 = dataclasses.replace(ABOUT, sensor_size=(32, 32, 2))


@dataclass(frozen=True)
class MovingGestures:
    """How moving-gestures is recorded; every field goes into the cache's key.

    Two hands, both bars or both blobs, brighter or darker than their ground by chance, move before a simulated camera.
    Each pair of classes is one motion and its reversal in time, with the same distribution of everything else. A
    bright hand that moves forward changes the light as a dark one that moves back does, so that a picture of one
    moment says nothing about the direction, and neither does the sum of all pictures: only their order does.

    Arguments:
        seed: draws the pixels' thresholds, and every recording's hands, path and noise.
        size: pixels per side of the camera, 128 or 32; the hands grow with it.
        train: recordings of the training split; the classes take turns.
        validation: recordings of the validation split.
        test: recordings of the test split.
        duration_us: length of every recording.
        slowest_hz: lowest number of turns or strokes per second.
        fastest_hz: highest.
        faintest: smallest contrast between hand and ground, in units of ln(intensity).
        strongest: largest.
        sensor: the pixel array.

    Raises:
        RecipeError: a parameter is out of its range.

    # ours: the motions and every constant.
    """

    seed: int = 0
    size: int = 128
    train: int = 1540
    validation: int = 308
    test: int = 506
    duration_us: int = 1_000_000
    slowest_hz: float = 1.0
    fastest_hz: float = 1.6
    faintest: float = 0.8
    strongest: float = 1.4
    sensor: PixelArray = field(default_factory=lambda: PixelArray(refractory_us=4000, noise_hz=0.2, step_us=4000))

    def __post_init__(self) -> None:
        checks = {
            "seed ≥ 0": self.seed >= 0,
            "size one of 128, 32": self.size in SIDES,
            "train, validation, test ≥ 1": min(self.train, self.validation, self.test) >= 1,
            "0 < slowest_hz ≤ fastest_hz ≤ 5": 0 < self.slowest_hz <= self.fastest_hz <= 5,
            "0 < faintest ≤ strongest ≤ 4": 0 < self.faintest <= self.strongest <= 4,
            "duration_us a positive multiple of sensor.step_us": self.duration_us > 0
            and self.duration_us % self.sensor.step_us == 0,
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
    parameters: MovingGestures | None = None,
    subset: Sequence[int] | None = None,
    size: int = 128,
) -> Recordings:
    """Return the recordings of one split, generated on first use and cached.

    The whole set takes some 15 seconds to generate with 32 pixels a side, and about two minutes with 128.

    Arguments:
        split: ``train``, ``validation`` or ``test``; None: the whole set.
        seed: generation seed; used where ``parameters`` is None.
        progress: called with (done, total) during generation.
        parameters: every parameter of the generator.
        subset: numbers of the recordings to make, of the whole set; the split keeps those that belong to it.
        size: pixels per side, 128 or 32; used where ``parameters`` is None.

    Raises:
        RecipeError: an unknown split, or a number that is not there.
    """
    parameters = parameters or MovingGestures(seed=seed, size=size)
    indices = numbers(split, parameters.sizes, subset)
    key = cache_key(GENERATOR_VERSION, {**dataclasses.asdict(parameters), "indices": indices.tolist()})
    arrays = cached(f"moving-gestures-{parameters.size}", key, lambda: generate(parameters, indices, progress))
    return Recordings(
        start=arrays["start"],
        t_us=arrays["t_us"],
        address=arrays["address"],
        labels=indices % len(CLASSES),
        indices=indices,
        sensor_size=(parameters.size, parameters.size, 2),
        durations_us=np.full(len(indices), parameters.duration_us, np.int64),
        classes=CLASSES,
    )


def generate(
    parameters: MovingGestures, indices: NDArray[np.int64], progress: Progress | None = None
) -> dict[str, NDArray[Any]]:
    """Record gestures; each depends on its number and the seed alone.

    Arguments:
        parameters: how.
        indices: numbers of the recordings, whose class is their remainder modulo 11.
        progress: called with (done, total).

    Returns:
        ``start`` ``[N + 1]``, ``t_us`` and ``address`` of all events, one recording after the other.
    """
    size, sensor = parameters.size, parameters.sensor
    axis = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    y, x = (grid.reshape(-1, 1) for grid in np.meshgrid(axis, axis, indexing="ij"))

    def record(chunk: NDArray[np.int64]) -> Packed:
        drawn = [_drawn(parameters, int(index)) for index in chunk]
        hands = np.stack([path for path, _, _ in drawn], axis=-1)
        shape = np.array([shape for _, shape, _ in drawn], np.float32).T
        contrast = np.array([light for _, _, light in drawn], np.float32)

        def scene(step: int) -> NDArray[np.float32]:
            return contrast * np.maximum(_covered(x, y, hands[step, 0], shape), _covered(x, y, hands[step, 1], shape))

        noise = [np.random.default_rng([parameters.seed, 1, int(index)]) for index in chunk]
        thresholds = np.random.default_rng([parameters.seed, 0])
        return simulate(sensor, scene, parameters.duration_us // sensor.step_us, size * size, thresholds, noise)

    return in_chunks(indices, max(1, 16384 // size**2), record, progress)


def _covered(
    x: NDArray[np.float32], y: NDArray[np.float32], hand: NDArray[np.float32], shape: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return which share of every pixel ``[pixels, N]`` a hand covers: a rectangle whose edge is one pixel soft."""
    centre_x, centre_y, along_x, along_y = hand
    dx, dy = x - centre_x, y - centre_y
    along = np.clip(shape[0] - np.abs(dx * along_x + dy * along_y), 0, 1)
    across = np.clip(shape[1] - np.abs(dy * along_x - dx * along_y), 0, 1)
    covered: NDArray[np.float32] = along * across
    return covered


def _drawn(parameters: MovingGestures, index: int) -> tuple[NDArray[np.float32], tuple[float, float], float]:
    """Draw one recording.

    Returns:
        ``(path, shape, contrast)``: centre (x, y) and unit vector (x, y) of both hands ``[steps + 1, 2, 4]``, half
        their length and width plus half a pixel, and the light they add to ln(intensity).
    """
    rng = np.random.default_rng([parameters.seed, 2, index])
    label, unit = index % len(CLASSES), parameters.size / 32
    steps = parameters.duration_us // parameters.sensor.step_us
    seconds = np.arange(steps + 1) * (parameters.sensor.step_us * 1e-6)
    forward = 1.0 if label % 2 == 0 else -1.0  # the odd one of a pair is the even one played backwards
    turns = rng.uniform() + forward * rng.uniform(parameters.slowest_hz, parameters.fastest_hz) * seconds
    centre = rng.uniform(-2, 2, 2)
    apart = rng.uniform(4.5, 6.5)
    tilt, turned = rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi)
    radius = rng.uniform(5, 7)
    wander = rng.uniform(0, 1, (2, 2, 3))
    bar, long, wide = rng.uniform() < 0.5, rng.uniform(2.0, 3.0), rng.uniform(0.8, 1.2)
    contrast = rng.uniform(parameters.faintest, parameters.strongest) * (1 if rng.uniform() < 0.5 else -1)

    still: NDArray[Any] = np.zeros_like(seconds)
    x, y = still, still
    axis: NDArray[Any] = still + tilt
    reach: NDArray[Any] = still + apart
    angle: NDArray[Any] = still + turned
    family = label // 2
    if family == 0:  # both turn round their middle
        axis = angle = tilt + 2 * np.pi * turns
    elif family == 1:  # both go round a circle, without turning
        x, y = radius * np.cos(2 * np.pi * turns), radius * np.sin(2 * np.pi * turns)
        reach = still + apart / 2
    elif family == 2:  # quickly one way, slowly back
        x, y = 5 * stroke(turns) * np.cos(tilt / 6 - np.pi / 6), 5 * stroke(turns) * np.sin(tilt / 6 - np.pi / 6)
        axis = still + turned * 2
    elif family == 3:  # quickly together, slowly apart
        reach = 5.5 - 3 * stroke(turns)
    elif family == 4:  # turning while they travel
        axis = angle = tilt + 2 * np.pi * turns
        x = forward * 9 * (2 * seconds / seconds[-1] - 1)
    else:
        span = 2 * np.pi * (wander[..., None] + np.array([0.5, 0.9, 1.3])[:, None] * seconds)
        x, y = (3 * np.sin(span[0]).sum(1))[0], (3 * np.sin(span[0]).sum(1))[1]
        axis = tilt + 1.2 * np.sin(span[1, 0]).sum(0)
        reach = apart + np.sin(span[1, 1]).sum(0)
    hands = []
    for side in (1, -1):
        place_x = centre[0] + x + side * reach * np.cos(axis)
        place_y = centre[1] + y + side * reach * np.sin(axis)
        hands.append(np.stack([place_x * unit, place_y * unit, np.cos(angle), np.sin(angle)], axis=-1))
    path = np.rint(np.stack(hands, axis=1) * 1024) / 1024  # the last digits of the platform's cosine stay out
    half = (long, wide) if bar else (1.6, 1.6)
    return path.astype(np.float32), (half[0] * unit + 0.5, half[1] * unit + 0.5), contrast


def stroke(turns: NDArray[Any]) -> NDArray[Any]:
    """Return a stroke between −1 and 1: up in the first quarter of a turn, down in the rest of it."""
    phase = turns % 1
    up, down = -np.cos(np.pi * phase / FAST), np.cos(np.pi * (phase - FAST) / (1 - FAST))
    return np.where(phase < FAST, up, down)
