"""Names of the built-in data sets and what builds them."""

from __future__ import annotations

from collections.abc import Callable

from neuroaccel.datasets import saccade
from neuroaccel.datasets.cache import Progress
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.errors import RecipeError

Builder = Callable[[str | None, int, Progress | None], Recordings]
"""``builder(split, seed, progress)`` returns the recordings of one split, or of all for None."""


def _saccade_digits(split: str | None, seed: int, progress: Progress | None) -> Recordings:
    return saccade.load(split, seed=seed, progress=progress)


_BUILDERS: dict[str, Builder] = {"saccade-digits": _saccade_digits}


def names() -> list[str]:
    """Return the names that ``load`` knows."""
    return sorted(_BUILDERS)


def load(name: str, split: str | None = "train", seed: int = 0, progress: Progress | None = None) -> Recordings:
    """Return the recordings of a built-in data set, generated on first use and cached.

    Arguments:
        name: the data set, for example ``"saccade-digits"``.
        split: ``train``, ``validation`` or ``test``; None: all of it.
        seed: generation seed.
        progress: called with (done, total) while the set is generated; not called where the cache has it.

    Returns:
        A sequence of ``(Events, label)``.

    Raises:
        RecipeError: an unknown name or split.
    """
    if name not in _BUILDERS:
        raise RecipeError(f"unknown data set {name!r}; there are: {', '.join(names())}")
    return _BUILDERS[name](split, seed, progress)
