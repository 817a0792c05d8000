"""Which ticks a node runs on: a Window makes one tick of many, a Keep drops some; what meets must agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from neuroaccel.errors import GraphError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.graph import Edge, Graph

# The Windows ("window", width, stride) and Keeps ("keep", sources of its mask) on the way; None: no clock, a constant.
Part = tuple[object, ...]
Clock = tuple[Part, ...] | None


def clocks(graph: Graph) -> dict[str, Clock]:
    """The clock of every node, counted in ticks of the graph.

    Raises:
        GraphError: edges of different clocks enter one node.
    """
    return node_clocks(graph, graph.order)


def node_clocks(graph: Graph, order: Sequence[str]) -> dict[str, Clock]:
    """:func:`clocks` for names in any order."""
    return spread(order, graph.edges, lambda name: _part_of(graph.nodes[name]))[1]


def _part_of(node: n.Node) -> Part:
    if isinstance(node, n.Window):
        return ("window", node.width, node.stride)
    return {n.Keep: ("keep",), n.Input: ("input",)}.get(type(node), ())


def spread(
    order: Sequence[str], edges: Sequence[Edge], part: Callable[[str], Part]
) -> tuple[dict[str, Clock], dict[str, Clock]]:
    """Clocks from what the nodes are.

    Arguments:
        order: names in the order of a tick.
        edges: the connections.
        part: name → ("window", width, stride), ("keep",), ("input",), or () for a node that keeps its inputs' clock.

    Returns:
        The clock of what enters every node, and the clock of the node itself.

    Raises:
        GraphError: edges of different clocks enter one node.
    """
    into: dict[str, list[Edge]] = {name: [] for name in order}
    for e in sorted(edges, key=lambda e: e.name):
        into[e.target].append(e)
    found: dict[str, Clock] = {}
    entering: dict[str, tuple[Edge, Clock]] = {}
    changed = True
    while changed:  # feedback makes nodes wait for what comes later in the order
        changed = False
        for name in order:
            if name in found:
                continue
            known = [(e, found[e.source]) for e in into[name] if e.source in found]
            ticking = [(e, clock) for e, clock in known if clock is not None]
            if ticking:
                entering[name] = ticking[0]
                found[name] = _behind(part(name), ticking[0][1], into[name])
            elif part(name) == ("input",):
                found[name] = ()
            elif len(known) == len(into[name]):
                found[name] = None
            changed |= name in found
    for e in edges:
        first, clock = entering.get(e.target, (e, None))
        if found.get(e.source) not in (clock, None):
            raise GraphError(
                f"edges '{first.name}' and '{e.name}' meet with different clocks: {clock} and {found[e.source]}"
            )
    return {name: entering[name][1] if name in entering else found.get(name) for name in order}, found


def _behind(part: Part, clock: Clock, into: Sequence[Edge]) -> Clock:
    if part[:1] == ("window",):
        return (*(clock or ()), part)
    if part == ("keep",):
        mask = (f"{e.source}, last tick" if e.recurrent else e.source for e in into if e.port == "mask")
        return (*(clock or ()), ("keep", *mask))
    return clock


def ticks_of(graph: Graph, ticks: int) -> dict[str, int]:
    """How many of ``ticks`` ticks each node runs on; those that a Keep drops are in, as nominal work is.

    A Window runs at its tick width − 1 for the first time and then every ``stride``: ⌊(ticks − width)/stride⌋ + 1.
    """
    out: dict[str, int] = {}
    for name, clock in clocks(graph).items():
        here = ticks
        for kind, *numbers in clock or ():
            if kind == "window":
                width, stride = (int(str(x)) for x in numbers)
                here = max(0, (here - width) // stride + 1)
        out[name] = here
    return out


def waits(order: Sequence[str], clock: Mapping[str, Clock], makers: Sequence[str]) -> tuple[Edge, ...]:
    """Edges that make the order of a tick hold what decides whether a clock runs before everything on that clock.

    Arguments:
        order, clock: of the graph.
        makers: its Windows and Keeps.
    """
    behind = {name: clock[name] or () for name in order}
    return tuple(
        Edge(maker, name, "clock")
        for maker in makers
        for name in order
        if name not in makers and behind[name][: len(behind[maker])] == behind[maker]
    )


def standing(
    order: Sequence[str],
    edges: Sequence[Edge],
    clock: Mapping[str, Clock],
    reads: Collection[str],
    passes: Collection[str],
) -> frozenset[str]:
    """Nodes that give their value at every tick of the graph, whatever their clock.

    Arguments:
        order, edges, clock: of the graph.
        reads: its Readouts.
        passes: nodes that only pass on or move values (Output, Probe, Flatten, Reshape, Select, Add).

    Returns:
        Readouts on clocks of their own, and what passes on nothing but these.
    """
    found: set[str] = set()
    for name in order:
        into = [e for e in edges if e.target == name]
        passed = name in passes and into and all(e.source in found and not e.recurrent for e in into)
        if clock[name] and (name in reads or passed):
            found.add(name)
    return frozenset(found)


PASSES = (n.Output, n.Probe, n.Flatten, n.Reshape, n.Select, n.Add)


def standing_nodes(graph: Graph) -> frozenset[str]:
    """Those of :func:`standing` in a graph."""
    kinds = {t: {name for name, node in graph.nodes.items() if isinstance(node, t)} for t in (n.Readout, *PASSES)}
    passes = set().union(*(kinds[t] for t in PASSES))
    return standing(graph.order, graph.edges, clocks(graph), kinds[n.Readout], passes)
