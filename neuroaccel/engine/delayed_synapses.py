"""Parallel branches Delay → Linear of one source that add up in one port, as one list of synapses with delays.

An event adds all its currents at once, each to the sum of the tick at which it is due. That is done only where sums are
exact, so that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from neuroaccel.engine import cache
from neuroaccel.engine.kernels.delayed_vector import BRANCHES
from neuroaccel.engine.linear import KEEP_SPARSE
from neuroaccel.engine.operation import Array, Buffer, Int64, Operation, Static, Work
from neuroaccel.engine.schedule import CSR, CSR_EVENT, Caches, LinearRule
from neuroaccel.engine.storage import narrowest
from neuroaccel.engine.synapses import Synapses
from neuroaccel.graph import Edge, Graph, Signal
from neuroaccel.graph import nodes as n
from neuroaccel.graph.signal import summed

# Share of active inputs and ticks of a block for which the rule compares.
ACTIVE, BLOCK = 0.05, 128
# ns per tick and target of a branch of its own: clearing its sums and adding them to the others'. Measured on layers of
# 1024, with 8 branches and no event.
SUM_UP = 0.2
# The measured machine's: what a session's state is called must not depend on where it runs.
CACHES = Caches()


@dataclass(frozen=True)
class Branch:
    """A Linear of the group, the Delay that it alone reads (None: it reads the source), and that delay in ticks."""

    linear: str
    delay: str | None
    ticks: int


@dataclass(frozen=True)
class Group:
    """Branches from one source to one port.

    Arguments:
        source, target, port: where they begin, and where they add up.
        together, apart: estimated ns per tick of them all in one, and one by one.
    """

    source: str
    target: str
    port: str
    branches: tuple[Branch, ...]
    together: float = 0.0
    apart: float = 0.0

    @property
    def key(self) -> str:
        """Names it in a plan and in states."""
        return f"{self.target}:{self.port}:{self.source}"

    @property
    def longest(self) -> int:
        """Its longest delay."""
        return max(branch.ticks for branch in self.branches)

    @property
    def members(self) -> set[str]:
        """Nodes whose part is done in one."""
        delays = {branch.delay for branch in self.branches if branch.delay is not None}
        return {branch.linear for branch in self.branches} | delays

    def linear(self, graph: Graph, branch: Branch) -> n.Linear:
        """The node of a branch."""
        node = graph.nodes[branch.linear]
        if not isinstance(node, n.Linear):
            raise TypeError(f"node '{branch.linear}' is a {node.kind}, expected a Linear")
        return node

    def explain(self) -> str:
        delays = sorted({branch.ticks for branch in self.branches})
        return (
            f"one of {len(self.branches)} Linears from '{self.source}' in one CSR, every event at once into sums that "
            f"are due in {delays[0]} to {delays[-1]} ticks; at {ACTIVE:.0%} active about {self.together:.3g} ns per "
            f"tick, {self.apart:.3g} ns apart"
        )


def groups(graph: Graph, signals: Mapping[str, Signal], kept: Set[str]) -> list[Group]:
    """The branches of a graph, for float32, that are worth merging.

    Arguments:
        graph: the graph.
        signals: node → what it emits.
        kept: nodes that stay as they are: those of loops, and those with a clock.
    """
    found = []
    for name, node in graph.nodes.items():
        for port in n.ports_of(node) if name not in kept else ():
            edges = graph.into(name, port)
            if len(edges) < 2 or summed(name, [signals[e.source] for e in edges]).frac is None:
                continue
            by_source: dict[str, list[Branch]] = {}
            for edge in edges:
                source, branch = _branch(graph, edge)
                if branch is not None and kept.isdisjoint(Group(source, name, port, (branch,)).members):
                    by_source.setdefault(source, []).append(branch)
            for source, branches in by_source.items():
                if len(branches) > 1 and _lists(signals[source]):
                    group = _timed(graph, signals, Group(source, name, port, tuple(branches)))
                    ring = 4 * (group.longest + 1) * signals[name].size
                    if group.together < group.apart and CACHES.level(ring) == "L2":
                        found.append(group)
    return found


def _branch(graph: Graph, edge: Edge) -> tuple[str, Branch | None]:
    """The source of the branch that ends with an edge, and the branch, if it can be merged with others."""
    name = edge.source
    node, entering = graph.nodes[name], graph.into(name)
    fits = isinstance(node, n.Linear) and node.bias is None and node.plastic is None and not graph.latches(name)
    if not fits or edge.recurrent or len(graph.out_of(name)) != 1 or len(entering) != 1 or entering[0].recurrent:
        return name, None
    before = entering[0].source
    delay, arriving = graph.nodes[before], graph.into(before)
    if not isinstance(delay, n.Delay) or len(arriving) != 1 or arriving[0].recurrent or len(graph.out_of(before)) != 1:
        return before, Branch(name, None, 0)
    ticks = np.unique(delay.ticks)
    if len(ticks) > 1:
        return before, Branch(name, None, 0)
    return arriving[0].source, Branch(name, before, int(ticks[0]))


def _lists(signal: Signal) -> bool:
    """Whether a source sends events, and each of them into one row of W^T."""
    return signal.kind != "analog" and bool(signal.shape) and signal.size == signal.shape[-1]


def _timed(graph: Graph, signals: Mapping[str, Signal], group: Group) -> Group:
    """A group with the estimated times by which it is judged."""
    inputs, outputs = signals[group.source].size, signals[group.target].size
    events, binary = max(1, round(ACTIVE * inputs)), signals[group.source].kind == "binary"
    apart, products = len(group.branches) * outputs * SUM_UP, 0.0
    for branch in group.branches:
        weight = group.linear(graph, branch).weight.astype(np.float32)
        living = float((weight != 0).mean())
        storage, _ = narrowest(weight, binary)
        rule = LinearRule(inputs, outputs, 1, storage, living, True, living < KEEP_SPARSE, CACHES)
        apart += min(rule.times(BLOCK, BLOCK * events).values()) / BLOCK
        products += events * outputs * living
    return replace(group, together=events * CSR_EVENT + products * CSR + outputs * SUM_UP, apart=apart)


class MergedDelay(Operation):
    """A Delay that a :class:`DelayedSynapses` takes on."""

    merged: ClassVar[bool] = True
    finds_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, group: Group, port: Static, dtype: DTypeLike) -> None:
        super().__init__(name, port, dtype)
        self.group = group

    def run(self, work: Work) -> None:
        """Nothing to do: it is done for it."""

    def explain(self) -> str:
        return "no memory of its own: the sums of the Linear behind it wait instead"


class MergedLinear(Synapses):
    """A Linear that a :class:`DelayedSynapses` takes on; its counts are here."""

    merged: ClassVar[bool] = True
    reads_events: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, node: n.Linear, group: Group, port: Static, target: Static) -> None:
        super().__init__(name, node, port, target, np.dtype(np.float32))
        self.group = group

    def run(self, work: Work) -> None:
        """Nothing to do: it is done for it."""

    def sums(self, work: Work, value: Array) -> None:
        """Nothing to do: it is done for it."""

    def silence(self, work: Work) -> bool:
        return True

    def explain(self) -> str:
        return self.group.explain()


class DelayedSynapses(Operation):
    """The synapses of a group: CSR rows of W^T whose places are delay · outputs + target.

    Its state ``ring`` ``[L, *shape]`` holds what the source sent in the last L ticks, oldest first.

    Arguments:
        group: the branches.
        graph: whose nodes they are.
        source, target: what is known of the source and of the sum.
        scaled: events have values other than 1.
    """

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("events_out", "products", "weights_read", "ticks")

    def __init__(self, group: Group, graph: Graph, source: Static, target: Static, scaled: bool) -> None:
        super().__init__(group.key, target, np.float32)
        self.group, self.inputs, self.outputs = group, source.size, target.size
        self.at_once = any(branch.ticks == 0 for branch in group.branches)
        self.length = group.longest + self.at_once
        self.delays = np.array([branch.ticks for branch in group.branches], np.int64)
        # The kernel counts eight branches at a time.
        self.living = np.zeros((self.inputs, -(-len(group.branches) // BRANCHES) * BRANCHES), np.uint32)
        sources, places, weights = [], [], []
        for k, branch in enumerate(group.branches):
            rows = group.linear(graph, branch).weight.astype(np.float32).T
            entry, column = np.nonzero(rows)
            self.living[:, k] = np.bincount(entry, minlength=self.inputs)
            sources.append(entry)
            places.append(branch.ticks * self.outputs + column)
            weights.append(rows[entry, column])
        entry, place = np.concatenate(sources), np.concatenate(places)
        order = np.lexsort((place, entry))
        self.starts = np.concatenate([np.zeros(1, np.int64), self.living.sum(axis=1, dtype=np.int64).cumsum()])
        self.places = place[order].astype(np.uint32)
        self.weight = np.concatenate(weights)[order]
        if group.longest:
            self.fresh = {"ring": np.zeros((group.longest, *source.shape), self.dtype)}
        self.kernel = cache.load("delayed_csr", "float32", SCALED=scaled)

    def allocate(self, batch: int) -> dict[str, Array]:
        slots = self.group.longest + 1
        return {
            **super().allocate(batch),
            "@due": np.full((batch, self.length * self.outputs), -0.0, self.dtype),
            "@clock": np.zeros(batch, np.int64),
            "@index": np.zeros((batch, slots, self.inputs), np.int32),
            "@value": np.zeros((batch, slots, self.inputs), self.dtype),
            "@found": np.zeros((batch, slots), np.int64),
            "@under_way": np.zeros((batch, slots, self.living.shape[1]), np.uint32),
        }

    def counters(self, batch: int) -> dict[str, Int64]:
        shape = (batch, len(self.delays))
        return {c: np.zeros(batch if c == "ticks" else shape, np.int64) for c in self.columns}

    def lent(self, counts: Mapping[str, Int64]) -> dict[str, dict[str, Int64]]:
        found = {}
        for k, branch in enumerate(self.group.branches):
            if branch.delay is not None:
                found[branch.delay] = {"events_out": counts["events_out"][:, k]}
            found[branch.linear] = {c: counts[c][:, k] for c in ("products", "weights_read")}
            found[branch.linear]["ticks"] = counts["ticks"]
        return found

    def run(self, work: Work) -> None:
        self._call(work.ports[0], work.out, work.state, work.counts, work.ticks, work.track)
        if work.track:
            work.counts["ticks"] += work.ticks

    def _call(
        self,
        port: Buffer,
        out: Buffer,
        s: Mapping[str, Array],
        counts: Mapping[str, Int64],
        ticks: int,
        track: bool,
    ) -> None:
        self.kernel(
            *(port.value, port.index, port.found, self.starts, self.places, self.weight, self.delays, self.living),
            *(s["@due"], s["@clock"], s["@index"], s["@value"], s["@found"], s["@under_way"]),
            *(out.value, out.reach, out.touched, counts["events_out"], counts["products"], counts["weights_read"]),
            *(ticks, self.at_once, track),
        )

    def settle(self, work: Work) -> None:
        s, longest = work.state, self.group.longest
        if not longest:
            return
        ring = s["ring"].reshape(work.batch, longest, -1)
        ring[...] = 0
        for sample, clock in enumerate(s["@clock"]):
            for k in range(longest):
                slot = (clock - longest + k) % (longest + 1)
                came = s["@index"][sample, slot, : s["@found"][sample, slot]]
                ring[sample, k, came] = s["@value"][sample, slot, : len(came)]

    def restored(self, work: Work) -> None:
        """What the source sent comes once more; what was due before goes nowhere."""
        s, longest, batch = work.state, self.group.longest, work.batch
        if not longest:
            return
        for key, fresh in self.allocate(1).items():
            if key != "ring":
                s[key][...] = fresh
        rows = longest * batch
        port, out = (Buffer.empty(rows, size, self.dtype) for size in (self.inputs, self.outputs))
        port.value[...] = s["ring"].reshape(batch, longest, -1).swapaxes(0, 1).reshape(rows, -1)
        cache.load("scan", self.dtype.name)(port.value, port.index, port.found)
        self._call(port, out, s, self.counters(batch), longest, work.track)

    def explain(self) -> str:
        return self.group.explain()
