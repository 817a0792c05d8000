"""A network as data: nodes, edges, timing. Everything below it reads only this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from neuroaccel.errors import GraphError
from neuroaccel.graph.nodes import Input, Node, Output, Scope


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

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Nodes in the order of one tick: sources first, recurrent edges left out; ties by position in ``nodes``.

        Raises:
            GraphError: a cycle that no recurrent edge or Delay opens.
        """
        from neuroaccel.graph.nodes import Delay

        waiting = {name: 0 for name in self.nodes}
        for e in self.edges:
            if e.target in waiting and not e.recurrent and not isinstance(self.nodes.get(e.target), Delay):
                waiting[e.target] += 1
        ready = [n for n in self.nodes if waiting[n] == 0]
        done: list[str] = []
        while ready:
            name = ready.pop(0)
            done.append(name)
            for e in self.out_of(name):
                if not e.recurrent and not isinstance(self.nodes.get(e.target), Delay):
                    waiting[e.target] -= 1
                    if waiting[e.target] == 0:
                        ready.append(e.target)
        if len(done) != len(self.nodes):
            stuck = sorted(set(self.nodes) - set(done))
            raise GraphError(
                f"a cycle through {', '.join(stuck)} has neither a recurrent edge nor a Delay; mark the edge that closes it"
            )
        return tuple(done)

    def validate(self) -> Graph:
        """Check names, ports, shapes, kinds, cycles and values; returns the graph itself.

        Raises:
            GraphError: naming the node or edge, what was found and what was expected.
        """
        from neuroaccel.graph.infer import infer

        infer(self)
        return self

    def scopes(self) -> tuple[str, ...]:
        return tuple(n for n, node in self.nodes.items() if isinstance(node, Scope))


def chain(nodes: Mapping[str, Node], **options: Any) -> Graph:
    """A graph whose nodes follow one another in the order given.

    >>> from neuroaccel.graph import chain, Input, Output
    >>> chain({"x": Input((3,)), "y": Output()}).edges[0].name
    'x->y:in'
    """
    names = list(nodes)
    return Graph(dict(nodes), tuple(Edge(a, b) for a, b in zip(names, names[1:], strict=False)), **options)


__all__ = ["Edge", "Graph", "Input", "Output", "chain"]
