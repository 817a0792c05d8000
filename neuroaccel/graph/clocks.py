"""Which ticks a node runs on: a Window makes one tick of many, a Keep drops some; what meets must agree."""

from __future__ import annotations

from neuroaccel.errors import GraphError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.graph import Edge, Graph

# The Windows ("window", width, stride) and Keeps ("keep", sources of its mask) on the way; None: no clock, a constant.
Clock = tuple[tuple[object, ...], ...] | None


def clocks(graph: Graph) -> dict[str, Clock]:
    """The clock of every node, counted in ticks of the graph.

    Raises:
        GraphError: edges of different clocks enter one node.
    """
    found: dict[str, Clock] = {}
    entering: dict[str, tuple[Edge, Clock]] = {}
    changed = True
    while changed:  # feedback makes nodes wait for what comes later in the order
        changed = False
        for name in graph.order:
            if name in found:
                continue
            known = [(e, found[e.source]) for e in graph.into(name) if e.source in found]
            ticking = [(e, clock) for e, clock in known if clock is not None]
            if ticking:
                entering[name] = ticking[0]
                found[name] = _behind(graph, name, ticking[0][1])
            elif isinstance(graph.nodes[name], n.Input):
                found[name] = ()
            elif len(known) == len(graph.into(name)):
                found[name] = None
            changed |= name in found
    for e in graph.edges:
        first, clock = entering.get(e.target, (e, None))
        if found.get(e.source) not in (clock, None):
            raise GraphError(
                f"edges '{first.name}' and '{e.name}' meet with different clocks: {clock} and {found[e.source]}"
            )
    return found


def _behind(graph: Graph, name: str, clock: Clock) -> Clock:
    node = graph.nodes[name]
    if isinstance(node, n.Window):
        return (*(clock or ()), ("window", node.width, node.stride))
    if isinstance(node, n.Keep):
        return (*(clock or ()), ("keep", *(e.source for e in graph.into(name, "mask"))))
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
