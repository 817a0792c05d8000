"""Networks that the NIR tests share, and a reference that shares no code with the package."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import (
    Conv2d,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Neuron,
    Output,
    Readout,
    SumPool2d,
    WeightGrid,
    chain,
)
from neuroaccel.program import LI, LIF, CubaLIF, NeuronSpec


def neuron(spec: NeuronSpec, *shape: int) -> Neuron:
    values = {name: np.asarray(value, np.float32) for name, value in spec.values.items()}
    return Neuron(spec.program, values, shape)


def weights(seed: int, *shape: int, q: int = 6) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).integers(-20, 41, shape) / 2**q).astype(np.float32)


def lif_net(spec: NeuronSpec | None = None, dt: float | None = 1e-3) -> Graph:
    """8 inputs, a Linear with bias, 20 neurons."""
    linear = Linear(weights(1, 20, 8), weights(2, 20, q=8), grid=WeightGrid(8))
    nodes = {"x": Input((8,)), "w": linear, "lif": neuron(spec or LIF(0.9), 20), "y": Output()}
    return chain(nodes, dt=dt)


def recurrent_net() -> Graph:
    """CubaLIF with feedback, per-neuron constants, and an LI readout; names that NIR and HDF5 cannot hold."""
    rng = np.random.default_rng(5)
    betas = rng.uniform(0.5, 0.99, (2, 6)).astype(np.float32)
    nodes = {
        "in.put": Input((4,), "count", 3),
        "layer/1": Linear(weights(3, 6, 4), grid=WeightGrid(6)),
        "..": neuron(CubaLIF(betas[0], betas[1], 0.75, tie="ge", reset="to_value", v_reset=-0.25), 6),
        "layer_1": Linear(weights(4, 6, 6), grid=WeightGrid(6)),
        "aus gang": Linear(weights(6, 3, 6), grid=WeightGrid(6)),
        "λ": neuron(LI(0.875, v_leak=0.125), 3),
        "maximum": Readout("max_membrane"),
        "1": Output(),
        "2": Output(),
    }
    edges = (
        *(Edge("in.put", "layer/1"), Edge("layer/1", ".."), Edge("..", "layer_1", recurrent=True)),
        *(Edge("layer_1", ".."), Edge("..", "aus gang"), Edge("aus gang", "λ"), Edge("λ", "maximum")),
        *(Edge("maximum", "1"), Edge("..", "2")),
    )
    return Graph(nodes, edges, dt=5e-4, metadata={"recipe": "test", "accuracy": [0.5, None]})


def conv_net() -> Graph:
    """A rectangular kernel and groups, both of which nir 1.0.8 types wrongly."""
    nodes = {
        "x": Input((2, 6, 5)),
        "c1": Conv2d(weights(7, 4, 1, 3, 5), weights(8, 4), WeightGrid(6), padding=(1, 2), groups=2),
        "n1": neuron(LIF(0.75, 3.0), 4, 6, 5),
        "p": SumPool2d((2, 2), (2, 2)),
        "flat": Flatten(),
        "w": Linear(weights(9, 5, 24), grid=WeightGrid(6)),
        "n2": neuron(LIF(0.9, 4.0, gain=0.5), 5),
        "count": Readout("spike_count"),
        "y": Output(),
    }
    return chain(nodes, dt=1e-3)


NETS = {"lif": lif_net, "recurrent": recurrent_net, "conv": conv_net}


def with_node(graph: Graph, name: str, **changes: Any) -> Graph:
    """The graph with fields of one node replaced."""
    return dataclasses.replace(graph, nodes={**graph.nodes, name: dataclasses.replace(graph.nodes[name], **changes)})


def spikes_by_hand(graph: Graph, x: NDArray[np.float32], tie: str = "gt") -> NDArray[np.float32]:
    """What :func:`lif_net` does, written down in numpy."""
    w, n = graph.nodes["w"], graph.nodes["lif"]
    assert isinstance(w, Linear)
    assert isinstance(n, Neuron)
    assert w.bias is not None
    beta, threshold = n.parameters["beta"], n.parameters["threshold"]
    v = np.zeros((x.shape[1], 20), np.float32)
    out = []
    for frame in x:
        v = beta * v
        v = v + (frame @ w.weight.T + w.bias).astype(np.float32)
        s = v >= threshold if tie == "ge" else v > threshold
        v = np.where(s, np.float32(0), v)
        out.append(s.astype(np.float32))
    return np.stack(out)
