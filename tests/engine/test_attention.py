"""Attention, LayerNorm and Softmax: counts bit for bit in every arithmetic and executor, the rest close."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuroaccel import Network, engine
from neuroaccel.engine.attention import TOLERANCE
from neuroaccel.engine.compiler import compile_graph
from neuroaccel.errors import GraphError, InputError, UnsupportedNode
from neuroaccel.graph import (
    Attention,
    Edge,
    Flatten,
    Graph,
    Input,
    LayerNorm,
    Linear,
    Memory,
    Node,
    Output,
    Softmax,
    WeightGrid,
    chain,
    infer,
)
from neuroaccel.ledger import count
from neuroaccel.ledger.dense import count_from_emissions
from neuroaccel.ledger.from_engine import book_of
from neuroaccel.network.attention import Attention as Layer
from neuroaccel.program import LIF, Arithmetic, Fixed
from neuroaccel.verify import verify
from tests.conftest import examples
from tests.engine.reference import reference, same, same_trace
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron, weights

Values = dict[str, NDArray[np.float32]]
Number = Any


def drawn(rng: np.random.Generator, how: Any = "counts", T: int = 6, N: int = 2) -> tuple[Graph, Values]:
    """A query over a memory of keys and values of counts, half of the time with a mask, and what enters it."""
    heads, keys = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    width, masked = heads * int(rng.integers(1, 5)), bool(rng.random() < 0.5)
    top = {port: int(rng.integers(1, 5)) for port in "qkv"}
    shift = int(rng.integers(0, 4)) if how == "counts" else 0
    scale = None if how == "counts" or rng.random() < 0.5 else float(np.exp2(rng.integers(-3, 2)))
    nodes: dict[str, Node] = {p: Input((width,), "binary" if m == 1 else "count", m) for p, m in top.items()}
    nodes |= {"keys": Memory(keys), "values": Memory(keys), "a": Attention(heads, how, shift, scale)}
    nodes |= {"w": Linear(weights(int(rng.integers(1000)), 5, width), grid=WeightGrid(5))}
    nodes |= {"n": neuron(LIF(0.5, 1.0), 5), "y": Output(), "z": Output()}
    pairs = ["q a:q", "k keys:in", "v values:in", "keys a:k", "values a:v", "a w:in", "w n:in", "n y:in", "a z:in"]
    x = {p: rng.integers(0, m + 1, (T, N, width)) * (rng.random((T, N, width)) < 0.5) for p, m in top.items()}
    if masked:
        nodes |= {"live": Input((1,)), "band": Memory(keys), "mask": Flatten()}
        pairs += ["live band:in", "band mask:in", "mask a:mask"]
        x["live"] = rng.integers(0, 2, (T, N, 1))
    edges = tuple(Edge(*pair.replace(":", " ").split()) for pair in pairs)
    return Graph(nodes, edges), {port: value.astype(np.float32) for port, value in x.items()}


def torch_trace(graph: Graph, x: Values) -> Any:
    with torch.no_grad():
        return Network.from_graph(graph).eval().trace({k: torch.from_numpy(v) for k, v in x.items()})[2]


def by_hand(graph: Graph, x: Values) -> NDArray[np.float64]:
    """The softmax attention of :func:`drawn` in float64, from its equation."""
    node = graph.nodes["a"]
    assert isinstance(node, Attention)
    keys = infer(graph)["keys"].shape[0]
    out = np.zeros(x["q"].shape)
    lines = {port: np.concatenate([np.zeros((keys - 1, *v.shape[1:])), v]) for port, v in x.items()}
    each = out.shape[2] // node.heads
    for t, s, head in np.ndindex(*out.shape[:2], node.heads):
        part = slice(head * each, (head + 1) * each)
        k, v = (lines[p][t : t + keys, s, part] for p in "kv")
        e = np.exp(k @ x["q"][t, s, part].astype(np.float64) * (node.scale or each**-0.5))
        if "live" in lines:
            e = e * lines["live"][t : t + keys, s, 0]
        out[t, s, part] = e @ v / e.sum() if e.any() else 0
    return out


@settings(max_examples=examples(40, 600))
@given(st.integers(0, 2**32 - 1))
def test_counts_are_the_same_everywhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph, x = drawn(rng)
    signals = infer(graph)
    assert all(signal.exact for signal in signals.values())
    result = engine.run(graph, x, record=True)
    expected = reference(graph, x)
    same(result, expected)
    same_trace(torch_trace(graph, x), expected)
    same(engine.run(graph, x, record=True, arithmetic="float64"), reference(graph, x, "float64"))
    of = signals["a"]
    whole = result.trace.outputs["z"] * 2.0 ** (of.frac or 0)
    assert np.array_equal(whole, np.rint(whole))
    assert whole.max() <= (of.maximum or 0)


@settings(max_examples=examples(30, 300))
@given(st.integers(0, 2**32 - 1))
def test_counts_in_integers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph, x = drawn(rng)
    neurons = dataclasses.replace(graph.nodes["n"], arithmetic=Arithmetic(state=Fixed(30, 8)))  # type: ignore[type-var]
    whole = dataclasses.replace(graph, nodes={**graph.nodes, "n": neurons})
    same(engine.run(whole, x, record=True, arithmetic="integer"), reference(whole, x, "integer"), whole)


@pytest.mark.parametrize("how", ["counts", "softmax"])
@settings(max_examples=examples(40, 400))
@given(st.integers(0, 2**32 - 1))
def test_both_counters_agree(how: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph, x = drawn(rng, how)
    # What follows a softmax may differ in its last bit, and so may what it drives.
    cut = dataclasses.replace(
        graph,
        nodes={k: v for k, v in graph.nodes.items() if k not in ("w", "n", "y")},
        edges=tuple(e for e in graph.edges if not {e.source, e.target} & {"w", "n", "y"}),
    )
    graph = graph if how == "counts" else cut
    book = count(graph, x)
    assert book.differences(count(graph, x, executor="torch")) == []
    a = book.columns["a"]
    assert (a["gated"] > 0).any() <= bool(graph.into("a", "mask"))
    assert np.array_equal(a["nominal"], a["macs"] + a["zero_input"] + a["gated"])
    assert a["elementwise"].any() == (how == "softmax")


@settings(max_examples=examples(40, 600))
@given(st.integers(0, 2**32 - 1))
def test_softmax_is_close_everywhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph, x = drawn(rng, "softmax")
    assert not infer(graph)["a"].exact
    expected = by_hand(graph, x)
    largest = max(x["v"].max(), 1)
    for found in (
        engine.run(graph, x, record=True).trace,
        engine.run(graph, x, record=True, arithmetic="float64").trace,
        torch_trace(graph, x),
    ):
        assert np.abs(found.outputs["z"] - expected).max() <= TOLERANCE * largest


@settings(max_examples=examples(40, 400))
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(1e-3, 1e3))
def test_norms_and_softmaxes_are_close_everywhere(seed: int, width: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    scale, bias = (rng.normal(size=width).astype(np.float32) for _ in range(2))
    nodes: dict[str, Node] = {"x": Input((3, width), "analog"), "norm": LayerNorm(scale, bias, 1e-3), "p": Softmax()}
    graph = Graph(
        {**nodes, "y": Output(), "z": Output()}, (Edge("x", "norm"), Edge("x", "p"), Edge("norm", "y"), Edge("p", "z"))
    )
    x = (rng.normal(size=(4, 2, 3, width)) * size).astype(np.float32)
    wide = x.astype(np.float64)
    away = wide - wide.mean(-1, keepdims=True)
    norm = away / np.sqrt(np.square(away).mean(-1, keepdims=True) + 1e-3) * scale + bias
    e = np.exp(wide - wide.max(-1, keepdims=True))
    top = np.abs(scale).max() * np.sqrt(width) + np.abs(bias).max()
    for found in (engine.run(graph, x).trace.outputs, torch_trace(graph, {"x": x}).outputs):
        assert np.abs(found["y"] - norm).max() <= TOLERANCE * top * max(size, 1)
        assert np.abs(found["z"] - e / e.sum(-1, keepdims=True)).max() <= TOLERANCE * max(size, 1)


def tokens(T: int, N: int, seed: int = 0) -> Values:
    """What enters the decision block: spikes of a token, and the environment's timestep."""
    rng = np.random.default_rng(seed)
    spikes = (rng.random((T, N, 4, 8)) < 0.5).astype(np.float32)
    step = (np.arange(T) % 6).astype(np.float32).reshape(T, 1, 1, 1)
    return {"token": spikes, "step": np.broadcast_to(step, (T, N, 4, 2)).copy()}


