"""One call of a velocity field, as a sampler of a flow makes it."""

from __future__ import annotations

from neuroaccel.graph import Edge, Graph, Input, Linear, Node, Output, Readout, Scope, ValueGrid, WeightGrid
from neuroaccel.program import LI, LIF
from tests.graphs.parts import neuron, weights

DIMENSIONS, HIDDEN, MICRO_STEPS = 4, 12, 8


def build() -> Graph:
    """velocity(x, t): position and time on their grids, held constant over the micro-steps of a scope that starts
    fresh at each call; the mean membrane is the velocity. Caching and step sizes belong to the host's loop."""
    position, time = ValueGrid(8, -1024, 1023), ValueGrid(8, 0, 256)
    inner: dict[str, Node] = {
        "x": Input((DIMENSIONS,), "analog", grid=position),
        "t": Input((1,), "analog", grid=time),
        "of_x": Linear(weights(41, HIDDEN, DIMENSIONS), weights(42, HIDDEN), grid=WeightGrid(5)),
        "of_t": Linear(weights(43, HIDDEN, 1), grid=WeightGrid(5)),
        "lif": neuron(LIF(0.5, 1.0), HIDDEN),
        "head": Linear(weights(44, DIMENSIONS, HIDDEN), grid=WeightGrid(5)),
        "li": neuron(LI(0.5), DIMENSIONS),
        "mean": Readout("mean_membrane"),
        "y": Output(),
    }
    inner_edges = (
        Edge("x", "of_x"),
        Edge("t", "of_t"),
        Edge("of_x", "lif"),
        Edge("of_t", "lif"),
        Edge("lif", "head"),
        Edge("head", "li"),
        Edge("li", "mean"),
        Edge("mean", "y"),
    )
    nodes: dict[str, Node] = {
        "x": Input((DIMENSIONS,), "analog", grid=position),
        "t": Input((1,), "analog", grid=time),
        "field": Scope(Graph(inner, inner_edges), MICRO_STEPS, port_names=("x", "t")),
        "velocity": Output(),
    }
    return Graph(nodes, (Edge("x", "field", "x"), Edge("t", "field", "t"), Edge("field", "velocity")))
