"""What the augmentations are made of: their base, values per event, and checks of their fields."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import RecipeError

Generator = np.random.Generator


class Augmentation(ABC):
    """What changes the events of a batch; ``augmentation(packed, rng)`` returns the changed batch."""

    kind: ClassVar[str]

    @abstractmethod
    def __call__(
        self, packed: PackedEvents, rng: Generator, labels: NDArray[Any] | None = None
    ) -> PackedEvents | tuple[PackedEvents, NDArray[np.float32]]:
        """Return the batch changed; EventMix, which alone reads ``labels``, returns ``(packed, weights)``."""

    def on_frames(self, x: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return frames ``[T, N, C, H, W]`` changed as their events would have been, as new memory or a view.

        Raises:
            RecipeError: this augmentation needs the events.
        """
        raise RecipeError(f"{self} works on events only; expected one that frames allow, such as FlipX")


def each(packed: PackedEvents, values: NDArray[Any]) -> NDArray[Any]:
    """A value per sample as a value per event."""
    return np.repeat(values, packed.counts)


def probability(made: Any, name: str) -> None:
    number(made, name, float, 0, 1)


def number(made: Any, name: str, kind: type, low: float, high: float) -> None:
    """Refuse a field that is no number of that kind from low to high; an int is a float, but a bool is neither."""
    value = getattr(made, name)
    fits = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not low <= value <= high:
        wanted = f"from {low:g} to {high:g}" if high < math.inf else f"≥ {low:g}"
        whole = "a whole number" if kind is int else "a number"
        raise RecipeError(f"{type(made).__name__}: {name} is {value!r}; expected {whole} {wanted}")
