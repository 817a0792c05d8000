"""How pruning proceeds over a training: ramps from 0 to 1, the part that is frozen, and which layer keeps how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from neuroaccel.errors import InputError

Spread = Literal["erk", "uniform", "global"]


def sine(r: float) -> float:
    """g(r) = (1 + sin(π(r − ½)))/2, from 0 to 1. Source: Chen et al., ICML 2022 (STDS)."""
    return (1 + math.sin(math.pi * (r - 0.5))) / 2


def linear(r: float) -> float:
    """g(r) = r."""
    return r


def cubic(r: float) -> float:
    """g(r) = 1 − (1 − r)³: most is pruned early. Source: Zhu & Gupta 2017, equation 1 with s_i = 0."""
    return 1 - (1 - r) ** 3


SCHEDULES: dict[str, Callable[[float], float]] = {"sine": sine, "linear": linear, "cubic": cubic}


def progress(step: int, total: int, freeze: float) -> float:
    """r = step/((1 − freeze)·total), at most 1: the ramp is over when the last ``freeze`` of the training begins."""
    return min(1.0, step / max(1.0, (1 - freeze) * total))


def drop_fraction(step: int, end: float, fraction: float) -> float:
    """f = fraction/2·(1 + cos(π·step/end)), 0 from ``end`` on. Source: Evci et al. 2020 (RigL), section 3."""
    return fraction / 2 * (1 + math.cos(math.pi * step / end)) if step < end else 0.0


def kept(shapes: Sequence[tuple[int, ...]], sizes: Sequence[int], target: float, spread: Spread) -> list[int]:
    """How many weights each layer keeps, so that their sum is ⌊target · Σ sizes⌋.

    ``erk`` (Erdős–Rényi kernel): a layer's density is in proportion to Σ(shape)/Π(shape), at most 1: small layers keep
    more, and none dies. ``uniform``: the same density everywhere. Source of ``erk``: Evci et al. 2020, section 3.

    Arguments:
        shapes: of each layer's weight.
        sizes: how many weights the layer has (twice Π(shape) for a dendritic one).
        target: the connectivity of all together, in (0, 1].
        spread: how it is shared out.

    Raises:
        InputError: a target outside (0, 1].
    """
    if not 0 < target <= 1:
        raise InputError(f"pruning: the connectivity is {target}; expected more than 0 and at most 1")
    if spread == "global":
        return [math.floor(target * sum(sizes) + 1e-9)]
    raw = [sum(shape) / math.prod(shape) if spread == "erk" else 1.0 for shape in shapes]
    full: set[int] = set()
    density = [0.0] * len(sizes)
    while len(full) < len(sizes):
        left = target * sum(sizes) - sum(sizes[i] for i in full)
        scale = left / sum(raw[i] * sizes[i] for i in range(len(sizes)) if i not in full)
        over = {i for i in range(len(sizes)) if i not in full and raw[i] * scale > 1}
        density = [1.0 if i in full else raw[i] * scale for i in range(len(sizes))]
        if not over:
            break
        full |= over
    exact = [d * size for d, size in zip(density, sizes, strict=True)]
    counts = [math.floor(e + 1e-9) for e in exact]
    # What rounding down has left goes to the largest remainders.
    spare = math.floor(target * sum(sizes) + 1e-9) - sum(counts)
    order = sorted(range(len(sizes)), key=lambda i: counts[i] - exact[i])
    for i in order[: max(0, spare)]:
        counts[i] = min(sizes[i], counts[i] + 1)
    return counts
