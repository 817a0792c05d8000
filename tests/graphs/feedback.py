"""Two layers that drive each other, one way through a recurrent edge, the other through a delay line."""

from __future__ import annotations

import numpy as np

from neuroaccel.graph import Add, Delay, Edge, Graph, Input, Linear, Node, Output, Readout, WeightGrid
from neuroaccel.program import ALIF, CubaLIF
from tests.graphs.parts import neuron, weights


def build() -> Graph:
    """A two-layer feedback loop: a layer onto itself and the second onto the first by recurrent edges (last tick), the
    second onto the first once more through per-neuron delays, and a skip connection into the second."""
    nodes: dict[str, Node] = {
        "events": Input((8,)),
        "into1": Linear(weights(91, 6, 8), weights(92, 6), grid=WeightGrid(5)),
        "self1": Linear(weights(93, 6, 6), grid=WeightGrid(5)),
        "back": Linear(weights(94, 6, 4), grid=WeightGrid(5)),
        "layer1": neuron(ALIF(0.5, 1.0, rho=0.75, kappa=0.125), 6),
        "into2": Linear(weights(95, 4, 6), grid=WeightGrid(5)),
        "skip": Linear(weights(96, 4, 8), grid=WeightGrid(5)),
        "layer2": neuron(CubaLIF(0.5, 0.75, 1.0, reset="subtract", reset_delay=1), 4),
        "line": Delay(np.array([1, 2, 3, 5], np.int32)),
        "late": Linear(weights(97, 6, 4), grid=WeightGrid(5)),
        "both": Add(),
        "readout": Readout("spike_count"),
        "class": Output(),
    }
    edges = (
        Edge("events", "into1"),
        Edge("into1", "layer1"),
        Edge("layer1", "self1", recurrent=True),
        Edge("self1", "layer1"),
        Edge("layer1", "into2"),
        Edge("into2", "layer2"),
        Edge("events", "skip"),
        Edge("skip", "layer2"),
        Edge("layer2", "back", recurrent=True),
        Edge("back", "layer1"),
        Edge("layer2", "line"),
        Edge("line", "late"),
        Edge("late", "layer1"),
        Edge("layer2", "both"),
        Edge("line", "both"),
        Edge("both", "readout"),
        Edge("readout", "class"),
    )
    return Graph(nodes, edges, dt=0.001)
