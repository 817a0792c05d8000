"""A network that may stop at a first head or go on to a second."""

from __future__ import annotations

import itertools

from neuroaccel.graph import Conv2d, Edge, Flatten, Graph, Input, Linear, Node, Output, Probe, Readout, WeightGrid
from neuroaccel.program import LI, LIF
from tests.graphs.parts import neuron, weights


def _head(exit_: int, features: int, threshold: float) -> dict[str, Node]:
    return {
        f"flatten{exit_}": Flatten(),
        f"head{exit_}": Linear(weights(50 + exit_, 3, features), grid=WeightGrid(5)),
        f"li{exit_}": neuron(LI(0.9), 3),
        f"readout{exit_}": Readout("mean_membrane"),
        f"probe{exit_}": Probe(threshold),
        f"class{exit_}": Output(),
    }


def build() -> Graph:
    """A two-exit net: each head's running readout stands behind a Probe with the confidence at which a session stops;
    another Probe marks where it resumes with the deeper layers, from the spikes that are already there."""
    first, second = _head(1, 4 * 6 * 6, 0.9), _head(2, 6 * 2 * 2, 1.0)
    trunk: dict[str, Node] = {
        "events": Input((2, 6, 6)),
        "conv1": Conv2d(weights(53, 4, 2, 3, 3), grid=WeightGrid(5), padding=(1, 1)),
        "lif1": neuron(LIF(0.9, 1.0), 4, 6, 6),
    }
    deeper: dict[str, Node] = {
        "resume": Probe(),
        "conv2": Conv2d(weights(54, 6, 2, 3, 3), grid=WeightGrid(5), stride=(2, 2), groups=2),
        "lif2": neuron(LIF(0.9, 1.0), 6, 2, 2),
    }
    paths = ([*trunk], ["lif1", *first], ["lif1", *deeper, *second])
    edges = tuple(Edge(a, b) for path in paths for a, b in itertools.pairwise(path))
    return Graph({**trunk, **first, **deeper, **second}, edges, dt=0.01)
