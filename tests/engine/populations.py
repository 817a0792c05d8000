"""Populations alone: programs interpreted on whole arrays, what a session would lend, cells beside all at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.cell_code import AWAKE, TOUCHED, settle_source, tick_source
from neuroaccel.engine.operation import Array, Buffer, Flags, Int64, Static, Work
from neuroaccel.engine.populations import Population
from neuroaccel.program import ALIF, IF, LIF, CubaLIF, GradedLIF, NeuronSpec, Program, resolve
from tests.random_graphs import NEURONS, Choices, _Draft, _spec, neuron

FUNCTIONS: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "neg": np.negative,
    "abs": np.abs,
    "floor": np.floor,
    "copy": np.positive,
}


def drawn(rng: np.random.Generator, size: int, **choices: Any) -> NeuronSpec:
    """A neuron of the zoo with random options and parameters, some of them per neuron."""
    return _spec(_Draft(rng, Choices(**choices), "x"), (size,), NEURONS[int(rng.integers(len(NEURONS)))])


class Interpreter:
    """A population of N samples in floats, operation by operation."""

    def __init__(self, spec: NeuronSpec, shape: tuple[int, ...], batch: int, number: str) -> None:
        self.program: Program = spec.program
        self.number: Any = np.dtype(number).type
        known = resolve(spec.program, {k: np.asarray(v, np.float32) for k, v in spec.values.items()})
        self.values = {k: np.broadcast_to(v, shape).ravel().astype(number) for k, v in known.items()}
        self.leaks = np.zeros(int(np.prod(shape)), np.bool_)
        for name in spec.program.leak:
            self.leaks |= self.values[name] != 0
        self.states = {
            s.name: np.tile(self.values[s.fresh] if isinstance(s.fresh, str) else self.number(s.fresh), (batch, 1))
            * np.ones((batch, len(self.leaks)), number)
            for s in spec.program.states
        }

    def operation(self, a: Any, known: dict[str, Any]) -> Any:
        read = [known[x] if isinstance(x, str) else self.number(x) for x in a.args]
        if a.op == "shift":
            return read[0] * self.number(2.0 ** int(a.args[1]))
        if a.op == "select":
            return np.where(read[0] != 0, read[1], read[2])
        if a.op == "flush":
            small = np.abs(read[0]) < 2.0**-100 if self.number is np.float32 else False
            return np.where(small, self.number(0), read[0])
        return np.asarray(FUNCTIONS[a.op](*read)).astype(self.number)

    def tick(self, current: NDArray[Any], touched: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """What the neurons emit, and which of them the ledger counts."""
        p, known = self.program, {**self.values, **self.states, "i": current}
        moved = touched | self.leaks
        with np.errstate(all="ignore"):
            if p.fire is not None:
                moved = moved | (known[p.fire.left] >= known[p.fire.right])
            for a in p.body:
                known[a.target] = self.operation(a, known)
            fired = np.zeros(current.shape, np.bool_)
            if p.fire is not None:
                fired = FUNCTIONS[p.fire.op](known[p.fire.left], known[p.fire.right])
            for a in p.on_fire:
                known[a.target] = np.where(fired, self.operation(a, known), known[a.target])
        self.states = {name: np.broadcast_to(known[name], current.shape).copy() for name in p.state_names}
        if p.emit.kind == "state":
            return self.states[str(p.emit.value)], moved | fired
        sent = self.number(1) if p.emit.kind == "spike" else known[p.emit.value]
        return np.where(np.broadcast_to(fired, current.shape), sent, self.number(0)), moved | fired


@dataclass
class Lent:
    """A population with what a session would lend it for K ticks of N samples."""

    population: Population
    work: Work

    @staticmethod
    def of(
        spec: NeuronSpec, shape: tuple[int, ...], ticks: int, batch: int, number: str = "float32", **options: Any
    ) -> Lent:
        biased = options.pop("biased", np.zeros(int(np.prod(shape)), np.bool_))
        population = Population("n", neuron(spec, shape), Static(shape, biased), number, **options)
        size, rows = population.static.size, ticks * batch
        ports, out = (Buffer.empty(rows, size, number),), Buffer.empty(rows, size, number)
        counts = {column: np.zeros(batch, np.int64) for column in population.columns}
        work = Work(ports, out, population.allocate(batch), population.scratch(), counts, ticks=ticks)
        work.kept = np.zeros((len(spec.program.states), rows, size), number)
        return Lent(population, work)

    def run(self, current: NDArray[Any], touched: NDArray[np.bool_] | None = None, layout: Any = None) -> Buffer:
        """Run a block: ``current`` and ``touched`` ``[K * N, size]`` in C-order."""
        order = slice(None) if layout is None else layout
        port = self.work.ports[0]
        port.value[...] = current[:, order]
        port.reach[...] = 1
        if touched is not None:
            port.touched[...] = touched[:, order]
            port.reach[...] = np.where(touched.all(axis=1), 1, np.where(touched.any(axis=1), 2, 0))
        self.population.run(self.work)
        return self.work.out


SPARSE = [
    LIF(0.9),
    LIF(0.9, tie="ge", reset="subtract", reset_delay=1),
    LIF(1.0, form="euler", rate=0.25),
    LIF(1.0, form="decay_input", tau=3.0, reset="to_value", v_reset=0.0),
    IF(1.0, gain=-0.5),
    CubaLIF(0.75, 0.9, gain=0.25),
    ALIF(0.9, rho=0.99, kappa=0.5, reset="subtract"),
    GradedLIF(0.9),
]


class Cells:
    """The lazy kernels of a population whose cells have ``width`` neurons."""

    def __init__(self, population: Population, width: int) -> None:
        rule, number, size = population.rule, population.dtype.name, population.static.size
        assert rule is not None
        self.width, self.count = width, -(-size // width)
        self.states = population.program.state_names
        self.address, self.parameters = population.address, list(population.parameters)
        wide = set(population.wide)
        for name, value in rule.constants(population.known, number).items():
            self.parameters.append(population.parameter(value))
            wide |= {name} if len(self.parameters[-1]) > 1 else set()
        text = cache.stamped(tick_source(rule, number, frozenset(wide)))
        self.kernel = cache.compile_source(f"cells_{population.program.key}_{number}", text, number)
        text = cache.stamped(settle_source(rule, number, frozenset(wide)))
        self.settled = cache.compile_source(f"settle_{population.program.key}_{number}", text, number)

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


class Lazy:
    """A population of one sample, cell by cell, beside the same population all at once."""

    def __init__(self, spec: NeuronSpec, size: int, width: int, number: str, layout: Any = None) -> None:
        self.spec, self.size, self.width = spec, size, width
        self.order = np.arange(size) if layout is None else layout
        self.dense = Lent.of(spec, (size,), 1, 1, number, layout=layout)
        self.lazy = Lent.of(spec, (size,), 1, 1, number, layout=layout)
        self.cells = Cells(self.lazy.population, width)
        self.due, self.stamp = self.cells.allocate(1)
        self.current = np.zeros(self.cells.count * width, number)
        self.states = [self.lazy.work.flat(name) for name in spec.program.state_names]
        self.ticks = self.spikes = self.awake = self.skipped = 0

    def tick(self, current: Any, touched: Any, bands: int = 1, masks: bool = False) -> None:
        """Both: ``current`` and ``touched`` ``[size]`` in C-order; without masks whole cells are touched."""
        placed, reached = current[self.order], np.zeros(self.cells.count * self.width, np.bool_)
        reached[: self.size] = touched[self.order]
        per_cell = reached.reshape(-1, self.width)
        if not masks:
            per_cell[:] = per_cell.any(axis=1, keepdims=True)
        touched = np.empty_like(touched)
        touched[self.order] = reached[: self.size]
        out = self.dense.run(current[None], touched[None], self.order)
        self.due[0, : self.cells.count][per_cell.any(axis=1)] = TOUCHED
        self.current[: self.size] = placed
        parts = -(-self.width // 64)
        bits = np.zeros((self.cells.count, 64 * parts), np.uint8)
        bits[:, : self.width] = per_cell
        words = np.packbits(bits, axis=1, bitorder="little").view(np.uint64).ravel()
        mine = self.lazy.work.out
        mine.value[0, mine.index[0, : mine.found[0]]] = 0
        mine.found[0] = 0
        edges = np.linspace(0, self.cells.count, bands + 1).astype(int)
        counts = self.lazy.work.counts["updates_driven"], self.lazy.work.counts["spikes"]
        self.awake = 0
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            band = self.current[first * self.width : last * self.width]
            row = words[first * parts : last * parts] if masks else words[:0]
            self.skipped += int(np.count_nonzero(self.due[0, first:last] == 0))
            self.awake += self.cells.run(
                self.ticks, 0, 0, (first, last), self.due, band, row, self.stamp, self.states, mine, counts, True
            )
        self.ticks += 1
        assert not self.current.any()
        assert not words.any() or not masks
        assert (mine.value.view(np.uint8) == out.value.view(np.uint8)).all()
        for buffer in (mine, out):
            listed = np.sort(buffer.index[0, : buffer.found[0]])
            assert listed.tolist() == np.flatnonzero(out.value[0]).tolist()
        assert self.awake == np.count_nonzero(self.due == AWAKE) == np.count_nonzero(self.due)
        self.spikes += int(out.found[0])

    def compare(self) -> None:
        """Bring all cells up to date: states and counts are those of the neurons that were never left alone."""
        self.cells.settle(self.ticks - 1, self.stamp, self.states)
        for name, state in zip(self.spec.program.state_names, self.states, strict=True):
            expected = self.dense.work.flat(name)
            same = (state.view(np.uint8) == expected.view(np.uint8)) | np.isnan(state).repeat(state.itemsize, axis=1)
            assert same.all(), name
        for column, count in self.dense.work.counts.items():
            assert self.lazy.work.counts[column].tolist() == count.tolist(), column
