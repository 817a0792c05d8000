"""Cycles and nested graphs: NIR's edges carry no delay, and its graphs may hold graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neuroaccel.errors import FileFormatError, GraphError, UnsupportedNode
from neuroaccel.graph import Delay, Graph
from neuroaccel.hardware.nir.record import WHERE

Pair = tuple[str, str]


def _find_cycle(starts: Iterable[str], behind: Mapping[str, list[str]]) -> list[str] | None:
    """The first cycle that a depth-first walk meets, from the node where it is entered."""
    done: set[str] = set()
    for start in starts:
        path: list[str] = []
        ahead = [iter([start])]
        while ahead:
            name = next(ahead[-1], None)
            if name is None:
                ahead.pop()
                if path:
                    done.add(path.pop())
            elif name in path:
                return path[path.index(name) :]
            elif name not in done:
                path.append(name)
                ahead.append(iter(behind.get(name, ())))
    return None


def recurrent_pairs(starts: Iterable[str], pairs: Iterable[Pair], neurons: set[str], delays: set[str]) -> set[Pair]:
    """Which edges deliver the value of the tick before: one per cycle, the edge that leaves its last neuron.

    A cycle through a Delay needs none: the Delay opens it.

    Arguments:
        starts: every node, inputs first; cycles are entered from there.
        pairs: NIR's edges.
        neurons, delays: names of the nodes of these kinds.

    Raises:
        GraphError: a cycle without a neuron.
    """
    order = list(starts)
    behind: dict[str, list[str]] = {}
    for source, target in pairs:
        if source not in delays:
            behind.setdefault(source, []).append(target)
    found: set[Pair] = set()
    while (cycle := _find_cycle(order, behind)) is not None:
        last = max((i for i, name in enumerate(cycle) if name in neurons), default=None)
        if last is None:
            raise GraphError(f"the cycle through {', '.join(cycle)} holds no neuron and no Delay")
        pair = (cycle[last], cycle[(last + 1) % len(cycle)])
        behind[pair[0]].remove(pair[1])
        found.add(pair)
    return found


def check_recurrence(graph: Graph) -> None:
    """Refuse a recurrent edge that a reader of NIR could not tell from a plain one.

    Raises:
        UnsupportedNode: the edge closes no cycle, or one that another recurrent edge or a Delay opens as well.
    """
    behind: dict[str, list[str]] = {}
    for e in graph.edges:
        if not e.recurrent and not isinstance(graph.nodes[e.source], Delay):
            behind.setdefault(e.source, []).append(e.target)
    for e in graph.edges:
        if not e.recurrent:
            continue
        seen, todo = {e.target}, [e.target]
        while todo:
            for name in behind.get(todo.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    todo.append(name)
        if e.source not in seen or isinstance(graph.nodes[e.source], Delay):
            reason = f"the recurrent edge '{e.name}' closes no cycle, or one that another edge or a Delay opens too"
            raise UnsupportedNode(
                e.source, WHERE, f"{reason}; NIR's edges carry no delay: put a Delay of one tick on it"
            )


def inlined(graph: Any, where: str, prefix: str = "") -> tuple[dict[str, Any], list[Pair]]:
    """All nodes and edges of a NIR graph, those of nested graphs under ``outer/inner``.

    Raises:
        FileFormatError: an edge that ends nowhere.
        UnsupportedNode: a nested graph with several inputs or outputs, whose edges do not say which they mean.
    """
    nodes: dict[str, Any] = {}
    pairs: list[Pair] = []
    first: dict[str, list[str]] = {}
    last: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        full = f"{prefix}{name}"
        if type(node).__name__ != "NIRGraph":
            nodes[full] = node
            first[name] = last[name] = [full]
            continue
        inner, inside = inlined(node, where, f"{full}/")
        enters = [n for n in inner if type(inner[n]).__name__ == "Input"]
        leaves = [n for n in inner if type(inner[n]).__name__ == "Output"]
        if len(enters) != 1 or len(leaves) != 1 or (enters[0], leaves[0]) in inside:
            raise UnsupportedNode(full, WHERE, "a nested graph must lead one input through nodes to one output")
        first[name] = [b for a, b in inside if a == enters[0]]
        last[name] = [a for a, b in inside if b == leaves[0]]
        nodes |= {n: node for n, node in inner.items() if n not in (enters[0], leaves[0])}
        pairs += [(a, b) for a, b in inside if a != enters[0] and b != leaves[0]]
    for source, target in graph.edges:
        if source not in first or target not in first:
            raise FileFormatError(f"{where}: edge {source} -> {target} ends at a node that is not there")
        pairs += [(a, b) for a in last[source] for b in first[target]]
    return nodes, pairs
