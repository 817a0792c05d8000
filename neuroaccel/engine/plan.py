"""A graph as the engine runs it: an operation per node, what it reads, and the order of one block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from neuroaccel.engine.clocks import Inner
from neuroaccel.engine.delayed_synapses import DelayedSynapses, Group
from neuroaccel.engine.operation import Operation, Same
from neuroaccel.graph import Graph, Signal
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import Clock

Number = Literal["float32", "float64", "integer"]
# Where a value comes from: a node, the sum of the edges of a port, some of those edges in one, a node one tick earlier.
Ref = tuple[Literal["node", "sum", "delayed", "previous"], str]

BLOCK = 1 << 18  # values of a node in one block
LONGEST = 256  # ticks of one block


@dataclass(frozen=True, eq=False)
class Step:
    """An operation and where its inputs come from."""

    operation: Operation
    sources: tuple[Ref, ...]


@dataclass(frozen=True)
class Stage:
    """A part of a block: operations that see all its ticks at once, or a loop, which goes tick by tick.

    Arguments:
        run: operations in order.
        emit, take: of a loop, the latches that emit before the others run, and what takes in after them.
        loop: whether it goes tick by tick.
    """

    run: tuple[Ref, ...]
    emit: tuple[Ref, ...] = ()
    take: tuple[Ref, ...] = ()
    loop: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """A graph, compiled. It holds nothing that changes; any number of sessions may share it.

    Arguments:
        graph: where it comes from.
        arithmetic: the numbers that it computes with.
        signals: node → what it emits.
        steps: every node, every port whose edges are summed, every node whose emission a recurrent edge reads later.
        stages: the parts of a block, in order.
        scanned: steps whose events a synapse or pool reads and that do not find them themselves.
        flagged: steps whose touched elements are their non-zero ones, and somebody asks for them.
        timed: steps that do not run on every tick of every sample, and Windows, Keeps and Scopes: the clock of what
            enters them, and their own.
        dropping: nodes of which a Keep can drop ticks, each with its clock.
        idle: what runs have done with and others may take up, by its kind; memory that is at hand already.
    """

    graph: Graph
    arithmetic: Number
    signals: dict[str, Signal]
    steps: dict[Ref, Step]
    stages: tuple[Stage, ...]
    scanned: frozenset[Ref]
    flagged: frozenset[Ref]
    timed: dict[Ref, tuple[Clock, Clock]]
    dropping: dict[str, Clock]
    idle: dict[object, list[Any]] = field(default_factory=dict, repr=False)

    @property
    def inner(self) -> dict[str, Inner]:
        """Its Scopes."""
        steps = {name: step.operation for (kind, name), step in self.steps.items() if kind == "node"}
        return {name: operation for name, operation in steps.items() if isinstance(operation, Inner)}

    @property
    def groups(self) -> list[Group]:
        """Branches that one operation runs."""
        operations = [step.operation for step in self.steps.values()]
        return [operation.group for operation in operations if isinstance(operation, DelayedSynapses)]

    def block(self, batch: int) -> int:
        """Ticks that are worth running at once: as many as keep the largest node's values in the second-level cache."""
        largest = max(step.operation.static.size for step in self.steps.values())
        return int(np.clip(BLOCK // (batch * max(largest, 1)), 1, LONGEST))

    @property
    def has_overflow_errors(self) -> bool:
        """Whether a tick can fail half way."""
        if self.arithmetic != "integer":
            return False
        if any(operation.plan.has_overflow_errors for operation in self.inner.values()):
            return True
        how = [getattr(node, "arithmetic", None) for node in self.graph.nodes.values()]
        formats = [f for a in how if a for f in (a.input, a.product, a.accumulator, a.group_convert, a.state) if f]
        return any(f.overflow == "error" for f in formats)

    def current_fractions(self) -> dict[str, int]:
        """Neuron → fraction bits of its current; empty in floating point."""
        found = {}
        for name in self.graph.of_type(n.Neuron):
            static = self.steps[self.steps["node", name].sources[0]].operation.static
            if static.format is not None:
                found[name] = static.format.frac
        for name, operation in self.inner.items():
            found |= {f"{name}/{path}": frac for path, frac in operation.plan.current_fractions().items()}
        return found


def components(graph: Graph) -> list[tuple[tuple[str, ...], bool]]:
    """Nodes that depend on each other, directly or around, together; each group behind those that it depends on.

    Returns:
        The groups, their nodes in the order of a tick, and whether a group is a loop.
    """
    order = graph.order
    place = {name: k for k, name in enumerate(order)}
    reach = np.zeros((len(order), len(order)), np.bool_)
    for edge in graph.edges:
        reach[place[edge.source], place[edge.target]] = True
    around = reach.diagonal().copy()
    for k in range(len(order)):  # Warshall: what k reaches, all reach that reach k
        reach |= reach[:, k : k + 1] & reach[k]
    together = (reach & reach.T) | np.eye(len(order), dtype=np.bool_)
    # Whoever depends on another has more nodes before it; within a group all have the same.
    depth = (reach | np.eye(len(order), dtype=np.bool_)).sum(axis=0)
    groups = []
    seen = np.zeros(len(order), np.bool_)
    for k in np.lexsort((np.arange(len(order)), depth)):
        if not seen[k]:
            members = np.flatnonzero(together[k])
            seen |= together[k]
            groups.append((tuple(order[m] for m in members), len(members) > 1 or bool(around[k])))
    return groups


def origin(steps: dict[Ref, Step], ref: Ref) -> Ref:
    """The step that fills a buffer: nodes that pass their input on have none of their own."""
    while isinstance(steps[ref].operation, Same):
        ref = steps[ref].sources[0]
    return ref
