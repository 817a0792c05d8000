"""Figures under NeuroBench's names equal those of NeuroBench itself, run on the same network in torch and snntorch.

The first tests hold our book's columns against its synaptic operations where its definition is ours: both leave out
biases and, in its Dense and our nominal alike, products beyond the border.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuroaccel.errors import InputError, UnsupportedNode
from neuroaccel.graph import (
    Conv2d,
    Dendrite,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Neuron,
    Node,
    Output,
    Readout,
    Window,
    chain,
)
from neuroaccel.ledger import count
from neuroaccel.ledger.neurobench import CORRECTNESS, NeuroBench, score
from neuroaccel.network import Network
from neuroaccel.program import LI, LIF

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


class Spiking(nn.Module):
    """Layers of torch and Leaky neurons of snntorch in a row; one tick in, ``(spikes, membranes)`` out."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            x = layer(x)
        return x, x

    def reset(self) -> None:
        """NeuroBench calls it before every batch; snntorch's own reset does not look into nested modules."""
        for layer in self.layers:
            if not isinstance(layer, (nn.Linear, nn.Conv2d, nn.Flatten)):
                layer.reset_mem()  # type: ignore[operator]


def leaky() -> nn.Module:
    import snntorch

    return snntorch.Leaky(beta=BETA, threshold=THRESHOLD, init_hidden=True, reset_mechanism="subtract")


def snntorch_lif(*shape: int) -> Neuron:
    """The same neuron as :func:`leaky`: it subtracts one tick after the spike."""
    spec = LIF(BETA, THRESHOLD, reset="subtract", reset_delay=1)
    return Neuron(spec.program, spec.values, shape)  # type: ignore[arg-type]


