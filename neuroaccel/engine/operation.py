"""What the engine runs: an operation per node, the buffers between them, and what a session lends an operation.

A session works in blocks of K ticks. An operation sees them all at once, unless it is part of a loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine.fixed import Format
from neuroaccel.errors import InputError

Array = NDArray[Any]
Flags = NDArray[np.uint8]
Int64 = NDArray[np.int64]


NONE, ALL, SOME = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Buffer:
    """What a node emits in K ticks, for N samples: rows ``t * N + n``, each flattened in C-order.

    Arguments:
        value: ``[K * N, size]``.
        touched: uint8, of that shape: 1 where an event arrived, as the value itself or in its sum through a non-zero
            weight; it holds only for rows whose ``reach`` is SOME.
        index: int32, of that shape; the first ``found[row]`` of a row are the addresses of its non-zero values.
        found: int64 ``[K * N]``.
        reach: uint8 ``[K * N]``: NONE, ALL or SOME of a row's elements are touched.
    """

    value: Array
    touched: Flags
    index: NDArray[np.int32]
    found: Int64
    reach: Flags

    @staticmethod
    def empty(rows: int, size: int, dtype: DTypeLike) -> Buffer:
        shape = (rows, size)
        places = np.zeros(shape, np.int32)
        return Buffer(
            np.zeros(shape, dtype),
            np.zeros(shape, np.uint8),
            places,
            np.zeros(rows, np.int64),
            np.zeros(rows, np.uint8),
        )

    def arrays(self) -> tuple[Array, ...]:
        return self.value, self.touched, self.index, self.found, self.reach

    def rows(self, first: int, last: int) -> Buffer:
        """A view of some of the rows."""
        return Buffer(*(array[first:last] for array in self.arrays()))

    def hush(self) -> None:
        """Hold zeros, of which the events' lists know, and nothing touched."""
        if self.found.any():
            self.value[...] = 0
            self.found[...] = 0
        self.reach[...] = NONE

    def clear(self) -> None:
        """Forget everything."""
        for array in self.arrays():
            array[...] = 0

    def flags(self) -> Flags:
        """``touched``, made to hold for every row."""
        if (self.reach != SOME).any():
            whole = self.reach != SOME
            self.touched[whole] = self.reach[whole, None] == ALL
            self.reach[...] = SOME
        return self.touched


@dataclass(frozen=True, eq=False)
class Static:
    """What is known of a node's emission before anything runs.

    Arguments:
        shape: without batch.
        biased: bool ``[size]``, where a non-zero bias is part of the value.
        format: fraction and magnitude in integer arithmetic; None in floating point, and for a readout.
    """

    shape: tuple[int, ...]
    biased: NDArray[np.bool_]
    format: Format | None = None

    @staticmethod
    def plain(shape: tuple[int, ...], form: Format | None = None) -> Static:
        return Static(shape, np.zeros(int(np.prod(shape, dtype=np.int64)), np.bool_), form)

    @property
    def size(self) -> int:
        return len(self.biased)


@dataclass(eq=False)
class Now:
    """Where a session stands: the tick that its block begins with, and the number of its first sample."""

    tick: int = 0
    sample: int = 0


@dataclass(eq=False)
class Work:
    """What a session lends an operation for K ticks: its inputs, its output, its state, scratch and counters.

    Arguments:
        ports, out: buffers of K·N rows each; a port behind a slower clock has fewer.
        state: variable → ``[N, ...]``, in the operation's own layout.
        scratch: what is of use only while the session goes on, and not part of its state.
        counts: column → int64 ``[N]``.
        track: whether anything is counted.
        ticks: K.
        kept: of a neuron, ``[states, K * N, size]`` for its states after every tick; ``[states, 0, size]`` where nobody
            asks.
        now: when the block began.
        first: at which tick of the block this piece of work begins.
        given: what the operation hands its kernel every time, once it has put it together.
    """

    ports: tuple[Buffer, ...]
    out: Buffer
    state: dict[str, Array] = field(default_factory=dict)
    scratch: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Int64] = field(default_factory=dict)
    track: bool = True
    ticks: int = 1
    kept: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    now: Now = field(default_factory=Now)
    first: int = 0
    given: tuple[Any, ...] = field(default=(), init=False)

    @property
    def batch(self) -> int:
        return len(self.out.found) // self.ticks

    def flat(self, key: str) -> Array:
        """A state as ``[N, size]``."""
        return self.state[key].reshape(self.batch, -1)

    def tick(self, t: int) -> Work:
        """The work of one tick of the block."""
        return self._cut(t, t + 1)

    def part(self, ticks: int) -> Work:
        """The work of the first ticks of the block."""
        return self if ticks == self.ticks else self._cut(0, ticks)

    def _cut(self, start: int, stop: int) -> Work:
        first, last = start * self.batch, stop * self.batch
        return replace(
            self,
            ports=tuple(port.rows(first, last) for port in self.ports),
            out=self.out.rows(first, last),
            ticks=stop - start,
            kept=self.kept[:, first:last],
            first=self.first + start,
        )


