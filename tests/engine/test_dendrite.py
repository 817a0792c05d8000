"""Dendrites in the engine: every sum, product and count of the contract, however W and V lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine.dendrite import Dendrite as Operation
from neuroaccel.engine.dendrite import stacked
from neuroaccel.engine.weights import replaced
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import Delay, Dendrite, Edge, Graph, Input, Linear, Node, Output, WeightGrid, chain, infer
from neuroaccel.program import LI, LIF
from tests.engine.reference import reference, same
from tests.engine.variants import differing, linear
from tests.graphs.parts import neuron, weights

Floats = NDArray[np.float32]


def node(*shape: int, living: float = 0.7, bias: bool = True, seed: int = 0, **how: Any) -> Dendrite:
    """W on a grid of 2^-5, V on one of 2^-6."""
    gate = weights(seed + 1, *shape, q=6, living=living)
    b = weights(seed + 2, shape[0], largest=4) if bias else None
    return Dendrite(weights(seed, *shape, living=living), gate, b, grid=WeightGrid(5), gate_grid=WeightGrid(6), **how)


def net(dendrite: Dendrite, x: Input, timing: Any = "instant") -> Graph:
    """The dendrite's current is the state of LI neurons with beta 0 and so an output, too."""
    shape = infer(chain({"x": x, "d": dendrite, "y": Output()}))["d"].shape
    nodes: dict[str, Node] = {
        "x": x,
        "d": dendrite,
        "n": neuron(LIF(0.75, 0.5), *shape),
        "y": Output(),
        "li": neuron(LI(0.5), *shape),
        "z": Output(),
    }
    edges = (Edge("x", "d"), Edge("d", "n"), Edge("n", "y"), Edge("d", "li"), Edge("li", "z"))
    return Graph(nodes, edges, timing).validate()


def events(shape: tuple[int, ...], rate: float = 0.3, T: int = 7, N: int = 2, most: int = 1) -> Floats:
    rng = np.random.default_rng(3)
    found = (rng.random((T, N, *shape)) < rate) * rng.integers(1, most + 1, (T, N, *shape))
    found[2] = 0  # a silent tick
    return found.astype(np.float32)


def dead(dendrite: Dendrite, which: str, *channels: int) -> Dendrite:
    """Without a living weight in some channels of W or V."""
    array = getattr(dendrite, which).copy()
    array[list(channels)] = 0
    return replace(dendrite, **{which: array})


IMAGE, VECTOR = Input((4, 7, 6)), Input((9,))
PADDED: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1)}
CASES: dict[str, tuple[Dendrite, Input]] = {
    "dense": (node(6, 9, living=1.0), VECTOR),
    "dense, pruned": (node(6, 9, living=0.15), VECTOR),
    "dense, no bias": (node(6, 9, bias=False), VECTOR),
    "dense, leading places": (node(5, 9, living=0.4), Input((3, 9))),
    "dense, counts": (node(6, 9), Input((9,), "count", 5)),
    "dense, dead rows of W": (dead(node(6, 9), "weight", 0, 3), VECTOR),
    "dense, dead rows of V": (dead(node(6, 9), "gate", 1, 5), VECTOR),
    "dense, dead neurons": (dead(dead(node(6, 9), "gate", 1, 5), "weight", 1, 2), VECTOR),
    "dense, nothing lives": (dead(dead(node(2, 9), "gate", 0, 1), "weight", 0, 1), VECTOR),
    "dense, V alone lives": (dead(node(2, 9), "weight", 0, 1), VECTOR),
    "conv": (node(5, 4, 3, 3, living=1.0, **PADDED), IMAGE),
    "conv, pruned": (node(5, 4, 3, 3, living=0.1, **PADDED), IMAGE),
    "conv, strided": (node(5, 4, 3, 2, stride=(2, 1), padding=(0, 1), dilation=(2, 1), bias=False), IMAGE),
    "conv, groups": (node(6, 2, 3, 3, living=0.5, groups=2, **PADDED), IMAGE),
    "conv, dead channels of groups": (dead(node(6, 2, 3, 3, groups=2, **PADDED), "gate", 0, 4), IMAGE),
    "conv, dead channels": (dead(dead(node(6, 4, 3, 3, **PADDED), "gate", 0, 2), "weight", 2, 3), IMAGE),
    "conv, counts": (node(5, 4, 3, 3, **PADDED), replace(IMAGE, edge="count", maximum=3)),
}


