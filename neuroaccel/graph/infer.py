"""Shapes, edge kinds and exactness of a graph, inferred from its inputs."""

from __future__ import annotations

import math
from dataclasses import replace

from neuroaccel.errors import GraphError, ProgramError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import clocks
from neuroaccel.graph.graph import Edge, Graph
from neuroaccel.graph.rules import emits, neuron_signal
from neuroaccel.graph.signal import Signal, summed


def infer(graph: Graph) -> dict[str, Signal]:
    """What every node emits.

    Arguments:
        graph: the graph to check.

    Returns:
        node name → the signal on its outgoing edges.

    Raises:
        GraphError: the first thing that is wrong, by name.
    """
    _check_names(graph)
    close: set[str] = set()
    while True:
        signals, assumed = _one_pass(graph, close)
        wrong = {name for name in assumed if not signals[name].exact} - close
        if not wrong:
            clocks(graph)
            return signals
        close |= wrong


def _one_pass(graph: Graph, close: set[str]) -> tuple[dict[str, Signal], set[str]]:
    """Infer in the order of execution; what feedback brings is read ahead and checked afterwards."""
    signals: dict[str, Signal] = {}
    ahead: dict[str, Signal] = {}
    late: set[str] = set()  # what learning rules read of nodes that run later
    for name in graph.order:
        node = graph.nodes[name]
        signals[name] = _emitted(node, name, _entering(graph, name, signals, ahead, close))
        learning = {e.source for port in graph.late_ports(name) for e in graph.into(name, port)}
        if any(not signals[s].exact if s in signals else s in close for s in learning):
            signals[name] = replace(signals[name], exact=False)
        late |= {s for s in learning if s not in signals}
    for name, expected in ahead.items():
        found = signals[name]
        if (found.shape, found.kind, found.maximum) != (expected.shape, expected.kind, expected.maximum):
            raise GraphError(f"feedback from '{name}' brings {found}, where {expected} was expected")
    for name in graph.of_type(n.Synapse):
        _check_plastic(graph, name, signals)
    return signals, set(ahead) | late


def _entering(
    graph: Graph, name: str, signals: dict[str, Signal], ahead: dict[str, Signal], close: set[str]
) -> dict[str, Signal]:
    """What enters the ports of a node; what feedback brings is noted in ``ahead``."""
    ports: dict[str, Signal] = {}
    for port in graph.ports(name):
        arriving = []
        for e in graph.into(name, port):
            if e.source not in signals:
                ahead[e.source] = _ahead(graph, e, close)
            arriving.append(signals.get(e.source) or ahead[e.source])
        if arriving:
            ports[port] = summed(name, arriving)
    return ports


def _emitted(node: n.Node, name: str, ports: dict[str, Signal]) -> Signal:
    try:
        return emits(node, name, ports)
    except ProgramError as error:
        raise GraphError(str(error)) from error


def with_scopes_typed(graph: Graph) -> Graph:
    """The graph with the Inputs of its scopes' graphs, and of theirs, as what enters them: binary, counts, or analog.

    An Input that has a grid stays as it is.

    Raises:
        GraphError: as of :func:`infer`.
    """
    _check_names(graph)
    signals: dict[str, Signal] = {}
    nodes = dict(graph.nodes)
    for name in graph.order:
        ports, node = _entering(graph, name, signals, {}, set()), nodes[name]
        if isinstance(node, n.Scope):
            node = nodes[name] = _typed(node, ports)
        signals[name] = _emitted(node, name, ports)
    return replace(graph, nodes=nodes)


def _typed(scope: n.Scope, ports: dict[str, Signal]) -> n.Scope:
    nodes = dict(scope.graph.nodes)
    for port in scope.port_names:
        entry, signal = nodes[port], ports[port]
        if isinstance(entry, n.Input) and entry.grid is None:
            maximum = signal.maximum or 1 if signal.kind == "count" else 1
            nodes[port] = replace(entry, edge=signal.kind, maximum=maximum)
    return replace(scope, graph=with_scopes_typed(replace(scope.graph, nodes=nodes)))


def _ahead(graph: Graph, edge: Edge, close: set[str]) -> Signal:
    """What a source that runs later in the tick will bring back: the neuron behind it fixes that."""
    at, seen = edge.source, set[str]()
    while at not in seen:
        seen.add(at)
        node = graph.nodes[at]
        if isinstance(node, n.Neuron):
            return neuron_signal(node, exact=edge.source not in close)
        if isinstance(node, n.Input):
            return emits(node, at, {})
        entering = graph.into(at)
        if not isinstance(node, (n.Delay, n.Probe)) or len(entering) != 1:
            break
        at = entering[0].source
    raise GraphError(f"edge '{edge.name}' feeds back from {graph.nodes[at].kind} '{at}'; feedback must leave a Neuron")


def _check_plastic(graph: Graph, name: str, signals: dict[str, Signal]) -> None:
    """The ports that a learning rule reads at the end of the tick: there if and only if the synapse is plastic."""
    node = graph.nodes[name]
    assert isinstance(node, n.Synapse)
    for port, shape in (("third", None), ("post", signals[name].shape)):
        arriving = [signals[e.source] for e in graph.into(name, port)]
        if bool(arriving) != (node.plastic is not None):
            raise GraphError(
                f"{node.kind} '{name}': {len(arriving)} edges enter its port '{port}', expected "
                + ("none, as it is not plastic" if node.plastic is None else "one, as it is plastic")
            )
        if arriving and (found := summed(name, arriving)).shape != shape and not (shape is None and found.size == 1):
            raise GraphError(
                f"{node.kind} '{name}': port '{port}' takes {shape or 'one value'}, its edge has shape {found.shape}"
            )
    if node.plastic is not None and node.grid is None and node.arithmetic is None:
        raise GraphError(f"{node.kind} '{name}' is plastic and has no grid that its updates could be rounded to")
    if node.plastic is not None:
        rule, q = node.plastic, 0 if node.grid is None else node.grid.q
        if not (0 <= rule.trace_decay <= 1 and math.isfinite(rule.rate) and math.isfinite(rule.bound)):
            raise GraphError(f"{node.kind} '{name}': {rule}; trace_decay is from 0 to 1, rate and bound are finite")
        if node.grid is not None and rule.limit(q) <= 0:
            raise GraphError(f"{node.kind} '{name}': its bound {rule.bound} is below a step of its grid, 2^-{q}")


def _check_names(graph: Graph) -> None:
    if not graph.nodes:
        raise GraphError("the graph has no nodes")
    if graph.timing not in ("instant", "pipelined"):
        raise GraphError(f"timing is 'instant' or 'pipelined', not '{graph.timing}'")
    if graph.dt is not None and not graph.dt > 0:
        raise GraphError(f"dt must be positive seconds, not {graph.dt}")
    seen: set[str] = set()
    for e in graph.edges:
        for end in (e.source, e.target):
            if end not in graph.nodes:
                raise GraphError(f"edge '{e.name}': there is no node '{end}'")
        if e.name in seen:
            raise GraphError(f"edge '{e.name}' is there twice")
        seen.add(e.name)
        node = graph.nodes[e.target]
        if e.port not in (*n.ports_of(node), *node.optional_ports):
            known = ", ".join(n.ports_of(node)) or "none"
            raise GraphError(f"edge '{e.name}': {node.kind} has no port '{e.port}'; it has {known}")
    for name, node in graph.nodes.items():
        if not name:
            raise GraphError("a node's name is empty")
        for port in n.ports_of(node):
            if not graph.into(name, port):
                raise GraphError(f"{node.kind} '{name}': nothing enters its port '{port}'")
