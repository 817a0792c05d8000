"""Names of the event data sets, what each is, and what builds or reads it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from neuroaccel.datasets.cache import Progress
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.errors import RecipeError


@dataclass(frozen=True)
class About:
    """What a data set is.

    Arguments:
        title: one line.
        classes: a name per label.
        sensor_size: ``(W, H, P)``.
        splits: the names that ``load`` takes.
        source: where it comes from, as one cites it.
        licence: of the data, one line.
        generated: made here, without a download.
    """

    title: str
    classes: tuple[str, ...]
    sensor_size: tuple[int, int, int]
    splits: tuple[str, ...]
    source: str
    licence: str
    generated: bool = True


_BUILT_IN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "delayed-match": ("delayed_match", "ABOUT", {}),
    "harmonic-cochlea": ("cochlea", "ABOUT", {}),
    "moving-gestures": ("gestures", "ABOUT", {"size": 128}),
    "moving-gestures-32": ("gestures", "ABOUT_32", {"size": 32}),
    "saccade-digits": ("saccade", "ABOUT", {}),
    "saccade-mnist": ("saccade_mnist", "ABOUT", {}),
}
"""Of every built-in set: the module with its ``load(split, seed, progress, **more)``, its ``About`` there, ``more``."""


def names() -> list[str]:
    """Return the names that ``load`` knows: built-in sets first, then those of tonic."""
    return [*sorted(_BUILT_IN), *_downloaded()]


def describe(name: str) -> About:
    """Return what a data set is.

    Raises:
        RecipeError: an unknown name.
    """
    _check(name)
    if name in _BUILT_IN:
        module, about, _ = _BUILT_IN[name]
        built_in: About = getattr(_module(module), about)
        return built_in
    downloaded: About = _module("tonic_sets").about(name)
    return downloaded


def load(
    name: str,
    split: str | None = "train",
    seed: int = 0,
    progress: Progress | None = None,
    folder: str | Path | None = None,
) -> Recordings:
    """Return the recordings of a data set, generated or decoded on first use and cached.

    Arguments:
        name: the data set, for example ``"saccade-digits"``.
        split: ``train``, ``validation`` or ``test``; None: all of a generated set.
        seed: generation seed of a generated set; others take no notice of it.
        progress: called with (done, total) while the set is made; not called where the cache has it.
        folder: where the files of a downloaded set are or shall be; None: in the cache.

    Returns:
        A sequence of ``(Events, label)``.

    Raises:
        RecipeError: an unknown name or split, or a folder for a set that needs none.
    """
    _check(name)
    if name in _BUILT_IN:
        if folder is not None:
            raise RecipeError(f"{name} is generated here; it reads no files, but the folder {folder} was given")
        module, _, more = _BUILT_IN[name]
        made: Recordings = _module(module).load(split, seed=seed, progress=progress, **more)
        return made
    read: Recordings = _module("tonic_sets").load(
        name, split, folder=None if folder is None else Path(folder), progress=progress
    )
    return read


def _check(name: str) -> None:
    if name not in names():
        raise RecipeError(f"unknown data set {name!r}; there are: {', '.join(names())}")


def _downloaded() -> list[str]:
    return list(_module("tonic_sets").NAMES)


def _module(name: str) -> Any:
    return import_module(f"neuroaccel.datasets.{name}")
