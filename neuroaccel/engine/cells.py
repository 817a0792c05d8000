"""A population in cells: what its lazy kernels need, and how to call them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.cell_code import AWAKE, BLOCK, TOUCHED, settle_source, tick_source
from neuroaccel.engine.operation import Array, Buffer, Flags, Int64

if TYPE_CHECKING:
    from neuroaccel.engine.populations import Population

__all__ = ["AWAKE", "TOUCHED", "Cells"]


class Cells:
    """The lazy kernels of a population, as :mod:`neuroaccel.engine.cell_code` describes them.

    Arguments:
        population: one with a rule of sleep.
        width: neurons of a cell, at most ``BLOCK``.

    ``count`` is the number of cells.
    """

    def __init__(self, population: Population, width: int) -> None:
        rule = population.rule
        if rule is None or not 1 <= width <= BLOCK:
            raise ValueError(f"population '{population.name}' has no cells of {width} neurons")
        number, size = population.dtype.name, population.static.size
        self.width, self.count = width, -(-size // width)
        self.states = population.program.state_names
        self.address, self.parameters = population.address, list(population.parameters)
        wide = set(population.wide)
        for name, value in rule.constants(population.known, number).items():
            flat = population.parameter(value)
            self.parameters.append(flat)
            wide |= {name} if len(flat) > 1 else set()
        text, stem = tick_source(rule, number, frozenset(wide)), f"{population.program.key}_{number}"
        self.kernel = cache.compile_source(f"cells_{stem}", text, number)
        self.settled = cache.compile_source(f"settle_{stem}", settle_source(rule, number, frozenset(wide)), number)

    def allocate(self, batch: int, tick: int = 0) -> tuple[Flags, Int64]:
        """``due`` and ``stamp`` of N samples before ``tick``: every cell is due once."""
        due = np.zeros((batch, -(-self.count // 64) * 64), np.uint8)
        stamp = np.empty((batch, self.count), np.int64)
        self.wake(due, stamp, tick)
        return due, stamp

    def wake(self, due: Flags, stamp: Int64, tick: int) -> None:
        """Take note that all states (of the samples given) are those before ``tick``, whatever they are."""
        due[:, : self.count] = AWAKE
        stamp[...] = tick - 1

    def run(
        self,
        tick: int,
        sample: int,
        row: int,
        span: tuple[int, int],
        due: Flags,
        current: Array,
        bits: NDArray[np.uint64],
        stamp: Int64,
        states: list[Array],
        out: Buffer,
        counts: tuple[Int64, Int64],
        track: bool,
    ) -> int:
        """One tick of one sample's cells ``span``; how many of them stay awake."""
        awake: int = self.kernel(
            *(tick, sample, row, *span, self.width, due, current, bits, stamp, *states, *self.parameters),
            *(self.address, out.value, out.index, out.found, *counts, track),
        )
        return awake

    def settle(self, tick: int, stamp: Int64, states: list[Array]) -> None:
        """Bring all states to the end of ``tick``."""
        self.settled(tick, self.width, stamp, *states, *self.parameters)
