"""A layer that learns while it runs, in a network of torch layers: training, lowering, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from neuroaccel import engine
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import Edge, Linear, Plastic, Softmax, infer
from neuroaccel.graph.lower import lower
from neuroaccel.network import Network
from neuroaccel.network.nodes import InputPort, OutputPort
from neuroaccel.neurons import LIF
from neuroaccel.synapses import BatchNorm1d, PlasticLinear, ThreeFactor
from neuroaccel.synapses import Linear as LinearLayer
from tests.engine.test_plastic import closed

EDGES = ("x in", "in hidden", "hidden head", "head actions", "actions y")


def network(rule: ThreeFactor) -> Network:
    torch.manual_seed(1)
    layers = {
        "x": InputPort(),
        "reward": InputPort(),
        "in": LinearLayer(4, 6),
        "hidden": LIF(beta=0.5, threshold=0.2),
        "head": PlasticLinear(6, 3, rule),
        "actions": LIF(beta=0.5, threshold=0.2),
        "y": OutputPort(),
    }
    late = (Edge("reward", "head", "third"), Edge("actions", "head", "post"))
    return Network(layers, (*(Edge(*e.split()) for e in EDGES), *late))


def inputs(ticks: int = 40, samples: int = 2) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(ticks, samples, 4, generator=g) < 0.5).float()
    reward = torch.randint(-1, 2, (ticks, samples, 1), generator=g).float()
    reward[0, 0] = -1  # an analog edge, not a count
    return {"x": x, "reward": reward}


@pytest.mark.parametrize("grid", [None, 8])
def test_lowered_it_learns_the_same_in_every_executor(grid: int | None) -> None:
    net, x = network(ThreeFactor(0.9, 0.1, 0.5, grid)), inputs()
    graph = lower(net.eval(), x)
    head = graph.nodes["head"]
    assert isinstance(head, Linear)
    assert head.plastic == Plastic(0.9, 0.1, 0.5)
    assert head.grid is not None
    assert head.grid.q == 8 if grid else 8 < head.grid.q < 30
    again = Network.from_graph(graph).eval()
    assert isinstance(again["head"], PlasticLinear)
    session = engine.open(graph, 2)
    with torch.no_grad():
        y, state = again(x)
    for t in range(40):
        given = session.step({name: value[t].numpy() for name, value in x.items()})
        assert torch.equal(torch.from_numpy(given["y"]), y[t])
    for key in ("weight", "trace"):
        assert torch.equal(torch.from_numpy(session.state()[f"head/{key}"]), state["head"][key])
    assert not torch.equal(state["head"]["weight"][0], again["head"].weight)
    once_more = lower(again, x, snap=False)
    assert isinstance(once_more.nodes["head"], Linear)
    assert (once_more.nodes["head"].weight == head.weight).all()


def test_a_network_that_learns_while_it_runs_can_be_trained() -> None:
    net, x = network(ThreeFactor(0.9, 0.1, 1.0)), inputs(12)
    y, state = net(x)
    y.sum().backward()
    head = net["head"]
    assert isinstance(head, PlasticLinear)
    assert head.weight.grad is not None
    assert head.weight.grad.any()
    assert not any(v.requires_grad for v in state["head"].values())
    layer = net["in"]
    assert isinstance(layer, nn.Linear)
    assert layer.weight.grad is not None
    assert layer.weight.grad.any(), "through the weights as they were at each tick"


def test_without_a_grid_only_snapping_makes_a_graph() -> None:
    with pytest.raises(UnsupportedNode, match=r"'head'.*needs a grid"):
        lower(network(ThreeFactor(0.9, 0.1, 1.0)), inputs(), snap=False)


def test_what_nothing_teaches_is_named() -> None:
    net = network(ThreeFactor(0.9, 0.1, 1.0))
    layers = {name: net[name] for name in net.names}
    del layers["reward"]
    untaught = Network(layers, tuple(Edge(*e.split()) for e in EDGES))
    with pytest.raises(GraphError, match="layer 'head': nothing enters its port 'third'"):
        untaught({"x": inputs()["x"]})


def test_a_norm_does_not_fold_into_weights_that_learn() -> None:
    net = network(ThreeFactor(0.9, 0.1, 1.0))
    layers = {name: net[name] for name in net.names} | {"norm": BatchNorm1d(3)}
    edges = [e for e in net.edges if (e.source, e.target) != ("head", "actions")]
    normed = Network(layers, (*edges, Edge("head", "norm"), Edge("norm", "actions"))).eval()
    with pytest.raises(UnsupportedNode, match=r"'norm'.*do not learn"):
        lower(normed, inputs())


def test_what_a_close_teacher_teaches_is_close() -> None:
    graph = closed()
    assert infer(graph)["head"].exact
    nodes = {**graph.nodes, "soft": Softmax()}
    edges = [e for e in graph.edges if (e.source, e.port) != ("n", "post")]
    taught = replace(graph, nodes=nodes, edges=(*edges, Edge("n", "soft"), Edge("soft", "head", "post")))
    signals = infer(taught)
    assert not signals["head"].exact
    assert not signals["n"].exact


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Plastic(1.5, 0.1, 1.0), "trace_decay is from 0 to 1"),
        (Plastic(0.5, float("inf"), 1.0), "rate and bound are finite"),
        (Plastic(0.5, 0.1, 2.0**-11), "below a step of its grid"),
    ],
)
def test_rules_that_no_executor_can_follow_are_refused(rule: Plastic, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        closed(plastic=rule).validate()
