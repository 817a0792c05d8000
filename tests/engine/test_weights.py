"""Other weights while a session runs: from the next tick on, state and counts as they are, or not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine.weights import replaced
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import (
    Conv2d,
    Dendrite,
    Flatten,
    Graph,
    Input,
    Linear,
    Node,
    Output,
    Scope,
    Synapse,
    WeightGrid,
    chain,
)
from neuroaccel.program import LIF, CubaLIF
from tests.graphs.parts import neuron, weights
from tests.random_graphs import random_graph, random_input


def layers(bias: float = 0.25) -> Graph:
    """A convolution and a Linear, both on a grid, between two populations."""
    nodes: dict[str, Node] = {
        "x": Input((2, 5, 5)),
        "conv": Conv2d(weights(1, 3, 2, 3, 3), np.float32([bias, 0, 0]), grid=WeightGrid(5), padding=(1, 1)),
        "a": neuron(LIF(0.875), 3, 5, 5),
        "flat": Flatten(),
        "fc": Linear(weights(2, 7, 75), grid=WeightGrid(5)),
        "b": neuron(CubaLIF(0.75, 0.5), 7),
        "y": Output(),
    }
    return chain(nodes)


def events(seed: int, T: int, N: int = 2) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).random((T, N, 2, 5, 5)) < 0.2).astype(np.float32)


def outputs(session: engine.Session, x: NDArray[Any]) -> NDArray[Any]:
    return np.stack([session.step(values)["y"] for values in x])


def test_new_weights_hold_from_the_next_tick_on() -> None:
    """Twice the same: load in the middle, and a session with the new weights that is given the state of before."""
    graph, x = layers(), events(0, 12)
    new: dict[str, Any] = {
        "conv": {"weight": weights(11, 3, 2, 3, 3), "bias": np.float32([0, 0.5, 0])},
        "fc": weights(12, 7, 75),
    }
    session, other = engine.open(graph, 2), engine.open(replaced(graph, new), 2)
    before = outputs(session, x[:5])
    state, counts = session.state(), {k: dict(v) for k, v in session.counts.items()}
    session.load(new)
    assert session.tick == 5
    assert {k: v.tolist() for k, v in session.state().items()} == {k: v.tolist() for k, v in state.items()}
    for name, columns in counts.items():
        for column, value in columns.items():
            np.testing.assert_array_equal(session.counts[name][column], value)
    other.restore(state)
    after = outputs(session, x[5:])
    np.testing.assert_array_equal(after, outputs(other, x[5:]))
    same = engine.run(graph, x).trace.outputs["y"]
    np.testing.assert_array_equal(before, same[:5])
    assert (after != same[5:]).any()


def test_counts_go_on_with_the_new_weights() -> None:
    graph, x = layers(), events(3, 8)
    sparse = np.where(weights(12, 7, 75) > 0, weights(12, 7, 75), 0)
    session, other = engine.open(graph, 2), engine.open(replaced(graph, {"fc": sparse}), 2)
    outputs(session, x[:4])
    state, first = session.state(), {name: dict(columns) for name, columns in session.counts.items()}
    first = {name: {k: v.copy() for k, v in columns.items()} for name, columns in first.items()}
    session.load({"fc": sparse})
    other.restore(state)
    outputs(session, x[4:])
    outputs(other, x[4:])
    for name, columns in session.counts.items():
        for column, value in columns.items():
            np.testing.assert_array_equal(value, first[name][column] + other.counts[name][column], f"{name} {column}")
    assert (session.counts["fc"]["pruned"] > first["fc"]["pruned"]).all()


@pytest.mark.parametrize("seed", range(16))
def test_any_graph_takes_other_weights(seed: int) -> None:
    """Weights in another order, in graphs with delays, recurrence and pipelining: what is under way stays so."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    x = random_input(graph, rng, 10, 2)
    new: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Synapse):
            new[name] = rng.permuted(node.weight, axis=1)
        if isinstance(node, Dendrite):
            new[name] = {key: rng.permuted(getattr(node, key), axis=1) for key in ("weight", "gate")}
    session, other = engine.open(graph, 2), engine.open(replaced(graph, new), 2)
    for values in x[:5]:
        session.step(values)
    other.restore(session.state())
    session.load(new)
    for values in x[5:]:
        found, expected = session.step(values), other.step(values)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_only_a_bias_or_only_a_weight() -> None:
    graph = layers()
    bias = replaced(graph, {"conv": {"bias": np.zeros(3)}}).nodes["conv"]
    assert isinstance(bias, Conv2d)
    assert bias.weight is graph.nodes["conv"].weight  # type: ignore[attr-defined]
    assert bias.bias.tolist() == [0, 0, 0]  # type: ignore[union-attr]
    weight = replaced(graph, {"conv": np.zeros((3, 2, 3, 3), np.int64)}).nodes["conv"]
    assert isinstance(weight, Conv2d)
    assert weight.weight.dtype == np.float32
    assert weight.bias is graph.nodes["conv"].bias  # type: ignore[attr-defined]


