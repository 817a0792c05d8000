"""Lowering: what is folded computes the same, what is snapped is exact, what cannot be held is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neuroaccel import Network, lower
from neuroaccel.errors import GraphError, InputError, UnsupportedNode
from neuroaccel.graph import Edge, Graph, Neuron, Synapse, ValueGrid, chain, infer, nodes, sha256
from neuroaccel.graph import Linear as LinearNode
from neuroaccel.graph.fold import fold_pools
from neuroaccel.graph.nodes import AvgPool2d as AvgNode
from neuroaccel.graph.nodes import Conv2d as ConvNode
from neuroaccel.graph.nodes import Pool2d
from neuroaccel.graph.snap import snap
from neuroaccel.network import Keep, Memory, Window
from neuroaccel.network.nodes import InputPort, OutputPort
from neuroaccel.neurons import LI, LIF, CubaLIF
from neuroaccel.synapses import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Readout,
    Recurrent,
    SumPool2d,
)


def spikes(*shape: int, seed: int = 0, rate: float = 0.3) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def conv_net(pool: Any = SumPool2d, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    net = Network(
        [
            Conv2d(2, 4, 3, padding=1, bias=False),
            BatchNorm2d(4),
            LIF(beta=0.8, learnable={"beta"}, shape=(4, 12, 12)),
            pool(2),
            Conv2d(4, 4, 3, padding=1, stride=2),
            LIF(),
            pool(3),
            Flatten(1),
            Dropout(0.3),
            Linear(4, 5),
            BatchNorm1d(5),
            LIF(),
            Readout(),
        ]
    )
    for _ in range(3):
        net(spikes(6, 8, 2, 12, 12, seed=seed))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.5)
    return net.eval()


def run(graph: Graph, x: torch.Tensor) -> Any:
    return Network.from_graph(graph).eval().trace(x)[2]


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(a.spikes[k], b.spikes[k]) for k in a.spikes) and all(
        np.array_equal(a.states[k][s], b.states[k][s]) for k in a.states for s in a.states[k]
    )


@pytest.mark.parametrize("pool", [SumPool2d, AvgPool2d])
@pytest.mark.parametrize("seed", range(4))
def test_folding_pools_is_exact_on_a_snapped_graph(pool: Any, seed: int) -> None:
    net, x = conv_net(pool, seed), spikes(8, 3, 2, 12, 12, seed=9)
    graph = lower(net, x)
    assert not graph.of_type(Pool2d)
    assert all(signal.kind == "binary" for name, signal in infer(graph).items() if name in graph.of_type(Neuron))
    unfolded = lower(net, x, fold=False)
    assert len(unfolded.of_type(Pool2d)) == 2
    raw, folded_raw = lower(net, x, fold=False, snap=False), lower(net, x, snap=False)
    float_net, _ = net(x)
    for candidate in (raw, folded_raw):
        outputs = run(candidate, x).outputs["output"]
        assert np.abs(outputs - float_net.detach().numpy()).max() <= 1  # a spike may flip on float sums
    # The folded conv with unfolded weights on the same grid: equal bit for bit.
    assert equal(run(snap(lower(net, x, snap=False)), x), run(graph, x))


def test_unfolded_nominal_is_kept_for_the_dense_baseline() -> None:
    from neuroaccel.graph.fanout import fan_out

    net, x = conv_net(), spikes(4, 1, 2, 12, 12)
    folded, unfolded = lower(net, x), lower(net, x, fold=False)
    for name in folded.of_type(Synapse):
        before = fan_out(unfolded.nodes[name], infer(unfolded)[unfolded.into(name)[0].source].shape)[0].sum()
        assert folded.nodes[name].unfolded_nominal in (0, before)
    assert sum(folded.nodes[n].unfolded_nominal > 0 for n in folded.of_type(Synapse)) == 2


def test_folded_pool_equals_the_pool_for_any_geometry() -> None:
    rng = np.random.default_rng(0)
    folded_count = 0
    for _ in range(60):
        size = int(rng.integers(6, 13))
        k, s, p = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 0
        p = int(rng.integers(0, k // 2 + 1))
        ck, cs, cp = (int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(0, 3)))
        weight = rng.integers(-8, 9, (3, 2, ck, ck)).astype(np.float32)
        layers = {
            "x": nodes.Input((2, size, size)),
            "p": nodes.SumPool2d((k, k), (s, s), (p, p)),
            "c": nodes.Conv2d(weight, None, stride=(cs, cs), padding=(cp, cp)),
            "f": nodes.Flatten(),
            "y": nodes.Output(),
        }
        graph = chain(layers)
        try:
            graph.validate()
        except GraphError:
            continue
        folded = fold_pools(graph)
        folded_count += "p" not in folded.nodes
        x = spikes(2, 2, 2, size, size)
        assert torch.equal(Network.from_graph(graph)(x)[0], Network.from_graph(folded)(x)[0])
    assert folded_count > 15


def test_snapped_sums_do_not_depend_on_their_order() -> None:
    torch.manual_seed(0)
    net = Network([Linear(300, 7), LIF(), Recurrent(LIF(), Linear(7, 7)), Linear(7, 3), CubaLIF(), LI()])
    graph = lower(net, spikes(2, 1, 300))
    for name in graph.of_type(Synapse):
        node = graph.nodes[name]
        assert node.grid is not None
        whole = node.weight.astype(np.float64) * 2.0**node.grid.q
        assert np.array_equal(whole, np.rint(whole))
    node = graph.nodes["0"]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 300).astype(np.float32)
    sums = set()
    for _ in range(20):
        order = rng.permutation(300)
        total = np.float32(0)
        for i in order:
            total = np.float32(total + node.weight[0, i] * x[i])
        sums.add(float(np.float32(total + node.bias[0])))
    assert len(sums) == 1
    raw = lower(net, spikes(2, 1, 300), snap=False).nodes["0"]
    assert np.abs(raw.weight - node.weight).max() <= node.grid.largest_change <= 2.0 ** -(node.grid.q + 1)


def test_the_grid_is_the_finest_that_fits() -> None:
    torch.manual_seed(0)
    graph = lower(Network([Linear(64, 8), LIF()]), spikes(2, 1, 64))
    node = graph.nodes["0"]
    k = np.abs(node.weight.astype(np.float64) * 2.0**node.grid.q).sum(axis=1)
    k += np.abs(node.bias.astype(np.float64) * 2.0**node.grid.q)
    assert 2**23 <= k.max() < 2**24


def test_edges_that_meet_in_one_target_share_a_grid() -> None:
    torch.manual_seed(0)
    graph = lower(Network([Linear(20, 6), Recurrent(LIF(), Linear(6, 6))]), spikes(2, 1, 20))
    a, b = (graph.nodes[n] for n in ("0", "1.back"))
    assert a.grid.q == b.grid.q
    k = sum(np.abs(n.weight.astype(np.float64) * 2.0**n.grid.q).sum(axis=1) for n in (a, b))
    assert k.max() < 2**24


def test_counts_and_analog_grids_narrow_the_weights() -> None:
    torch.manual_seed(0)
    net = Network([Linear(16, 4), LIF()])
    binary = lower(net, spikes(2, 1, 16)).nodes["0"].grid.q
    counted = lower(net, spikes(2, 1, 16) * 3, maximum=16).nodes["0"].grid.q
    assert counted in (binary - 4, binary - 3)
    analog = lower(net, torch.rand(2, 1, 16), grid=ValueGrid(4, -128, 127))
    assert infer(analog)["0"].exact
    assert not infer(lower(net, torch.rand(2, 1, 16)))["0"].exact
    with pytest.raises(GraphError, match="maximum"):
        lower(net, spikes(2, 1, 16) * 3)


def test_weight_bits_limit_the_weights() -> None:
    graph = lower(conv_net(), spikes(2, 1, 2, 12, 12), weight_bits=8)
    for name in graph.of_type(Synapse):
        node = graph.nodes[name]
        assert np.abs(node.weight * 2.0**node.grid.q).max() <= 127
        assert node.weight_bits == 8


def test_snapping_again_changes_nothing() -> None:
    graph = lower(conv_net(), spikes(2, 1, 2, 12, 12))
    assert sha256(snap(graph)) == sha256(graph)


@pytest.mark.parametrize("seed", range(3))
def test_from_graph_of_lower_is_a_round_trip(seed: int) -> None:
    net, x = conv_net(seed=seed), spikes(5, 2, 2, 12, 12)
    graph = lower(net, x, dt=0.01)
    again = lower(Network.from_graph(graph), x, dt=0.01)
    assert list(again.nodes) == list(graph.nodes)
    for name, node in graph.nodes.items():
        other = again.nodes[name]
        if isinstance(node, Synapse):
            assert np.array_equal(node.weight, other.weight)
            assert (node.bias is None) == (other.bias is None)
        if isinstance(node, Neuron):
            assert node.program == other.program
            assert node.learnable == other.learnable
            assert all(np.array_equal(node.parameters[k], other.parameters[k]) for k in node.parameters)
    assert equal(run(graph, x), run(again, x))


def test_a_lowered_network_can_be_trained_on() -> None:
    net, x = conv_net(), spikes(5, 2, 2, 12, 12)
    twin = Network.from_graph(lower(net, x))
    twin(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in twin.named_parameters() if "weight" in n)
    assert any("beta" in n for n, _ in twin.named_parameters())


class Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    ("layers", "name", "reason"),
    [
        ([Linear(4, 4), LIF(), BatchNorm1d(4)], "2", "directly before"),
        ([BatchNorm1d(4), LIF()], "0", "directly before"),
        ([Linear(4, 4), nn.ReLU(), LIF()], "1", "ReLU"),
        ([Odd(), LIF()], "0", "Odd"),
        ([Linear(4, 4), BatchNorm1d(4, track_running_stats=False)], "1", "statistics"),
    ],
)
def test_refusals_name_the_layer_and_say_why(layers: list[nn.Module], name: str, reason: str) -> None:
    with pytest.raises(UnsupportedNode, match=reason) as caught:
        lower(Network(layers), spikes(2, 2, 4))
    assert caught.value.node == name


def test_max_pool_stays_and_average_pool_behind_a_neuron_is_folded() -> None:
    torch.manual_seed(0)
    net = Network([Conv2d(1, 2, 3), LIF(), MaxPool2d(2), Conv2d(2, 2, 2), LIF(), AvgPool2d(2), Flatten(1)])
    x = spikes(4, 2, 1, 10, 10)
    graph = lower(net, x)
    assert isinstance(graph.nodes["5"], AvgNode)  # nothing with weights reads it
    assert infer(graph)["2"].kind == "binary"
    assert equal(run(graph, x), run(lower(net, x, fold=False), x))


def test_weights_that_are_not_finite_are_named() -> None:
    layer = Linear(4, 2)
    with torch.no_grad():
        layer.weight[1, 2] = float("nan")
    with pytest.raises(GraphError, match=r"'0'.*weight\[1, 2\]"):
        lower(Network([layer, LIF()]), spikes(2, 1, 4))


def test_plain_sequential_is_lowered_too() -> None:
    graph = lower(nn.Sequential(nn.Linear(4, 3), LIF()), spikes(3, 2, 4))
    assert isinstance(graph.nodes["0"], LinearNode)
    assert not any(isinstance(n, ConvNode) for n in graph.nodes.values())


@pytest.mark.parametrize(
    ("net", "example", "message"),
    [
        (3, spikes(4, 2, 5), "lower takes a network of layers, not int"),
        (Linear(5, 3), None, "Input 'input': the example is NoneType"),
        (Linear(5, 3), spikes(2, 5)[0], r"Input 'input': the example has shape \(5,\), expected \[T, N, ...\]"),
        (Linear(5, 3), torch.zeros(0, 2, 5), r"Input 'input': the example has shape \(0, 2, 5\)"),
        (Linear(5, 3), spikes(4, 2, 6), r"layer '0' does not take an input of shape \(6,\)"),
    ],
)
def test_what_cannot_be_lowered_is_said_in_one_readable_line(net: Any, example: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lower(net, example)


def test_an_example_may_be_an_array() -> None:
    net, x = Network([Linear(5, 3), LIF()]), spikes(4, 2, 5)
    assert sha256(lower(net, x.numpy())) == sha256(lower(net, x))


def test_windows_memories_and_keeps_are_lowered() -> None:
    torch.manual_seed(0)
    layers = {
        "x": InputPort(),
        "frames": InputPort(),
        "keep": Keep(),
        "a": Linear(4, 5),
        "n": LIF(beta=0.5, threshold=0.3),
        "w": Window(2, 2),
        "m": Memory(2),
        "f": Flatten(1),
        "b": Linear(20, 3),
        "o": LIF(beta=0.5, threshold=0.3),
        "y": OutputPort(),
    }
    pairs = ["x keep", "keep a", "a n", "n w", "w m", "m f", "f b", "b o", "o y"]
    net = Network(layers, [*(Edge(*p.split()) for p in pairs), Edge("frames", "keep", "mask")])
    x = {"x": spikes(12, 3, 4, rate=0.6), "frames": spikes(12, 3, 1, seed=1, rate=0.7)}
    graph = lower(net, x)
    assert [graph.nodes[name].kind for name in ("keep", "w", "m")] == ["Keep", "Window", "Memory"]
    again = Network.from_graph(graph)
    assert equal(again.trace(x)[2], Network.from_graph(lower(again, x)).trace(x)[2])
    raw, _ = Network.from_graph(lower(net, x, snap=False))(x)
    assert torch.equal(raw, net(x)[0])
    assert raw.sum() > 0
