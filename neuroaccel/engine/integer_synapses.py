"""Synapses in integer arithmetic, as an :class:`~neuroaccel.program.Arithmetic` describes it.

A row is an entry of the weight of one output, in C-order over the weight's axes ``[in / groups, Ky, Kx]``; ``group``
rows share a partial sum. Without ``group``, ``product`` or ``bit_serial`` the event kernels do the sums, in int64.
Otherwise one target after the other sums its groups in order, within a group bit by bit from the lowest where
``bit_serial``; with ``group`` the running sum is converted to ``accumulator`` after each group. The bias comes last,
before the (last) conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from neuroaccel.engine import cache
from neuroaccel.engine.convolution import Convolution
from neuroaccel.engine.fixed import Format, Whole, format_after, in_format, table, whole
from neuroaccel.engine.linear import Linear
from neuroaccel.engine.operation import SOME, Array, Int64, Operation, Static, Work, refuse_overflow
from neuroaccel.engine.synapses import Synapses, bias_flags
from neuroaccel.graph import nodes as n
from neuroaccel.program import Arithmetic


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

    def silence(self, work: Work) -> bool:
        return False  # converters may turn 0 into something else

    def sums(self, work: Work, value: Array) -> None:
        port, out = work.ports[0], work.out
        arrays = (self.weight, self.table, self.bias, *self.conversions, self.plan)
        code = self.kernel(value, port.value, *arrays, out.value, out.touched)
        out.reach[...] = SOME
        refuse_overflow(self.name, "the sum", code, work)


class Integer(Operation):
    """A synapse in integers: its input converted before the sums, and, unless grouped, each sum converted after."""

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = Synapses.columns

    def __init__(self, inner: Synapses, static: Static, entering: Int64, leaving: Int64) -> None:
        super().__init__(inner.name, static, np.int64)
        self.inner, self.entering, self.leaving = inner, entering, leaving
        self.convert = cache.load("convert", "int64")

    @property
    def weight_width(self) -> int:
        return self.inner.weight_width

    def book(self, counts: Mapping[str, Int64]) -> dict[str, Int64]:
        return self.inner.book(counts)

    def scratch(self) -> dict[str, Array]:
        return self.inner.scratch()

    def run(self, work: Work) -> None:
        if work.track:
            self.inner.count(work)
        value = work.ports[0].value
        if self.entering.size:
            value = value.copy()
            refuse_overflow(self.name, "the input", self.convert(value, self.entering), work, value.shape[1])
        self.inner.sums(work, value)
        if self.leaving.size:
            refuse_overflow(self.name, "the sum", self.convert(work.out.value, self.leaving), work)


def integer_synapse(name: str, node: n.Synapse, port: Static, shape: tuple[int, ...], kind: n.EdgeKind) -> Operation:
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
    plain: type[Linear | Convolution] = Linear if isinstance(node, n.Linear) else Convolution
    inner = plain(name, node, port, target, weight.values << (frac - product.frac), aligned)
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
