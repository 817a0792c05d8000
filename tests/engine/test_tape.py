"""Whole ticks by tape: the same bits, states and counts as node by node, cut wherever it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine.attention import TOLERANCE
from neuroaccel.engine.compiler import compile_graph
from neuroaccel.engine.inputs import Feed
from neuroaccel.engine.session import Session
from neuroaccel.engine.taped import FEW, LARGEST, by_tape
from neuroaccel.errors import InputError, StateError
from neuroaccel.graph import (
    Attention,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Memory,
    Node,
    Output,
    Readout,
    Scope,
    Select,
    ValueGrid,
    chain,
)
from neuroaccel.program import LIF
from tests.graphs import GRAPHS, decision_block
from tests.graphs.parts import weights
from tests.random_graphs import neuron, random_graph, random_input

Examples = Callable[[int, int], int]
Values = dict[str, NDArray[Any]]


def pair(graph: Graph, batch: int = 1, counts: bool = True, arithmetic: Any = "float32") -> tuple[Session, Session]:
    """A session that runs by tape, and one that goes node by node."""
    plan = compile_graph(graph, arithmetic)
    assert by_tape(plan, batch) == ""
    taped, other = Session(plan, batch, counts, tape=True), Session(plan, batch, counts)
    assert "by tape" in engine.explain(plan, batch=batch)
    return taped, other


def same(found: Any, expected: Any, what: str = "") -> None:
    """Equal in names, types and every bit."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), what
        for key, value in expected.items():
            same(found[key], value, f"{what} {key}")
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    np.testing.assert_array_equal(found, expected, err_msg=what)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected), err_msg=what)


def tokens(rng: np.random.Generator, batch: int) -> Values:
    """A token for each sample of the decision block, and its timestep."""
    T, D, H = decision_block.MICRO_STEPS, decision_block.WIDTH, decision_block.HEADS
    step = np.broadcast_to(rng.integers(0, decision_block.PERIOD, (batch, 1, 1)), (batch, T, H))
    return {"token": (rng.random((batch, T, D)) < 0.4).astype(np.float32), "step": step.astype(np.float32)}


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("arithmetic", ["float32", "float64"])
def test_decision_block(counts: bool, arithmetic: str) -> None:
    rng = np.random.default_rng(3)
    taped, other = pair(decision_block.build(), 3, counts, arithmetic)
    inside = ("phase", "micro_steps", "pick_k", "attention", "alpha", "mix")
    fired = 0
    for tick in range(40):
        x = tokens(rng, 3)
        y = taped.step(x)
        same(y, other.step(x))
        fired += int(y["out"].sum())
        same({name: taped.value(name) for name in inside}, {name: other.value(name) for name in inside})
        if tick % 7 == 3:
            same(taped.state(), other.state())
            same(taped.counts, other.counts)
        if tick == 11:
            for session in (taped, other):
                session.reset(np.array([True, False, True]))
        if tick == 25:
            for session in (taped, other):
                session.reset()
    assert fired > 3
    same(taped.counts, other.counts)
    same(taped.weights_read, other.weights_read)


@pytest.mark.parametrize("counts", [False, True])
def test_close_nodes(counts: bool) -> None:
    """Softmax attention is the same; sums over a last axis may be rounded otherwise in float64."""
    rng = np.random.default_rng(8)
    taped, other = pair(decision_block.build_softmax(), 2, counts)
    for tick in range(12):
        x = tokens(rng, 2)
        same(taped.step(x), other.step(x), f"tick {tick}")
        same(taped.value("attention"), other.value("attention"))
        for name in ("norm", "alpha"):
            np.testing.assert_allclose(taped.value(name), other.value(name), rtol=0, atol=TOLERANCE)
    same(taped.counts, other.counts)


def draw(seed: int) -> Graph:
    """A random graph of what a tape holds."""
    rng = np.random.default_rng(seed)
    less: dict[str, Any] = {"delays": False, "dendrites": False, "pools": (), "timings": ("instant",)}
    clocks = {"clocks": seed % 3 == 0, "scopes": True}
    return random_graph(rng, "tiny" if seed % 2 else "small", domains=("vector",), **less, **clocks)