def benchmark(model: nn.Module, x: np.ndarray, labels: np.ndarray, batch: int) -> dict[str, Any]:
    """NeuroBench's own benchmark of a snntorch network on ``[T, N, ...]``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neurobench.benchmarks import Benchmark
        from neurobench.metrics.static import ConnectionSparsity
        from neurobench.metrics.workload import (
            ActivationSparsity,
            ClassificationAccuracy,
            MembraneUpdates,
            SynapticOperations,
        )
        from neurobench.models import SNNTorchModel
        from neurobench.processors.postprocessors import ChooseMaxCount
    data = torch.utils.data.TensorDataset(torch.tensor(x).transpose(0, 1), torch.tensor(labels))
    found = Benchmark(
        SNNTorchModel(model),
        torch.utils.data.DataLoader(data, batch),
        [],
        [ChooseMaxCount()],
        [[ConnectionSparsity], [ClassificationAccuracy, ActivationSparsity, MembraneUpdates, SynapticOperations]],
    )
    with torch.no_grad():
        return dict(found.run(quiet=True))


def ours(graph: Graph, x: np.ndarray, batch: int, labels: np.ndarray | None = None) -> NeuroBench:
    bench = NeuroBench(graph)
    for first in range(0, x.shape[1], batch):
        part = slice(first, first + batch)
        bench.add(x[:, part], None if labels is None else labels[part])
    return bench


def agree(nodes: dict[str, Node], x: np.ndarray, batch: int) -> dict[str, Any]:
    """Both benchmarks of the same chain, which gives a spike count; every figure is the same."""
    layers = [leaky() if isinstance(n, Neuron) else torch_layer(n) for n in nodes.values() if not isinstance(n, Input)]
    labels = np.random.default_rng(9).integers(0, 3, x.shape[1])
    theirs = benchmark(Spiking(*layers), x, labels, batch)
    graph = chain({**nodes, "count": Readout(), "y": Output()})
    found = ours(graph, x, batch, labels).results("ClassificationAccuracy")
    assert set(theirs) <= set(found)
    assert theirs.pop("SynapticOperations") == pytest.approx(found["SynapticOperations"], rel=1e-12)
    for metric, value in theirs.items():
        assert value == pytest.approx(found[metric], rel=1e-6), metric
    assert 0 < found["ActivationSparsity"] < 1
    assert json.loads(json.dumps(found)) == found
    return found


def test_benchmark_of_linear_layers() -> None:
    rng = np.random.default_rng(5)
    nodes: dict[str, Node] = {
        "x": Input((12,)),
        "a": Linear(dyadic(rng, 9, 12), dyadic(rng, 9)),
        "lif1": snntorch_lif(9),
        "b": Linear(dyadic(rng, 4, 9), dyadic(rng, 4)),
        "lif2": snntorch_lif(4),
    }
    found = agree(nodes, (rng.random((7, 5, 12)) < 0.4).astype(np.float32), batch=2)  # the last batch holds one
    assert found["SynapticOperations"]["Dense"] == 7 * (12 * 9 + 9 * 4)
    assert found["neuroaccel"]["samples"] == 5


def test_benchmark_of_a_convolution() -> None:
    rng = np.random.default_rng(6)
    nodes: dict[str, Node] = {
        "x": Input((2, 4, 4)),
        "a": Conv2d(dyadic(rng, 3, 2, 3, 3), dyadic(rng, 3), padding=(1, 1)),
        "lif1": snntorch_lif(3, 4, 4),
        "flatten": Flatten(),
        "b": Linear(dyadic(rng, 5, 48), dyadic(rng, 5)),
        "lif2": snntorch_lif(5),
    }
    agree(nodes, (rng.random((5, 4, 2, 4, 4)) < 0.3).astype(np.float32), batch=4)


def test_a_batch_decides_what_accumulates_on_a_count_edge() -> None:
    rng = np.random.default_rng(7)
    nodes = {
        "x": Input((6,), "count", 3),
        "a": Linear(dyadic(rng, 5, 6), dyadic(rng, 5)),
        "lif": snntorch_lif(5),
    }
    x = (rng.integers(0, 4, (8, 6, 6)) * (rng.random((8, 1, 1)) < 0.5) + (rng.random((8, 6, 6)) < 0.2)).clip(0, 3)
    found = agree(nodes, x.astype(np.float32), batch=3)
    operations = found["SynapticOperations"]
    assert operations["Effective_ACs"] > 0
    assert operations["Effective_MACs"] > 0
    assert found["neuroaccel"]["book"]["synaptic_events"] == 0  # our book goes by the edge: all of them are macs
    assert operations["Effective_ACs"] + operations["Effective_MACs"] == pytest.approx(
        found["neuroaccel"]["book"]["macs"]
    )


def test_recurrence_counts_the_spikes_of_the_tick_before() -> None:
    rng = np.random.default_rng(8)
    weight, back = dyadic(rng, 6, 4), dyadic(rng, 6, 6)
    graph = Graph(
        {"x": Input((4,)), "w": Linear(weight), "n": snntorch_lif(6), "back": Linear(back), "y": Output()},
        (Edge("x", "w"), Edge("w", "n"), Edge("n", "back", recurrent=True), Edge("back", "n"), Edge("n", "y")),
    )
    x = (rng.random((9, 3, 4)) < 0.4).astype(np.float32)
    bench = NeuroBench(graph)
    spikes = bench.add(x)
    found = bench.results()["SynapticOperations"]
    expected = np.sum((x != 0) @ (weight != 0).T.astype(float)) + np.sum(
        (spikes[:-1] != 0) @ (back != 0).T.astype(float)
    )
    assert found == {"Effective_MACs": 0, "Effective_ACs": expected / 3, "Dense": 9 * (6 * 4 + 6 * 6)}
    assert spikes[:-1].any()


def test_static_figures_are_those_of_the_torch_executor() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
        from neurobench.models import TorchModel
    rng = np.random.default_rng(10)
    nodes: dict[str, Node] = {
        "x": Input((2, 5, 5)),
        "a": Conv2d(dyadic(rng, 3, 2, 3, 3), dyadic(rng, 3)),
        "lif": lif(3, 3, 3),
        "flatten": Flatten(),
        "b": Linear(dyadic(rng, 4, 27)),
        "li": Neuron(LI(0.5).program, LI(0.5).values, (4,)),  # type: ignore[arg-type]
        "y": Output(),
    }
    graph = chain(nodes)
    bench = NeuroBench(graph)
    model = TorchModel(Network.from_graph(graph))
    bench.add(np.zeros((2, 7, 2, 5, 5), np.float32))
    found = bench.results()
    assert found["Footprint"] == Footprint()(model) > 4 * (54 + 3 + 108)
    assert found["ParameterCount"] == ParameterCount()(model)
    assert found["ConnectionSparsity"] == ConnectionSparsity()(model) > 0
    assert found["ActivationSparsity"] == 1.0  # the bias of a silent first layer stays below threshold
    assert any("'li' in ActivationSparsity" in line for line in found["neuroaccel"]["left_out"])


@pytest.mark.parametrize("edge", ["binary", "count"])
def test_a_dendrite_is_two_connection_layers(edge: str) -> None:
    rng = np.random.default_rng(11)
    weight, gate = dyadic(rng, 5, 7), dyadic(rng, 5, 7)
    entering = Input((7,)) if edge == "binary" else Input((7,), "count", 2)
    graph = chain({"x": entering, "d": Dendrite(weight, gate), "n": lif(5), "y": Output()})
    x = (rng.random((6, 2, 7)) < 0.5).astype(np.float32) * (1 if edge == "binary" else 2)
    silent = np.zeros((6, 2, 5), np.float32)
    bench = NeuroBench(graph)
    bench.observe({"x": x, "d": silent, "n": silent}, {"n": {"v": silent}})
    found = bench.results()
    effective = sum(np.sum((x != 0) @ (w != 0).T.astype(float)) for w in (weight, gate)) / 2
    one, other = ("Effective_ACs", "Effective_MACs") if edge == "binary" else ("Effective_MACs", "Effective_ACs")
    assert found["SynapticOperations"] == {one: effective, other: 0, "Dense": 6 * 2 * 35}
    assert "the products y·z of Dendrite 'd'" in found["neuroaccel"]["left_out"]


@pytest.mark.parametrize("metric", [m for m in CORRECTNESS if m != "ClassificationAccuracy"])
def test_correctness_is_neurobench_s(metric: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neurobench.metrics import workload
    rng = np.random.default_rng(12)
    p, y = rng.normal(size=(2, 40, 2))
    theirs = getattr(workload, metric)()
    if metric == "R2":
        theirs.reset()
    assert score(metric, p, y) == pytest.approx(theirs(None, torch.tensor(p), (None, torch.tensor(y))), rel=1e-6)


def test_what_is_no_number_scores_200() -> None:
    assert score("SMAPE", [0.0, 1.0], [0.0, 1.0]) == 200.0
    assert score("ClassificationAccuracy", [[0, 1], [2, 2], [1, 0]], [1, 0, 1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("metric", "p", "y", "word"),
    [("BLEU", [1.0], [1.0], "BLEU"), ("MSE", [1.0], [1.0, 2.0], "MSE"), ("R2", [1.0], [1.0], "R2")],
)
def test_scores_that_make_no_sense_are_refused(metric: str, p: Sequence[float], y: Sequence[float], word: str) -> None:
    with pytest.raises(InputError, match=word):
        score(metric, p, y)


def test_what_neurobench_has_no_rule_for_is_refused() -> None:
    rng = np.random.default_rng(13)
    windowed = chain(
        {
            "x": Input((4,)),
            "w": Window(2, 2),
            "f": Flatten(),
            "a": Linear(dyadic(rng, 3, 8)),
            "n": lif(3),
            "y": Output(),
        }
    )
    with pytest.raises(UnsupportedNode, match="'w'"):
        NeuroBench(windowed)
    with pytest.raises(InputError, match="no connection layer"):
        NeuroBench(chain({"x": Input((4,)), "n": lif(4), "y": Output()}))
    bench = NeuroBench(chain({"x": Input((4,)), "a": Linear(dyadic(rng, 3, 4)), "n": lif(3), "y": Output()}))
    with pytest.raises(InputError, match="no books"):
        bench.results()
    x = np.ones((2, 2, 4), np.float32)
    with pytest.raises(InputError, match="3 targets for 2 samples"):
        bench.add(x, [0, 1, 2])
    bench.add(x)
    with pytest.raises(InputError, match="targets of every batch"):
        bench.results("ClassificationAccuracy")
