"""What the engine runs: an operation per node, the buffers between them, and what a session lends an operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine.fixed import Format
from neuroaccel.errors import InputError

Array = NDArray[Any]
Flags = NDArray[np.uint8]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Buffer:
    """What a node emits in one tick, for N samples, flattened in C-order.

    Arguments:
        value: ``[N, size]``.
        touched: ``[N, size]``, 1 where an event arrived: as the value itself, or in its sum through a non-zero weight.
        index: int32 ``[N, size]``, of which the first ``found[n]`` are the addresses of non-zero values, rising.
        found: ``[N]``.
    """

    value: Array
    touched: Flags
    index: NDArray[np.int32]
    found: Int64

    @staticmethod
    def empty(batch: int, size: int, dtype: DTypeLike) -> Buffer:
        shape = (batch, size)
        found = np.zeros(batch, np.int64)
        return Buffer(np.zeros(shape, dtype), np.zeros(shape, np.uint8), np.zeros(shape, np.int32), found)

    def arrays(self) -> tuple[Array, ...]:
        return self.value, self.touched, self.index, self.found

    def copy_from(self, other: Buffer) -> None:
        for mine, theirs in zip(self.arrays(), other.arrays(), strict=True):
            mine[...] = theirs


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
class Work:
    """What a session lends an operation: its inputs, its output, its state, scratch and counters."""

    ports: tuple[Buffer, ...]
    out: Buffer
    state: dict[str, Array] = field(default_factory=dict)
    scratch: dict[str, Array] = field(default_factory=dict)
    counts: dict[str, Int64] = field(default_factory=dict)
    track: bool = True

    @property
    def batch(self) -> int:
        return len(self.out.found)

    def flat(self, key: str) -> Array:
        """A state as ``[N, size]``."""
        return self.state[key].reshape(self.batch, -1)


def refuse_overflow(name: str, what: str, code: int, size: int) -> None:
    """Raise where a kernel returned 1 + the flat index ``[N, size]`` of a value that may not overflow, and does.

    Raises:
        InputError: naming the node, the sample and the index.
    """
    if code:
        sample, index = divmod(code - 1, size)
        raise InputError(
            f"node '{name}': {what} of sample {sample} at index {index} leaves its integer format, "
            "whose overflow is 'error'"
        )


class Operation(ABC):
    """One node, compiled.

    ``fresh`` holds its state variables' fresh values without batch; ``columns`` the raw counts that it keeps;
    ``reads_events`` says that it needs the index of its inputs, ``finds_events`` that it fills its own, ``flags_value``
    that an element of it is touched exactly where it is not 0, and ``passes_touched`` that it needs its inputs' flags.
    """

    reads_events: ClassVar[bool] = False
    finds_events: ClassVar[bool] = False
    flags_value: ClassVar[bool] = False
    passes_touched: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, static: Static, dtype: DTypeLike) -> None:
        self.name, self.static, self.dtype = name, static, np.dtype(dtype)
        self.fresh: Mapping[str, Array] = {}

    def scratch(self) -> dict[str, Array]:
        """Arrays that a session keeps for the operation and that carry nothing from tick to tick."""
        return {}

    @abstractmethod
    def run(self, work: Work) -> None:
        """Compute ``work.out`` of this tick."""


class Latch(Operation):
    """An operation that emits at the beginning of a tick and takes in at its end."""

    @abstractmethod
    def emit(self, work: Work) -> None:
        """Set ``work.out`` from what came in earlier."""

    @abstractmethod
    def take(self, work: Work) -> None:
        """Take in what arrived this tick."""

    def run(self, work: Work) -> None:
        self.take(work)
        self.emit(work)


class Same(Operation):
    """A node that passes its input on: its buffer is its input's."""

    def run(self, work: Work) -> None:
        """Nothing to do."""
