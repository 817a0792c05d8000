"""A convolution and the neurons that alone read it, run together."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neuroaccel.engine import cache
from neuroaccel.engine.cell_code import AWAKE
from neuroaccel.engine.codegen import BLOCK
from neuroaccel.engine.conv_code import fused_source
from neuroaccel.engine.convolution import Convolution, aligned, from_cells, to_cells
from neuroaccel.engine.operation import Array, Operation, Work
from neuroaccel.engine.populations import Population

# Below, the currents of a tick stay in the second-level cache anyway, and there is little to leave out.
SMALLEST = 1 << 14


class ConvPopulation(Operation):
    """A population whose currents come from a convolution and are used up at once, band by band.

    Its port is the convolution's input. Neurons lie in the order of cells, [OH, OW, O]; whoever cannot fire for lack of
    input is left alone until an event comes (:mod:`neuroaccel.engine.cell_code`).

    Arguments:
        synapse: the convolution.
        population: the neurons, in the order of cells.
    """

    reads_events: ClassVar[bool] = True
    finds_events: ClassVar[bool] = True
    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = Population.columns

    def __init__(self, synapse: Convolution, population: Population) -> None:
        super().__init__(population.name, population.static, population.dtype)
        self.synapse, self.population = synapse, population
        self.fresh = population.fresh
        self.width = synapse.geometry.weight[0]
        self.cells = population.static.size // self.width
        bias = synapse.bias
        # A bias of zeros changes no sum.
        self.bias = bias if (bias != 0).any() else bias[:0]
        wide, rule = set(population.wide), population.rule
        self.parameters = list(population.parameters)
        if rule is not None:
            for name, value in rule.constants(population.known, self.dtype.name).items():
                flat = population.parameter(value)
                self.parameters.append(flat)
                wide |= {name} if len(flat) > 1 else set()
        text = cache.stamped(fused_source(population.program, self.dtype.name, frozenset(wide), rule))
        self.kernel = cache.compile_source(f"conv_{population.program.key}_{self.dtype.name}", text, self.dtype.name)

    @staticmethod
    def suits(synapse: Convolution, population: Population) -> bool:
        """Whether the two can run together, and should."""
        emits = population.program.emit.kind == "spike" and population.dtype.kind == "f"
        return emits and synapse.geometry.weight[0] <= BLOCK and population.static.size >= SMALLEST

    def scratch(self) -> dict[str, Array]:
        taps = self.synapse.taps
        cells = taps.height * self.synapse.geometry.out[1]
        return {
            "ends": np.zeros(0, np.int64),
            "addresses": np.zeros(0, np.int32),
            "numbers": np.zeros(0, self.dtype),
            "sums": aligned(cells * self.width, self.dtype),
            "bits": np.zeros(cells * taps.words if len(taps.masks) else 0, np.uint64),
            "seen": np.zeros((taps.seen, self.synapse.geometry.size[1]), np.uint8),
            "work": np.zeros(3, np.int64),
        }

    def allocate(self, batch: int) -> dict[str, Array]:
        bands = self.synapse.taps.bands
        state = {}
        for key, fresh in self.fresh.items():
            state[key] = aligned(batch * self.static.size, self.dtype).reshape(batch, self.static.size)
            state[key][...] = self.inward(key, fresh[None])
        state |= {
            "@due": np.zeros((batch, -(-self.cells // 64) * 64), np.uint8),
            "@stamp": np.zeros((batch, self.cells), np.int64),
            "@even": np.zeros((batch, bands), np.int64),
            "@waking": np.zeros((batch, bands), np.int64),
            "@clock": np.zeros(batch, np.int64),
        }
        self._woken(state)
        return state

    def _woken(self, state: dict[str, Array]) -> None:
        """Take note that all states are those of now, whatever they are."""
        state["@due"][:, : self.cells] = AWAKE if self.population.can_sleep else 0
        state["@stamp"][...] = state["@even"][...] = state["@clock"][:, None]
        state["@waking"][...] = self.cells

    def inward(self, key: str, value: Array) -> Array:
        return to_cells(value.reshape(len(value), -1), self.static.shape)

    def outward(self, key: str, value: Array) -> Array:
        return from_cells(value, self.static.shape)

    def settle(self, work: Work) -> None:
        if self.population.can_sleep:
            self._call(work, 0)

    def restored(self, work: Work) -> None:
        self._woken(work.state)

    def run(self, work: Work) -> None:
        s, taps = work.scratch, self.synapse.taps
        most = int(work.ports[0].found.sum()) * taps.overlap
        if len(s["addresses"]) < most:
            s["addresses"], s["numbers"] = np.empty(2 * most, np.int32), np.empty(2 * most, self.dtype)
        if len(s["ends"]) != taps.bands * work.ticks:
            s["ends"] = np.zeros(taps.bands * work.ticks, np.int64)
        self._call(work, work.ticks)

    def current(self, work: Work) -> Array:
        """The currents of the last block, C-order ``[K * N, size]``; kept only where states are recorded."""
        return self.outward("", work.scratch["current"])

    def _call(self, work: Work, ticks: int) -> None:
        port, out, s, state, taps = work.ports[0], work.out, work.scratch, work.state, self.synapse.taps
        states = [state[key] for key in self.fresh]
        kept = work.kept if work.kept.shape[1] else np.empty((len(states), 0, 0), self.dtype)
        if ticks and kept.shape[1]:
            s["current"] = np.zeros(out.value.shape, self.dtype)
        current = s.get("current", np.empty((0, 0), self.dtype))
        self.kernel(
            *(port.value, port.index, port.found, taps.weight, taps.masks, taps.rows, taps.columns, self.bias),
            *(taps.shape, s["ends"], s["addresses"], s["numbers"], s["sums"], s["bits"], s["seen"]),
            *(state["@due"], state["@stamp"], state["@even"], state["@waking"], state["@clock"]),
            *(self.population.driven, *states, *self.parameters, self.population.address),
            *(out.value, out.index, out.found, work.counts["updates_driven"], work.counts["spikes"]),
            *(kept, current, s["work"], ticks, work.track),
        )

    def explain(self) -> str:
        taps = self.synapse.taps
        lazy = "cells asleep are left alone" if self.population.can_sleep else "no cell may sleep (bias, leak or program)"
        return (
            f"with '{self.synapse.name}', {self.static.size} >= {SMALLEST} neurons: {taps.bands} bands of {taps.height} "
            f"output rows, cells of {self.width} channels; {lazy}"
        )
