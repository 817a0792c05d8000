"""The execution book: what an executor really did, as opposed to what the algorithm asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuroaccel.ledger.book import Book, Counts

# ours: sizes of the caches of a usual CPU core; a layer is said to live in the smallest that holds it.
CPU_LEVELS = (("L1", 32 * 1024), ("L2", 1024 * 1024), ("L3", 32 * 1024 * 1024))
BYTES = ("weight_bytes", "state_bytes", "event_bytes")


@dataclass(frozen=True)
class ExecutionBook:
    """What a run did.

    Arguments:
        executor: its name.
        seconds: wall time of the run, all samples together; ``None``: not measured.
        samples, ticks: what it ran.
        neurons_touched: node → updates that it made, all samples together; empty if it does not say.
        bytes_by_level: memory level → bytes of weights, states and events that it moved, by the level that would hold
            the layer's weights, states or events.
    """

    executor: str
    seconds: float | None
    samples: int
    ticks: int
    neurons_touched: Mapping[str, int] = field(default_factory=dict)
    bytes_by_level: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "executor": self.executor,
            "seconds": self.seconds,
            "samples": self.samples,
            "ticks": self.ticks,
            "neurons_touched": dict(self.neurons_touched),
            "bytes_by_level": dict(self.bytes_by_level),
        }


def level_of(footprint: int, levels: tuple[tuple[str, int], ...] = CPU_LEVELS) -> str:
    """The smallest memory that holds ``footprint`` bytes."""
    return next((name for name, size in levels if footprint <= size), "DRAM")


def execution_book(
    book: Book,
    executor: str,
    *,
    seconds: float | None = None,
    touched: Mapping[str, Mapping[str, Counts]] | None = None,
) -> ExecutionBook:
    """What an executor did, from its own report.

    Arguments:
        book: the algorithm book of the same run: samples, ticks, footprints.
        executor: its name.
        seconds: wall time.
        touched: node → ``neurons``, ``weight_bytes``, ``state_bytes``, ``event_bytes`` → ``[N]``, as the engine's
            Result has it.
    """
    neurons: dict[str, int] = {}
    levels: dict[str, int] = {}
    for name, columns in (touched or {}).items():
        f = book.facts[name]
        if f.neurons:
            neurons[name] = int(columns["neurons"].sum())
        for column, footprint in zip(BYTES, (f.weight_footprint, f.state_footprint, f.event_footprint), strict=True):
            if moved := int(columns[column].sum()):
                level = level_of(footprint)
                levels[level] = levels.get(level, 0) + moved
    return ExecutionBook(executor, seconds, book.samples, book.ticks, neurons, levels)
