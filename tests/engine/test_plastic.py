"""Weights that learn in the engine: bit for bit as in torch, in sessions that are cut, reset, reloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.errors import GraphError, StateError, UnsupportedNode
from neuroaccel.graph import (
    Constant,
    Conv1d,
    Edge,
    Graph,
    Input,
    Keep,
    Linear,
    Node,
    Output,
    Plastic,
    Readout,
    Scope,
    ValueGrid,
    WeightGrid,
)
from neuroaccel.network import Network
from neuroaccel.program import LIF
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron, weights

Values = dict[str, NDArray[Any]]
RULE = Plastic(0.9, 0.0625, 0.5)
GRID = ValueGrid(6, -128, 128)


def head(rule: Plastic | None = RULE, **changes: Any) -> Linear:
    options: dict[str, Any] = {"bias": weights(5, 3, q=10, largest=200), "grid": WeightGrid(10), "plastic": rule}
    return Linear(weights(4, 3, 6, q=10, largest=400), **(options | changes))


def supervised(rule: Plastic | None = RULE) -> Graph:
    """What is learnt comes from outside alone: nothing feeds back."""
    nodes: dict[str, Node] = {
        "x": Input((6,)),
        "m": Input((1,), "analog", grid=GRID),
        "target": Input((3,), "analog", grid=GRID),
        "head": head(rule),
        "n": neuron(LIF(0.5, 0.5), 3),
        "y": Output(),
        "current": Output(),
    }
    pairs = ("x head", "head n", "n y", "head current")
    edges = tuple(Edge(*p.split()) for p in pairs)
    return Graph(nodes, (*edges, Edge("m", "head", "third"), Edge("target", "head", "post")))


def closed(timing: Any = "instant", **changes: Any) -> Graph:
    """The neurons that it drives say what it learns, two of their edges added up."""
    nodes: dict[str, Node] = {
        "x": Input((6,)),
        "m": Input((1,), "analog", grid=GRID),
        "head": head(**changes),
        "n": neuron(LIF(0.5, 0.5), 3),
        "wish": Constant(np.array([0.0, -0.5, 0.25], np.float32)),
        "y": Output(),
    }
    pairs = ("x head", "head n", "n y")
    late = (Edge("m", "head", "third"), Edge("n", "head", "post"), Edge("wish", "head", "post"))
    return Graph(nodes, (*(Edge(*p.split()) for p in pairs), *late), timing)


def values(graph: Graph, ticks: int, samples: int, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    found = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Input):
            shape = (ticks, samples, *node.shape)
            top = node.maximum + 1
            drawn = rng.normal(size=shape) if node.edge == "analog" else rng.integers(0, top, shape)
            found[name] = drawn.astype(np.float32)
    return found


def in_engine(graph: Graph, x: Values, **options: Any) -> tuple[Values, Values]:
    """What every output gives, and the state after."""
    ticks, samples = next(iter(x.values())).shape[:2]
    session = engine.open(graph, samples, **options)
    given: dict[str, list[Any]] = {name: [] for name in graph.outputs}
    for t in range(ticks):
        for name, value in session.step({k: v[t] for k, v in x.items()}).items():
            given[name].append(value)
    return {name: np.array(each) for name, each in given.items()}, session.state()


def in_torch(graph: Graph, x: Values) -> tuple[Values, dict[str, Any]]:
    net = Network.from_graph(graph).eval()
    with torch.no_grad():
        y, state = net({name: torch.from_numpy(value) for name, value in x.items()})
    found = y if isinstance(y, dict) else {graph.outputs[0]: y}
    return {name: value.numpy() for name, value in found.items()}, state


def same(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


def agree(graph: Graph, x: Values) -> Values:
    """Weights, traces and outputs are the same in both; the engine's state."""
    (here, mine), (there, its) = in_engine(graph, x), in_torch(graph, x)
    assert all(same(here[name], there[name]) for name in graph.outputs)
    held = its["head"] if isinstance(its["head"], dict) else its["head"][1]
    assert same(mine["head/weight"], held["weight"].numpy())
    assert same(mine["head/trace"], held["trace"].numpy())
    return mine


