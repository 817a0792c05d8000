"""What an executor computed, in the one form that all executors return and the comparison reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from neuroaccel.graph import nodes as n
from neuroaccel.graph.graph import Graph


@dataclass(frozen=True, eq=False)
class Traced:
    """A neuron layer as a trace holds it.

    Arguments:
        node, name: the layer, and its name in its own graph.
        graph: the graph that holds it: that of a Scope, or the whole.
        steps: rows of it in a trace per tick of the whole graph.
        fresh: how many of these rows follow one another before its state is fresh again; 0: never.
        position: of the node, or of the Scope that it is in, in the order of a tick of the whole graph.
    """

    node: n.Neuron
    name: str
    graph: Graph
    steps: int
    fresh: int
    position: int


def traced(graph: Graph) -> dict[str, Traced]:
    """The neuron layers of a graph and of its Scopes, by the names that a trace gives them, in the order of a tick."""
    return _traced(graph, "", 1, 0, None)


def _traced(graph: Graph, prefix: str, steps: int, fresh: int, position: int | None) -> dict[str, Traced]:
    found: dict[str, Traced] = {}
    for at, name in enumerate(graph.order):
        node, place = graph.nodes[name], at if position is None else position
        if isinstance(node, n.Neuron):
            found[prefix + name] = Traced(node, name, graph, steps, fresh, place)
        elif isinstance(node, n.Scope):
            # Within a scope that starts fresh everything does; a scope that carries makes its runs longer.
            runs = node.ticks if node.state == "reset" else fresh * node.ticks
            found |= _traced(node.graph, f"{prefix}{name}/", steps * node.ticks, runs, place)
    return found


@dataclass(frozen=True, eq=False)
class Trace:
    """Time-major recordings of a run: T ticks, N samples.

    A neuron in a Scope is ``scope/neuron`` and has a row for every step of it. At a tick at which a node does not run
    it gives 0 and its states stand.

    Arguments:
        outputs: Output name → values at every tick, ``[T, N, *shape]``; a Readout's are running values.
        spikes: Neuron name → what it emitted, ``[T, N, *shape]`` (uint8 spikes, int32 counts, float state).
        states: Neuron name → state name → its value after the tick, ``[T, N, *shape]``.
        currents: Neuron name → its input i, ``[T, N, *shape]``.
    """

    outputs: Mapping[str, NDArray[Any]]
    spikes: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    currents: Mapping[str, NDArray[Any]] = field(default_factory=dict)
