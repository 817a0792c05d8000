"""A core as generated hardware holds it: fixed point everywhere, every conversion named."""

from __future__ import annotations

from neuroaccel.graph import Conv1d, Flatten, Graph, Input, Linear, Output, Readout, ValueGrid, chain
from neuroaccel.program import LI, LIF, Arithmetic, Fixed
from tests.graphs.parts import neuron, weights

WEIGHT = Fixed(8, 6, rounding="floor", overflow="wrap")
MEMBRANE = Fixed(16, 10, rounding="floor", overflow="saturate")
DECAY, LEVEL = Fixed(8, 8, signed=False), Fixed(16, 10)


def build() -> Graph:
    """An integer core: Arithmetic on every synapse and neuron, analog samples on a grid as input, no WeightGrid."""
    synapse = Arithmetic(weight=WEIGHT, accumulator=Fixed(20, 10, rounding="half_up", overflow="saturate"))
    first = Arithmetic(weight=WEIGHT, input=Fixed(10, 4), product=Fixed(18, 10), accumulator=Fixed(24, 10))
    spiking = Arithmetic(state=MEMBRANE, parameters={"beta": DECAY, "threshold": LEVEL})
    leaky = Arithmetic(state=MEMBRANE, parameters={"beta": DECAY})
    return chain(
        {
            "samples": Input((2, 16), "analog", grid=ValueGrid(4, -512, 511)),
            "conv": Conv1d(
                weights(71, 4, 2, 3, q=6), weights(72, 4, q=6), arithmetic=first, weight_bits=8, stride=2, padding=1
            ),
            "lif1": neuron(LIF(0.5, 1.0), 4, 8, arithmetic=spiking),
            "flatten": Flatten(),
            "linear": Linear(weights(73, 6, 32, q=6), arithmetic=synapse, weight_bits=8),
            "lif2": neuron(LIF(0.75, 1.0, tie="ge", reset="subtract"), 6, arithmetic=spiking),
            "head": Linear(weights(74, 3, 6, q=6), weights(75, 3, q=6), arithmetic=synapse, weight_bits=8),
            "li": neuron(LI(0.875), 3, arithmetic=leaky),
            "readout": Readout("max_membrane"),
            "class": Output(),
        }
    )
