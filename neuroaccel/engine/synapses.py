"""Synapses on events, in floating point and in integers: counting, summing, and the tick that pipelining adds.

Sums begin at 0, take inputs in C-order of their addresses, and end with the bias. Inputs that are 0 are never visited.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.fixed import Format, Whole, format_after, in_format, table, whole
from neuroaccel.engine.operation import Array, Buffer, Int64, Latch, Operation, Static, Work
from neuroaccel.errors import InputError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.fanout import fan_out
from neuroaccel.program import Arithmetic


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
        self.tally = cache.load("fanout", self.dtype.name)

    def count(self, work: Work) -> None:
        c = work.counts
        value = work.ports[0].value
        self.tally(value, self.full, self.living, c["products"], c["zero_input"], c["weights_read"])
        c["pruned"] += self.pruned

    def run(self, work: Work) -> None:
        if work.track:
            self.count(work)
        self.sums(work, work.ports[0].value)

    def sums(self, work: Work, value: Array) -> None:
        """Set ``work.out`` from the input's events, whose values are taken from ``value``."""
        raise AssertionError(f"{type(self).__name__} has no sums")


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


class Grouped(Synapses):
    """Integer sums of converted products, group by group, bit by bit."""

    def __init__(
        self,
        name: str,
        node: n.Synapse,
        port: Static,
        target: Static,
        weight: Int64,
        bias: Int64,
        conversions: tuple[Int64, Int64, Int64],
        plan: Int64,
    ) -> None:
        super().__init__(name, node, port, target, np.dtype(np.int64))
        g = self.geometry
        self.weight, self.bias = np.ascontiguousarray(weight.reshape(g.weight)), bias
        self.conversions, self.plan = conversions, plan
        flat = isinstance(node, n.Linear)
        area, places = g.size[0] * g.size[1], g.out[0] * g.out[1]
        reads = (1, g.weight[1], 0) if flat else (area, g.size[1], 1)
        writes = (1, g.weight[0], 0) if flat else (places, g.out[1], 1)
        table = [*g.size, g.groups, *g.stride, *g.padding, *g.dilation, *reads, *g.out, *writes]
        self.table = np.array(table, np.int64)
        self.kernel = cache.load("grouped", "int64")

    def sums(self, work: Work, value: Array) -> None:
        port, out = work.ports[0], work.out
        arrays = (self.weight, self.table, self.bias, *self.conversions, self.plan)
        _refuse_overflow(self.name, self.kernel(value, port.value, *arrays, out.value, out.touched), self.static.size)


class Integer(Operation):
    """A synapse in integers: its input converted before the sums, and, unless grouped, each sum converted after."""

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = Synapses.columns

    def __init__(self, inner: Synapses, static: Static, entering: Int64, leaving: Int64) -> None:
        super().__init__(inner.name, static, np.int64)
        self.inner, self.entering, self.leaving = inner, entering, leaving
        self.convert = cache.load("convert", "int64")

    def scratch(self) -> dict[str, Array]:
        return self.inner.scratch()

    def run(self, work: Work) -> None:
        if work.track:
            self.inner.count(work)
        value = work.ports[0].value
        if self.entering.size:
            value = value.copy()
            _refuse_overflow(self.name, self.convert(value, self.entering), value.shape[1], "input")
        self.inner.sums(work, value)
        if self.leaving.size:
            _refuse_overflow(self.name, self.convert(work.out.value, self.leaving), self.static.size)


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

    def take(self, work: Work) -> None:
        pending = Buffer(work.flat("pending"), work.flat("touched"), work.out.index, work.out.found)
        self.inner.run(dataclasses.replace(work, out=pending))


def _refuse_overflow(name: str, code: int, size: int, what: str = "sum") -> None:
    if code:
        sample, index = divmod(code - 1, size)
        raise InputError(
            f"node '{name}': the {what} of sample {sample} at index {index} leaves its integer format, "
            "whose overflow is 'error'"
        )


def float_synapse(name: str, node: n.Synapse, port: Static, shape: tuple[int, ...], number: str) -> Operation:
    """A synapse in ``float32`` or ``float64``."""
    target = Static(shape, bias_flags(node, shape))
    kind = Dense if isinstance(node, n.Linear) else Convolution
    bias = None if node.bias is None else node.bias.astype(number)
    return kind(name, node, port, target, node.weight.astype(number), bias)


