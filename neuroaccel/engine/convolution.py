"""Conv1d and Conv2d on events: weights and tables laid out so that an event adds few, long, contiguous rows."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.operation import Array, Static, Work
from neuroaccel.engine.synapses import Geometry, Synapses
from neuroaccel.graph import nodes as n

# What ``shape`` of the kernels holds, in this order. A ``by`` and a ``shift`` make a quotient of a product.
FIELDS = (
    *("area_by", "area_shift", "area", "width_by", "width_shift", "width"),
    *("outputs", "out_columns", "per_group", "in_group", "taps_y", "taps_x", "step_y", "step_x", "words"),
    *("stride_y", "stride_x", "pad_y", "pad_x", "dilation_y", "dilation_x", "rows", "height"),
)

BAND = 1 << 18  # bytes of sums that stay in the second-level cache, beside weights and states


def division(by: int) -> tuple[int, int]:
    """Factor and shift with ``x // by == (x * factor) >> shift`` for 0 <= x < 2^31.

    Source: Granlund and Montgomery, Division by invariant integers using multiplication (PLDI 1994), theorem 4.2.
    """
    bits = 31 + (by - 1).bit_length()
    return (1 << bits) // by + 1, bits


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a convolution, seen from its inputs.

    Arguments:
        order: the taps in stored order.
        table: int64 ``[size, 3]``: an input's first tap in that order, how many taps lead inside, the first output.
        step: from one of these taps to the next, how many outputs further it leads.
    """

    order: NDArray[np.int64]
    table: NDArray[np.int64]
    step: int


