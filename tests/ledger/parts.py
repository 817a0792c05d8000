"""Small networks whose books and energies are worked out by hand."""

from __future__ import annotations

import numpy as np

from neuroaccel.graph import Graph, Input, Linear, Neuron, Output, chain
from neuroaccel.ledger import Book
from neuroaccel.ledger.dense import count_from_emissions
from neuroaccel.program import LIF


def two_neurons(weight_bits: int = 32, dt: float | None = None) -> Graph:
    """Two inputs, three living synapses of four, two LIF neurons."""
    spec = LIF(0.5, 1.0)
    weight = np.array([[1, 0], [1, 1]], np.float32)
    lif = Neuron(spec.program, spec.values, (2,))  # type: ignore[arg-type]
    return chain(
        {"x": Input((2,)), "linear": Linear(weight, weight_bits=weight_bits), "lif": lif, "y": Output()}, dt=dt
    )


def one_tick(weight_bits: int = 32, dt: float | None = None) -> Book:
    """One tick, samples x = (1, 0) and x = (0, 0): two events and two driven updates, then nothing."""
    x = np.array([[[1, 0], [0, 0]]], np.float32)
    silent = np.zeros_like(x)
    graph = two_neurons(weight_bits, dt)
    return count_from_emissions(graph, {"x": x, "linear": silent, "lif": silent}, {"lif": {"v": silent}})
