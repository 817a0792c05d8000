"""Dendrites in networks: the node's module, sequences in pieces, training, other clocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from neuroaccel import Network
from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import Dendrite, Graph
from neuroaccel.graph.retime import retime
from neuroaccel.network.nodes import module_of
from neuroaccel.neurons import LIF
from neuroaccel.program import Arithmetic, Fixed
from neuroaccel.synapses import DendriticConv2d, DendriticLinear, Flatten, OverTime, Readout
from tests.graphs.nonlinear_dendrite import build


def spikes(*shape: int, seed: int = 0, rate: float = 0.3) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def with_node(graph: Graph, name: str, **changes: object) -> Graph:
    node = graph.nodes[name]
    assert isinstance(node, Dendrite)
    nodes = {**graph.nodes, name: replace(node, **changes)}  # type: ignore[arg-type]
    return Graph(nodes, graph.edges, graph.timing, graph.dt, graph.metadata)


def test_the_modules_hold_the_nodes_arrays() -> None:
    graph = build()
    for name, kind in (("dendrite1", DendriticConv2d), ("dendrite2", DendriticLinear)):
        layer, node = module_of(graph, name), graph.nodes[name]
        assert isinstance(layer, kind)
        assert not layer.plain_at_zero
        assert np.array_equal(layer.weight.detach().numpy(), node.weight)
        assert np.array_equal(layer.gate.detach().numpy(), node.gate)
        assert (layer.bias is None) == (node.bias is None)


def test_sequences_in_pieces_and_steps_equal_the_whole() -> None:
    net, x = Network.from_graph(build()), spikes(9, 3, 2, 8, 8)
    whole, _ = net(x)
    first, state = net(x[:4])
    second, _ = net(x[4:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    state = None
    for t in range(9):
        y, state = net.step(x[t], state)
        assert torch.equal(y, whole[t])
    assert whole.any()


def test_a_bias_off_the_grid_is_added_last_even_where_the_gate_is_closed() -> None:
    graph = build()
    node = graph.nodes["dendrite1"]
    bias = (np.arange(4, dtype=np.float32) - 1.7) / 3
    graph = with_node(graph, "dendrite1", gate=np.zeros_like(node.gate), bias=bias)
    x = spikes(4, 2, 2, 8, 8)
    values, _, _ = Network.from_graph(graph).emissions(x)
    weight = torch.from_numpy(np.array(node.weight)).double()
    y = torch.nn.functional.conv2d(x.flatten(0, 1).double(), weight, padding=1).float()
    expected = (y + torch.from_numpy(bias).reshape(-1, 1, 1)).unflatten(0, (4, 2))
    assert torch.equal(values["dendrite1"].detach(), expected)


def test_a_network_from_a_graph_learns_w_and_v() -> None:
    net = Network.from_graph(build())
    net(spikes(9, 3, 2, 8, 8))[0][-1].square().sum().backward()
    for name in ("dendrite1", "dendrite2"):
        assert net[name].weight.grad.any()
        assert net[name].gate.grad.any()


def test_pipelined_a_dendrite_carries_one_tick() -> None:
    graph, x = build(), spikes(9, 2, 2, 8, 8)
    nodes = {**graph.nodes, "readout": replace(graph.nodes["readout"], how="last_membrane")}
    late = retime(Graph(nodes, graph.edges, graph.timing, graph.dt, graph.metadata))
    assert late.timing == "pipelined"
    now, then = (Network.from_graph(g).trace(x)[2].spikes["lif1"] for g in (graph, late))
    assert np.array_equal(then[1:], now[:-1])
    assert now.any()


def test_integer_arithmetic_is_refused_by_name() -> None:
    graph = with_node(build(), "dendrite2", arithmetic=Arithmetic(*[Fixed(16, 0)] * 5))
    with pytest.raises(UnsupportedNode, match=r"dendrite2.*integer arithmetic"):
        Network.from_graph(graph)


def test_compiled_a_network_gives_the_same() -> None:
    torch.manual_seed(0)
    layers: list[OverTime] = [DendriticConv2d(2, 3, 3), LIF(), Flatten(), DendriticLinear(108, 4), LIF(), Readout()]
    net = Network(layers)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_((p * 1024).round() / 1024)
    x = spikes(5, 2, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(torch.compile(net, backend="aot_eager")(x)[0], net(x)[0])