def test_random_graphs(examples: Examples) -> None:
    kinds: set[str] = set()
    inside: set[str] = set()
    for seed in range(examples(45, 600)):
        graph, rng = draw(seed), np.random.default_rng(seed)
        arithmetic: Any = "float64" if seed % 5 == 4 else "float32"
        plan = compile_graph(graph, arithmetic)
        if by_tape(plan, 3):
            continue
        kinds |= {node.kind for node in graph.nodes.values()}
        for node in graph.nodes.values():
            inside |= {x.kind for x in node.graph.nodes.values()} if isinstance(node, Scope) else set()
        x = random_input(graph, rng, 9, 3)
        taped, other = Session(plan, 3, tape=True), Session(plan, 3)
        for tick, values in enumerate(x):
            same(taped.step(values), other.step(values), f"seed {seed}, tick {tick}")
            if tick == 3:
                state = taped.state()
                same(state, other.state(), f"seed {seed}")
                taped.reset(np.array([True, False, False]))
                other.reset(np.array([True, False, False]))
        same(taped.counts, other.counts, f"seed {seed}")
        same(taped.weights_read, other.weights_read, f"seed {seed}")
        same(taped.state(), other.state(), f"seed {seed}")
        taped.restore(state)
        other.restore(state)
        same(taped.step(x[4]), other.step(x[4]), f"seed {seed}")
    assert kinds >= {"Scope", "Memory", "Neuron", "Readout", "Select", "Add", "Linear"}
    assert inside >= {"Linear", "Neuron", "Add"}


def counted(**layers: Node) -> Graph:
    return chain({"x": Input((2,), "count", 5), **layers, "y": Output()})


def test_all_kinds_of_scopes() -> None:
    inner = chain(
        {"in": Input((2,), "count", 5), "w": Linear(np.eye(2, dtype=np.float32)), "n": neuron(LIF(0.5, 1.5), (2,))}
        | {"m": Memory(2), "f": Flatten(), "o": Output()}
    )
    rng = np.random.default_rng(5)
    for state in ("carry", "reset"):
        for output in ("all", "last", "sum"):
            for how in ("slice", "repeat"):
                layers: dict[str, Node] = {"m": Memory(3)} if how == "slice" else {}
                scope = Scope(inner, 3, how, state, output, ("in",))  # type: ignore[arg-type]
                graph = counted(**layers, s=scope, k=Memory(2))
                graph = Graph(graph.nodes, tuple(Edge(e.source, e.target, "in") for e in graph.edges))
                taped, other = pair(graph, 2)
                for _ in range(8):
                    x = rng.integers(0, 4, (2, 2))
                    same(taped.step(x), other.step(x), f"{state} {output} {how}")
                same(taped.state(), other.state())
                same(taped.counts, other.counts)


def attending(largest: int, mask: bool, how: Any = "counts") -> Graph:
    """Attention of an Input's thirds over the last five ticks."""
    nodes: dict[str, Node] = {"x": Input((3, 4), "count", largest), "m": Input((5,))}
    edges = []
    for i, port in enumerate("qkv"):
        nodes[port] = Select((i,))
        nodes[f"{port}_flat"] = Flatten()
        edges += [Edge("x", port), Edge(port, f"{port}_flat")]
    nodes |= {"keys": Memory(5), "values": Memory(5), "a": Attention(2, how, int(how == "counts")), "y": Output()}
    edges += [Edge("k_flat", "keys"), Edge("v_flat", "values"), Edge("q_flat", "a", "q")]
    edges += [Edge("keys", "a", "k"), Edge("values", "a", "v"), Edge("a", "y")]
    if mask:
        edges.append(Edge("m", "a", "mask"))
    return Graph(nodes, tuple(edges))


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("largest", "how"), [(3, "counts"), (4000, "counts"), (2, "softmax")])
def test_attention_over_a_band(counts: bool, mask: bool, largest: int, how: str) -> None:
    """Beyond 2^24 sums depend on their order, and the band is gone through from its oldest key."""
    rng = np.random.default_rng(largest)
    taped, other = pair(attending(largest, mask, how), 2, counts)
    for tick in range(17):
        x = rng.integers(0, largest + 1, (2, 3, 4)) * (rng.random((2, 3, 4)) < 0.7)
        given = {"x": x.astype(np.float32), "m": (rng.random((2, 5)) < 0.6).astype(np.float32)}
        same(taped.step(given), other.step(given), f"tick {tick}")
        if tick == 8:
            state = taped.state()
            same(state, other.state())
    same(taped.counts, other.counts)
    taped.restore(state)
    other.restore(state)
    for _ in range(7):
        same(taped.step(given), other.step(given))
    same(taped.state(), other.state())