def axis(size: int, out: int, taps: int, stride: int, padding: int, dilation: int) -> Axis:
    """Taps that meet one input are those of one residue; among them the output rises as the tap falls."""
    common = int(np.gcd(stride, dilation))
    apart = stride // common
    order = np.array([k for residue in range(apart) for k in range(residue, taps, apart)][::-1], np.int64)
    place = np.empty(taps, np.int64)
    place[order] = np.arange(taps)
    # [input, stored tap] -> output, where there is one
    reach = np.arange(size)[:, None] + padding - order * dilation
    inside = (reach >= 0) & (reach % stride == 0) & (reach // stride < out)
    first = inside.argmax(axis=1)
    count = inside.sum(axis=1)
    table = np.stack([first, count, reach[np.arange(size), first] // stride], axis=1)
    table[count == 0] = 0
    return Axis(order, np.ascontiguousarray(table, np.int64), dilation // common)


class Convolution(Synapses):
    """Conv1d and Conv2d: every event adds its taps' weights to the cells (places, with all channels) around it.

    ``cells`` says that currents lie in the order of cells, ``[OH, OW, O]``, and not in C-order; ``ones`` that every
    event's value is 1.
    """

    def __init__(
        self,
        name: str,
        node: n.Synapse,
        port: Static,
        target: Static,
        weight: Array,
        bias: Array | None,
        cells: bool = False,
        ones: bool = False,
    ) -> None:
        super().__init__(name, node, port, target, weight.dtype)
        self.ones = ones
        self.taps = Taps(self.geometry, weight)
        self.bias = np.zeros(0, weight.dtype) if bias is None else bias
        self.cells = cells
        self.kernel = cache.load("conv2d", self.dtype.name)
        self.counting = None if len(self.taps.masks) and self.pruned else cache.load("conv_count", "int64")

    def count(self, work: Work) -> None:
        if self.counting is None:
            super().count(work)
            return
        c, port, taps = work.counts, work.ports[0], self.taps
        counted = (c["products"], c["weights_read"], c["ticks"])
        self.counting(port.index, port.found, taps.rows, taps.columns, taps.shape, *counted)

    def scratch(self) -> dict[str, Array]:
        taps, size = self.taps, self.input_size
        cells = taps.height * self.geometry.out[1]
        return {
            "starts": np.zeros(self.geometry.size[0] + 2, np.int64),
            "events": np.empty(size, np.int64),
            "numbers": np.empty(0 if self.ones else size, self.dtype),
            "sums": aligned(0 if self.cells else cells * self.geometry.weight[0], self.dtype),
            "marks": np.zeros(cells, np.uint8),
            "bits": np.zeros(cells * taps.words if len(taps.masks) else 0, np.uint64),
            "seen": np.zeros((2, max(self.geometry.size[1], self.geometry.out[1])), np.uint8),
        }

    def sums(self, work: Work, value: Array) -> None:
        port, out, s, taps = work.ports[0], work.out, work.scratch, self.taps
        marks, bits = (s["marks"], s["bits"]) if work.track else (s["marks"][:0], s["bits"][:0])
        self.kernel(
            *(value, port.index, port.found, taps.weight, taps.masks, taps.rows, taps.columns, self.bias, taps.shape),
            *(s["starts"], s["events"], s["numbers"], s["sums"], marks, bits, s["seen"]),
            *(out.value, out.touched, out.reach, not self.cells, work.track),
        )

    def outward(self, key: str, value: Array) -> Array:
        """A current from the order of cells into C-order."""
        return from_cells(value, self.static.shape) if self.cells else value

    @functools.cached_property
    def address(self) -> NDArray[np.int32]:
        """The order of cells: place → address in C-order."""
        return cell_order(self.static.shape)

    def explain(self) -> str:
        t, g = self.taps, self.geometry
        order = "cells [OH, OW, O]" if self.cells else "C-order, turned from cells"
        zeros = "a bit per weight, some are 0" if len(t.masks) else "a byte per cell, no weight is 0"
        return (
            f"events, {self.dtype.name}, rows of {t.stretch} weights for each of up to {t.most} taps' lines; "
            f"currents in {order}; touched: {zeros}; input {list(g.size)}"
        )


class Taps:
    """A convolution's weights and tables, as the kernels read them.

    ``weight`` lies as [C, Ky, Kx, O / groups] with taps in stored order; ``masks`` uint64 [C, Ky, Kx, words] has a bit
    for each weight that is not 0, and is empty where all are.
    """

    def __init__(self, g: Geometry, weight: Array) -> None:
        outputs, in_group, ky, kx = g.weight
        self.geometry, self.groups, self.per_group = g, g.groups, outputs // g.groups
        options = (g.weight[2:], g.stride, g.padding, g.dilation)
        y, x = (axis(*of) for of in zip(g.size, g.out, *options, strict=True))
        self.columns, self.step_y, self.step_x = x.table, y.step, x.step
        line = g.out[1] * outputs * weight.dtype.itemsize
        self.height = int(np.clip(BAND // max(line, 1), 1, max(g.out[0], 1)))
        self.bands = -(-g.out[0] // self.height)
        self.rows = y.table
        by_group = weight.reshape(g.groups, self.per_group, in_group, ky, kx).transpose(0, 2, 3, 4, 1)
        stored = by_group[:, :, y.order][:, :, :, x.order].reshape(-1, self.per_group)
        self.weight = aligned(stored.size, weight.dtype)
        self.weight[...] = stored.ravel()
        self.words = -(-outputs // 64)
        self.masks = np.zeros(0, np.uint64)
        if self.groups > 1 or (stored == 0).any():
            living = np.zeros((g.groups, in_group * ky * kx, self.words * 64), np.uint8)
            for group, lines in enumerate(stored.reshape(g.groups, -1, self.per_group) != 0):
                living[group, :, group * self.per_group : (group + 1) * self.per_group] = lines
            packed = np.packbits(living.reshape(-1, self.words * 64), axis=1, bitorder="little")
            self.masks = packed.view("<u8").astype(np.uint64).ravel()
        area = g.size[0] * g.size[1]
        values: dict[str, Any] = dict(zip(("area_by", "area_shift"), division(area), strict=True))
        values |= zip(("width_by", "width_shift"), division(g.size[1]), strict=True)
        values |= {"area": area, "width": g.size[1], "outputs": outputs, "out_columns": g.out[1]}
        values |= {"per_group": self.per_group, "in_group": in_group, "taps_y": ky, "taps_x": kx}
        values |= {"step_y": self.step_y, "step_x": self.step_x, "words": self.words}
        values |= {"rows": g.size[0], "height": self.height}
        for pair, (y_value, x_value) in (("stride", g.stride), ("pad", g.padding), ("dilation", g.dilation)):
            values |= {f"{pair}_y": y_value, f"{pair}_x": x_value}
        self.shape = np.array([values[field] for field in FIELDS], np.int64)

    @property
    def most(self) -> int:
        """Most lines of taps that an event meets."""
        return int(self.rows[:, 1].max(initial=0))

    @property
    def stretch(self) -> int:
        """Longest contiguous row of weights that an event adds."""
        across = int(self.columns[:, 1].max(initial=0)) if self.groups == 1 and self.step_x == 1 else 1
        return across * self.per_group


def cell_order(shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Place in the order of cells (channels last) → address in C-order."""
    return np.ascontiguousarray(np.moveaxis(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), 0, -1)).ravel()


def from_cells(value: Array, shape: tuple[int, ...]) -> Array:
    """``[.., size]`` in the order of cells → C-order."""
    lead = value.shape[:-1]
    cells = value.reshape(*lead, *shape[1:], shape[0])
    return np.ascontiguousarray(np.moveaxis(cells, -1, len(lead))).reshape(*lead, -1)


def to_cells(value: Array, shape: tuple[int, ...]) -> Array:
    """``[.., size]`` in C-order → the order of cells."""
    lead = value.shape[:-1]
    return np.ascontiguousarray(np.moveaxis(value.reshape(*lead, *shape), len(lead), -1)).reshape(*lead, -1)


def aligned(size: int, dtype: np.dtype[Any] | type) -> Array:
    """Zeros that begin at a whole vector: a vector that lies in two cache lines costs two accesses."""
    number = np.dtype(dtype)
    memory = np.zeros(size + 64 // number.itemsize, number)
    start = -memory.ctypes.data % 64 // number.itemsize
    return memory[start : start + size]