def test_the_exact_decision_block_is_the_same_in_torch_and_engine() -> None:
    graph, x = GRAPHS["decision_block"](), tokens(60, 3)
    trace, other = engine.run(graph, x, record=True).trace, torch_trace(graph, x)
    assert trace.spikes["lif"].any()
    for name in trace.spikes:
        assert np.array_equal(trace.spikes[name], other.spikes[name])
        assert np.array_equal(trace.currents[name], other.currents[name])
        assert all(np.array_equal(v, other.states[name][key]) for key, v in trace.states[name].items())
    assert np.array_equal(trace.outputs["out"], other.outputs["out"])
    assert count(graph, x).differences(count(graph, x, executor="torch")) == []
    report = verify(graph, x, executors=("torch", "engine"))
    assert report.ok
    assert not any("close" in row.reason for row in report.executors)


def test_the_softmax_decision_block_is_close_in_torch_and_engine() -> None:
    graph, x = GRAPHS["decision_block_softmax"](), tokens(60, 3)
    trace, other = engine.run(graph, x, record=True).trace, torch_trace(graph, x)
    # Up to the attention all is exact; behind it the two are apart by rounding alone, and no spike of these flips.
    assert np.array_equal(trace.spikes["micro_steps/qkv"], other.spikes["micro_steps/qkv"])
    assert np.abs(trace.currents["lif"] - other.currents["lif"]).max() <= 20 * TOLERANCE
    assert np.array_equal(trace.outputs["out"], other.outputs["out"])
    report = verify(graph, x, executors=("torch", "engine"))
    assert report.ok
    assert report.executor("torch").reason.startswith("close: decisions differ in 0 of 3")