def test_ten_thousand_ticks_in_torch_and_engine() -> None:
    graph = supervised()
    x = values(graph, 10_000, 1)
    net, session = Network.from_graph(graph).eval(), engine.open(graph, 1)
    result = engine.run(graph, x)
    with torch.no_grad():
        y, its = net({name: torch.from_numpy(value) for name, value in x.items()})
    assert all(same(result.trace.outputs[name], y[name].numpy()) for name in graph.outputs)
    for t in range(10_000):
        session.step({k: v[t] for k, v in x.items()})
    mine = session.state()
    for key in ("weight", "trace"):
        assert same(mine[f"head/{key}"], its["head"][key].numpy())
    start_weight = graph.nodes["head"].weight  # type: ignore[attr-defined]
    assert (mine["head/weight"] != start_weight).all()
    assert len(np.unique(result.trace.outputs["y"], axis=0)) > 1


@pytest.mark.parametrize("graph", [closed(), closed("pipelined"), GRAPHS["plastic_head"]()], ids=["", "late", "head"])
def test_neurons_that_it_drives_teach_it(graph: Graph) -> None:
    state = agree(graph, values(graph, 300, 3))
    weight = graph.nodes["head"].weight  # type: ignore[attr-defined]
    assert (state["head/weight"] != weight).mean() > 0.3
    assert not np.array_equal(state["head/weight"][0], state["head/weight"][1])


def test_without_feedback_blocks_and_ticks_are_the_same() -> None:
    graph = supervised()
    x = values(graph, 400, 2)
    agree(graph, x)
    whole = engine.run(graph, x, record=True)
    steps, state = in_engine(graph, x)
    assert all(same(whole.trace.outputs[name], steps[name]) for name in graph.outputs)
    pipelined = replace(graph, timing="pipelined")
    agree(pipelined, x)
    assert same(engine.run(pipelined, x).trace.outputs["y"], in_engine(pipelined, x)[0]["y"])
    assert all(same(state[key], in_engine(graph, x)[1][key]) for key in ("head/weight", "head/trace"))


def test_no_result_depends_on_threads_or_on_an_earlier_run() -> None:
    graph = closed()
    plan = engine.compile_graph(graph)
    x = values(graph, 50, 4)
    runs = [engine.run(plan, x, threads=threads).trace.outputs["y"] for threads in (1, 1, 4, 3)]
    assert all(same(runs[0], run) for run in runs)


def test_new_weights_hold_from_the_next_tick() -> None:
    """One coincidence at tick 0: Δw = rate·m·x·y = 0.0625·2·1·0.5 at tick 1, and half as much more at tick 2."""
    graph = supervised(Plastic(0.5, 0.0625, 8.0))
    nodes = {**graph.nodes, "head": replace(head(Plastic(0.5, 0.0625, 8.0)), bias=None, weight=np.zeros((3, 6), "f4"))}
    x = {"x": np.zeros((3, 1, 6), "f4"), "m": np.zeros((3, 1, 1), "f4"), "target": np.zeros((3, 1, 3), "f4")}
    x["x"][:, 0, 2], x["m"][:2], x["target"][0, 0, 1] = 1, 2, 0.5
    for outputs, _ in (in_engine(replace(graph, nodes=nodes), x), in_torch(replace(graph, nodes=nodes), x)):
        assert outputs["current"][:, 0].tolist() == [[0, 0, 0], [0, 0.0625, 0], [0, 0.09375, 0]]


@pytest.mark.parametrize("cut", [0, 1, 17, 59])
def test_a_session_goes_on_from_a_file(cut: int, tmp_path: Path) -> None:
    graph = closed()
    x = values(graph, 60, 2)
    expected, last = in_engine(graph, x)
    session = engine.open(graph, 2)
    for t in range(cut):
        session.step({k: v[t] for k, v in x.items()})
    np.savez(tmp_path / "state.npz", **session.state())
    other = engine.open(graph, 2)
    for t in range(3):
        other.step({k: 1 - np.abs(v[t]) for k, v in values(graph, 3, 2, seed=9).items()} | {"x": x["x"][t]})
    with np.load(tmp_path / "state.npz", allow_pickle=False) as held:
        other.restore(dict(held))
    for t in range(cut, 60):
        assert same(other.step({k: v[t] for k, v in x.items()})["y"], expected["y"][t])
    assert all(same(value, last[key]) for key, value in other.state().items())