def bias_flags(node: n.Synapse, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a non-zero bias is part of the current, ``[size]``."""
    outputs = node.weight.shape[0]
    nonzero = np.zeros(outputs, np.bool_) if node.bias is None else node.bias != 0
    spread = nonzero if isinstance(node, n.Linear) else nonzero.reshape(outputs, *(1,) * (len(shape) - 1))
    return np.broadcast_to(spread, shape).ravel()


def integer_synapse(
    name: str, node: n.Synapse, port: Static, shape: tuple[int, ...], kind: n.EdgeKind
) -> Operation:
    """A synapse in integers, as its :class:`Arithmetic` says.

    Raises:
        ValueError: a weight is off its grid, or the input cannot be applied bit by bit.
        OverflowError: a sum that may need more than 62 bits.
    """
    if port.format is None:
        raise ValueError("its input has no integer format; a readout can only lead to an Output")
    how = node.arithmetic or Arithmetic()
    weight = _integer_weights(node, how)
    bias = None if node.bias is None else whole(node.bias)
    arriving = format_after(port.format, how.input, "its input")
    grouped = how.product is not None or how.group > 0 or how.bit_serial
    rows = int(np.prod(node.weight.shape[1:], dtype=np.int64))
    bits = _input_bits(arriving, how, kind)
    product = Format(
        weight.format.frac + arriving.frac, weight.format.magnitude * (1 if bits else arriving.magnitude)
    ).check("a product")
    after = format_after(product, how.product, "a product")
    size = how.group or rows
    part = Format(after.frac, after.magnitude * min(size, rows)).check("a partial sum")
    partial = format_after(part, how.group_convert, "a partial sum")
    groups = -(-rows // size)
    total = Format(partial.frac, partial.magnitude * groups << bits)
    frac = max(total.frac, bias.format.frac if bias else total.frac)
    if grouped and how.accumulator is not None:
        # The running sum goes back and forth between the accumulator's format and this one.
        frac = max(frac, how.accumulator.frac)
        running = Format.of(how.accumulator).at(frac).magnitude
        total = Format(total.frac, total.magnitude + (running >> (frac - total.frac)) + 1)
    largest = total.at(frac).magnitude + (bias.format.at(frac).magnitude if bias else 0)
    sums = Format(frac, largest).check("its sum")
    final = format_after(sums, how.accumulator, "its sum")
    aligned = None if bias is None else bias.values << (frac - bias.format.frac)
    target = Static(shape, bias_flags(node, shape), final)
    entering, leaving = table(port.format.frac, how.input), table(frac, how.accumulator)
    inner: Synapses
    if grouped:
        conversions = table(product.frac, how.product), table(part.frac, how.group_convert), leaving
        plan = np.array([size, bits, frac - partial.frac, how.group > 0], np.int64)
        zero = np.zeros(node.weight.shape[0], np.int64)
        values = (weight.values, zero if aligned is None else aligned, conversions, plan)
        inner = Grouped(name, node, port, target, *values)
        return Integer(inner, target, entering, leaving[:0])
    kind = Dense if isinstance(node, n.Linear) else Convolution
    inner = kind(name, node, port, target, weight.values << (frac - product.frac), aligned)
    return Integer(inner, target, entering, leaving)


def _integer_weights(node: n.Synapse, how: Arithmetic) -> Whole:
    if how.weight is not None:
        try:
            return in_format(node.weight, how.weight)
        except ValueError as error:
            raise ValueError(f"its weight {error}; snap the graph to that format first") from error
    if node.grid is None:
        raise ValueError("its weights lie on no grid; snap the graph, or give Arithmetic.weight")
    return whole(node.weight)


def _input_bits(arriving: Format, how: Arithmetic, kind: n.EdgeKind) -> int:
    if not how.bit_serial:
        return 0
    unsigned = kind != "analog" if how.input is None else not how.input.signed
    if arriving.frac != 0 or not unsigned:
        raise ValueError("bit_serial needs whole, unsigned inputs: a binary or count edge, or an unsigned format")
    return arriving.magnitude.bit_length()
