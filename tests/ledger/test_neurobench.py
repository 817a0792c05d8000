"""NeuroBench's synaptic operations equal ours per sample, where its definition is ours.

Both leave out biases and, in its Dense and our nominal alike, products beyond the border.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuroaccel.graph import Conv2d, Flatten, Graph, Input, Linear, Neuron, Node, Output, chain
from neuroaccel.ledger import count
from neuroaccel.program import LIF

BETA, THRESHOLD = 0.5, 1.0


class Layers(nn.Module):
    """Plain torch layers, each behind the first fed with spikes of a hand-written LIF; ``[N, T, ...]`` in and out."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        membranes: dict[int, Tensor] = {}
        out = []
        for t in range(x.shape[1]):
            s = x[:, t]
            for at, layer in enumerate(self.layers):
                if isinstance(layer, nn.Flatten):
                    s = layer(s)
                    continue
                v = membranes.get(at, torch.tensor(0.0)) * BETA + layer(s)
                s = (v > THRESHOLD).float()
                membranes[at] = v * (1 - s)
            out.append(s)
        return torch.stack(out, dim=1)


def neurobench(model: Layers, x: Tensor) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports, not of what it computes
        from neurobench.metrics.workload import SynapticOperations
        from neurobench.models import TorchModel
    wrapped = TorchModel(model)
    wrapped.register_hooks()
    metric = SynapticOperations()
    with torch.no_grad():
        found = metric(wrapped, wrapped(x), (x, torch.zeros(len(x))))
    wrapped.cleanup_hooks()
    return dict(found)


def lif(*shape: int) -> Neuron:
    spec = LIF(BETA, THRESHOLD)
    return Neuron(spec.program, spec.values, shape)  # type: ignore[arg-type]


def dyadic(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights on a grid of 1/16, a third of them pruned, so that both sides compute the same spikes."""
    return (rng.integers(-8, 17, shape) / 16 * (rng.random(shape) > 0.3)).astype(np.float32)


def torch_layer(node: Node) -> nn.Module:
    if isinstance(node, Linear):
        made: Any = nn.Linear(node.weight.shape[1], node.weight.shape[0])
    elif isinstance(node, Conv2d):
        out, per_group, *kernel = node.weight.shape
        made = nn.Conv2d(per_group * node.groups, out, kernel, node.stride, node.padding, node.dilation, node.groups)
    else:
        return nn.Flatten()
    assert isinstance(node, (Linear, Conv2d))
    assert node.bias is not None
    made.weight.data, made.bias.data = torch.tensor(node.weight), torch.tensor(node.bias)
    return made


def compare(graph: Graph, x: np.ndarray) -> None:
    model = Layers(*(torch_layer(node) for node in graph.nodes.values() if isinstance(node, (Linear, Conv2d, Flatten))))
    theirs = neurobench(model, torch.tensor(x).transpose(0, 1))
    ours = count(graph, x, executor="torch")
    assert theirs["Effective_ACs"] == pytest.approx(ours.mean("synaptic_events")[0], abs=0, rel=1e-12)
    assert theirs["Effective_MACs"] == ours.mean("macs")[0] == 0
    assert ours.mean("spikes")[0] > 0
    assert theirs["Dense"] == ours.mean("nominal")[0]


def test_linear_and_lif() -> None:
    rng = np.random.default_rng(1)
    nodes: dict[str, Node] = {
        "x": Input((12,)),
        "a": Linear(dyadic(rng, 9, 12), dyadic(rng, 9)),
        "lif1": lif(9),
        "b": Linear(dyadic(rng, 4, 9), dyadic(rng, 4)),
        "lif2": lif(4),
        "y": Output(),
    }
    compare(chain(nodes), (rng.random((7, 3, 12)) < 0.4).astype(np.float32))


def test_convolution_without_border() -> None:
    rng = np.random.default_rng(2)
    nodes: dict[str, Node] = {
        "x": Input((2, 7, 7)),
        "a": Conv2d(dyadic(rng, 4, 1, 3, 3), dyadic(rng, 4), stride=(2, 2), groups=2),
        "lif1": lif(4, 3, 3),
        "flatten": Flatten(),
        "b": Linear(dyadic(rng, 5, 36), dyadic(rng, 5)),
        "lif2": lif(5),
        "y": Output(),
    }
    compare(chain(nodes), (rng.random((5, 3, 2, 7, 7)) < 0.4).astype(np.float32))


def test_convolution_with_border() -> None:
    rng = np.random.default_rng(3)
    nodes: dict[str, Node] = {
        "x": Input((2, 4, 4)),
        "a": Conv2d(dyadic(rng, 3, 2, 3, 3), dyadic(rng, 3), padding=(1, 1)),
        "lif1": lif(3, 4, 4),
        "y": Output(),
    }
    compare(chain(nodes), (rng.random((5, 2, 2, 4, 4)) < 0.4).astype(np.float32))


def test_counts_are_multiply_accumulates_in_both() -> None:
    rng = np.random.default_rng(4)
    nodes = {"x": Input((6,), "count", 3), "a": Linear(dyadic(rng, 5, 6), dyadic(rng, 5)), "lif": lif(5), "y": Output()}
    x = rng.integers(0, 4, (4, 3, 6)).astype(np.float32)
    assert x.max() > 1
    ours = count(chain(nodes), x, executor="torch")
    theirs = neurobench(Layers(torch_layer(nodes["a"])), torch.tensor(x).transpose(0, 1))
    # It calls a tick whose values are all 0 or 1 accumulations; here every tick holds a larger count.
    assert (x.max(axis=(1, 2)) > 1).all()
    assert (theirs["Effective_MACs"], theirs["Effective_ACs"]) == (pytest.approx(ours.mean("macs")[0]), 0)
