"""Lowering of dendritic layers: BatchNorm folds into W and b, pools stay, the torch executor gives the node's bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuroaccel import Network, lower
from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import Dendrite, Graph, Reshape, infer, load_graph, save_graph
from neuroaccel.graph import SumPool2d as SumNode
from neuroaccel.graph.retime import retime
from neuroaccel.ledger.torch_hooks import count_with_torch, emissions_with_torch
from neuroaccel.neurons import LI, LIF
from neuroaccel.synapses import (
    BatchNorm1d,
    BatchNorm2d,
    DendriticConv1d,
    DendriticConv2d,
    DendriticLinear,
    Flatten,
    Linear,
    Readout,
    Recurrent,
    SumPool2d,
)
from tests.ledger.brute import Brute


def spikes(*shape: int, seed: int = 0, rate: float = 0.3) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def settled(net: Network, x: Tensor, seed: int = 0) -> Network:
    """Running statistics of x, and affine parameters that are not 1 and 0."""
    torch.manual_seed(seed)
    for _ in range(3):
        net(x)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.5)
    return net.eval()


def conv_net(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [
        DendriticConv2d(2, 4, 3, padding=1, bias=False, v_scale=1.0),
        BatchNorm2d(4),
        LIF(),
        SumPool2d(2),
        DendriticConv2d(4, 6, 3, stride=2, groups=2, dilation=1, padding=1, v_scale=1.0),
        LIF(threshold=0.5),
        Flatten(1),
        DendriticLinear(54, 12, v_scale=1.0),
        BatchNorm1d(12),
        LIF(threshold=0.3),
        Linear(12, 5),
        LI(beta=0.9),
        Readout("last_membrane"),
    ]
    return settled(Network(layers), spikes(6, 8, 2, 12, 12, seed=seed), seed)


def line_net() -> Network:
    torch.manual_seed(2)
    layers = [DendriticConv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, v_scale=1.0), BatchNorm1d(6), LIF()]
    return Network(layers)


def run(graph: Graph, x: Tensor) -> Any:
    return Network.from_graph(graph).eval().trace(x)[2]


def exact(node: Dendrite, x: Tensor) -> Tensor:
    """The node's current, sums in float64 and then every operation rounded to float32."""
    flat = x.flatten(0, 1).double()
    found = []
    for array in (node.weight, node.gate):
        weight = torch.from_numpy(np.array(array)).double()
        if node.stride is None:
            total = flat @ weight.T
        else:
            total = nn.functional.conv2d(flat, weight, None, node.stride, node.padding, node.dilation, node.groups)
        found.append(total.float())
        assert torch.equal(found[-1].double(), total)  # the grid leaves nothing to round
    y, z = found
    i = y * z
    i = i + y
    if node.bias is not None:
        i = i + torch.from_numpy(np.array(node.bias)).reshape(-1, *[1] * (i.dim() - 2))
    return i.unflatten(0, x.shape[:2])


@pytest.mark.parametrize("seed", range(3))
def test_the_torch_executor_gives_the_nodes_bits(seed: int) -> None:
    net, x = conv_net(seed), spikes(8, 3, 2, 12, 12, seed=9)
    graph = lower(net, x)
    assert len(graph.of_type(Dendrite)) == 3
    executor = Network.from_graph(graph).eval()
    values, _, _ = executor.emissions(x)
    entering = {"0": x, "4": values["3"], "7": values["6"]}
    for name in graph.of_type(Dendrite):
        assert torch.equal(values[name], exact(graph.nodes[name], entering[name])), name
        assert infer(graph)[name].exact
    assert values["8" if "8" in values else "9"].any()