def test_sequences_streams_and_cuts() -> None:
    """Blocks of any length, event streams, and a state carried from one way to the other."""
    rng = np.random.default_rng(1)
    graph = decision_block.build()
    x = [tokens(rng, 2) for _ in range(12)]
    whole = {name: np.stack([each[name] for each in x]) for name in x[0]}
    expected = engine.run(graph, whole).trace.outputs["out"]
    for cuts in ((12,), (5, 1, 6), (1,) * 12):
        taped, other = pair(graph, 2)
        first = 0
        for length in cuts:
            part = {name: value[first : first + length] for name, value in whole.items()}
            feeds = {name: Feed(name, graph.nodes[name], value) for name, value in part.items()}
            for _ in taped.blocks(feeds, length):
                same(taped.output("out"), expected[first : first + length])
            first += length
            # From one way to the other and back.
            other.restore(taped.state())
            taped.reset()
            taped.restore(other.state())
    streams = {
        name: [engine.EventStream.from_dense(value[:, sample], dt=1e-3) for sample in range(2)]
        for name, value in whole.items()
    }
    taped, other = pair(graph, 2)
    found, wanted = taped.step(streams)["out"], other.step(streams)["out"]
    for sample in range(2):
        np.testing.assert_array_equal(found[sample].to_dense(), wanted[sample].to_dense())
        np.testing.assert_array_equal(found[sample].to_dense(), expected[:, sample])


def test_what_an_input_does_not_allow_changes_nothing() -> None:
    graph = counted(m=Memory(3))
    taped, _ = pair(graph, 2)
    taped.step([[1, 2], [3, 4]])
    state, counts = taped.state(), taped.counts
    for wrong in ([[1, 2], [3, 6]], [[1, 0.5], [0, 0]], [[1, np.nan], [0, 0]], [[-1, 0], [0, 0]]):
        with pytest.raises(InputError, match="tick 1, sample"):
            taped.step(np.array(wrong))
    with pytest.raises(InputError, match=r"expected numbers \[N, 2\]"):
        taped.step(np.zeros((2, 3)))
    same(taped.state(), state)
    same(taped.counts, counts)
    assert taped.tick == 1
    with pytest.raises(StateError):
        taped.restore({})


def test_what_enters_is_rounded_to_its_grid() -> None:
    grid = ValueGrid(3, -20, 21)
    inner = chain({"in": Input((2,), "analog", grid=ValueGrid(1, -3, 3)), "o": Output()})
    graph = chain(
        {"x": Input((2,), "analog", grid=grid), "m": Memory(2), "s": Scope(inner, 2, "slice", "reset", "all")}
        | {"y": Output()}
    )
    taped, other = pair(graph, 1)
    rng = np.random.default_rng(2)
    for dtype in (np.float64, np.float32, np.float16, np.int64, np.int8, np.bool_):
        for _ in range(4):
            x = rng.normal(0, 2, (1, 2)).astype(dtype)
            same(taped.step(x), other.step(x), str(dtype))


def test_other_weights_go_on_where_the_session_is() -> None:
    rng = np.random.default_rng(6)
    graph = decision_block.build()
    taped, other = pair(graph, 2)
    for tick in range(12):
        x = tokens(rng, 2)
        same(taped.step(x), other.step(x), f"tick {tick}")
        if tick == 5:
            new = {"mix": weights(15, 8, 8), "micro_steps/project": weights(16, 24, 8)}
            taped.load(new)
            other.load(new)
    same(taped.state(), other.state())
    same(taped.counts, other.counts)


def test_what_a_tape_does_not_hold_goes_node_by_node() -> None:
    dropped = compile_graph(GRAPHS["kept_tokens"]())
    assert "a tape has no Kept" in by_tape(dropped, 1)
    assert "a session goes node by node: " in engine.explain(dropped)
    assert "neither Scope nor Memory" in by_tape(compile_graph(counted(r=Readout())), 1)
    assert "more than" in by_tape(compile_graph(counted(m=Memory(2))), FEW + 1)
    large = counted(m=Memory(513), f=Flatten(), w=Linear(np.ones((LARGEST // 1024, 1026), np.float32)))
    assert "'w' has more than" in by_tape(compile_graph(large), 1)
    assert "floating point" in by_tape(compile_graph(counted(m=Memory(2)), "integer"), 1)


def test_a_memory_in_a_ring_shows_its_last_value() -> None:
    taped, other = pair(decision_block.build())
    for t, x in enumerate(np.random.default_rng(t) for t in range(5)):
        given = tokens(x, 1)
        taped.step(given)
        other.step(given)
        assert np.array_equal(taped.value("keys"), other.value("keys")), t
    assert taped.value("keys").any()
    with pytest.raises(InputError, match="'keys' has no values where a tape runs"):
        taped.emitted("keys")