def test_books_of_close_graphs_agree_on_the_same_values() -> None:
    graph, x = GRAPHS["decision_block_softmax"](), tokens(20, 1)
    session = engine.open(graph)
    emissions: dict[str, list[Any]] = {}
    for t in range(20):
        session.step({port: values[t] for port, values in x.items()})
        for path in session.counts:
            inner, name = session.within(path)
            if inner is session:
                emissions.setdefault(path, []).append(session.value(name).copy())
    result = engine.run(graph, x, record=True)
    with torch.no_grad():
        inside = Network.from_graph(graph).eval().emissions({k: torch.from_numpy(v) for k, v in x.items()})[0]
    mine = {k: v for k, v in inside.items() if k.startswith("micro_steps/")}  # exact: whoever recorded it
    mine |= {name: np.stack(values) for name, values in emissions.items()}
    dense = count_from_emissions(graph, mine, result.trace.states)
    assert book_of(graph, result).differences(dense) == []


@pytest.mark.parametrize("name", ["decision_block", "decision_block_softmax"])
def test_sessions_cut_anywhere_and_reset_by_mask(name: str) -> None:
    graph, x = GRAPHS[name](), tokens(14, 3, seed=1)
    whole = engine.run(graph, x).trace.outputs["out"]

    def ticks(session: engine.Session, first: int, last: int) -> NDArray[Any]:
        return np.stack([session.step({p: v[t] for p, v in x.items()})["out"] for t in range(first, last)])

    for cut in (1, 5, 13):
        session, other = engine.open(graph, 3), engine.open(graph, 3)
        first = ticks(session, 0, cut)
        other.restore(session.state())
        assert np.array_equal(np.concatenate([first, ticks(other, cut, 14)]), whole)
        session.reset(np.array([False, True, False]))
        after, alone = ticks(session, cut, 14), ticks(engine.open(graph, 3), cut, 14)
        assert np.array_equal(after[:, 1], alone[:, 1])
        assert np.array_equal(after[:, ::2], whole[cut:, ::2])
        net = Network.from_graph(graph).eval()
        with torch.no_grad():
            part = {p: torch.from_numpy(v) for p, v in x.items()}
            a, state = net({p: v[:cut] for p, v in part.items()})
            b, _ = net({p: v[cut:] for p, v in part.items()}, state)
            fresh = net.reset(state, torch.tensor([False, True, False]))
            c, _ = net({p: v[cut:] for p, v in part.items()}, fresh)
        assert np.array_equal(np.concatenate([a, b]), whole)
        assert np.array_equal(c.numpy(), after)


def test_dropped_ticks_attend_to_kept_ones_alone() -> None:
    graph, rng = GRAPHS["kept_tokens"](), np.random.default_rng(2)
    x = {
        "events": rng.random((40, 2, 10)) < 0.4,
        "frames": rng.random((40, 2, 1)) < 0.8,
        "tokens": rng.random((40, 2, 1)) < 0.7,
    }
    given = {port: values.astype(np.float32) for port, values in x.items()}
    expected = reference(graph, given)
    result = engine.run(graph, given, record=True)
    same(result, expected)
    same_trace(torch_trace(graph, given), expected)
    assert result.counts["attention"]["products"].all()
    assert count(graph, given).differences(count(graph, given, executor="torch")) == []


def alone(node: Attention, masked: bool = True) -> Graph:
    nodes: dict[str, Node] = {
        "q": Input((4,), "count", 3),
        "k": Input((3, 4), "count", 3),
        "v": Input((3, 4), "count", 3),
    }
    if masked:
        nodes["mask"] = Input((3,))
    return Graph({**nodes, "a": node, "y": Output()}, (*(Edge(p, "a", p) for p in nodes), Edge("a", "y")))


