"""saccade-digits: scikit-learn's real handwritten digits, seen by a simulated event camera on three saccades."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.cache import Progress, cache_key, cached
from neuroaccel.datasets.dvs import PixelArray, simulate
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.registry import About
from neuroaccel.errors import RecipeError

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other events."""

CHUNK = 64
"""Recordings that are simulated at once; a few megabytes, so that they stay in a core's cache."""

SPLIT_SEED = 0
"""Fixed: the split is a property of the data set, the same for every generation seed."""

SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}

ABOUT = About(
    title="real handwritten digits, seen by a simulated event camera on three saccades",
    classes=tuple("0123456789"),
    sensor_size=(34, 34, 2),
    splits=tuple(SPLITS),
    source="generated from scikit-learn's digits, the test set of Alpaydin and Kaynak's optdigits (UCI, 1998)",
    licence="digits: CC BY 4.0; events: generated here",
)


@dataclass(frozen=True)
class SaccadeDigits:
    """How saccade-digits is recorded; every field goes into the cache's key.

    A digit is shown ``digit_size`` pixels large on a dark ground and moves along the sides of an isosceles triangle,
    one side per saccade, as the camera does in N-MNIST. On a side of length d a point has gone, after time t,

        d · (1 − cos(π t / saccade_us)) / 2

    Arguments:
        seed: draws the pixels' thresholds (one camera for all recordings) and each recording's noise.
        sensor_size: pixels per side of the camera.
        digit_size: pixels per side of the digit.
        amplitude: base and height of the triangle, in pixels.
        saccade_us: duration of each of the three saccades.
        background: intensity of the ground where ink is 1.
        sensor: the pixel array.

    Raises:
        RecipeError: a parameter is out of its range.

    Source: Orchard, Jayawant, Cohen, Thakor, Frontiers in Neuroscience 9:437 (2015), for the way of recording.
    # ours: the speed profile and every constant, chosen so that a recording has about as many events as one of N-MNIST.
    """

    seed: int = 0
    sensor_size: int = 34
    digit_size: int = 28
    amplitude: float = 5.0
    saccade_us: int = 100_000
    background: float = 0.2
    sensor: PixelArray = field(default_factory=PixelArray)

    def __post_init__(self) -> None:
        checks = {
            "seed ≥ 0": self.seed >= 0,
            "8 ≤ digit_size ≤ sensor_size ≤ 128": 8 <= self.digit_size <= self.sensor_size <= 128,
            "0 ≤ amplitude ≤ sensor_size": 0 <= self.amplitude <= self.sensor_size,
            "0 < background < 1": 0 < self.background < 1,
            "saccade_us a positive multiple of sensor.step_us": self.saccade_us > 0
            and self.saccade_us % self.sensor.step_us == 0,
        }
        for rule, holds in checks.items():
            if not holds:
                raise RecipeError(f"{self}: expected {rule}")


