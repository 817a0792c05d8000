"""Networks in networks are lowered with all that is in them: folded, typed by what enters, on grids with the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuroaccel import Network, engine, lower
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import Edge, Graph, Input, Scope, Synapse, ValueGrid, infer, sha256
from neuroaccel.graph.nodes import Pool2d
from neuroaccel.network import Attention, Memory
from neuroaccel.network import Scope as Layer
from neuroaccel.network.nodes import InputPort, OutputPort
from neuroaccel.neurons import LI, LIF
from neuroaccel.synapses import (
    Add,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Recurrent,
    SumPool2d,
)
from tests.conftest import examples
from tests.engine.reference import reference, same_trace
from tests.graphs import GRAPHS
from tests.random_graphs import random_graph, random_input


def spikes(*shape: int, seed: int = 0, rate: float = 0.4) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def trace(graph: Graph, x: Any) -> Any:
    with torch.no_grad():
        return Network.from_graph(graph).eval().trace(x)[2]


def identical(a: Any, b: Any) -> None:
    """Two traces, bit for bit."""
    assert set(a.spikes) == set(b.spikes)
    for name in a.spikes:
        assert np.array_equal(a.spikes[name], b.spikes[name]), name
        assert np.array_equal(a.currents[name], b.currents[name]), name
        assert all(np.array_equal(v, b.states[name][key]) for key, v in a.states[name].items()), name
    assert all(np.array_equal(v, b.outputs[name]) for name, v in a.outputs.items())


def inner_of(graph: Graph, name: str) -> Graph:
    node = graph.nodes[name]
    assert isinstance(node, Scope)
    return node.graph


def trained(net: Network, x: torch.Tensor) -> Network:
    """In evaluation mode, with statistics and affine parameters that are not those of the beginning."""
    for _ in range(3):
        net(x)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.5)
    return net.eval()


@settings(max_examples=examples(25, 600))
@given(st.integers(0, 2**32 - 1))
def test_a_graph_survives_torch_and_lowering(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny", clocks=True, scopes=True, timings=("instant",))
    x = random_input(graph, rng, T=5, N=2)
    entry = graph.nodes[graph.inputs[0]]
    assert isinstance(entry, Input)
    maximum = entry.maximum if entry.edge == "count" else None
    again = lower(Network.from_graph(graph), torch.from_numpy(x), maximum=maximum, fold=False, snap=False)
    assert list(again.nodes) == list(graph.nodes)
    for name, node in graph.nodes.items():
        if isinstance(node, Scope):
            assert list(inner_of(again, name).nodes) == list(node.graph.nodes)
    expected = reference(graph, x)
    same_trace(trace(again, torch.from_numpy(x)), expected)
    same_trace(engine.run(again, x, record=True).trace, expected)


def random_net(rng: np.random.Generator, norms: bool) -> Network:
    """Layers before, in and behind a scope of any kind, which may hold another."""
    torch.manual_seed(int(rng.integers(2**31)))
    slices, stacked = bool(rng.random() < 0.3), bool(rng.random() < 0.3)
    ticks, width = int(rng.integers(1, 4)), 4

    def dense(inputs: int, out: int) -> list[nn.Module]:
        found: list[nn.Module] = [Linear(inputs, out, bias=bool(rng.random() < 0.7))]
        found += [BatchNorm1d(out)] if norms else []
        return [*found, LIF(beta=0.5, threshold=0.3)]

    inside = [*dense(width, 5), Recurrent(LIF(beta=0.5, threshold=0.4), Linear(5, 5)), Linear(5, width)]
    inside += [[LIF(beta=0.5, threshold=0.3)], [LI(beta=0.5)]][int(rng.random() < 0.3)]
    if rng.random() < 0.4:
        inside.insert(0, Layer(Network([*dense(width, width)]), 2, output=("last", "sum")[int(rng.integers(2))]))
    how: dict[str, Any] = {
        "input": "slice" if slices else "repeat",
        "state": "carry" if rng.random() < 0.5 else "reset",
        "output": "all" if stacked else ("last", "sum")[int(rng.integers(2))],
    }
    before: list[nn.Module] = dense(6, width * ticks if slices else width)
    if slices:
        before.append(nn.Unflatten(1, (ticks, width)))
    elif rng.random() < 0.4:
        before.pop()  # a current enters the scope
    behind: list[nn.Module] = [Flatten(1)] if stacked else []
    last = Linear(width * ticks if stacked else width, 3)
    return Network([*before, Layer(Network(inside), ticks, **how), *behind, last, LIF(beta=0.5, threshold=0.3)])


@settings(max_examples=examples(25, 600))
@given(st.integers(0, 2**32 - 1))
def test_what_is_lowered_computes_the_same(seed: int) -> None:
    net, x = random_net(np.random.default_rng(seed), norms=False).eval(), spikes(5, 2, 6, seed=seed % 1000)
    with torch.no_grad():
        expected = net(x)[0]
    raw = lower(net, x, snap=False)
    assert torch.equal(Network.from_graph(raw)(x)[0], expected)
    graph = lower(net, x)
    again = lower(Network.from_graph(graph), x)
    identical(trace(again, x), trace(graph, x))


@settings(max_examples=examples(25, 600))
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_what_is_snapped_is_exact(seed: int, norms: bool) -> None:
    x = spikes(5, 2, 6, seed=seed % 1000)
    net = trained(random_net(np.random.default_rng(seed), norms), x)
    graph = lower(net, x)
    signals = infer(graph)
    name = graph.of_type(Scope)[0]
    # Of a whole current, before a scope or out of it, nothing is left for the weights behind it: they stay close.
    current = "analog" in (signals[graph.into(name)[0].source].kind, signals[name].kind)
    synapses = [graph.nodes[s] for s in graph.of_type(Synapse)]
    inner = [inner_of(graph, name).nodes[s] for s in inner_of(graph, name).of_type(Synapse)]
    assert current or all(signal.exact for signal in signals.values())
    assert current or all(isinstance(s, Synapse) and s.grid is not None for s in (*synapses, *inner))
    if all(signal.exact for signal in signals.values()):
        identical(engine.run(graph, x.numpy(), record=True).trace, trace(graph, x))


def test_inputs_of_scopes_are_what_enters_them() -> None:
    torch.manual_seed(0)
    image = Network(
        [
            Conv2d(2, 3, 3, bias=False),
            BatchNorm2d(3),
            LIF(threshold=0.3),
            SumPool2d(2),
            Flatten(1),
            Linear(12, 4),
            LIF(),
        ]
    )
    net = Network([SumPool2d(2), Layer(image, 2, output="sum"), Linear(4, 3), LIF()])
    x = spikes(4, 2, 2, 12, 12)
    graph = lower(trained(net, x), x)
    inside = inner_of(graph, "1")
    entry = inside.nodes["in"]
    assert isinstance(entry, Input)
    assert (entry.shape, entry.edge, entry.maximum) == ((2, 6, 6), "count", 4)
    assert not inside.of_type(Pool2d)
    assert infer(graph)["1"].maximum == 2
    assert all(signal.exact for signal in infer(graph).values())
    identical(engine.run(graph, x.numpy(), record=True).trace, trace(graph, x))
    spiking = Network([Layer(Network([MaxPool2d(2)]), 1)])
    assert inner_of(lower(spiking, x), "0").nodes["in"].edge == "binary"  # type: ignore[attr-defined]
    with pytest.raises(GraphError, match="is a spike-OR and needs a binary edge"):
        lower(Network([AvgPool2d(2), Layer(Network([MaxPool2d(2)]), 1)]), x)


def test_a_current_that_enters_a_scope_is_exact_and_can_be_trained() -> None:
    torch.manual_seed(1)
    net = Network([Linear(6, 8), Layer(Network([LIF(beta=0.5, threshold=0.3)]), 4, output="sum"), Linear(8, 2), LIF()])
    x = spikes(3, 2, 6)
    graph = lower(net, x)
    assert all(signal.exact for signal in infer(graph).values())
    node = graph.nodes["0"]
    assert isinstance(node, Synapse)
    assert node.grid is not None
    identical(engine.run(graph, x.numpy(), record=True).trace, trace(graph, x))
    twin = Network.from_graph(graph)
    twin(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in twin.named_parameters() if "weight" in n)


def test_a_narrow_analog_edge_gives_its_grid_to_the_scope_and_its_gradient_passes() -> None:
    torch.manual_seed(2)
    inner = Network([Flatten(1), Linear(18, 4), LIF(threshold=0.2)])
    net = Network([Conv2d(1, 2, 3, padding=1), LIF(threshold=0.2), AvgPool2d(2), Layer(inner, 2), Linear(4, 2), LIF()])
    x = spikes(4, 2, 1, 6, 6)
    graph = lower(net, x)
    entry = inner_of(graph, "3").nodes["in"]
    assert isinstance(entry, Input)
    assert entry.grid == ValueGrid(2, -4, 4)
    assert all(signal.exact for signal in infer(graph).values())
    identical(engine.run(graph, x.numpy(), record=True).trace, trace(graph, x))
    twin = Network.from_graph(graph)
    twin(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in twin.named_parameters() if "weight" in n)


def test_ports_by_name_and_their_errors() -> None:
    torch.manual_seed(3)

    def net(called: str = "sum") -> Network:
        layers = {"a": InputPort(), "b": InputPort(), called: Add(), "n": LIF(threshold=0.5), "o": OutputPort()}
        pairs = [("a", called), ("b", called), (called, "n"), ("n", "o")]
        scope = Layer(Network(layers, pairs), 2, ports=("left", "right"))
        outer = {"x": InputPort(), "w": Linear(3, 3), "s": scope, "y": OutputPort()}
        return Network(outer, [Edge("x", "w"), Edge("x", "s", "right"), Edge("w", "s", "left"), Edge("s", "y")])

    x, given = spikes(4, 2, 3), net()
    graph = lower(given, x)
    assert inner_of(graph, "s").inputs == ("left", "right")
    kinds = {name: inner_of(graph, "s").nodes[name].edge for name in ("left", "right")}  # type: ignore[attr-defined]
    assert kinds == {"left": "analog", "right": "binary"}
    with torch.no_grad():
        assert torch.equal(Network.from_graph(lower(given, x, snap=False))(x)[0], given(x)[0])
    with pytest.raises(GraphError, match="'s': its network has layers called like its ports: left"):
        lower(net("left"), x)
    with pytest.raises(UnsupportedNode, match="'0/1'"):
        lower(Network([Layer(Network([Linear(3, 3), nn.GELU()]), 2)]), x)
    no_statistics = BatchNorm1d(3, track_running_stats=False)
    with pytest.raises(UnsupportedNode, match="'0/1': a BatchNorm without running"):
        lower(Network([Layer(Network([Linear(3, 3), no_statistics]), 2)]), x)


def test_the_decision_block_survives_torch_and_lowering() -> None:
    graph, rng = GRAPHS["decision_block_softmax"](), np.random.default_rng(0)
    x = {"token": spikes(6, 2, 4, 8), "step": torch.from_numpy(rng.integers(0, 6, (6, 2, 4, 2)).astype(np.float32))}
    again = lower(Network.from_graph(graph), x, maximum=5, fold=False, snap=False)
    identical(trace(again, x), trace(graph, x))
    snapped = lower(Network.from_graph(again), x, maximum=5)
    assert sha256(lower(Network.from_graph(snapped), x, maximum=5)) == sha256(snapped)


def test_attention_and_norms_of_torch_are_lowered() -> None:
    torch.manual_seed(4)
    layers = {
        **{p: InputPort() for p in ("q", "kv", "live")},
        "keys": Memory(3),
        "band": Memory(3),
        "mask": Flatten(1),
        "a": Attention(2, "softmax", scale=0.3, masked=True),
        "norm": nn.LayerNorm(4),
        "plain": nn.LayerNorm(4, elementwise_affine=False),
        "p": nn.Softmax(-1),
        "y": OutputPort(),
    }
    edges = [
        Edge("q", "a", "q"),
        Edge("kv", "keys"),
        Edge("keys", "a", "k"),
        Edge("keys", "a", "v"),
        Edge("live", "band"),
    ]
    edges += [
        Edge("band", "mask"),
        Edge("mask", "a", "mask"),
        Edge("a", "norm"),
        Edge("norm", "plain"),
        Edge("plain", "p"),
        Edge("p", "y"),
    ]
    net = Network(layers, edges)
    x = {"q": torch.rand(4, 2, 4), "kv": torch.rand(4, 2, 4), "live": spikes(4, 2, 1)}
    graph = lower(net, x)
    assert [graph.nodes[k].kind for k in ("a", "norm", "plain", "p")] == [
        "Attention",
        "LayerNorm",
        "LayerNorm",
        "Softmax",
    ]
    with torch.no_grad():
        assert torch.equal(Network.from_graph(graph)(x)[0], net(x)[0])
    with pytest.raises(UnsupportedNode, match="over several axes"):
        lower(Network([nn.LayerNorm((2, 3))]), torch.rand(2, 1, 2, 3))
    with pytest.raises(UnsupportedNode, match="Softmax has no graph node"):
        lower(Network([nn.Softmax(1)]), torch.rand(2, 1, 2, 3))
