"""A convolution and the neurons that alone read it, run together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.conv_code import AWAKE, fused_source
from neuroaccel.engine.convolution import Convolution, aligned, from_cells, to_cells
from neuroaccel.engine.operation import Array, Int64, Operation, Work
from neuroaccel.engine.populations import Population

# Below, the currents of a tick stay in the second-level cache anyway, and there is little to leave out.
SMALLEST = 1 << 14


class ConvPopulation(Operation):
    """A population whose currents come from a convolution and are used up at once, band by band.

    Its port is the convolution's input. Neurons lie in the order of cells, [OH, OW, O]; whoever cannot fire for lack of
    input is left alone until an event comes (:mod:`neuroaccel.engine.conv_code`).

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
        self.driven = _bits(population.driven, self.cells, self.width)
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
        return emits and population.static.size >= SMALLEST

    def scratch(self) -> dict[str, Array]:
        taps = self.synapse.taps
        cells = taps.height * self.synapse.geometry.out[1]
        return {
            "starts": np.zeros(0, np.int64),
            "events": np.zeros(0, np.int64),
            "numbers": np.zeros(0, self.dtype),
            "sums": aligned(cells * self.width, self.dtype),
            "bits": np.zeros(cells * taps.words if len(taps.masks) else 0, np.uint64),
            "seen": np.zeros((2, max(self.synapse.geometry.size[1], self.synapse.geometry.out[1])), np.uint8),
            "places": np.zeros(cells, np.int64),
            "work": np.zeros(3, np.int64),
            "pixels": np.zeros(0, np.int32),
            "codes": np.empty(self.static.size, np.int32),
            "tally": np.empty(self.width + 1, np.int32),
        }

    def allocate(self, batch: int) -> dict[str, Array]:
        bands = self.synapse.taps.bands
        state: dict[str, Array] = {}
        for key, fresh in self.fresh.items():
            state[key] = aligned(batch * self.static.size, self.dtype).reshape(batch, self.static.size)
            state[key][...] = self.inward(key, fresh[None])
        state |= {
            "@due": np.zeros((batch, self.cells), np.uint8),
            "@stamp": np.zeros((batch, self.cells), np.int64),
            "@waking": np.zeros((batch, bands), np.int64),
            "@clock": np.zeros(batch, np.int64),
            "@rests": np.full(batch, self.population.rests, np.uint8),
        }
        self._woken(state)
        return state

    def _woken(self, state: dict[str, Array]) -> None:
        """Take note that all states are those of now, whatever they are."""
        state["@due"][...] = AWAKE
        state["@stamp"][...] = state["@clock"][:, None]
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
        work.state["@rests"][...] = 0

    def silence(self, work: Work) -> bool:
        if work.kept.shape[1] or not work.state["@rests"].all():
            return False
        work.out.hush()
        return True

    def run(self, work: Work) -> None:
        work.state["@rests"][...] = 0
        s = work.scratch
        most, keys = int(work.ports[0].found.sum()), self.synapse.geometry.size[0] * work.ticks + 2
        if len(s["events"]) < most:
            s["events"] = np.empty(2 * most, np.int64)
            s["numbers"] = np.empty(0 if self.synapse.ones else 2 * most, self.dtype)
        if len(s["starts"]) != keys:
            s["starts"] = np.zeros(keys, np.int64)
            s["pixels"] = np.zeros((keys - 2) * self.synapse.geometry.size[1] + 2, np.int32)
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
            *(taps.shape, s["starts"], s["events"], s["numbers"], s["sums"], s["bits"], s["seen"], s["places"]),
            *(s["pixels"], s["codes"], s["tally"]),
            *(state["@due"], state["@stamp"], state["@waking"], state["@clock"]),
            *(self.driven, *states, *self.parameters),
            *(out.value, out.index, out.found, work.counts["updates_driven"], work.counts["spikes"]),
            *(kept, current, s["work"], ticks, work.track),
        )

    def explain(self) -> str:
        taps = self.synapse.taps
        lazy = (
            "cells asleep are left alone" if self.population.can_sleep else "no cell may sleep (bias, leak or program)"
        )
        return (
            f"with '{self.synapse.name}' ({self.static.size} >= {SMALLEST} neurons), {taps.bands} bands of "
            f"{taps.height} output rows, cells of {self.width} channels; {lazy}"
        )


def _bits(driven: Array, cells: int, width: int) -> NDArray[np.uint64]:
    """Flags per neuron in the order of cells, or one for all → bits in words and one more; [1] if all are set, empty
    if none."""
    if driven.all() or not driven.any():
        return np.ones(int(driven.all()), np.uint64)
    words = -(-width // 64)
    bits = np.zeros((cells, words * 64), np.uint8)
    bits[:, :width] = driven.reshape(cells, width)
    packed = np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64).ravel()
    return np.append(packed, np.uint64(0))  # a single word would say that all are set


class Counted(Operation):
    """A convolution that its neurons compute: what is left of it is to count."""

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = Convolution.columns

    def __init__(self, synapse: Convolution) -> None:
        super().__init__(synapse.name, synapse.static, synapse.dtype)
        self.synapse = synapse

    def book(self, counts: Mapping[str, Int64]) -> dict[str, Int64]:
        return self.synapse.book(counts)

    def run(self, work: Work) -> None:
        if work.track:
            self.synapse.count(work)

    def silence(self, work: Work) -> bool:
        self.run(work)
        return True

    def explain(self) -> str:
        return "together with the neurons that read it"
