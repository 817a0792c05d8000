"""A graph's whole tick as a tape: instructions that one compiled loop runs, and the memory that they work on.

What the ordinary way does node by node from Python, for all samples and ticks of a block at once, a tape does for one
sample and tick in one go: the same operations in the same order, each rounded on its own, so that all bits are the
same. :mod:`neuroaccel.engine.kernels.tape` says what an instruction is. Nothing is compiled per graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.kernels import tape as kernel
from neuroaccel.engine.operation import Array
from neuroaccel.engine.plan import Ref
from neuroaccel.graph import nodes as n
from neuroaccel.program.language import FLUSH_BELOW

Path = tuple[str, ...]  # of Scopes, from the outside
WIDTH = 8  # numbers of an instruction


@dataclass
class Memory:
    """What belongs to samples: values and marks ``[N, size]``, registers ``[N, R]``."""

    values: Array
    marks: NDArray[np.uint8]
    registers: NDArray[np.int64]


class Link(ABC):
    """How an operation's state lies in a tape's memory.

    ``spans`` are places and sizes of the values, ``counted`` the registers.
    """

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return ()

    @property
    def counted(self) -> tuple[int, ...]:
        return ()

    @abstractmethod
    def put(self, state: Mapping[str, Array], memory: Memory) -> None:
        """Put the state ``[N, ...]`` into the memory."""

    @abstractmethod
    def take(self, state: dict[str, Array], memory: Memory) -> None:
        """Set the state from the memory."""


@dataclass(frozen=True, eq=False)
class Flat(Link):
    """A state as it is, at a place."""

    key: str
    place: int
    size: int

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return ((self.place, self.size),)

    def put(self, state: Mapping[str, Array], memory: Memory) -> None:
        memory.values[:, self.place : self.place + self.size] = state[self.key].reshape(len(memory.values), -1)

    def take(self, state: dict[str, Array], memory: Memory) -> None:
        state[self.key] = memory.values[:, self.place : self.place + self.size]


@dataclass(frozen=True, eq=False)
class Marks(Link):
    """Marks as they are, at a place."""

    key: str
    place: int
    size: int

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return ((self.place, self.size),)

    def put(self, state: Mapping[str, Array], memory: Memory) -> None:
        memory.marks[:, self.place : self.place + self.size] = state[self.key].reshape(len(memory.marks), -1)

    def take(self, state: dict[str, Array], memory: Memory) -> None:
        state[self.key] = memory.marks[:, self.place : self.place + self.size]


@dataclass(frozen=True, eq=False)
class Register(Link):
    """A whole number."""

    key: str
    register: int

    @property
    def counted(self) -> tuple[int, ...]:
        return (self.register,)

    def put(self, state: Mapping[str, Array], memory: Memory) -> None:
        memory.registers[:, self.register] = state[self.key]

    def take(self, state: dict[str, Array], memory: Memory) -> None:
        state[self.key] = memory.registers[:, self.register]


@dataclass(frozen=True, eq=False)
class Ring(Link):
    """The last ``rows`` values, oldest first, in a ring of one row more: that which the newest has pushed out."""

    key: str
    place: int
    rows: int
    size: int
    register: int

    @property
    def whole(self) -> int:
        return (self.rows + 1) * self.size

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return ((self.place, self.whole),)

    @property
    def counted(self) -> tuple[int, ...]:
        return (self.register,)

    def put(self, state: Mapping[str, Array], memory: Memory) -> None:
        line, middle = state[self.key].reshape(len(memory.values), -1), self.place + self.rows * self.size
        memory.values[:, self.place : middle] = line
        memory.values[:, middle : middle + self.size] = 0
        memory.registers[:, self.register] = self.rows - 1

    def take(self, state: dict[str, Array], memory: Memory) -> None:
        samples = len(memory.values)
        ring = memory.values[:, self.place : self.place + self.whole].reshape(samples, self.rows + 1, self.size)
        oldest = memory.registers[:, self.register, None] + 2
        state[self.key] = ring[np.arange(samples)[:, None], (oldest + np.arange(self.rows)) % (self.rows + 1)]


@dataclass(frozen=True, eq=False)
class Products(Link):
    """Per head the sum of k·vᵀ over a band, which follows from two rings that are there already."""

    place: int
    heads: int
    keys: Ring
    values: Ring

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return ((self.place, self.keys.size**2 // self.heads),)

    def put(self, state: Mapping[str, Array], memory: Memory) -> None:
        samples, parts = len(memory.values), []
        for ring in (self.keys, self.values):  # which have just been put, the oldest first
            line = memory.values[:, ring.place : ring.place + ring.rows * ring.size]
            parts.append(line.reshape(samples, ring.rows, self.heads, -1))
        total = np.einsum("nkhi,nkhj->nhij", *parts).reshape(samples, -1)
        memory.values[:, self.place : self.place + total.shape[1]] = total

    def take(self, state: dict[str, Array], memory: Memory) -> None:
        """Nothing: no operation has it among its states."""


@dataclass(frozen=True, eq=False)
class Tape:
    """A graph's tick, written down.

    Arguments:
        instructions: ``[I, 8]``.
        numbers: 0, 1, what :data:`FLUSH_BELOW` is where there is a flush, and room for one.
        weights, living: what all samples share, and where it is not 0.
        maps: whole numbers of instructions.
        reals: what they compute with in float64, and room for it.
        fresh: a sample's memory as it begins.
        entering: Input → its place among the first values of a tick.
        rules: ``[Inputs, 6]``, what each Input allows.
        places: step → where its values lie, of those that are shown.
        shown: how many values of a tick are.
        links: what belongs to the state of the session: path of Scopes, step → how.
        tally: what is counted: path of Scopes, node, column.
        steps: path of a Scope → its steps per tick of the graph.
    """

    instructions: NDArray[np.int64]
    numbers: Array
    weights: Array
    living: NDArray[np.uint8]
    maps: NDArray[np.int32]
    reals: NDArray[np.float64]
    fresh: Memory
    entering: Mapping[str, slice]
    rules: NDArray[np.float64]
    places: Mapping[Ref, slice]
    shown: int
    links: tuple[tuple[Path, Ref, Link], ...]
    tally: tuple[tuple[Path, str, str], ...]
    steps: Mapping[Path, int]


class Draft:
    """A tape as it is written."""

    def __init__(self, number: str, track: bool) -> None:
        self.dtype, self.track = np.dtype(number), track
        self.instructions: list[list[int]] = []
        self.size = self.registers = self.shared = self.mapped = 0
        self.weights: list[Array] = []
        self.maps: list[NDArray[np.int32]] = []
        self.reals: list[float] = []
        self.images: list[tuple[int, Array]] = []
        self.constants: dict[tuple[bytes, int], int] = {}
        self.rooms: dict[tuple[int, int], int] = {}
        self.links: list[tuple[Path, Ref, Link]] = []
        self.fresh: list[tuple[Link, Mapping[str, Array]]] = []
        self.tally: list[tuple[Path, str, str]] = []

    def add(self, operation: int, *operands: int) -> None:
        """One instruction."""
        row = [operation, *(int(x) for x in operands)]
        self.instructions.append([*row, *[0] * (WIDTH - len(row))])

    def place(self, size: int) -> int:
        """Room for values."""
        self.size += size
        return self.size - size

    def room(self, size: int, k: int) -> int:
        """Room that lasts as long as an operation is at work: the k-th for values of a size."""
        if (size, k) not in self.rooms:
            self.rooms[size, k] = self.place(size)
        return self.rooms[size, k]

    def register(self, count: int = 1) -> int:
        """Registers, which begin at 0."""
        self.registers += count
        return self.registers - count

    def constant(self, value: Any, size: int) -> int:
        """The place of values that no instruction changes; a single one is repeated."""
        flat = np.array(np.broadcast_to(np.asarray(value, self.dtype).ravel(), (size,)))
        key = (flat.tobytes(), size)
        if key not in self.constants:
            self.constants[key] = self.place(size)
            self.images.append((self.constants[key], flat))
        return self.constants[key]

    def share(self, *arrays: Array) -> int:
        """Put what all samples read beside the weights, one behind the other."""
        first = self.shared
        for array in arrays:
            self.weights.append(np.ascontiguousarray(array, self.dtype).ravel())
            self.shared += array.size
        return first

    def map(self, *numbers: Any) -> int:
        """Put whole numbers beside the maps, one behind the other."""
        first = self.mapped
        for each in numbers:
            self.maps.append(np.asarray(each, np.int32).ravel())
            self.mapped += self.maps[-1].size
        return first

    def real(self, *numbers: float) -> int:
        """Numbers in float64, or room for them."""
        self.reals += numbers
        return len(self.reals) - len(numbers)

    def count(self, path: Path, name: str, *columns: str) -> int:
        """Where columns of a node are counted, the first of them."""
        self.tally += [(path, name, column) for column in columns]
        return len(self.tally) - len(columns)

    def link(self, path: Path, ref: Ref, link: Link, fresh: Mapping[str, Array], kept: bool) -> None:
        """A state: it begins fresh, and belongs to the session's if ``kept``."""
        self.fresh.append((link, fresh))
        if kept:
            self.links.append((path, ref, link))

    def done(
        self, inputs: Mapping[str, n.Input], places: Mapping[Ref, slice], shown: int, steps: Mapping[Path, int]
    ) -> Tape:
        """What was written."""
        entering, rules = {}, []
        for name, node in inputs.items():
            entering[name] = places["node", name]
            rules.append(_rule(node, entering[name].stop - entering[name].start, self.dtype))
        fresh = Memory(
            np.zeros((1, self.size), self.dtype),
            np.zeros((1, self.size), np.uint8),
            np.zeros((1, self.registers), np.int64),
        )
        for place, values in self.images:
            fresh.values[0, place : place + len(values)] = values
        for link, state in self.fresh:
            link.put({key: value[None] for key, value in state.items()}, fresh)
        weights = np.concatenate([np.zeros(0, self.dtype), *self.weights])
        flush = FLUSH_BELOW if self.dtype == np.float32 else 0.0
        return Tape(
            np.array(self.instructions, np.int64).reshape(-1, WIDTH),
            np.array([0, 1, flush, 0], self.dtype),
            weights,
            (weights != 0).astype(np.uint8),
            np.concatenate([np.zeros(0, np.int32), *self.maps]),
            np.array(self.reals, np.float64),
            fresh,
            entering,
            np.array(rules, np.float64),
            places,
            shown,
            tuple(self.links),
            tuple(self.tally),
            steps,
        )


def _rule(node: n.Input, size: int, dtype: np.dtype[Any]) -> tuple[float, ...]:
    """What an Input allows, in numbers."""
    if node.edge != "analog":
        return size, kernel.WHOLE, node.maximum, 0, 0, 0
    if node.grid is None:
        return size, kernel.REAL, float(np.finfo(dtype).max), 0, 0, 0
    return size, kernel.GRIDDED, 2.0**node.grid.frac, 2.0**-node.grid.frac, node.grid.low, node.grid.high