@pytest.mark.parametrize("timing", ["instant", "pipelined"])
@pytest.mark.parametrize("arithmetic", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_reference(case: str, arithmetic: Any, timing: str) -> None:
    dendrite, x = CASES[case]
    graph, values = net(dendrite, x, timing), events(x.shape, most=x.maximum)
    result = engine.run(graph, values, record=True, arithmetic=arithmetic)
    same(result, reference(graph, values, arithmetic))
    assert case == "dense, nothing lives" or result.trace.currents["n"].any()


@pytest.mark.parametrize("case", CASES)
def test_no_variant_differs(case: str) -> None:
    dendrite, x = CASES[case]
    assert differing(net(dendrite, x), events(x.shape, most=x.maximum)) == {}


@pytest.mark.parametrize("case", ["dense", "dense, pruned", "dense, dead neurons", "conv", "conv, pruned"])
def test_without_a_grid_sums_run_in_the_order_of_addresses(case: str) -> None:
    dendrite, x = CASES[case]
    rng = np.random.default_rng(0)
    loose = {k: (getattr(dendrite, k) * rng.uniform(0.5, 1.5, dendrite.weight.shape)) for k in ("weight", "gate")}
    free = {k: v.astype(np.float32) for k, v in loose.items()}
    graph = net(replace(dendrite, grid=None, gate_grid=None, **free), x)
    values = events(x.shape)
    same(engine.run(graph, values, record=True), reference(graph, values))
    assert differing(graph, values, turn=0) == {}


@pytest.mark.parametrize("out", [1, 31, 70])
@pytest.mark.parametrize("ticks", [2, 16, 40, 100, 131, 240, 300])
def test_pruned_neurons_one_by_one_in_many_rows(ticks: int, out: int) -> None:
    """Rows that fill no group of 16, no run of 256; neurons that fill no tile, and some without living weights."""
    rng = np.random.default_rng(ticks)
    loose = (rng.standard_normal((2, out, 90)) * (rng.random((2, out, 90)) < 0.1)).astype(np.float32)
    loose[0, ::5], loose[1, ::7] = 0, 0
    bias = rng.standard_normal(out).astype(np.float32) if ticks % 2 else None
    graph = net(Dendrite(loose[0], loose[1], bias), Input((90,)))
    x = (rng.random((ticks, 1, 90)) < 0.2).astype(np.float32)
    x[1] = 0
    operation = engine.compile_graph(graph).steps["node", "d"].operation
    assert isinstance(operation, Operation)
    assert operation.by_lines is not None
    expected = reference(graph, x)
    for kind in ("lines", "csr"):
        with linear(kind):
            same(engine.run(graph, x, record=True), expected)


def test_every_operation_is_rounded_on_its_own() -> None:
    """One fused multiply-add, and these would differ: y·z loses bits that the sum would bring back."""
    rng = np.random.default_rng(1)
    w, v, b = ((rng.random((4096, 1)) * 2 - 1).astype(np.float32) for _ in range(3))
    graph = net(Dendrite(w, v, b[:, 0]), Input((1,)))
    found = engine.run(graph, np.ones((1, 1, 1), np.float32), record=True).trace.currents["n"][0, 0]
    y, z, bias = w[:, 0], v[:, 0], b[:, 0]
    product = y * z
    np.testing.assert_array_equal(found, (product + y) + bias)
    fused = (y.astype(np.float64) * z + y).astype(np.float32) + bias
    assert (fused != found).mean() > 0.05


def test_no_sum_is_minus_zero() -> None:
    """0·z is −0 where z < 0, and b may be −0: with 0 before them both give 0."""
    w, v = np.float32([[1, -1], [0, 0], [1, 0]]), np.float32([[-1, -1], [-1, -1], [-1, 0]])
    graph = net(Dendrite(w, v, np.float32([-0.0, -0.0, -0.0])), Input((2,)))
    x = np.float32([[1, 1], [0, 0], [1, 0], [0, 1]])[:, None]
    found = engine.run(graph, x, record=True).trace.currents["n"]
    assert found[[0, 1], 0].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert found[3, 0, 0] == 0  # (-1)·(-1) + (-1)
    assert not np.signbit(found[found == 0]).any()


def test_without_v_it_is_the_plain_layer() -> None:
    dendrite = dead(CASES["dense"][0], "gate", *range(6))
    plain = Linear(dendrite.weight, dendrite.bias, WeightGrid(5))
    x = events((9,))
    graph = net(dendrite, VECTOR)
    other = replace(graph, nodes={**graph.nodes, "d": plain})
    found, expected = (engine.run(g, x, record=True) for g in (graph, other))
    for name in ("n", "li"):
        assert found.trace.currents[name].tobytes() == expected.trace.currents[name].tobytes()
    np.testing.assert_array_equal(found.counts["d"]["products"], expected.counts["d"]["products"])
    assert not found.counts["d"]["interactions"].any()


def test_one_neuron_solves_xor() -> None:
    graph = chain(
        {
            "x": Input((2,)),
            "d": Dendrite(np.float32([[1, 1]]), np.float32([[-0.5, -0.5]])),
            "n": neuron(LIF(0.5, 0.25), 1),
            "y": Output(),
        }
    )
    x = np.float32([[[0, 0], [0, 1], [1, 0], [1, 1]]])
    assert engine.run(graph, x).trace.outputs["y"][0, :, 0].tolist() == [0, 1, 1, 0]


def test_channels_without_a_living_weight_are_left_out() -> None:
    dendrite = CASES["conv, dead channels"][0]
    y_at, z_at, rows = stacked(dendrite)
    assert y_at.tolist() == [0, 1, -1, -1, 2, 3]
    assert z_at.tolist() == [-1, 4, -1, 5, 6, 7]
    assert rows.tolist() == [0, 1, 4, 5, 7, 9, 10, 11]
    plan = engine.compile_graph(net(dendrite, IMAGE))
    operation = plan.steps["node", "d"].operation
    assert isinstance(operation, Operation)
    assert operation.synapse.geometry.weight[0] == 8
    assert "2 of W, 2 of V, left out" in engine.explain(plan)
    # Groups are of one size: there all stay, group by group.
    y_at, z_at, rows = stacked(CASES["conv, dead channels of groups"][0])
    assert rows.tolist() == [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]
    assert (y_at.tolist(), z_at.tolist()) == ([0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11])


def test_the_rule_chooses_storage_and_kernel() -> None:
    rng = np.random.default_rng(0)
    wide = node(512, 700, living=0.02)
    text = engine.explain(net(wide, Input((700,))))
    assert "csr" in text
    assert "int8" in engine.explain(net(node(64, 80, living=1.0), Input((80,))))
    fine = (rng.integers(-4095, 4096, (2, 8, 9)) / 2**12).astype(np.float32)
    exact = Dendrite(fine[0], fine[1], grid=WeightGrid(12), gate_grid=WeightGrid(12))
    assert "dense" in engine.explain(net(exact, VECTOR))  # a product of matrices: on grids its order does not matter
    assert (
        "dense" not in engine.explain(net(replace(exact, gate_grid=None), VECTOR)).split("linear")[1].split("blocks")[1]
    )


@pytest.mark.parametrize("case", ["dense", "conv", "dense, dead neurons"])
@pytest.mark.parametrize("bias", [True, False])
def test_silence_changes_nothing(case: str, bias: bool) -> None:
    dendrite, x = CASES[case]
    graph = net(dendrite if bias else replace(dendrite, bias=None), x)
    values = events(x.shape, T=12)
    values[3:9] = 0
    streams = [engine.EventStream.from_dense(values[:, k], dt=1.0) for k in range(2)]
    found = engine.run(graph, streams, record=True)
    same(found, reference(graph, values))


def test_loops_and_delays() -> None:
    """A dendrite that reads its own neurons' spikes, one beside a plain layer into one port, one behind a Delay."""
    nodes: dict[str, Node] = {
        "x": Input((9,)),
        "wait": Delay(np.int32(2)),
        "d": node(6, 9, living=0.5),
        "plain": Linear(weights(8, 6, 9), grid=WeightGrid(5)),
        "n": neuron(LIF(0.75, 0.75), 6),
        "back": node(6, 6, living=0.5, seed=20, bias=False),
        "y": Output(),
    }
    edges = [Edge("x", "wait"), Edge("wait", "d"), Edge("x", "plain"), Edge("d", "n"), Edge("plain", "n")]
    edges += [Edge("n", "back", recurrent=True), Edge("back", "n"), Edge("n", "y")]
    graph, x = Graph(nodes, tuple(edges)).validate(), events((9,), T=12)
    for arithmetic in ("float32", "float64"):
        result = engine.run(graph, x, record=True, arithmetic=arithmetic)  # type: ignore[arg-type]
        same(result, reference(graph, x, arithmetic))
    assert result.counts["back"]["interactions"].sum() > 0
    assert differing(graph, x) == {}


@pytest.mark.parametrize("case", ["dense", "dense, dead neurons", "conv", "conv, dead channels"])
def test_other_weights_from_the_next_tick_on(case: str) -> None:
    """Other channels are dead then; counts go on with the new weights."""
    dendrite, x = CASES[case]
    graph, values = net(dendrite, x), events(x.shape, T=8)
    new = {
        "weight": np.roll(dendrite.weight, 1, axis=0),
        "gate": np.roll(dendrite.gate, 2, axis=0),
        "bias": np.zeros(len(dendrite.weight)),
    }
    session, other = engine.open(graph, 2), engine.open(replaced(graph, {"d": new}), 2)
    for v in values[:4]:
        session.step(v)
    other.restore(session.state())
    before = {k: v.copy() for k, v in session.counts["d"].items()}
    session.load({"d": new})
    for v in values[4:]:
        found, expected = session.step(v), other.step(v)
        np.testing.assert_array_equal(found["z"], expected["z"])
    for column, value in other.counts["d"].items():
        np.testing.assert_array_equal(session.counts["d"][column], before[column] + value, column)


def test_weights_that_do_not_fit_are_refused() -> None:
    graph = net(CASES["dense"][0], VECTOR)
    gate = CASES["dense"][0].gate
    bad: dict[str, tuple[Any, str]] = {
        "off the gate's grid": ({"gate": gate + np.float32(2**-7)}, r"the gate of synapse 'd' leaves .* 2\^-6"),
        "off the weight's grid": (gate, r"the weight of synapse 'd' leaves its grid, whole multiples of 2\^-5"),
        "unknown": ({"v": gate}, "has a weight, a gate and a bias, not v"),
        "shape": ({"gate": gate.T}, r"the gate of synapse 'd' is float32\[9, 6\]"),
        "too large": ({"gate": gate * np.float32(2**18)}, "what enters 'd' could leave the 16777216 whole steps"),
    }
    session = engine.open(graph)
    for given, message in bad.values():
        with pytest.raises(GraphError, match=message):
            session.load({"d": given})
    assert (session.plan.graph.nodes["d"].gate == gate).all()  # type: ignore[attr-defined]
    session.load({"d": {"gate": gate, "bias": np.full(6, 0.3)}})  # its bias need not lie on a grid


def test_integers_are_refused_by_name() -> None:
    graph = net(CASES["dense"][0], VECTOR)
    assert "d" in engine.refusals(graph, "integer")
    with pytest.raises(UnsupportedNode, match=r"'d': an Arithmetic has no format for its product y·z; run it in float"):
        engine.run(graph, events((9,)), arithmetic="integer")
