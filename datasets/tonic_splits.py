"""Which recordings of a downloaded set are training, validation and test, fixed whatever machine asks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import FileFormatError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Listing:
    """The recordings of a part of a set, their events not yet read.

    Arguments:
        names: one per recording, unique; the same on every machine and in every folder.
        labels: int64 ``[S]``.
        groups: int64 ``[S]``, speaker or subject; None: the files do not say.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.names)


class Rule(Protocol):
    """Chooses the recordings of one split out of a part's listing."""

    def __call__(self, split: str, listing: Listing, where: str) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Whole:
    """All of the part: who published the set has split it."""

    def __call__(self, split: str, listing: Listing, where: str) -> NDArray[np.int64]:
        return np.arange(len(listing))


@dataclass(frozen=True)
class HoldOutGroups:
    """Validation: the recordings of these speakers or subjects; train: those of all others.

    Arguments:
        groups: their numbers in the set's own files.
    """

    groups: tuple[int, ...]

    def __call__(self, split: str, listing: Listing, where: str) -> NDArray[np.int64]:
        return _by_group(split, listing, self.groups, where)


@dataclass(frozen=True)
class HoldOutShareOfGroups:
    """As ``HoldOutGroups``, for sets whose speakers have names: those that a hash of the name and the seed chooses.

    Arguments:
        share: of the speakers, at least one of them.
        seed: another seed chooses others.
    """

    share: float
    seed: int = 0

    def __call__(self, split: str, listing: Listing, where: str) -> NDArray[np.int64]:
        known = [] if listing.groups is None else np.unique(listing.groups).tolist()
        ranked = sorted(known, key=lambda group: _rank(str(group), self.seed))
        return _by_group(split, listing, ranked[: max(1, round(self.share * len(ranked)))], where)


@dataclass(frozen=True)
class Shares:
    """Shares of every class, each recording ranked within its class by a hash of its name and the seed.

    A hash needs no random generator, whose stream might change between versions, and does not depend on the order in
    which a file system lists its files.

    Arguments:
        validation: share of every class, rounded.
        test: the same; 0 where the set has a test part of its own.
        seed: another seed draws other shares.
    """

    validation: float
    test: float = 0.0
    seed: int = 0

    def __call__(self, split: str, listing: Listing, where: str) -> NDArray[np.int64]:
        chosen: list[int] = []
        for label in np.unique(listing.labels).tolist():
            members = np.flatnonzero(listing.labels == label).tolist()
            members.sort(key=lambda sample: _rank(listing.names[sample], self.seed))
            test = round(self.test * len(members))
            validation = test + round(self.validation * len(members))
            chosen += {"test": members[:test], "validation": members[test:validation], "train": members[validation:]}[
                split
            ]
        return np.array(sorted(chosen), np.int64)


def _by_group(split: str, listing: Listing, held_out: Sequence[int], where: str) -> NDArray[np.int64]:
    if listing.groups is None:
        raise FileFormatError(f"{where}: the files do not say who was recorded, so that nobody can be held out")
    inside = np.isin(listing.groups, np.array(held_out, np.int64))
    chosen = np.flatnonzero(inside if split == "validation" else ~inside)
    if not len(chosen):
        found = ", ".join(map(str, np.unique(listing.groups).tolist()))
        raise FileFormatError(
            f"{where}: no recordings are left for the {split} split; held out are the speakers or subjects "
            f"{', '.join(map(str, held_out))}, the files hold {found or 'none'}"
        )
    return chosen


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