@pytest.mark.parametrize("cut", [0, 1, 17, 59])
def test_a_network_goes_on_from_a_file(cut: int, tmp_path: Path) -> None:
    graph = closed()
    x = {name: torch.from_numpy(value) for name, value in values(graph, 60, 2).items()}
    net = Network.from_graph(graph).eval()
    with torch.no_grad():
        whole, last = net(x)
        first, state = net({k: v[:cut] for k, v in x.items()}) if cut else (whole[:0], None)
        torch.save(state, tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        second, state = Network.from_graph(graph).eval()({k: v[cut:] for k, v in x.items()}, state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(state["head"][key], last["head"][key]) for key in ("weight", "trace"))


def test_states_of_other_sizes_are_refused() -> None:
    graph = closed()
    session = engine.open(graph, 2)
    before = session.state()
    with pytest.raises(StateError, match="head/weight"):
        session.restore(before | {"head/weight": before["head/weight"][:1]})
    _, state = in_torch(graph, values(graph, 2, 3))
    with pytest.raises(StateError):
        Network.from_graph(graph)({k: torch.from_numpy(v) for k, v in values(graph, 2, 2).items()}, state)


def test_a_masked_reset_is_fresh_there_and_nothing_elsewhere() -> None:
    graph = closed()
    x = values(graph, 40, 3)
    mask = np.array([False, True, False])
    session, net = engine.open(graph, 3), Network.from_graph(graph).eval()
    tensors = {k: torch.from_numpy(v) for k, v in x.items()}
    for t in range(20):
        session.step({k: v[t] for k, v in x.items()})
    before = session.state()
    session.reset(mask)
    after = session.state()
    for key in ("head/weight", "head/trace"):
        assert same(after[key][~mask], before[key][~mask])
    assert same(after["head/weight"][1], graph.nodes["head"].weight)  # type: ignore[attr-defined]
    assert not after["head/trace"][1].any()
    assert session.counts["head"]["learning_updates"][1] == 0
    with torch.no_grad():
        _, state = net({k: v[:20] for k, v in tensors.items()})
        y, state = net({k: v[20:] for k, v in tensors.items()}, net.reset(state, torch.from_numpy(mask)))
    for t in range(20, 40):
        assert same(session.step({k: v[t] for k, v in x.items()})["y"], y[t - 20].numpy())
    assert same(session.state()["head/weight"], state["head"]["weight"].numpy())
    alone, _ = in_engine(graph, {k: v[20:, 1:2] for k, v in x.items()})
    assert same(alone["y"][:, 0], y[:, 1].numpy())


@pytest.mark.parametrize("still", ["rate", "third"])
def test_nothing_moves_without_a_rate_or_a_third_factor(still: str) -> None:
    weight = weights(4, 3, 6, q=10, largest=400)
    weight[0, 0], weight[1, 1] = -0.0, 2.0  # its sign stays, and it stays beyond the bound
    graph = closed(rule=replace(RULE, rate=0.0) if still == "rate" else RULE)
    nodes = {**graph.nodes, "head": replace(graph.nodes["head"], weight=weight)}  # type: ignore[type-var]
    graph = replace(graph, nodes=nodes)
    x = values(graph, 50, 2)
    if still == "third":
        x["m"][...] = 0
    state = agree(graph, x)
    assert state["head/weight"].tobytes() == np.array([weight] * 2).tobytes()
    assert state["head/trace"].any()


def test_weights_lie_on_their_grid_within_the_bound() -> None:
    graph = closed(rule=Plastic(0.95, 1.0, 0.3))
    state = agree(graph, values(graph, 200, 2))
    steps = np.ldexp(state["head/weight"], 10)
    assert (steps == np.rint(steps)).all()
    assert np.abs(steps).max() == np.floor(0.3 * 1024)


def test_loaded_weights_are_those_of_every_sample() -> None:
    graph = closed()
    x = values(graph, 30, 2)
    session = engine.open(graph, 2)
    for t in range(10):
        session.step({k: v[t] for k, v in x.items()})
    trace = session.state()["head/trace"]
    new = weights(7, 3, 6, q=10, largest=300)
    session.load({"head": new})
    assert same(session.state()["head/weight"], np.array([new] * 2))
    assert same(session.state()["head/trace"], trace)
    for t in range(10, 20):
        session.step({k: v[t] for k, v in x.items()})
    learnt = session.state()["head/weight"]
    session.load({"head": {"bias": weights(8, 3, q=10, largest=100)}})
    assert same(session.state()["head/weight"], learnt), "only the bias was loaded"
    session.reset()
    assert same(session.state()["head/weight"], np.array([new] * 2))
    with pytest.raises(GraphError, match="grid"):
        session.load({"head": new + np.float32(2**-12)})


def test_in_float64_it_learns_nearly_the_same() -> None:
    graph = supervised(Plastic(0.9, 0.01, 0.5))
    x = values(graph, 100, 2)
    narrow, wide = (in_engine(graph, x, arithmetic=a)[1]["head/trace"] for a in ("float32", "float64"))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(narrow, wide, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(narrow, wide)


def kept(teacher: str) -> Graph:
    """Ticks are dropped before everything that it reads; the neurons that it drives teach it, or a target does."""
    base = supervised()
    nodes: dict[str, Node] = {"mask": Input((1,)), **base.nodes, **{f"k{name}": Keep() for name in "xmt"}}
    pairs = ("x kx", "m km", "target kt", "kx head", "head n", "n y", "head current")
    masks = (Edge("mask", f"k{name}", "mask") for name in "xmt")
    late = (Edge("km", "head", "third"), Edge(teacher, "head", "post"))
    return Graph(nodes, (*(Edge(*p.split()) for p in pairs), *masks, *late))


@pytest.mark.parametrize("teacher", ["n", "kt"])
def test_dropped_ticks_teach_nothing(teacher: str) -> None:
    graph = kept(teacher)
    x = values(graph, 60, 3)
    x["mask"][:, 2] = 0
    x["mask"][7] = 0
    state = agree(graph, x)
    weight = graph.nodes["head"].weight  # type: ignore[attr-defined]
    assert same(state["head/weight"][2], weight)
    assert not state["head/trace"][2].any()
    assert not same(state["head/weight"][0], weight)
    assert all(same(engine.run(graph, x).trace.outputs[y], in_engine(graph, x)[0][y]) for y in graph.outputs)
    if teacher == "kt":  # neurons would notice the gaps
        left = x["mask"][:, 0, 0] == 1
        assert 10 < left.sum() < 50
        alone = in_engine(graph, {k: v[left, :1] for k, v in x.items()})[1]
        assert all(same(alone[key][0], state[key][0]) for key in ("head/weight", "head/trace"))


@pytest.mark.parametrize("carries", ["carry", "reset"])
def test_in_a_scope(carries: Any) -> None:
    inner = Graph(
        {
            "x": Input((6,)),
            "m": Input((1,), "analog", grid=GRID),
            "head": head(),
            "n": neuron(LIF(0.5, 0.5), 3),
            "count": Readout("spike_count"),
            "o": Output(),
        },
        (
            *(Edge(*p.split()) for p in ("x head", "head n", "n count", "count o")),
            Edge("m", "head", "third"),
            Edge("n", "head", "post"),
        ),
    )
    nodes: dict[str, Node] = {
        "x": Input((6,)),
        "m": Input((1,), "analog", grid=GRID),
        "s": Scope(inner, 4, state=carries, port_names=("x", "m")),
        "y": Output(),
    }
    graph = Graph(nodes, (Edge("x", "s", "x"), Edge("m", "s", "m"), Edge("s", "y")))
    x = values(graph, 20, 2)
    (here, mine), (there, its) = in_engine(graph, x), in_torch(graph, x)
    assert same(here["y"], there["y"])
    if carries == "carry":
        assert same(mine["s/head/weight"], its["s"]["head"]["weight"].numpy())
        assert not same(mine["s/head/weight"][0], inner.nodes["head"].weight)  # type: ignore[attr-defined]


def test_integers_and_convolutions_are_refused() -> None:
    assert "floating point" in engine.refusals(closed(), "integer")["head"]
    conv = Conv1d(weights(1, 3, 2, 3), grid=WeightGrid(5), plastic=RULE)
    nodes: dict[str, Node] = {
        "x": Input((2, 5)),
        "m": Input((1,)),
        "head": conv,
        "n": neuron(LIF(), 3, 3),
        "y": Output(),
    }
    edges = (
        Edge("x", "head"),
        Edge("head", "n"),
        Edge("n", "y"),
        Edge("m", "head", "third"),
        Edge("n", "head", "post"),
    )
    graph = Graph(nodes, edges).validate()
    assert "of a Linear" in engine.refusals(graph)["head"]
    with pytest.raises(UnsupportedNode, match="of a Linear"):
        Network.from_graph(graph)


def test_it_says_what_it_does() -> None:
    plan: Mapping[Any, Any] = engine.compile_graph(closed("pipelined")).steps
    assert "learns tick by tick; delivered one tick later" in plan["node", "head"].operation.explain()