GOOD = weights(2, 7, 75)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"a": GOOD}, "'a' is no synapse of the graph; expected one of conv, fc"),
        ({"nobody": GOOD}, "'nobody' is no synapse"),
        ({"fc": GOOD.T}, r"the weight of synapse 'fc' is float32\[75, 7\], expected numbers \[7, 75\]"),
        ({"fc": GOOD.astype(str)}, "expected numbers"),
        ({"fc": {"bias": np.zeros(7)}}, "the bias of synapse 'fc' .* expected none"),
        ({"fc": {"gate": GOOD}}, "a weight and a bias, not gate"),
        ({"fc": GOOD + np.float32(2**-7)}, r"leaves its grid, whole multiples of 2\^-5"),
        ({"fc": np.where(np.eye(7, 75) > 0, np.nan, GOOD)}, "not finite"),
        ({"fc": GOOD.astype(np.float64) * 1e300}, "not finite"),
        ({"fc": GOOD.astype(np.float64) + 2**-40}, "leaves its grid"),
        ({"fc": GOOD * np.float32(2**18)}, r"what enters 'b' could leave the 16777216 whole steps"),
        ({"conv": weights(1, 3, 2, 3, 3), "fc": GOOD.T}, "synapse 'fc'"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(new: dict[str, Any], message: str) -> None:
    graph, x = layers(), events(1, 8)
    session, other = engine.open(graph, 2), engine.open(graph, 2)
    outputs(session, x[:4])
    outputs(other, x[:4])
    with pytest.raises(GraphError, match=message):
        session.load(new)
    np.testing.assert_array_equal(outputs(session, x[4:]), outputs(other, x[4:]))


def test_weights_stay_within_their_bits() -> None:
    graph = layers()
    narrow = dataclasses.replace(graph.nodes["fc"], weight_bits=6)
    graph = dataclasses.replace(graph, nodes={**graph.nodes, "fc": narrow})
    session = engine.open(graph)
    session.load({"fc": np.full((7, 75), 31 / 32)})
    with pytest.raises(GraphError, match="does not fit into its 6 bits"):
        session.load({"fc": np.ones((7, 75))})


def test_integers_that_leave_their_format_are_refused() -> None:
    from tests.graphs import integer_core

    graph = integer_core.build()
    name = graph.of_type(Synapse)[0]
    node = graph.nodes[name]
    assert isinstance(node, Synapse)
    session = engine.open(graph, arithmetic="integer")
    state = session.state()
    plan = session.plan
    with pytest.raises((UnsupportedNode, GraphError)):
        session.load({name: np.ldexp(np.ones(node.weight.shape), 22)})
    assert session.plan is plan
    assert {k: v.tolist() for k, v in session.state().items()} == {k: v.tolist() for k, v in state.items()}


@pytest.mark.parametrize("state", ["carry", "reset"])
def test_a_synapse_in_a_scope_is_named_with_it(state: Any) -> None:
    """Its session of its own takes the weights up too, and its counts go on."""
    inside = chain(
        {
            "in": Input((4,)),
            "w": Linear(weights(1, 3, 4), grid=WeightGrid(5)),
            "n": neuron(LIF(0.75, 0.75), 3),
            "y": Output(),
        }
    )
    nodes: dict[str, Node] = {"x": Input((4,)), "scope": Scope(inside, 3, input="repeat", state=state, output="sum")}
    graph, new = chain({**nodes, "y": Output()}), {"scope/w": np.abs(weights(2, 3, 4, living=0.5))}
    x = (np.random.default_rng(2).random((10, 2, 4)) < 0.6).astype(np.float32)
    session, other = engine.open(graph, 2), engine.open(replaced(graph, new), 2)
    before = outputs(session, x[:5])
    first = {name: {k: v.copy() for k, v in columns.items()} for name, columns in session.counts.items()}
    other.restore(session.state())
    session.load(new)
    np.testing.assert_array_equal(outputs(session, x[5:]), outputs(other, x[5:]))
    assert before.any()
    for name, columns in session.counts.items():
        for column, value in columns.items():
            np.testing.assert_array_equal(value, first[name][column] + other.counts[name][column], f"{name} {column}")
    with pytest.raises(GraphError, match="'scope/nobody' is no synapse of the graph; expected one of w"):
        session.load({"scope/nobody": weights(2, 3, 4)})
    with pytest.raises(GraphError, match="the weight of synapse 'scope/w'"):
        session.load({"scope/w": weights(2, 4, 3)})
