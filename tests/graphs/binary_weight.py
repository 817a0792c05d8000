"""Binary weights, graded spikes and the partial sums of a compute-in-memory array."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import Edge, Graph, Input, Linear, Node, Output, Readout, WeightGrid
from neuroaccel.program import (
    LI,
    Arithmetic,
    Assign,
    Emit,
    Fire,
    Fixed,
    GradedLIF,
    NeuronSpec,
    Parameter,
    Program,
    State,
)
from tests.graphs.parts import neuron

BITS = 2
INPUTS, HIDDEN, CLASSES = 40, 12, 4
GAIN, SHIFT = 0.25, 0.125  # the two levels of a layer are ±GAIN + SHIFT


def _signs(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


def compare_graded_lif(threshold: float, bits: int) -> NeuronSpec:
    """GradedLIF without a division: the spike's bits are found one by one, largest first, by comparison.

    For j = bits−1 … 0:  m = 2^j·θ; c = v ≥ m; v = v − c·m; n = n + 2^j·c.  Equal to min(⌊v/θ⌋, 2^bits − 1) where v ≥ 0,
    in integer arithmetic too, where the language has no division.
    """
    body = [Assign("v", "mul", ("beta", "v")), Assign("v", "flush", ("v",)), Assign("v", "add", ("v", "i"))]
    body += [Assign("rest", "copy", ("v",)), Assign("n", "copy", (0.0,))]
    for j in reversed(range(bits)):
        body += [
            Assign("m", "shift", ("threshold", float(j))),
            Assign("c", "ge", ("rest", "m")),
            Assign("m", "mul", ("c", "m")),
            Assign("rest", "sub", ("rest", "m")),
            Assign("c", "shift", ("c", float(j))),
            Assign("n", "add", ("n", "c")),
        ]
    program = Program(
        name="CompareGradedLIF",
        states=(State("v"),),
        parameters=(Parameter("beta", 0.0, 1.0), Parameter("threshold", 0.0, None)),
        body=tuple(body),
        fire=Fire("v", "ge", "threshold"),
        on_fire=(Assign("v", "copy", ("rest",)),),
        emit=Emit("count", "n", 2**bits - 1),
    )
    return NeuronSpec(program, {"beta": 0.5, "threshold": threshold})


def build() -> Graph:
    """A BWMA-style layer on an array: ±1 cells and one all-ones column, bit-serial counts, ADC per 16 rows, then the
    digital scale α and shift β of the layer; graded spikes out."""
    array = Arithmetic(
        weight=Fixed(2),
        input=Fixed(BITS, signed=False),
        group=16,
        group_convert=Fixed(5, signed=True, overflow="saturate"),
        bit_serial=True,
    )
    digital = Arithmetic(weight=Fixed(8, 3), accumulator=Fixed(16, 3))
    state = Arithmetic(state=Fixed(16, 6), parameters={"beta": Fixed(8, 4), "threshold": Fixed(8, 3)})
    cells = np.concatenate([_signs(21, HIDDEN, INPUTS), np.ones((1, INPUTS), np.float32)])
    scale = np.concatenate([GAIN * np.eye(HIDDEN), SHIFT * np.ones((HIDDEN, 1))], axis=1).astype(np.float32)
    nodes: dict[str, Node] = {
        "events": Input((INPUTS,), "count", 2**BITS - 1),
        "array": Linear(cells, arithmetic=array, weight_bits=1),
        "scale": Linear(scale, arithmetic=digital, weight_bits=8),
        "graded": neuron(compare_graded_lif(1.0, BITS), HIDDEN, arithmetic=state),
        "head": Linear(_signs(22, CLASSES, HIDDEN), arithmetic=array, weight_bits=1),
        "li": neuron(LI(0.5), CLASSES, arithmetic=Arithmetic(state=Fixed(16, 4), parameters={"beta": Fixed(8, 4)})),
        "readout": Readout("last_membrane"),
        "class": Output(),
    }
    names = list(nodes)
    return Graph(nodes, tuple(Edge(a, b) for a, b in itertools.pairwise(names)))


def build_float() -> Graph:
    """The same method in floating point: W = α·B + β as weights on a grid, graded spikes by division."""
    nodes: dict[str, Node] = {
        "events": Input((INPUTS,), "count", 2**BITS - 1),
        "hidden": Linear(GAIN * _signs(21, HIDDEN, INPUTS) + np.float32(SHIFT), grid=WeightGrid(3), weight_bits=1),
        "graded": neuron(GradedLIF(0.5, 1.0, bits=BITS), HIDDEN),
        "head": Linear(_signs(22, CLASSES, HIDDEN), grid=WeightGrid(0), weight_bits=1),
        "li": neuron(LI(0.5), CLASSES),
        "readout": Readout("last_membrane"),
        "class": Output(),
    }
    names = list(nodes)
    return Graph(nodes, tuple(Edge(a, b) for a, b in itertools.pairwise(names)))
