"""A network as data: nodes, edges, timing. Everything below it reads only this."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from neuroaccel.errors import GraphError
from neuroaccel.graph.nodes import LATE_PORTS, Delay, Dendrite, Input, Keep, Node, Output, Synapse, Window, ports_of

LATCHES = (Delay, Synapse, Dendrite)


@dataclass(frozen=True)
class Edge:
    """A connection. A recurrent edge closes a cycle and delivers what its source gave one tick earlier."""

    source: str
    target: str
    port: str = "in"
    recurrent: bool = False

    @property
    def name(self) -> str:
        return f"{self.source}->{self.target}:{self.port}"

    @property
    def waits(self) -> bool:
        """Whether the target runs after the source in a tick: not for last tick's value, or one read at its end."""
        return not self.recurrent and self.port not in LATE_PORTS


@dataclass(frozen=True, eq=False)
class Graph:
    """A network without executor.

    Arguments:
        nodes: name → node.
        edges: connections; edges into one port add up in the order of their names.
        timing: ``instant`` (a spike crosses the whole feed-forward graph in its tick) or ``pipelined`` (every synapse
            carries one tick, as on Loihi, Lava and SANA-FE).
        dt: seconds per tick, if the network has a physical time.
        metadata: JSON-ready notes (original tie rule, recipe, accuracy); no executor depends on them.

    Raises:
        GraphError: from :meth:`validate`.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    timing: Literal["instant", "pipelined"] = "instant"
    dt: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def into(self, name: str, port: str | None = None) -> tuple[Edge, ...]:
        """Edges that enter a node (a port of it), in the order of their names."""
        found = [e for e in self.edges if e.target == name and (port is None or e.port == port)]
        return tuple(sorted(found, key=lambda e: e.name))

    def ports(self, name: str) -> tuple[str, ...]:
        """Ports that a node reads as it runs: those that must be fed, and the optional ones that are."""
        node = self.nodes[name]
        fed = {e.port for e in self.edges if e.target == name}
        return (*ports_of(node), *(p for p in node.optional_ports if p in fed and p not in LATE_PORTS))

    def late_ports(self, name: str) -> tuple[str, ...]:
        """Ports that a node reads at the end of the tick."""
        plastic = getattr(self.nodes[name], "plastic", None) is not None
        return LATE_PORTS if plastic else ()

    def out_of(self, name: str) -> tuple[Edge, ...]:
        """Edges that leave a node, in the order of their names."""
        return tuple(sorted((e for e in self.edges if e.source == name), key=lambda e: e.name))

    def of_type(self, *types: type[Node]) -> tuple[str, ...]:
        """Names of the nodes of the given types, in the order of execution."""
        return tuple(n for n in self.order if isinstance(self.nodes[n], types))

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(n for n, node in self.nodes.items() if isinstance(node, Input))

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(n for n, node in self.nodes.items() if isinstance(node, Output))

    def latches(self, name: str) -> bool:
        """Whether a node gives at tick t what it took in before: a Delay, and in pipelined timing every synapse.

        Executors let all of these emit first and take in last, so they may stand anywhere in a cycle.
        """
        return isinstance(self.nodes[name], LATCHES if self.timing == "pipelined" else Delay)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Nodes in the order of one tick, sources first; edges that do not wait are left out, ties go by position.

        A Window or Keep comes before everything that runs on its clock.

        Raises:
            GraphError: a cycle that neither a recurrent edge nor a node that latches opens.
        """
        order = execution_order(self.nodes, self.edges, self.latches)
        makers = [name for name in order if isinstance(self.nodes[name], (Keep, Window))]
        if not makers:
            return order
        from neuroaccel.graph.clocks import node_clocks, waits

        late = waits(order, node_clocks(self, order), makers)
        return execution_order(self.nodes, (*self.edges, *late), self.latches)

    def validate(self) -> Graph:
        """Check names, ports, shapes, kinds, cycles and values; returns the graph itself.

        Raises:
            GraphError: naming the node or edge, what was found and what was expected.
        """
        from neuroaccel.graph.infer import infer

        infer(self)
        return self


def execution_order(names: Iterable[str], edges: Iterable[Edge], latches: Callable[[str], bool]) -> tuple[str, ...]:
    """Names so that every source precedes its targets; edges that do not wait are left out, latches may open a cycle.

    Raises:
        GraphError: a cycle that nothing opens.
    """
    names = list(names)
    forward = [e for e in edges if e.waits]
    waiting = dict.fromkeys(names, 0)
    leaving: dict[str, list[str]] = {name: [] for name in names}
    for e in sorted(forward, key=lambda e: e.name):
        waiting[e.target] += 1
        leaving[e.source].append(e.target)
    ready = [n for n in names if waiting[n] == 0]
    done: dict[str, None] = {}
    while len(done) < len(names):
        if not ready:
            ready = [n for n in names if n not in done and latches(n)][:1]
        if not ready:
            stuck = ", ".join(n for n in names if n not in done)
            raise GraphError(
                f"a cycle through {stuck} has no recurrent edge and no Delay; mark the edge that closes it"
            )
        name = ready.pop(0)
        if name in done:
            continue
        done[name] = None
        for target in leaving[name]:
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return tuple(done)


def chain(nodes: Mapping[str, Node], **options: Any) -> Graph:
    """A graph whose nodes follow one another in the order given.

    >>> from neuroaccel.graph import chain, Input, Output
    >>> chain({"x": Input((3,)), "y": Output()}).edges[0].name
    'x->y:in'
    """
    names = list(nodes)
    return Graph(dict(nodes), tuple(Edge(a, b) for a, b in itertools.pairwise(names)), **options)