def load(
    split: str | None = "train",
    seed: int = 0,
    parameters: SaccadeDigits | None = None,
    subset: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Recordings:
    """Return the recordings of one split, generated on first use and cached.

    Arguments:
        split: ``train`` (70 %), ``validation`` (10 %) or ``test`` (20 %); None: all 1,797, in scikit-learn's order.
        seed: generation seed; used where ``parameters`` is None.
        parameters: every parameter of the generator.
        subset: indices of the digits to record, instead of all; the split keeps those of them that belong to it.
        progress: called with (done, total) during generation.

    Returns:
        The recordings; ``indices`` says which digit of scikit-learn each one shows.

    Raises:
        RecipeError: an unknown split, or an index that is not there.
    """
    parameters = parameters or SaccadeDigits(seed=seed)
    images, labels = digits()
    return recorded("saccade-digits", GENERATOR_VERSION, images, labels, 16, split, parameters, subset, progress)


def recorded(
    name: str,
    version: int,
    images: NDArray[np.int64],
    labels: NDArray[np.int64],
    most_ink: int,
    split: str | None,
    parameters: SaccadeDigits,
    subset: Sequence[int] | None,
    progress: Progress | None,
) -> Recordings:
    """Return one split of a set of digits, recorded on first use and cached.

    Arguments:
        name: the data set's, for the cache.
        version: of its generator.
        images: all of its digits, ``[N, side, side]`` of ink from 0 to ``most_ink``.
        labels: ``[N]``.
        most_ink: the largest value that a pixel of ``images`` may hold.
        split: as ``load``; so are ``parameters``, ``subset`` and ``progress``.

    Raises:
        RecipeError: an unknown split, or an index that is not there.
    """
    indices = np.arange(len(images)) if subset is None else np.asarray(subset, np.int64).reshape(-1)
    if indices.size and not 0 <= indices.min() <= indices.max() < len(images):
        raise RecipeError(f"subset asks for digits {indices.min()} to {indices.max()}; there are {len(images)}")
    chosen = indices if split is None else stratified(labels, split)
    key = cache_key(version, {**dataclasses.asdict(parameters), "subset": indices.tolist()})
    arrays = cached(name, key, lambda: generate(images[indices], parameters, indices, progress, most_ink))
    side = parameters.sensor_size
    recordings = Recordings(
        start=arrays["start"],
        t_us=arrays["t_us"],
        address=arrays["address"],
        labels=labels[indices],
        indices=indices,
        sensor_size=(side, side, 2),
        durations_us=np.full(len(indices), 3 * parameters.saccade_us, np.int64),
        classes=ABOUT.classes,
    )
    return recordings if split is None else recordings.select(np.flatnonzero(np.isin(indices, chosen)))


def digits() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return scikit-learn's digits: images ``[1797, 8, 8]`` of ink from 0 to 16, and labels ``[1797]``."""
    from sklearn.datasets import load_digits  # a second of imports, needed by nobody else

    data = load_digits()
    return data.images.astype(np.int64), data.target.astype(np.int64)


def split_indices(split: str) -> NDArray[np.int64]:
    """Return the rising indices of a split, stratified by class.

    The digits are the test set of UCI's optdigits, by 13 of its 43 writers (the other 30 wrote its training set, which
    scikit-learn leaves out). Nothing says who wrote which, so every split may hold digits of every writer: accuracy
    here speaks of new digits, not of new writers.

    Raises:
        RecipeError: an unknown split.
    """
    return stratified(digits()[1], split)


def stratified(labels: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """Return the rising indices of a split in which every class has its share.

    Raises:
        RecipeError: an unknown split.
    """
    if split not in SPLITS:
        raise RecipeError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    rng = np.random.default_rng(SPLIT_SEED)
    upper = np.cumsum(list(SPLITS.values()))
    number = list(SPLITS).index(split)
    chosen = []
    for label in range(10):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = [0, *np.rint(upper * len(members)).astype(int)]
        chosen.append(members[ends[number] : ends[number + 1]])
    return np.sort(np.concatenate(chosen))


def generate(
    images: NDArray[np.int64],
    parameters: SaccadeDigits,
    indices: NDArray[np.int64],
    progress: Progress | None = None,
    most_ink: int = 16,
) -> dict[str, NDArray[Any]]:
    """Record images ``[N, side, side]`` of ink from 0 to ``most_ink``.

    Arguments:
        images: the images.
        parameters: how.
        indices: a number per image that seeds its noise, so that a recording does not depend on the others.
        progress: called with (done, total).
        most_ink: the largest value that a pixel of ``images`` may hold.

    Returns:
        ``start`` ``[N + 1]``, ``t_us`` and ``address`` of all events, one recording after the other.
    """
    sensor, side, total = parameters.sensor, parameters.sensor_size, len(images)
    path = trajectory(parameters)
    counts, times, addresses = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for first in range(0, total, CHUNK):
        chunk = slice(first, min(first + CHUNK, total))
        canvas, margin = log_canvas(images[chunk], parameters, most_ink)

        def scene(step: int, canvas: NDArray[np.float32] = canvas, margin: int = margin) -> NDArray[np.float32]:
            return shifted(canvas, margin, side, *path[step]).reshape(side * side, -1)

        noise = [np.random.default_rng([parameters.seed, 1, int(index)]) for index in indices[chunk]]
        thresholds = np.random.default_rng([parameters.seed, 0])
        start, t_us, address = simulate(sensor, scene, len(path) - 1, side * side, thresholds, noise)
        counts.append(np.diff(start))
        times.append(t_us)
        addresses.append(address)
        if progress is not None:
            progress(chunk.stop, total)
    start = np.cumsum(np.concatenate(counts))
    return {"start": start, "t_us": np.concatenate(times), "address": np.concatenate(addresses)}


def trajectory(parameters: SaccadeDigits) -> list[tuple[float, float]]:
    """Return the digit's displacement (x, y) in pixels at every step, in units of 1/1024 pixel.

    The rounding keeps the last digit of the platform's cosine out of the events.
    """
    half = parameters.amplitude / 2
    corners = [(-half, -half), (0.0, half), (half, -half), (-half, -half)]
    steps = parameters.saccade_us // parameters.sensor.step_us
    path = [corners[0]]
    for (x0, y0), (x1, y1) in pairwise(corners):
        for step in range(1, steps + 1):
            gone = (1 - math.cos(math.pi * step / steps)) / 2
            path.append((x0 + gone * (x1 - x0), y0 + gone * (y1 - y0)))
    return [(round(x * 1024) / 1024, round(y * 1024) / 1024) for x, y in path]


def log_canvas(
    images: NDArray[np.int64], parameters: SaccadeDigits, most_ink: int = 16
) -> tuple[NDArray[np.float32], int]:
    """Return the log-intensity ``[side, side, N]`` of the upscaled digits on their ground, and the canvas's margin.

    The upscaling is bilinear and in whole numbers, in units of 1/(2·digit_size): no rounding, the same everywhere.
    """
    size, side = parameters.digit_size, parameters.sensor_size
    unit = 2 * size
    place = (2 * np.arange(size) + 1) * images.shape[1] + size  # each pixel's centre on the image with a border of 1
    low, part = np.divmod(place, unit)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    part_y = part[:, None]
    rows = framed[:, low] * (unit - part_y) + framed[:, low + 1] * part_y
    ink = rows[:, :, low] * (unit - part) + rows[:, :, low + 1] * part
    margin = math.ceil(parameters.amplitude / 2) + 1
    before = margin + (side - size) // 2
    after = side + 2 * margin - size - before
    canvas = np.pad(ink, ((0, 0), (before, after), (before, after)))
    intensity = parameters.background + (1 - parameters.background) * canvas / (most_ink * unit**2)
    return np.ascontiguousarray(np.log(intensity).astype(np.float32).transpose(1, 2, 0)), margin


def shifted(canvas: NDArray[np.float32], margin: int, side: int, x: float, y: float) -> NDArray[np.float32]:
    """Return what the camera sees, ``[side, side, N]``, of a canvas that is displaced by (x, y) pixels."""
    left, top = math.floor(margin - x), math.floor(margin - y)
    part_x, part_y = np.float32(margin - x - left), np.float32(margin - y - top)
    seen = canvas[top : top + side + 1, left : left + side + 1]
    rest_x, rest_y = np.float32(1) - part_x, np.float32(1) - part_y
    rows = seen[:-1] * rest_y + seen[1:] * part_y
    moved: NDArray[Any] = rows[:, :-1] * rest_x + rows[:, 1:] * part_x
    return moved
