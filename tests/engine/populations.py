"""Populations alone: programs interpreted on whole arrays, and what a session would lend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.operation import Buffer, Static, Work
from neuroaccel.engine.populations import Population
from neuroaccel.program import ALIF, IF, LIF, CubaLIF, NeuronSpec, Program, resolve
from tests.random_graphs import Choices, _Draft, _spec, neuron

# Neurons that sleep until an event comes.
SLEEPERS = [
    LIF(0.9),
    LIF(0.9, tie="ge", reset="subtract", reset_delay=1),
    LIF(1.0, form="euler", rate=0.25),
    LIF(1.0, form="decay_input", tau=3.0, reset="to_value", v_reset=0.0),
    IF(1.0, gain=-0.5),
    CubaLIF(0.75, 0.9, gain=0.25),
    ALIF(0.9, rho=0.99, kappa=0.5, reset="subtract"),
]

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


def drawn(rng: np.random.Generator, shape: tuple[int, ...], **choices: Any) -> NeuronSpec:
    """A neuron of the zoo with random options and parameters, some of them per neuron."""
    may = Choices(**choices)
    return _spec(_Draft(rng, may, "x"), shape, may.neurons[int(rng.integers(len(may.neurons)))])


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
