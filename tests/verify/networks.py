"""Small networks that the tests of verification share."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import (
    Flatten,
    Graph,
    Input,
    Linear,
    Neuron,
    Output,
    Readout,
    SumPool2d,
    Synapse,
    WeightGrid,
    chain,
)
from neuroaccel.graph.nodes import Conv2d
from neuroaccel.program import LIF, NeuronSpec
from neuroaccel.verify import Executor
from neuroaccel.verify.executors import Number, engine_trace

Q = 6
T, N = 12, 5


def grid_weights(rng: np.random.Generator, *shape: int, largest: int = 40) -> NDArray[np.float32]:
    """Whole multiples of 2^-Q."""
    return (rng.integers(-largest // 2, largest, shape) / 2**Q).astype(np.float32)


def population(spec: NeuronSpec, *shape: int) -> Neuron:
    return Neuron(spec.program, {k: np.asarray(v, np.float32) for k, v in spec.values.items()}, shape)


def conv_network(spec: NeuronSpec | None = None) -> Graph:
    """Conv – LIF – SumPool – Linear – LIF – spike count: what every executor can hold."""
    rng = np.random.default_rng(52)
    spec = spec or LIF(beta=0.9, threshold=1.0)
    return chain(
        {
            "events": Input((2, 6, 6)),
            "conv": Conv2d(grid_weights(rng, 3, 2, 3, 3), grid_weights(rng, 3), grid=WeightGrid(Q), padding=(1, 1)),
            "first": population(spec, 3, 6, 6),
            "pool": SumPool2d((2, 2), (2, 2)),
            "flat": Flatten(),
            "dense": Linear(grid_weights(rng, 4, 27) - grid_weights(rng, 4, 27), grid=WeightGrid(Q)),
            "second": population(spec, 4),
            "count": Readout("spike_count"),
            "class": Output(),
        },
        dt=1e-3,
    ).validate()


def events(graph: Graph, seed: int = 0, ticks: int = T, samples: int = N, rate: float = 0.3) -> NDArray[np.float32]:
    """Random binary input of a graph with one Input."""
    (name,) = graph.inputs
    shape = graph.nodes[name].shape  # type: ignore[attr-defined]
    return (np.random.default_rng(seed).random((ticks, samples, *shape)) < rate).astype(np.float32)


def changed(graph: Graph, name: str, **fields: Any) -> Graph:
    """The graph with other values in one node."""
    return dataclasses.replace(graph, nodes={**graph.nodes, name: dataclasses.replace(graph.nodes[name], **fields)})


def nudged(graph: Graph, name: str, index: tuple[int, ...]) -> Graph:
    """The graph with one weight moved by one unit of its grid."""
    node = graph.nodes[name]
    assert isinstance(node, Synapse)
    weight = node.weight.copy()
    weight[index] += np.float32(2.0**-Q)
    return changed(graph, name, weight=weight)


def with_threshold(graph: Graph, name: str, threshold: NDArray[np.float32]) -> Graph:
    """The graph with other thresholds in one population."""
    node = graph.nodes[name]
    assert isinstance(node, Neuron)
    return changed(graph, name, parameters={**node.parameters, "threshold": threshold})


def impostor(graph: Graph, number: Number = "float32") -> Executor:
    """An executor that runs its own graph, whatever it is asked to run."""

    def start(asked: Graph, stack: ExitStack) -> Any:
        return lambda x: engine_trace(graph, x, number)

    return Executor("impostor", number, start)
