"""Instant → pipelined: the same spikes, a fixed number of ticks later, where every synapse takes a tick.

Every node gets a lag: at tick t + lag the pipelined graph computes what the instant one computes at t. A synapse adds 1
to the lag of what enters it, paths that meet are made equal by delays, and a loop pays for its synapses with the ticks
that it already has (its recurrent edge, its Delay nodes).

Source: Leiserson and Saxe, "Retiming synchronous circuitry", Algorithmica 6 (1991): lags as difference constraints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph.graph import Edge, Graph
from neuroaccel.graph.infer import infer
from neuroaccel.graph.nodes import (
    Add,
    Constant,
    Delay,
    Dendrite,
    Input,
    Keep,
    LayerNorm,
    Neuron,
    Node,
    Readout,
    Scope,
    Softmax,
    Synapse,
    Table,
    Window,
)
from neuroaccel.program import resolve
from neuroaccel.program.evaluate import evaluate
from neuroaccel.program.language import INPUT, Assign

CARRIES = (Synapse, Dendrite)
WHO = "retiming"


@dataclass(frozen=True)
class Schedule:
    """When everything happens in a pipelined run.

    Arguments:
        arrives: node → lag of what enters it.
        leaves: node → lag of what leaves it.
        delays: edge name → ticks that the edge must wait, beyond what its target carries.
        ticks: Delay node → its ticks in the pipelined graph.
    """

    arrives: Mapping[str, int]
    leaves: Mapping[str, int]
    delays: Mapping[str, int]
    ticks: Mapping[str, NDArray[np.int32]]


def schedule(graph: Graph) -> Schedule:
    """Lags of an instant graph (a pipelined one has none: all are 0).

    Raises:
        UnsupportedNode: a loop with more synapses than ticks, by the names of its nodes.
    """
    zero = dict.fromkeys(graph.nodes, 0)
    kept = {name: np.asarray(node.ticks) for name, node in graph.nodes.items() if isinstance(node, Delay)}
    if graph.timing == "pipelined":
        return Schedule(zero, zero, {}, kept)
    for name, node in graph.nodes.items():
        if isinstance(node, (Keep, Scope, Window)):
            raise UnsupportedNode(name, WHO, "it has a clock of its own; export the graph inside it by itself")
    own = _own_ticks(graph)
    arrives = _earliest(graph, own)
    _later_synapses(graph, arrives)
    # A Delay keeps what paths and loops did not use up: its lag may fall by as much as its ticks.
    leaves = {name: _leaves(graph, name, arrives, own) for name in graph.nodes}
    ticks = {name: kept[name] + leaves[name] - arrives[name] for name in kept}
    delays = {e.name: arrives[e.target] - leaves[e.source] + int(e.recurrent) for e in graph.edges}
    return Schedule(arrives, leaves, {k: v for k, v in delays.items() if v}, ticks)


def _own_ticks(graph: Graph) -> dict[str, int]:
    """How much a node adds to the lag at least: 1 a synapse, minus its ticks a Delay."""
    own = dict.fromkeys(graph.nodes, 0)
    for name, node in graph.nodes.items():
        if isinstance(node, CARRIES):
            own[name] = 1
        elif isinstance(node, Delay):
            ticks = np.asarray(node.ticks)
            # Ticks per element stay a Delay, which needs at least one; a single number may go down to nothing.
            own[name] = -(int(ticks.min()) - (1 if ticks.ndim else 0))
    return own


def _earliest(graph: Graph, own: Mapping[str, int]) -> dict[str, int]:
    """Smallest lags: longest paths over the constraint arrives[target] ≥ arrives[source] + own[source] − recurrent."""
    arrives = dict.fromkeys(graph.nodes, 0)
    via: dict[str, Edge] = {}
    changed: str | None = None
    for _ in range(len(graph.nodes) + 1):
        changed = None
        for e in graph.edges:
            least = arrives[e.source] + own[e.source] - int(e.recurrent)
            if least > arrives[e.target]:
                arrives[e.target], via[e.target], changed = least, e, e.target
        if changed is None:
            return arrives
    raise _short_loop(graph, via, changed or "")


def _short_loop(graph: Graph, via: Mapping[str, Edge], at: str) -> UnsupportedNode:
    for _ in graph.nodes:
        at = via[at].source
    loop, step = [at], via[at]
    while step.source != at:
        loop.append(step.source)
        step = via[step.source]
    loop.reverse()
    synapses = [name for name in loop if isinstance(graph.nodes[name], CARRIES)]
    edges = [via[name] for name in loop]
    delays = [(name, np.asarray(node.ticks)) for name in loop if isinstance(node := graph.nodes[name], Delay)]
    ticks = sum(e.recurrent for e in edges) + sum(int(each.min()) for _, each in delays)
    kept = [name for name, each in delays if each.ndim]
    why = f" (of which '{kept[0]}', with ticks per element, must keep one)" if kept else ""
    missing = len(synapses) - ticks + len(kept)
    return UnsupportedNode(
        synapses[0],
        WHO,
        f"the loop {' -> '.join([*loop, loop[0]])} lasts {ticks} tick(s){why} and crosses {len(synapses)} synapse(s), "
        f"each of which takes one; add Delay({missing}) to the loop, or remove a synapse from it",
    )


def _leaves(graph: Graph, name: str, arrives: Mapping[str, int], own: Mapping[str, int]) -> int:
    if not isinstance(graph.nodes[name], Delay):
        return arrives[name] + own[name]
    return max(arrives[name] + own[name], min(arrives[name], _wanted(graph, name, arrives)))


def _wanted(graph: Graph, name: str, arrives: Mapping[str, int]) -> int:
    """Lag at which the first reader of a node wants its value."""
    return min((arrives[e.target] + int(e.recurrent) for e in graph.out_of(name)), default=arrives[name])


def _later_synapses(graph: Graph, arrives: dict[str, int]) -> None:
    """Move synapses to where they are read, so that a delay holds the spikes before them and not their currents."""
    for name in reversed(graph.order):
        if isinstance(graph.nodes[name], CARRIES) and graph.out_of(name):
            arrives[name] = max(arrives[name], _wanted(graph, name, arrives) - 1)


def retime(graph: Graph) -> Graph:
    """The pipelined graph whose outputs are the instant graph's, shifted.

    ``output'[t + latency] = output[t]``, and likewise for every neuron, with 0 before.

    Arguments:
        graph: an instant graph.

    Returns:
        the pipelined graph; its metadata holds ``latency`` {output: ticks}, ``lag`` {neuron: ticks} and ``buffers``
        {Delay node that was added: {"edge", "ticks", "values", "kind"}}.

    Raises:
        UnsupportedNode: a loop shorter than its synapses; or a node that does not wait for its first input (a leak
            potential, a mean or maximum over time), which the ticks before that would change.
    """
    if graph.timing != "instant":
        raise GraphError(f"retime takes an instant graph, this one is {graph.timing}")
    plan = schedule(graph)
    for name, node in graph.nodes.items():
        if plan.arrives[name] > 0 and (reason := _does_not_wait(node)):
            raise UnsupportedNode(name, WHO, reason)
    return pipelined(graph, plan, split_bias=True)


def _does_not_wait(node: Node) -> str | None:
    """Why a node changes, or gives something, while only zeros have arrived; None if it does not."""
    if isinstance(node, Readout) and node.how in ("mean_membrane", "max_membrane"):
        return f"{node.how} would count the ticks before its first input; read the values and reduce them outside"
    if isinstance(node, (LayerNorm, Softmax)) or (isinstance(node, Table) and _at_zero(node)):
        return "it would answer the zeros before its first input; run it outside, on the aligned values"
    if not isinstance(node, Neuron):
        return None
    program = node.program
    fresh, after, fired = _silent_tick(node)
    if np.any(fired):
        return "it fires in its fresh state, before its first input; raise its threshold"
    moved = [name for name in program.state_names if np.any(after[name] != fresh[name])]
    if moved:
        return f"its {', '.join(moved)} moves before its first input; put the leak into a bias"
    return None


def _at_zero(node: Table) -> bool:
    return bool(node.values.reshape(-1)[min(max(-node.low, 0), node.values.size - 1)] != 0)


def _silent_tick(node: Neuron) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], NDArray[Any]]:
    """Fresh states, the states after one tick without input, and where it fires."""
    program = node.program
    values = {k: v.astype(np.float64) for k, v in resolve(program, node.parameters).items()}
    fresh = {s.name: np.asarray(values[s.fresh] if isinstance(s.fresh, str) else s.fresh) for s in program.states}
    names: dict[str, Any] = {**values, **fresh, INPUT: np.float64(0.0)}
    with np.errstate(divide="ignore", invalid="ignore"):
        for a in program.body:
            names[a.target] = evaluate(a, names)
    fired: NDArray[Any] = np.zeros(())
    if program.fire is not None:
        fired = evaluate(Assign("fired", program.fire.op, (program.fire.left, program.fire.right)), names)
    return fresh, {name: names[name] for name in fresh}, fired


def pipelined(graph: Graph, plan: Schedule, *, split_bias: bool) -> Graph:
    """The graph that a schedule describes.

    Arguments:
        graph: the instant graph.
        plan: its schedule.
        split_bias: whether biases that must not start before their layer's first input become delayed constants; an
            executor that holds every node fresh until its lag does not need it.
    """
    signals = infer(graph)
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    buffers: dict[str, dict[str, Any]] = {}

    def fresh_name(wish: str) -> str:
        while wish in nodes or wish in graph.nodes:
            wish += "_"
        return wish

    gone = set()  # delays that a loop or a path has used up
    for name, node in graph.nodes.items():
        if isinstance(node, Delay):
            ticks = np.asarray(plan.ticks[name], dtype=np.int32)
            if ticks.max() == 0 and len(graph.into(name)) == 1:
                gone.add(name)
                continue
            nodes[name] = replace(node, ticks=ticks) if ticks.max() else Add()
            continue
        if isinstance(node, Synapse) and node.plastic is not None:
            raise UnsupportedNode(name, WHO, "its weights learn, and would learn a tick later; freeze them")
        nodes[name] = node
    leaves = {name: name for name in nodes}  # original node → the node whose output stands for it
    if split_bias:
        for name, lag in plan.arrives.items():
            carrier = nodes.get(name)
            if not isinstance(carrier, CARRIES) or carrier.bias is None or lag == 0:
                continue
            shape = signals[name].shape
            bias = carrier.bias if _last_axis(carrier) else carrier.bias.reshape(-1, *[1] * (len(shape) - 1))
            constant, wait, total = (fresh_name(f"{name}_{part}") for part in ("bias", "bias_wait", "biased"))
            nodes[name] = replace(carrier, bias=None)
            nodes[constant] = Constant(np.array(np.broadcast_to(bias, shape), dtype=np.float32))
            nodes[wait] = Delay(np.asarray(lag + 1, dtype=np.int32))
            nodes[total] = Add()
            edges += [Edge(constant, wait), Edge(name, total), Edge(wait, total)]
            leaves[name] = total
    entries = []  # where executors and inference enter a cycle
    for e in graph.edges:
        if e.target in gone:
            continue
        source, waits, closes = e.source, plan.delays.get(e.name, 0), e.recurrent
        while source in gone:
            (before,) = graph.into(source)
            source, waits, closes = before.source, waits + plan.delays.get(before.name, 0), True
        entry = e.target
        if waits == 0:
            edges.append(Edge(leaves[source], e.target, e.port))
        else:
            entry = fresh_name(f"{source}_to_{e.target}_wait")
            nodes[entry] = Delay(np.asarray(waits, dtype=np.int32))
            signal = signals[source]
            buffers[entry] = {"edge": e.name, "ticks": waits, "values": signal.size * waits, "kind": signal.kind}
            edges += [Edge(leaves[source], entry), Edge(entry, e.target, e.port)]
        if closes and isinstance(nodes[entry], (*CARRIES, Delay)):
            entries.append(entry)
    entries += [name for name, node in nodes.items() if isinstance(node, Delay) and name in graph.nodes]
    first = [name for name in dict.fromkeys(entries) if _on_a_cycle(name, edges)]
    order = dict.fromkeys([*(n for n, node in nodes.items() if isinstance(node, Input)), *first, *nodes])
    metadata = {
        **graph.metadata,
        "latency": {name: plan.arrives[name] for name in graph.outputs},
        "lag": {name: plan.leaves[name] for name, node in graph.nodes.items() if isinstance(node, Neuron)},
        "buffers": buffers,
    }
    return Graph({name: nodes[name] for name in order}, tuple(edges), "pipelined", graph.dt, metadata).validate()


def _last_axis(node: Node) -> bool:
    """Whether a synapse's outputs are its last axis (Linear, dense Dendrite) and not its first (convolutions)."""
    return not hasattr(node, "stride") or getattr(node, "stride", None) is None


def _on_a_cycle(name: str, edges: list[Edge]) -> bool:
    waiting, seen = [name], set[str]()
    while waiting:
        at = waiting.pop()
        for e in edges:
            if e.source == at and e.target not in seen:
                seen.add(e.target)
                waiting.append(e.target)
    return name in seen