def refuse_overflow(name: str, what: str, code: int, work: Work, size: int | None = None) -> None:
    """Raise where a kernel returned 1 + the flat index ``[K * N, size]`` of a value that may not overflow, and does.

    Raises:
        InputError: naming the tick, the node, the sample and the index.
    """
    if code:
        row, index = divmod(code - 1, size or work.out.value.shape[1])
        t, sample = divmod(row, work.batch)
        tick, sample = work.now.tick + work.first + t, work.now.sample + sample
        raise InputError(
            f"tick {tick}: node '{name}': {what} of sample {sample} at index {index} leaves its integer format, "
            "whose overflow is 'error'"
        )


class Operation(ABC):
    """One node, compiled.

    ``fresh`` holds its state variables' fresh values without batch; ``columns`` the raw counts that it keeps;
    ``reads_events`` says that it needs the index of its inputs, ``finds_events`` that it fills its own, ``flags_value``
    that an element of it is touched exactly where it is not 0, and ``passes_touched`` that it needs its inputs' flags.
    ``merged`` says that another operation does its part: it never runs and has no values.
    """

    merged: ClassVar[bool] = False
    reads_events: ClassVar[bool] = False
    finds_events: ClassVar[bool] = False
    flags_value: ClassVar[bool] = False
    passes_touched: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, static: Static, dtype: DTypeLike) -> None:
        self.name, self.static, self.dtype = name, static, np.dtype(dtype)
        self.fresh: Mapping[str, Array] = {}

    @property
    def weight_width(self) -> int:
        """Bytes of a weight as its kernels read it."""
        return self.dtype.itemsize

    def prepare(self) -> None:  # noqa: B027  # most have nothing to load, or load it at once
        """Load the kernels that run it; a session that runs node by node asks for it when it is opened."""

    def scratch(self) -> dict[str, Any]:
        """What a session keeps for the operation beside its state."""
        return {}

    def allocate(self, batch: int) -> dict[str, Array]:
        """The fresh state of N samples, in the operation's own layout."""
        return {key: self.inward(key, np.array([fresh] * batch)) for key, fresh in self.fresh.items()}

    def inward(self, key: str, value: Array) -> Array:
        """A state variable ``[N, ...]`` from C-order into the operation's own layout."""
        return value

    def outward(self, key: str, value: Array) -> Array:
        """A state variable, or a neuron's current, from the operation's own layout into C-order."""
        return value

    def current(self, work: Work) -> Array:
        """What entered a neuron in the last block, rows in C-order."""
        return self.outward("", work.ports[0].value)

    def settle(self, work: Work) -> None:  # noqa: B027  # most have nothing to settle
        """Bring the state to the present tick, where the operation puts that off."""

    def restored(self, work: Work) -> None:  # noqa: B027  # most have nothing to learn
        """Learn that the state was put in from outside."""

    def loaded(self, work: Work, arrays: Collection[str]) -> None:  # noqa: B027  # most hold their weights themselves
        """Take up weights that were loaded: ``arrays`` says which of the node's."""

    def counters(self, batch: int) -> dict[str, Int64]:
        """The raw counts of N samples, at 0."""
        return {column: np.zeros(batch, np.int64) for column in self.columns}

    def lent(self, counts: Mapping[str, Int64]) -> dict[str, dict[str, Int64]]:
        """Of an operation that does merged nodes' parts: node → column → a view of the counts that it keeps for it."""
        return {}

    def book(self, counts: Mapping[str, Int64]) -> dict[str, Int64]:
        """The counts that users see, of those that are kept."""
        return dict(counts)

    @abstractmethod
    def run(self, work: Work) -> None:
        """Compute ``work.out`` of this block."""

    def silence(self, work: Work) -> bool:
        """Take a block in which nothing but zeros enters, if such a block changes no state and gives zeros alone.

        Returns:
            Whether it did; if not, nothing has happened, and :meth:`run` must.
        """
        return False

    def explain(self) -> str:
        """Which kernel does it and why, in a line."""
        return ""


class Latch(Operation):
    """An operation that emits at the beginning of a tick and takes in at its end."""

    @abstractmethod
    def emit(self, work: Work) -> None:
        """Set ``work.out`` of one tick from what came in earlier."""

    @abstractmethod
    def take(self, work: Work) -> None:
        """Take in what arrived in this tick."""

    def run(self, work: Work) -> None:
        for t in range(work.ticks):
            tick = work.tick(t)
            self.emit(tick)
            self.take(tick)


class Learner(Operation):
    """An operation that runs in its turn and learns at the end of the tick, from what all others gave in it."""

    @abstractmethod
    def react(self, work: Work) -> None:
        """Set ``work.out`` of one tick."""

    @abstractmethod
    def learn(self, work: Work) -> None:
        """Learn from one tick; what is learnt holds from the next."""


class Same(Operation):
    """A node that passes its input on: its buffer is its input's, and who reads it asks for flags by itself."""

    passes_touched: ClassVar[bool] = False

    def run(self, work: Work) -> None:
        """Nothing to do."""

    def silence(self, work: Work) -> bool:
        return True
