"""Augmentation of packed events: vectorised, drawn from a generator, and the same on frames where it can be.

Every augmentation draws a few numbers per sample before it looks at the events. Where it has ``on_frames``, a generator
in the same state therefore gives the same result after binning as before it:

    frames(augmentation(packed, rng)) = augmentation.on_frames(frames(packed), rng)

This holds for frames by time and window and for time surfaces, and of those that remove no event (``FlipX``,
``FlipPolarity``, ``Downsample``) for frames by count and voxel grids with a channel per polarity as well. ``DropTime``
needs frames by time whose ticks are its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.augment_places import Crop, Downsample, DropRegion, FlipPolarity, FlipX, Shift
from neuroaccel.datasets.augment_times import DropEvents, DropTime, EventMix, TimeJitter
from neuroaccel.datasets.augmentation import Augmentation
from neuroaccel.datasets.frames import build
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import RecipeError

__all__ = [
    "Augmentation",
    "Crop",
    "Downsample",
    "DropEvents",
    "DropRegion",
    "DropTime",
    "EventMix",
    "FlipPolarity",
    "FlipX",
    "Shift",
    "TimeJitter",
    "augment",
    "augment_from",
]

KINDS: dict[str, type[Augmentation]] = {
    kind.kind: kind
    for kind in (FlipX, FlipPolarity, Crop, Shift, DropRegion, Downsample, TimeJitter, DropEvents, DropTime, EventMix)
}


def augment(
    augmentations: Sequence[Augmentation],
    packed: PackedEvents,
    rng: np.random.Generator,
    labels: NDArray[Any],
) -> tuple[PackedEvents, NDArray[Any]]:
    """Apply augmentations to a batch, one after the other.

    Arguments:
        augmentations: in their order.
        packed: N samples.
        rng: what all of them draw from.
        labels: int64 ``[N]``.

    Returns:
        ``(packed, labels)``; the labels are float32 weights ``[N, classes]`` where an EventMix is among them.
    """
    for each in augmentations:
        made = each(packed, rng, labels)
        packed, labels = made if isinstance(made, tuple) else (made, labels)
    return packed, labels


def augment_from(tables: Iterable[Mapping[str, Any]]) -> tuple[Augmentation, ...]:
    """Build the augmentations that a recipe lists, in their order.

    Arguments:
        tables: each with ``kind`` and that kind's fields.

    Raises:
        RecipeError: an unknown kind or field, a field that is missing, or a value that is none.

    Example:
        >>> augment_from([{"kind": "flip_x"}, {"kind": "shift", "max_pixels": 4}])
        (FlipX(p=0.5), Shift(max_pixels=4))
    """
    made: list[Augmentation] = []
    for table in tables:
        given = dict(table)
        name = given.pop("kind", None)
        if name not in KINDS:
            raise RecipeError(f"augmentation of kind {name!r}; expected {', '.join(KINDS)}")
        made.append(build(KINDS[name], f"augmentation {name!r}", given))
    return tuple(made)
