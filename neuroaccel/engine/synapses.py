"""What all synapses on events share: their geometry, and counting.

Sums begin at 0 and end with the bias. Inputs that are 0 are never visited.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.operation import NONE, Array, Int64, Operation, Static, Work
from neuroaccel.graph import nodes as n
from neuroaccel.graph.fanout import fan_out


@dataclass(frozen=True)
class Geometry:
    """A synapse as a 2-d convolution ``[C, H, W] -> [O, OH, OW]`` (a Linear: C inputs at H = leading places)."""

    weight: tuple[int, int, int, int]
    size: tuple[int, int]
    out: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def geometry(node: n.Synapse, source: tuple[int, ...], target: tuple[int, ...]) -> Geometry:
    """The convolution that a synapse is."""
    o, c = node.weight.shape[:2]
    if isinstance(node, n.Conv2d):
        ky, kx = node.weight.shape[2:]
        size, out = (source[1], source[2]), (target[1], target[2])
        return Geometry((o, c, ky, kx), size, out, node.stride, node.padding, node.dilation, node.groups)
    if isinstance(node, n.Conv1d):
        options = (1, node.stride), (0, node.padding), (1, node.dilation)
        return Geometry((o, c, 1, node.weight.shape[2]), (1, source[1]), (1, target[1]), *options, node.groups)
    lead = int(np.prod(source[:-1], dtype=np.int64))
    return Geometry((o, c, 1, 1), (lead, 1), (lead, 1))


class Synapses(Operation):
    """Base: counts what its events set in motion, then sums."""

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("products", "weights_read", "ticks")

    def __init__(self, name: str, node: n.Synapse, port: Static, target: Static, dtype: np.dtype[np.generic]) -> None:
        super().__init__(name, target, dtype)
        self.input_size = port.size
        self.geometry = geometry(node, port.shape, target.shape)
        full, living = fan_out(node, port.shape)
        self.full, self.living = full.ravel(), living.ravel()
        self.pruned = int((full - living).sum())
        self.all_living = int(living.sum())
        self.biased = bool(target.biased.any())
        self.tally = cache.load("fanout", "int64")

    def count(self, work: Work) -> None:
        c, port = work.counts, work.ports[0]
        self.tally(port.index, port.found, self.full, self.living, c["products"], c["weights_read"], c["ticks"])

    def book(self, counts: Mapping[str, Int64]) -> dict[str, Int64]:
        kept = {key: value for key, value in counts.items() if key not in ("ticks", "weights_read")}
        zero_input = self.all_living * counts["ticks"] - counts["products"]
        return {**kept, "zero_input": zero_input, "pruned": self.pruned * counts["ticks"]}

    def run(self, work: Work) -> None:
        if work.track:
            self.count(work)
        work.scratch["zeros"] = 0
        self.sums(work, work.ports[0].value)

    def silence(self, work: Work) -> bool:
        if self.biased:
            return False
        if work.track:
            self.count(work)
        out, rows = work.out, len(work.out.found)
        if work.scratch.get("zeros", 0) < rows:
            out.value[...] = 0
            work.scratch["zeros"] = rows
        out.found[...] = 0
        out.reach[...] = NONE
        return True

    @abstractmethod
    def sums(self, work: Work, value: Array) -> None:
        """Set ``work.out`` from the input's events, whose values are taken from ``value``."""


def bias_flags(node: n.Synapse | n.Dendrite, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a non-zero bias is part of the current, ``[size]``."""
    outputs = node.weight.shape[0]
    nonzero = np.zeros(outputs, np.bool_) if node.bias is None else node.bias != 0
    last = isinstance(node, n.Linear) or (isinstance(node, n.Dendrite) and node.stride is None)
    spread = nonzero if last else nonzero.reshape(outputs, *(1,) * (len(shape) - 1))
    return np.broadcast_to(spread, shape).ravel()
