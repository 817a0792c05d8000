"""Nonlinear dendritic integration with pruned synapses: conv and dense."""

from __future__ import annotations

from neuroaccel.graph import Dendrite, Flatten, Graph, Input, Linear, Output, Readout, SumPool2d, WeightGrid, chain
from neuroaccel.program import LI, LIF
from tests.graphs.parts import neuron, weights


def build() -> Graph:
    """An NDI net, i = (Wx ⊙ Vx + Wx) + b, most of W and V pruned, one grid each; the head is a plain layer."""
    return chain(
        {
            "events": Input((2, 8, 8)),
            "dendrite1": Dendrite(
                weights(1, 4, 2, 3, 3, living=0.4),
                weights(2, 4, 2, 3, 3, living=0.2),
                weights(3, 4, largest=4),
                grid=WeightGrid(5),
                gate_grid=WeightGrid(5),
                stride=(1, 1),
                padding=(1, 1),
            ),
            "lif1": neuron(LIF(0.5, 0.8), 4, 8, 8),
            "pool1": SumPool2d((2, 2), (2, 2)),
            "flatten": Flatten(),
            "dendrite2": Dendrite(
                weights(4, 16, 64, living=0.3),
                weights(5, 16, 64, living=0.1),
                grid=WeightGrid(5),
                gate_grid=WeightGrid(5),
            ),
            "lif2": neuron(LIF(0.5, 0.8), 16),
            "linear": Linear(weights(6, 5, 16), grid=WeightGrid(5)),
            "li": neuron(LI(0.9), 5),
            "readout": Readout("mean_membrane"),
            "votes": Output(),
        },
        dt=0.02,
        metadata={"method": "NDI"},
    )
