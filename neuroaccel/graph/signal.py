"""What travels on an edge: shape, kind, largest value, grid, exactness; and how edges add up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroaccel.errors import GraphError
from neuroaccel.graph import nodes as n

WHOLE = 1 << 24  # float32 holds every whole number up to here, so sums below it do not depend on their order


@dataclass(frozen=True)
class Signal:
    """What travels on an edge.

    Arguments:
        shape: without batch and time.
        kind: binary, count or analog.
        maximum: largest value (counts), largest \\|integer\\| on the grid (gridded analog), None if unknown.
        frac: the values are whole multiples of 2^-frac (0 for binary and count), None if on no grid.
        exact: whether every executor computes it bit for bit.
    """

    shape: tuple[int, ...]
    kind: n.EdgeKind
    maximum: int | None = 1
    frac: int | None = 0
    exact: bool = True

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        more = f"≤{self.maximum}" if self.kind == "count" else ""
        return f"{self.kind}{more}[{shape}]" + ("" if self.exact else " close")


def summed(name: str, arriving: list[Signal]) -> Signal:
    """Several edges into one port add up."""
    if len(arriving) == 1:
        return arriving[0]
    shapes = {s.shape for s in arriving}
    if len(shapes) > 1:
        raise GraphError(f"node '{name}': its edges bring different shapes: {sorted(shapes)}")
    exact = all(s.exact for s in arriving)
    if all(s.kind != "analog" for s in arriving):
        return Signal(arriving[0].shape, "count", sum(s.maximum or 0 for s in arriving), 0, exact)
    frac = max((s.frac for s in arriving if s.frac is not None), default=0)
    top = [s.maximum << (frac - s.frac) for s in arriving if s.frac is not None and s.maximum is not None]
    return Signal(arriving[0].shape, "analog", *held(sum(top), frac, len(top) == len(arriving)), exact)


def held(maximum: int, frac: int, known: bool = True) -> tuple[int | None, int | None]:
    """(maximum, frac) of values on a grid, or of values on none where float32 cannot hold them all."""
    return (maximum, frac) if known and maximum < WHOLE else (None, None)


def grid_of(values: np.ndarray) -> tuple[int | None, int | None]:
    """(maximum, frac) of the coarsest grid that holds all of ``values``."""
    for frac in range(25):
        scaled = np.ldexp(values.astype(np.float64), frac)
        if np.all(scaled == np.floor(scaled)):
            return held(int(np.abs(scaled).max(initial=0)), frac)
    return None, None
