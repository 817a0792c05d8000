"""What the generated sets share: which recordings a split has, and their recording in chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.cache import Progress
from neuroaccel.errors import RecipeError

Packed = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]


def numbers(split: str | None, sizes: Mapping[str, int], subset: Sequence[int] | None) -> NDArray[np.int64]:
    """Return the numbers of a split's recordings, of a set whose splits follow each other.

    Arguments:
        split: one of ``sizes``; None: the whole set.
        sizes: recordings per split.
        subset: numbers to stay within; None: all.

    Raises:
        RecipeError: an unknown split, or a number that is not there.
    """
    if split is not None and split not in sizes:
        raise RecipeError(f"unknown split {split!r}; there are {', '.join(sizes)}")
    total, first = sum(sizes.values()), 0
    for name, size in sizes.items():
        if name == split:
            break
        first += size
    chosen = np.arange(total) if split is None else np.arange(first, first + sizes[split])
    if subset is None:
        return chosen
    wanted = np.asarray(subset, np.int64).reshape(-1)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < total:
        raise RecipeError(f"subset asks for recordings {wanted.min()} to {wanted.max()}; there are {total}")
    return wanted[np.isin(wanted, chosen)]


def in_chunks(
    indices: NDArray[np.int64],
    size: int,
    record: Callable[[NDArray[np.int64]], Packed],
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """Return ``start``, ``t_us`` and ``address`` of recordings that are made ``size`` at a time.

    Arguments:
        indices: the recordings' numbers.
        size: how many at a time.
        record: ``(start, t_us, address)`` of some of them.
        progress: called with (done, total).
    """
    counts, times, addresses = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for first in range(0, len(indices), size):
        start, t_us, address = record(indices[first : first + size])
        counts.append(np.diff(start))
        times.append(t_us)
        addresses.append(address)
        if progress is not None:
            progress(min(first + size, len(indices)), len(indices))
    start = np.cumsum(np.concatenate(counts))
    return {"start": start, "t_us": np.concatenate(times), "address": np.concatenate(addresses)}
