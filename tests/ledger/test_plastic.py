"""Weights that learn are counted as they are at every tick, and what they learn where it happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import Conv1d, Edge, Graph, Input, Linear, Node, Output, Plastic, WeightGrid, infer
from neuroaccel.graph.counting import columns_of
from neuroaccel.ledger import count
from neuroaccel.ledger.dense import count_from_emissions
from neuroaccel.ledger.energy_report import energy
from neuroaccel.ledger.from_engine import book_of
from neuroaccel.program import LIF
from tests.engine.test_plastic import closed, kept, supervised, values
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron


def loops(node: Linear, x: Any, m: Any, y: Any) -> dict[str, list[int]]:
    """The rule number by number, each operation rounded to float32, and every product looked at."""
    f, rule = np.float32, node.plastic
    assert rule is not None
    assert node.grid is not None
    step, bound = 2.0**-node.grid.q, np.floor(rule.bound * 2.0**node.grid.q) * 2.0**-node.grid.q
    count: dict[str, list[int]] = {key: [] for key in ("products", "zero_input", "pruned", "learning_updates")}
    for s in range(x.shape[1]):
        total = dict.fromkeys(count, 0)
        weight, trace = node.weight.copy(), np.zeros_like(node.weight)
        for t in range(len(x)):
            for o, i in np.ndindex(*weight.shape):
                what = "pruned" if weight[o, i] == 0 else "products" if x[t, s, i] != 0 else "zero_input"
                total[what] += 1
            gain = f(rule.rate) * f(m[t, s, 0])
            for o, i in np.ndindex(*weight.shape):
                faded = f(rule.trace_decay) * trace[o, i]
                faded = f(0) if abs(faded) < 2.0**-100 else faded
                trace[o, i] = faded + f(x[t, s, i]) * f(y[t, s, o])
                if gain != 0 and trace[o, i] != 0:
                    total["learning_updates"] += 1
                    steps = round(float(gain * trace[o, i]) / step)  # Python rounds halves to even
                    if steps:
                        weight[o, i] = min(max(float(weight[o, i]) + steps * step, -bound), bound)
        for key, value in total.items():
            count[key].append(value)
    return count


def test_both_counters_agree_with_loops() -> None:
    graph = supervised(Plastic(0.8, 0.5, 0.1))
    x = values(graph, 40, 2)
    x["x"][10] = 0
    x["m"][20:25] = 0
    head = graph.nodes["head"]
    assert isinstance(head, Linear)
    rounded = {k: np.clip(np.rint(x[k] * 64), -128, 128) / 64 for k in ("m", "target")}
    expected = loops(head, x["x"], rounded["m"], rounded["target"])
    for executor in ("engine", "torch"):
        book = count(graph, x, executor=executor)  # type: ignore[arg-type]
        columns = book.columns["head"]
        assert columns["synaptic_events"].tolist() == expected["products"]
        for key in ("zero_input", "pruned", "learning_updates"):
            assert columns[key].tolist() == expected[key], key
        assert columns["nominal"].tolist() == [40 * 18] * 2
        assert columns["elementwise"].tolist() == [40 * 18] * 2
        assert columns["state_bytes"].tolist() == [40 * 18 * 2 * 4] * 2
        moved = np.array(expected["products"]) + 2 * np.array(expected["learning_updates"])
        assert columns["weight_bytes"].tolist() == (4 * moved).tolist()
    at_first = int((head.weight == 0).sum())
    assert any(pruned != 40 * at_first for pruned in expected["pruned"]), "weights come and go"


@pytest.mark.parametrize(
    "graph",
    [closed(), closed("pipelined"), kept("n"), kept("kt"), GRAPHS["plastic_head"]()],
    ids=["", "pipelined", "kept", "kept-target", "head"],
)
def test_engine_and_torch_make_the_same_book(graph: Graph) -> None:
    x = values(graph, 60, 3)
    book = count(graph, x)
    assert book.differences(count(graph, x, executor="torch")) == []
    assert book.columns["head"]["learning_updates"].all()
    assert book.columns["head"]["learning_updates"].max() <= 60 * book.facts["head"].weights


def alone(weight: NDArray[np.float32]) -> Graph:
    """One input, one output: weight, rule E = x·y, Δw = m·E, bound 1."""
    nodes: dict[str, Node] = {
        "x": Input((1,)),
        "m": Input((1,), "analog"),
        "target": Input((1,), "analog"),
        "head": Linear(weight, grid=WeightGrid(2), plastic=Plastic(0.0, 1.0, 1.0)),
        "n": neuron(LIF(0.5, 9.0), 1),
        "y": Output(),
    }
    edges = tuple(Edge(*p.split()) for p in ("x head", "head n", "n y"))
    return Graph(nodes, (*edges, Edge("m", "head", "third"), Edge("target", "head", "post")))


def test_a_weight_that_becomes_0_is_pruned_from_the_next_tick_on() -> None:
    """0.5 loses 0.5 at tick 1 and wins 0.25 at tick 3: pruned at ticks 2 and 3, a product again at tick 4."""
    graph = alone(np.array([[0.5]], np.float32))
    one = np.ones((5, 1, 1), np.float32)
    third = np.array([0, -0.5, 0, 0.25, 0], np.float32).reshape(5, 1, 1)
    for executor in ("engine", "torch"):
        book = count(graph, {"x": one, "m": third, "target": one}, executor=executor)  # type: ignore[arg-type]
        columns = {key: int(value[0]) for key, value in book.columns["head"].items() if value[0]}
        assert columns == {
            "synaptic_events": 3,
            "executed": 3,
            "pruned": 2,
            "nominal": 5,
            "learning_updates": 2,
            "weight_bytes": (3 + 2 * 2) * 4,
            "elementwise": 5,
            "state_bytes": 5 * 2 * 4,
        }
        assert book.columns["n"]["updates_driven"].tolist() == [3], "through a weight of 0 no event arrives"


def test_a_change_that_the_grid_or_the_bound_swallows_is_computed_all_the_same() -> None:
    graph = alone(np.array([[1.0]], np.float32))
    one = np.ones((2, 1, 1), np.float32)
    third = np.array([1.0, 0.1], np.float32).reshape(2, 1, 1)
    session = engine.open(graph)
    for t in range(2):
        session.step({"x": one[t], "m": third[t], "target": one[t]})
    assert session.state()["head/weight"].tolist() == [[[1.0]]]
    assert session.counts["head"]["learning_updates"].tolist() == [2]


def test_a_session_counts_since_the_last_reset() -> None:
    graph = closed()
    x = values(graph, 20, 2)
    session = engine.open(graph, 2)
    for t in range(20):
        if t == 8:
            session.reset(np.array([True, False]))
        session.step({k: v[t] for k, v in x.items()})
    late = book_of(graph, engine.run(graph, {k: v[8:] for k, v in x.items()})).columns["head"]
    whole = book_of(graph, engine.run(graph, x)).columns["head"]
    for key in ("learning_updates", "zero_input", "pruned"):
        assert session.counts["head"][key].tolist() == [late[key][0], whole[key][1]]


def test_columns_are_those_of_weights_that_learn_only() -> None:
    graph = closed()
    frozen = replace(graph.nodes["head"], plastic=None)  # type: ignore[type-var]
    nodes = {**graph.nodes, "head": frozen}
    edges = tuple(e for e in graph.edges if e.waits)
    learns, plain = (columns_of(g, "head", infer(g)) for g in (graph, Graph(nodes, edges)))
    assert set(learns) - set(plain) == {"learning_updates", "elementwise", "state_bytes"}


def test_learning_costs_energy() -> None:
    graph = closed()
    book = count(graph, values(graph, 20, 2))
    columns = book.columns["head"]
    chip = next(row for row in energy(book, "loihi1-davies2018").rows if row.node == "head")
    np.testing.assert_allclose(
        chip.energies["synapse"][0], 23.6 * columns["synaptic_events"] + 120 * columns["learning_updates"]
    )
    report = energy(book, "cmos45")
    core = next(row for row in report.rows if row.node == "head")
    np.testing.assert_allclose(core.energies["neuron"][0], (3.7 + 0.9) * columns["elementwise"])
    assert any("learning of 'head'" in note for note in report.missing), "nobody publishes what a change costs there"


def test_convolutions_that_learn_are_refused() -> None:
    conv = Conv1d(np.ones((3, 2, 3), np.float32), grid=WeightGrid(5), plastic=Plastic(0.9, 0.1, 1.0))
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
    graph = Graph(nodes, edges)
    shapes = {"x": (2, 5), "m": (1,), "head": (3, 3), "n": (3, 3)}
    emissions = {name: np.zeros((2, 1, *shape), np.float32) for name, shape in shapes.items()}
    with pytest.raises(UnsupportedNode, match="dense counting cannot hold node 'head'"):
        count_from_emissions(graph, emissions, {"n": {"v": emissions["n"]}})
