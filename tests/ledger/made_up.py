"""Made-up recordings: counting is a function of recorded values, so it can be tested without any executor."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroaccel.graph import Graph, infer
from neuroaccel.graph import nodes as n


def made_up(graph: Graph, rng: np.random.Generator, T: int, N: int, prefix: str = "") -> tuple[dict[str, Any], Any]:
    """(emissions, states) of every node, as an executor might have recorded them, but for the arithmetic."""
    emissions: dict[str, Any] = {}
    states: dict[str, Any] = {}
    for name, signal in infer(graph).items():
        node = graph.nodes[name]
        shape = (T, N, *signal.shape)
        mask = rng.random(shape) < rng.choice([0.1, 0.4])
        values = rng.integers(1, (signal.maximum or 4) + 1, shape) if signal.kind == "count" else np.ones(shape)
        if signal.kind == "analog":
            values = rng.integers(-8, 9, shape) / 4
        emissions[prefix + name] = (values * mask).astype(np.float32)
        if isinstance(node, n.Neuron):
            states[prefix + name] = {
                k: rng.integers(-4, 9, shape).astype(np.float32) / 4 for k in node.program.state_names
            }
        if isinstance(node, n.Scope):
            inner = made_up(node.graph, rng, T * node.ticks, N, f"{prefix}{name}/")
            emissions |= inner[0]
            states |= inner[1]
    return emissions, states