@pytest.mark.parametrize("seed", range(3))
def test_a_norm_folds_into_w_and_b_and_v_stays(seed: int) -> None:
    net, x = conv_net(seed), spikes(8, 3, 2, 12, 12, seed=9)
    graph = lower(net, x, snap=False)
    for name, norm in (("0", "1"), ("7", "8")):
        layer, bn, node = net[name], net[norm], graph.nodes[name]
        scale = (bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach()
        bias = 0 if layer.bias is None else layer.bias.detach()
        assert np.array_equal(node.gate, layer.gate.detach().numpy())
        folded = layer.weight.detach() * scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
        assert np.allclose(node.weight, folded, rtol=1e-6)
        assert np.allclose(node.bias, (bias - bn.running_mean) * scale + bn.bias.detach(), rtol=1e-5, atol=1e-6)
    logits, _ = net(x)
    with torch.no_grad():
        assert np.abs(run(graph, x).outputs["output"] - logits.detach().numpy()).max() < 1e-6


def test_the_fold_is_exact_in_float64() -> None:
    torch.manual_seed(0)
    layer, norm = DendriticConv2d(2, 4, 3, v_scale=1.0), BatchNorm2d(4)
    net = settled(Network([layer, norm]), spikes(6, 8, 2, 9, 9))
    node = lower(net, spikes(2, 1, 2, 9, 9), snap=False).nodes["0"]
    x = torch.randn(3, 2, 2, 9, 9)
    folded = exact_double(node, x)
    assert torch.allclose(folded, net.double()(x.double())[0], rtol=1e-5, atol=1e-6)


def exact_double(node: Dendrite, x: Tensor) -> Tensor:
    w, v, b = (torch.from_numpy(np.array(a)).double() for a in (node.weight, node.gate, node.bias))
    y, z = (nn.functional.conv2d(x.flatten(0, 1).double(), k) for k in (w, v))
    return (y * z + y + b.reshape(-1, 1, 1)).unflatten(0, x.shape[:2])


def test_round_trip_through_torch_and_a_file(tmp_path: Path) -> None:
    net, x = conv_net(), spikes(8, 3, 2, 12, 12)
    graph = lower(net, x)
    again = lower(Network.from_graph(graph), x)
    save_graph(graph, tmp_path / "net.safetensors")
    for other in (again, load_graph(tmp_path / "net.safetensors")):
        for name in graph.of_type(Dendrite):
            a, b = graph.nodes[name], other.nodes[name]
            for key in ("weight", "gate", "bias"):
                assert np.array_equal(getattr(a, key), getattr(b, key)), (name, key)
            assert (a.stride, a.padding, a.dilation, a.groups) == (b.stride, b.padding, b.dilation, b.groups)
        one, two = run(graph, x), run(other, x)
        assert all(np.array_equal(one.currents[k], two.currents[k]) for k in one.currents)
        assert all(np.array_equal(one.spikes[k], two.spikes[k]) for k in one.spikes)


def test_a_pool_before_a_dendrite_stays_and_counts_enter() -> None:
    graph = lower(conv_net(), spikes(4, 2, 2, 12, 12))
    assert list(graph.of_type(SumNode)) == ["3"]
    assert infer(graph)["3"].kind == "count"


def test_a_convolution_of_a_line_is_one_of_an_image_of_one_row() -> None:
    x = spikes(7, 3, 4, 11)
    net = settled(line_net(), x)
    graph = lower(net, x, snap=False)
    assert [type(graph.nodes[n]) for n in ("0.image", "0.dendrite", "0")] == [Reshape, Dendrite, Reshape]
    found = run(graph, x)
    assert np.abs(found.currents["2"] - net.trace(x)[2].currents["2"]).max() < 1e-5
    snapped = lower(net, x)
    assert infer(snapped)["0"].exact
    assert run(snapped, x).spikes["2"].any()


def test_pruned_weights_lower_as_they_are() -> None:
    class Masked(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight * (weight.abs() > 0.2)

    torch.manual_seed(0)
    layer = DendriticLinear(6, 4, v_scale=1.0)
    for name in ("weight", "gate"):
        nn.utils.parametrize.register_parametrization(layer, name, Masked())
    node = lower(Network([layer, LIF()]), spikes(3, 2, 6), snap=False).nodes["0"]
    assert np.array_equal(node.weight, layer.weight.detach().numpy())
    assert np.array_equal(node.gate, layer.gate.detach().numpy())
    assert 0 < np.count_nonzero(node.gate) < node.gate.size


def test_a_dendrite_feeds_back() -> None:
    torch.manual_seed(0)
    net = Network([Linear(6, 4), Recurrent(LIF(threshold=0.2), DendriticLinear(4, 4, v_scale=1.0))])
    x = spikes(9, 3, 6)
    graph = lower(net, x, snap=False)
    assert isinstance(graph.nodes["1.back"], Dendrite)
    assert np.array_equal(run(graph, x).spikes["1"], net.trace(x)[2].spikes["1"])


def test_pipelined_every_dendrite_carries_a_tick() -> None:
    net, x = conv_net(), spikes(8, 2, 2, 12, 12)
    graph = lower(net, x)
    late = retime(graph)
    first, second = run(graph, x), run(late, x)
    assert np.array_equal(second.spikes["2"][1:], first.spikes["2"][:-1])
    assert first.spikes["2"].any()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (DendriticConv2d(2, 3, 3, padding="same"), (2, 8, 8)),
        (DendriticConv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 8, 8)),
        (DendriticConv1d(2, 3, 3, padding="same"), (2, 8)),
    ],
)
def test_other_paddings_are_refused(layer: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedNode, match="only numeric zero padding"):
        lower(Network([layer, LIF()]), spikes(3, 2, *shape))


def test_the_torch_ledger_balances_on_dendrites() -> None:
    net, x = conv_net(), spikes(6, 2, 2, 12, 12)
    graph = lower(net, x)
    nodes = dict(graph.nodes)
    for name in graph.of_type(Dendrite):  # most synapses pruned, so that every fate occurs
        node, rng = nodes[name], np.random.default_rng(0)
        assert isinstance(node, Dendrite)
        weight, gate = (a * (rng.random(a.shape) < 0.3).astype(np.float32) for a in (node.weight, node.gate))
        nodes[name] = replace(node, weight=weight, gate=gate)
    pruned = Graph(nodes, graph.edges, graph.timing, graph.dt, graph.metadata).validate()
    book = count_with_torch(pruned, x)  # which raises where it does not balance
    emissions, states, _ = emissions_with_torch(pruned, x)
    arrays = {name: v.numpy() for name, v in emissions.items()}
    held = {name: {k: v.numpy() for k, v in each.items()} for name, each in states.items()}
    expected = Brute(pruned, arrays, held).columns()
    for name in pruned.of_type(Dendrite):
        for column in ("synaptic_events", "macs", "executed", "zero_input", "pruned", "nominal"):
            assert book.columns[name][column].tolist() == expected[name].get(column, [0, 0]), (name, column)
        assert book.columns[name]["pruned"].all()
        assert book.columns[name]["macs"].all()
