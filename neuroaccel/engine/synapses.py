"""Synapses on events: counting, summing, and the tick that pipelining adds.

Sums begin at 0, take inputs in C-order of their addresses, and end with the bias. Inputs that are 0 are never visited.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.operation import SOME, Array, Buffer, Latch, Operation, Static, Work
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
    columns: ClassVar[tuple[str, ...]] = ("products", "zero_input", "pruned", "weights_read")

    def __init__(self, name: str, node: n.Synapse, port: Static, target: Static, dtype: np.dtype[np.generic]) -> None:
        super().__init__(name, target, dtype)
        self.input_size = port.size
        self.geometry = geometry(node, port.shape, target.shape)
        full, living = fan_out(node, port.shape)
        self.full, self.living = full.ravel(), living.ravel()
        self.pruned = int((full - living).sum())
        self.all_living = int(living.sum())
        self.tally = cache.load("fanout", "int64")

    def count(self, work: Work) -> None:
        c, port = work.counts, work.ports[0]
        before = c["products"].copy()
        self.tally(port.index, port.found, self.full, self.living, c["products"], c["weights_read"])
        c["zero_input"] += self.all_living * work.ticks - (c["products"] - before)
        c["pruned"] += self.pruned * work.ticks

    def run(self, work: Work) -> None:
        if work.track:
            self.count(work)
        self.sums(work, work.ports[0].value)

    @abstractmethod
    def sums(self, work: Work, value: Array) -> None:
        """Set ``work.out`` from the input's events, whose values are taken from ``value``."""


class Dense(Synapses):
    """Linear: one contiguous row of W^T for every event."""

    def __init__(
        self, name: str, node: n.Synapse, port: Static, target: Static, weight: Array, bias: Array | None
    ) -> None:
        super().__init__(name, node, port, target, weight.dtype)
        self.weight = np.ascontiguousarray(weight.T)
        self.bias = np.zeros(0, weight.dtype) if bias is None else bias
        self.kernel = cache.load("linear", self.dtype.name)

    def sums(self, work: Work, value: Array) -> None:
        port, out = work.ports[0], work.out
        self.kernel(value, port.index, port.found, self.weight, self.bias, out.value, out.touched, work.track)
        out.reach[...] = SOME


class Convolution(Synapses):
    """Conv1d and Conv2d: every event scatters its taps."""

    def __init__(
        self, name: str, node: n.Synapse, port: Static, target: Static, weight: Array, bias: Array | None
    ) -> None:
        super().__init__(name, node, port, target, weight.dtype)
        g = self.geometry
        o, c, ky, kx = g.weight
        by_group = weight.reshape(g.groups, o // g.groups, c, ky, kx)
        self.weight = np.ascontiguousarray(by_group.transpose(0, 2, 3, 4, 1)).reshape(-1, ky, kx, o // g.groups)
        self.bias = np.zeros(0, weight.dtype) if bias is None else bias
        self.table = np.array([*g.size, o, *g.out, g.groups, *g.stride, *g.padding, *g.dilation], np.int64)
        self.kernel = cache.load("conv2d", self.dtype.name)

    def scratch(self) -> dict[str, Array]:
        return {"sums": np.zeros(self.static.size, self.dtype), "flags": np.zeros(self.static.size, np.uint8)}

    def sums(self, work: Work, value: Array) -> None:
        port, out, s = work.ports[0], work.out, work.scratch
        arrays = (self.weight, self.bias, self.table, s["sums"], s["flags"])
        self.kernel(value, port.index, port.found, *arrays, out.value, out.touched, work.track)
        out.reach[...] = SOME


class Pipelined(Latch):
    """A synapse that delivers its current one tick later."""

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = Synapses.columns

    def __init__(self, inner: Operation) -> None:
        super().__init__(inner.name, inner.static, inner.dtype)
        self.inner = inner
        shape = inner.static.shape
        self.fresh = {"pending": np.zeros(shape, self.dtype), "touched": np.zeros(shape, np.uint8)}

    def scratch(self) -> dict[str, Array]:
        return self.inner.scratch()

    def emit(self, work: Work) -> None:
        work.out.value[...] = work.flat("pending")
        work.out.touched[...] = work.flat("touched")
        work.out.reach[...] = SOME

    def take(self, work: Work) -> None:
        reach = np.zeros(work.batch, np.uint8)
        pending = Buffer(work.flat("pending"), work.flat("touched"), work.out.index, work.out.found, reach)
        self.inner.run(dataclasses.replace(work, out=pending))
        if work.track:
            pending.flags()

    def run(self, work: Work) -> None:
        """All ticks at once, moved by one."""
        self.inner.run(work)
        out, n = work.out, work.batch
        touched = out.flags() if work.track else out.touched
        for held, new in ((work.flat("pending"), out.value), (work.flat("touched"), touched)):
            last = new[-n:].copy()
            new[n:] = new[:-n].copy()
            new[:n] = held
            held[...] = last


def float_synapse(name: str, node: n.Synapse, port: Static, shape: tuple[int, ...], number: str) -> Operation:
    """A synapse in ``float32`` or ``float64``."""
    target = Static(shape, bias_flags(node, shape))
    kind: type[Dense | Convolution] = Dense if isinstance(node, n.Linear) else Convolution
    bias = None if node.bias is None else node.bias.astype(number)
    return kind(name, node, port, target, node.weight.astype(number), bias)


def bias_flags(node: n.Synapse, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a non-zero bias is part of the current, ``[size]``."""
    outputs = node.weight.shape[0]
    nonzero = np.zeros(outputs, np.bool_) if node.bias is None else node.bias != 0
    spread = nonzero if isinstance(node, n.Linear) else nonzero.reshape(outputs, *(1,) * (len(shape) - 1))
    return np.broadcast_to(spread, shape).ravel()
