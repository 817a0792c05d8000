"""Random integer arithmetic for the synapses and neurons of a random graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from neuroaccel.graph import Graph, Neuron, Scope, Synapse, infer
from neuroaccel.program import Arithmetic, Fixed

NEURONS = ("IF", "LIF", "LIF_euler", "CubaLIF", "ALIF")  # what has no division
ROUNDINGS = ("floor", "toward_zero", "half_up", "half_even")


def _fixed(rng: np.random.Generator, bits: tuple[int, int], frac: tuple[int, int], **options: Any) -> Fixed:
    rounding, overflow = ROUNDINGS[int(rng.integers(4))], ("wrap", "saturate")[int(rng.integers(2))]
    widths = (int(rng.integers(low, high + 1)) for low, high in (bits, frac))
    return Fixed(*widths, **{"rounding": rounding, "overflow": overflow, **options})


def _synapse(node: Synapse, kind: str, rng: np.random.Generator) -> Synapse:
    def some(p: float, bits: tuple[int, int], frac: tuple[int, int]) -> Fixed | None:
        return _fixed(rng, bits, frac) if rng.random() < p else None

    rows = int(np.prod(node.weight.shape[1:]))
    group = int(rng.integers(1, rows + 1)) if rng.random() < 0.5 else 0
    serial = bool(kind != "analog" and rng.random() < 0.4)
    entering = Fixed(int(rng.integers(1, 4)), 0, signed=False) if rng.random() < 0.2 else None
    how = Arithmetic(
        weight=Fixed(9, 6) if rng.random() < 0.5 else None,
        input=entering if kind != "analog" else None,
        product=some(0.3, (4, 10), (2, 8)),
        accumulator=some(0.6, (6, 16), (2, 9)),
        group=group,
        group_convert=some(0.7, (3, 9), (1, 7)) if group else None,
        bit_serial=serial,
    )
    return replace(node, arithmetic=how)


def _neuron(node: Neuron, rng: np.random.Generator) -> Neuron:
    values = {k: np.asarray(np.rint(np.asarray(v) * 64) / 64, np.float32) for k, v in node.parameters.items()}
    formats = {k: Fixed(12, int(rng.integers(6, 9))) for k in values if rng.random() < 0.5}
    state = _fixed(rng, (12, 24), (6, 10))
    return replace(node, parameters=values, arithmetic=Arithmetic(state=state, parameters=formats))


def with_integers(graph: Graph, rng: np.random.Generator) -> Graph:
    """The same graph with parameters that are multiples of 1/64 and an arithmetic on every synapse and neuron."""
    signals = infer(graph)
    nodes = dict(graph.nodes)
    for name, node in graph.nodes.items():
        if isinstance(node, Synapse):
            nodes[name] = _synapse(node, signals[graph.into(name, "in")[0].source].kind, rng)
        elif isinstance(node, Neuron):
            nodes[name] = _neuron(node, rng)
        elif isinstance(node, Scope):
            nodes[name] = replace(node, graph=with_integers(node.graph, rng))
    return replace(graph, nodes=nodes).validate()
