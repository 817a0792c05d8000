"""Windows, Keeps, Memories and Scopes in the engine: against the slow reference, in pieces, after resets and errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine.compiler import compile_graph, refusals
from neuroaccel.errors import InputError, StateError, UnsupportedNode
from neuroaccel.graph import (
    Edge,
    Flatten,
    Graph,
    Input,
    Keep,
    Linear,
    Memory,
    Node,
    Output,
    Readout,
    Scope,
    Softmax,
    WeightGrid,
    Window,
    chain,
)
from neuroaccel.program import IF, LI, LIF, Arithmetic, Fixed
from tests.engine import integers
from tests.engine.reference import reference, same
from tests.graphs import GRAPHS
from tests.random_graphs import neuron, random_graph, random_input

Examples = Callable[[int, int], int]
Outputs = list[dict[str, NDArray[Any]]]


def draw(seed: int, T: int = 7, N: int = 3, **choices: Any) -> tuple[Graph, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny" if seed % 2 else "small", clocks=True, scopes=True, **choices)
    return graph, random_input(graph, rng, T, N)


def steps(session: engine.Session, x: NDArray[Any]) -> Outputs:
    return [session.step(values) for values in x]


def test_random_graphs_equal_the_reference(examples: Examples) -> None:
    kinds: set[str] = set()
    dropped = 0
    for seed in range(examples(60, 600)):
        graph, x = draw(seed)
        result = engine.run(graph, x, record=True, threads=1 + seed % 2)
        same(result, reference(graph, x))
        kinds |= {node.kind for node in graph.nodes.values()}
        run = [columns["ticks_run"] for columns in result.counts.values() if "ticks_run" in columns]
        dropped += sum(int((count < 7).sum()) for count in run)
    assert kinds >= {"Window", "Keep", "Memory", "Scope"}
    assert dropped > 20


def test_float64_and_integers_equal_the_reference(examples: Examples) -> None:
    for seed in range(examples(12, 200)):
        graph, x = draw(seed, T=5, N=2)
        same(engine.run(graph, x, record=True, arithmetic="float64"), reference(graph, x, "float64"))
        rng = np.random.default_rng(seed)
        whole = integers.with_integers(draw(seed, neurons=integers.NEURONS, dendrites=False)[0], rng)
        x = random_input(whole, rng, 5, 2)
        same(engine.run(whole, x, record=True, arithmetic="integer"), reference(whole, x, "integer"), whole)


def test_steps_states_and_masked_resets(examples: Examples) -> None:
    for seed in range(examples(25, 250)):
        graph, x = draw(seed)
        whole = engine.run(graph, x, record="spikes").trace
        session, other = engine.open(graph, 3), engine.open(graph, 3)
        first = steps(session, x[:3])
        other.restore(session.state())
        for t, outputs in enumerate([*first, *steps(other, x[3:])]):
            for name, values in outputs.items():
                np.testing.assert_array_equal(values, whole.outputs[name][t], err_msg=f"{name} {seed}")
        session.reset(np.array([False, True, False]))
        after, alone = steps(session, x[3:]), steps(engine.open(graph, 3), x[3:])
        for t in range(4):
            for name in graph.outputs:
                np.testing.assert_array_equal(after[t][name][1], alone[t][name][1])
                np.testing.assert_array_equal(after[t][name][::2], whole.outputs[name][t + 3, ::2])


@pytest.mark.parametrize("name", ["decision_block", "flow_step", "frequency_tokens", "two_exits"])
def test_graphs_of_methods(name: str) -> None:
    graph = GRAPHS[name]()
    rng = np.random.default_rng(3)
    x = {}
    for port in graph.inputs:
        node = graph.nodes[port]
        assert isinstance(node, Input)
        binary = (rng.random((32, 2, *node.shape)) < 0.3).astype(np.float32)
        grid = node.grid
        drawn = binary if grid is None else rng.integers(grid.low, grid.high, binary.shape) / 2**grid.frac
        x[port] = drawn.astype(np.float32)
    result = engine.run(graph, x, record=True)
    same(result, reference(graph, x))
    assert any(np.count_nonzero(v) for v in result.trace.outputs.values())


def square(n: int, weight: float = 1.0) -> Linear:
    return Linear(weight * np.eye(n, dtype=np.float32), grid=WeightGrid(0))


def kept(**layers: Node) -> Graph:
    """Layers behind a Keep with a mask of its own."""
    names = ["k", *layers, "y"]
    pairs = tuple(Edge(a, b) for a, b in itertools.pairwise(names))
    nodes: dict[str, Node] = {"x": Input((1,), "count", 9), "m": Input((1,)), "k": Keep(), **layers, "y": Output()}
    return Graph(nodes, (Edge("x", "k"), Edge("m", "k", "mask"), *pairs))


def column(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, 1, 1)


def test_dropped_ticks_by_hand() -> None:
    graph = kept(w=Linear(np.array([[2.0]], np.float32), np.array([1.0], np.float32)), n=neuron(LI(0.5), (1,)))
    result = engine.run(graph, {"x": column(3, 9, 9, 1), "m": column(1, 0, 0, 1)}, record=True)
    # 2·3 + 1, two silent halvings without the bias, then half of that and 2·1 + 1.
    assert result.trace.states["n"]["v"].ravel().tolist() == [7, 3.5, 1.75, 3.875]
    assert result.trace.outputs["y"].ravel().tolist() == [7, 0, 0, 3.875]
    assert result.trace.currents["n"].ravel().tolist() == [7, 0, 0, 3]
    counts = {key: int(value[0]) for key, value in result.counts["w"].items()}
    assert counts == {"products": 2, "zero_input": 0, "pruned": 0, "events_out": 0, "ticks_run": 2}
    assert result.counts["n"]["updates_driven"].tolist() == [2]


def test_a_scope_behind_a_keep_stands_still() -> None:
    inner = chain({"in": Input((1,), "count", 9), "w": square(1), "li": neuron(LI(0.5), (1,)), "o": Output()})
    for state, outputs in (("carry", [1.5, 0, 0, 1.875]), ("reset", [1.5, 0, 0, 1.5])):
        graph = kept(s=Scope(inner, 2, state=state))  # type: ignore[arg-type]
        result = engine.run(graph, {"x": column(1, 1, 1, 1), "m": column(1, 0, 0, 1)}, record=True)
        assert result.trace.outputs["y"].ravel().tolist() == outputs
        assert result.counts["s/w"]["ticks_run"].tolist() == [4]
        assert result.counts["s/w"]["products"].tolist() == [4]


def test_readouts_stand_and_windows_wait() -> None:
    graph = kept(r=Readout("mean_membrane"))
    x, mask = column(9, 3, 9, 2), column(0, 1, 0, 1)
    assert engine.run(graph, {"x": x, "m": mask}).trace.outputs["y"].ravel().tolist() == [0, 3, 3, 2.5]
    window = chain({"x": Input((1,), "count", 9), "w": Window(2, 2), "f": Flatten(), "m": Memory(2), "y": Output()})
    found = engine.run(window, column(1, 2, 3, 4, 5)).trace.outputs["y"].reshape(5, 4)
    assert found.tolist() == [[0] * 4, [0, 0, 1, 2], [0] * 4, [1, 2, 3, 4], [0] * 4]


def test_the_state_of_a_carried_scope_is_part_of_the_state() -> None:
    inner = chain({"in": Input((1,)), "n": neuron(LIF(0.5, 0.75), (1,)), "o": Output()})
    nodes: dict[str, Node] = {"x": Input((1,)), "s": Scope(inner, 2, state="carry"), "w": Window(2, 3), "y": Output()}
    session = engine.open(chain(nodes), 2)
    session.step(np.ones((2, 1)))
    state = session.state()
    assert set(state) == {"s/n/v", "w/line", "w/seen"}
    assert state["w/seen"].tolist() == [1, 1]
    with pytest.raises(StateError, match="differs in s/n/v"):
        session.restore({key: value for key, value in state.items() if key != "s/n/v"})


def test_an_overflow_in_a_scope_leaves_everything_as_it_was() -> None:
    tight = Arithmetic(state=Fixed(4, 0, overflow="error"))
    inner: dict[str, Node] = {"in": Input((1,), "count", 5), "n": replace(neuron(IF(7.0), (1,)), arithmetic=tight)}
    scope = Scope(chain({**inner, "o": Output()}), 1, state="carry")
    graph = chain({"x": Input((1,), "count", 5), "m": Memory(2), "f": Flatten(), "p": square(2), "y": Output()})
    graph = Graph({**graph.nodes, "s": scope, "z": Output()}, (*graph.edges, Edge("x", "s"), Edge("s", "z")))
    session = engine.open(graph, 1, arithmetic="integer")
    session.step([[5]])
    state = session.state()
    counts = {name: {k: v.tolist() for k, v in c.items()} for name, c in session.counts.items()}
    with pytest.raises(InputError, match="node 'n': a state of sample 0 at index 0 leaves its integer format"):
        session.step([[5]])
    assert {key: value.tolist() for key, value in session.state().items()} == {k: v.tolist() for k, v in state.items()}
    assert {name: {k: v.tolist() for k, v in c.items()} for name, c in session.counts.items()} == counts
    assert session.step([[1]])["y"].tolist() == [[5, 1]]


def test_a_node_in_a_scope_that_the_engine_cannot_hold_is_named_with_its_path() -> None:
    inner = chain({"in": Input((3,)), "p": Softmax(), "o": Output()})
    graph = chain({"x": Input((3,)), "s": Scope(inner, 2), "y": Output()})
    with pytest.raises(UnsupportedNode, match="'s/p'"):
        compile_graph(graph, "integer")
    assert list(refusals(graph, "integer")) == ["s/p"]
    assert refusals(graph) == {}


def test_recordings_hold_neurons_in_scopes() -> None:
    inner = chain({"in": Input((2,)), "n": neuron(LIF(0.5, 0.5), (2,)), "o": Output()})
    graph = chain({"x": Input((2,)), "s": Scope(inner, 3), "y": Output()})
    x = np.ones((4, 1, 2), np.float32)
    spikes, everything = (engine.run(graph, x, record=how).trace for how in ("spikes", True))
    assert spikes.spikes["s/n"].shape == (12, 1, 2)
    assert spikes.spikes["s/n"].dtype == np.uint8
    assert (spikes.states, spikes.currents) == ({}, {})
    assert everything.states["s/n"]["v"].shape == (12, 1, 2)
    assert set(engine.run(graph, x).counts) == {"x", "s", "s/in", "s/n"}


def test_work_follows_the_ticks_that_run() -> None:
    layers: dict[str, Node] = {"w": Window(2, 10), "f": Flatten(), "p": square(2), "n": neuron(LIF(), (2,))}
    result = engine.run(chain({"x": Input((1,)), **layers, "y": Output()}), np.ones((40, 1, 1)))
    assert result.touched["n"]["neurons"].tolist() == [4 * 2]
    assert result.counts["p"]["products"].tolist() == [4 * 2]


def test_explain_says_what_drops_and_what_is_inside() -> None:
    inner = chain({"in": Input((2,)), "n": neuron(LIF(0.5, 0.5), (2,)), "o": Output()})
    layers: dict[str, Node] = {"w": Window(2, 2), "f": Flatten(), "p": Linear(np.ones((2, 4), np.float32))}
    layers |= {"q": neuron(LIF(), (2,)), "s": Scope(inner, 3)}
    plan = compile_graph(chain({"x": Input((2,)), **layers, "y": Output()}))
    assert "2 ticks make one" in plan.steps["node", "w"].operation.explain()
    assert "3 steps per tick" in plan.steps["node", "s"].operation.explain()