@pytest.mark.parametrize("how", ["counts", "softmax"])
def test_masked_keys_by_hand(how: Any) -> None:
    graph = alone(Attention(2, how, scale=None if how == "counts" else 1.0))
    q = np.array([[[1, 0, 0, 2]]] * 2, np.float32)
    k = np.array([[[[1, 0, 0, 0], [3, 3, 0, 1], [0, 0, 0, 1]]]] * 2, np.float32)
    v = np.array([[[[1, 2, 3, 0], [3, 3, 3, 3], [2, 0, 1, 1]]]] * 2, np.float32)
    mask = np.array([[[1, 0, 1]], [[0, 0, 0]]], np.float32)
    x = {"q": q, "k": k, "v": v, "mask": mask}
    # Head 0: scores 1, –, 0; head 1: scores 0, –, 2.
    a, b = np.e / (np.e + 1), np.e**2 / (np.e**2 + 1)
    expected = [1, 2, 2, 2] if how == "counts" else [2 - a, 2 * a, 3 - 2 * b, b]
    result = engine.run(graph, x)
    y = result.trace.outputs["y"]
    np.testing.assert_allclose(y[0, 0], expected, atol=1e-6)
    assert not y[1].any()
    np.testing.assert_allclose(torch_trace(graph, x).outputs["y"], y, atol=1e-6)
    counts = {key: int(n[0]) for key, n in result.counts["a"].items()}
    # Of q·k two products are not 0; of (q·k)·v two and two where the score of 0 counts for nothing, all seven but two.
    products = 2 + (4 if how == "counts" else 6)
    assert counts == {"products": products, "gated": 4 * 2 + 4 * 2 * 3, "zero_input": 16 - products, "events_out": 0}


def test_gradients_reach_all_that_takes_part() -> None:
    torch.manual_seed(0)
    layer = Layer(2, "softmax", masked=True)
    q, k, v = torch.rand(2, 1, 4), torch.rand(2, 1, 3, 4), torch.rand(2, 1, 3, 4)
    mask = torch.tensor([[[1.0, 0, 1]], [[0, 0, 0]]])
    leaves = [x.requires_grad_() for x in (q, k, v)]
    y, _ = layer(q, k, v, mask, None)
    y.square().sum().backward()
    for x in leaves:
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        assert x.grad[0].abs().sum() > 0
        assert x.grad[1].abs().sum() == 0
    assert v.grad is not None
    assert v.grad[0, 0, 1].abs().sum() == 0


def test_a_lowered_decision_block_can_be_trained_on() -> None:
    net = Network.from_graph(GRAPHS["decision_block_softmax"]())
    y, _ = net({k: torch.from_numpy(v) for k, v in tokens(8, 2).items()})
    y.sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert all(
        g is not None and g.abs().sum() > 0 for name, g in gradients.items() if "norm" in name or "project" in name
    )
    assert any("norm" in name for name in gradients)


@pytest.mark.parametrize("node", [Softmax(), LayerNorm(np.ones(4, np.float32), np.zeros(4, np.float32))])
def test_what_is_close_has_no_integers(node: Node) -> None:
    graph = chain({"x": Input((4,)), "node": node, "y": Output()})
    with pytest.raises(UnsupportedNode, match="'node': integers have no"):
        engine.run(graph, np.zeros((1, 1, 4)), arithmetic="integer")
    softmax = alone(Attention(2, "softmax"), masked=False)
    assert list(engine.refusals(softmax, "integer")) == ["a"]


def test_bad_options_and_ports() -> None:
    def with_mask(mask: Node) -> Graph:
        graph = alone(Attention(2))
        return dataclasses.replace(graph, nodes={**graph.nodes, "mask": mask})

    for graph, message in (
        (alone(Attention(2, shift=-1)), "shift of at least 0"),
        (alone(Attention(2, "mean")), "softmax or counts"),  # type: ignore[arg-type]
        (alone(Attention(2, scale=0.5)), "counts have shift"),
        (alone(Attention(2, "softmax", scale=0.0)), "one above 0"),
        (with_mask(Input((3,), "count", 2)), "mask must be binary"),
        (with_mask(Input((4,))), "a value per key"),
        (
            chain({"x": Input((4,)), "n": LayerNorm(np.ones(4, np.float32), np.zeros(3, np.float32)), "y": Output()}),
            "bias",
        ),
    ):
        with pytest.raises(GraphError, match=message):
            graph.validate()
    for build in (
        lambda: Layer(0),
        lambda: Layer(2, shift=-1),
        lambda: Layer(2, scale=1.0),
        lambda: Layer(2, "softmax", scale=-1.0),
    ):
        with pytest.raises(InputError):
            build()
    with pytest.raises(InputError, match="do not divide into 3 heads"):
        Layer(3)(torch.ones(1, 1, 4), torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), None)


def test_what_runs_is_explained() -> None:
    steps = compile_graph(GRAPHS["decision_block_softmax"]()).steps
    assert steps["node", "attention"].operation.explain() == "softmax attention in float64, 2 heads, 3 keys"
    assert steps["node", "norm"].operation.explain().startswith("LayerNorm")
