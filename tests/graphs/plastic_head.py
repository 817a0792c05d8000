"""A head whose weights go on learning while the network runs."""

from __future__ import annotations

from neuroaccel.graph import Edge, Graph, Input, Linear, Node, Output, Plastic, Readout, ValueGrid, WeightGrid
from neuroaccel.program import LIF
from tests.graphs.parts import neuron, weights


def build() -> Graph:
    """A plastic head: E = λE + x·y, Δw = η·m·E on the layer's grid. The third factor is an input of the host's; the
    post-synaptic value is what the head's own neurons emit in the same tick, read at its end."""
    nodes: dict[str, Node] = {
        "state": Input((6,), "count", 3),
        "reward": Input((1,), "analog", grid=ValueGrid(8, -256, 256)),
        "hidden": Linear(weights(81, 10, 6), grid=WeightGrid(5)),
        "lif": neuron(LIF(0.5, 1.0), 10),
        "head": Linear(weights(82, 3, 10, q=10, largest=512), grid=WeightGrid(10), plastic=Plastic(0.95, 0.05, 1.0)),
        "actions": neuron(LIF(0.5, 0.5), 3),
        "readout": Readout("spike_count"),
        "action": Output(),
    }
    edges = (
        Edge("state", "hidden"),
        Edge("hidden", "lif"),
        Edge("lif", "head"),
        Edge("head", "actions"),
        Edge("reward", "head", "third"),
        Edge("actions", "head", "post"),
        Edge("actions", "readout"),
        Edge("readout", "action"),
    )
    return Graph(nodes, edges)
