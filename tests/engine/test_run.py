"""The engine against the slow reference, bit for bit and count for count, and what a caller sees of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine import EventStream
from neuroaccel.errors import EventsError, InputError
from neuroaccel.graph import (
    Add,
    AvgPool2d,
    Constant,
    Conv1d,
    Conv2d,
    Delay,
    Dendrite,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Multiply,
    Node,
    Output,
    Probe,
    Readout,
    Table,
    ValueGrid,
    chain,
)
from neuroaccel.program import IF, LI, LIF
from tests.engine.reference import Reference, reference, same
from tests.random_graphs import neuron, random_graph, random_input

Examples = Callable[[int, int], int]


def draw(seed: int, size: str = "small", T: int = 6, N: int = 2, **choices: Any) -> tuple[Graph, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, size, **choices)
    return graph, random_input(graph, rng, T, N)


def test_random_graphs_equal_the_reference(examples: Examples) -> None:
    spikes = 0
    for seed in range(examples(200, 2000)):
        graph, x = draw(seed, "tiny" if seed % 2 else "small")
        result = engine.run(graph, x, record=True)
        same(result, reference(graph, x))
        spikes += sum(int(np.count_nonzero(s)) for s in result.trace.spikes.values())
    assert spikes > 1000  # silence would prove nothing


def test_float64_equals_the_reference_in_float64(examples: Examples) -> None:
    for seed in range(examples(30, 300)):
        graph, x = draw(seed, "tiny")
        same(engine.run(graph, x, record=True, arithmetic="float64"), reference(graph, x, "float64"))


def off_the_grid(graph: Graph, rng: np.random.Generator) -> Graph:
    """The same graph with weights of which no sum is exact."""

    def moved(node: Node) -> Node:
        if isinstance(node, Dendrite):
            w, v = ((a * rng.uniform(0.5, 1.5, a.shape)).astype(np.float32) for a in (node.weight, node.gate))
            return replace(node, weight=w, gate=v, grid=None, gate_grid=None)
        if not isinstance(node, (Linear, Conv1d, Conv2d)):
            return node
        weight = (node.weight * rng.uniform(0.5, 1.5, node.weight.shape)).astype(np.float32)
        return replace(node, weight=weight, grid=None)

    return replace(graph, nodes={name: moved(node) for name, node in graph.nodes.items()})


@pytest.mark.parametrize("seed", range(12))
def test_without_a_grid_sums_run_in_the_order_of_addresses(seed: int) -> None:
    graph, x = draw(seed, "tiny", T=4)
    graph = off_the_grid(graph, np.random.default_rng(seed))
    same(engine.run(graph, x, record=True), reference(graph, x))


def square(n: int, weight: float = 1.0, **options: Any) -> Linear:
    return Linear(weight * np.eye(n, dtype=np.float32), **options)


def test_an_analog_state_drives_further_layers() -> None:
    rng = np.random.default_rng(5)
    graph = chain(
        {
            "x": Input((4,)),
            "w": Linear(rng.normal(size=(5, 4)).astype(np.float32)),
            "li": neuron(LI(0.7, v_leak=0.25), (5,)),
            "v": Linear(rng.normal(size=(3, 5)).astype(np.float32), bias=np.array([0.5, 0, -0.5], np.float32)),
            "if": neuron(IF(0.75, reset="subtract"), (3,)),
            "y": Output(),
        }
    )
    x = (rng.random((20, 3, 4)) < 0.4).astype(np.float32)
    result = engine.run(graph, x, record=True)
    same(result, reference(graph, x))
    assert result.trace.spikes["li"].dtype == np.float32
    assert result.counts["li"]["spikes"].tolist() == [0, 0, 0]  # an analog emission is no spike
    assert result.counts["v"]["products"].sum() > 0


def test_gates_tables_constants_and_pooled_currents_equal_the_reference() -> None:
    rng = np.random.default_rng(3)
    bias = np.array([0.25, 0.0], np.float32)
    nodes: dict[str, Node] = {
        "x": Input((2, 4, 4), "count", 3),
        "gate": Input((2, 1, 1)),
        "bias_current": Constant(rng.integers(-1, 2, (2, 2, 2)).astype(np.float32) / 8),
        "table": Table(np.array([0, 2, 3, 1], np.float32)),
        "conv": Conv2d(rng.integers(-8, 9, (2, 2, 3, 3)).astype(np.float32) / 16, bias, padding=(1, 1)),
        "gated": Multiply(),
        "pool": AvgPool2d((2, 2), (2, 2)),
        "n": neuron(LIF(0.75, 0.5), (2, 2, 2)),
        "late": Delay(np.array(2, np.int32)),
        "y": Output(),
    }
    edges = (
        *(Edge(a, b) for a, b in (("x", "table"), ("table", "conv"), ("conv", "gated"), ("gated", "pool"))),
        *(Edge(a, b) for a, b in (("pool", "n"), ("bias_current", "n"), ("n", "late"), ("late", "y"))),
        Edge("gate", "gated", "gate"),
    )
    graph = Graph(nodes, edges).validate()
    x = rng.integers(0, 4, (6, 1, 2, 4, 4)) * (rng.random((6, 1, 2, 4, 4)) < 0.2)
    gate = (rng.random((6, 1, 2, 1, 1)) < 0.5).astype(np.float32)
    result = engine.run(graph, {"x": x, "gate": gate}, record=True)
    slow = Reference(graph)
    for tick in range(6):
        for name, value in (("x", x), ("gate", gate)):
            slow.inputs[name] = value[tick, 0]
        slow.step()
        for name, found in (("n", result.trace.spikes["n"]), ("y", result.trace.outputs["y"])):
            np.testing.assert_array_equal(found[tick, 0].ravel(), slow.now[name].values)
    for name, columns in result.counts.items():
        assert {key: int(value[0]) for key, value in columns.items()} == dict(slow.counts[name])
    assert 0 < result.counts["n"]["updates_driven"][0] <= 48


@pytest.mark.parametrize("how", ["spike_count", "mean_membrane", "max_membrane", "last_membrane"])
def test_readouts_have_running_values(how: str) -> None:
    inputs: dict[str, Node] = {"x": Input((1,), "count", 5)}
    if how != "spike_count":
        inputs["w"] = square(1, -0.3)  # negative, so that a maximum that starts from 0 would be seen
    graph = chain({**inputs, "r": Readout(how), "y": Output()})  # type: ignore[arg-type]
    x = np.array([3.0, 5.0, 1.0, 2.0], np.float32)
    v = x if how == "spike_count" else np.float32(-0.3) * x
    total = np.array([v[0], v[0] + v[1], v[0] + v[1] + v[2], v[0] + v[1] + v[2] + v[3]])
    expected = {
        "spike_count": total,
        "mean_membrane": total / np.array([1, 2, 3, 4], np.float32),
        "max_membrane": np.maximum.accumulate(v),
        "last_membrane": v,
    }[how]
    found = engine.run(graph, x[:, None, None]).trace.outputs["y"].ravel()
    assert found.dtype == np.float32
    assert found.tolist() == expected.tolist()


def test_what_a_recurrent_edge_brings_is_one_tick_old_wherever_it_goes() -> None:
    nodes: dict[str, Node] = {
        "x": Input((1,)),
        "n": neuron(IF(0.5), (1,)),
        "p": Probe(),
        "sum": Add(),
        "m": neuron(IF(0.5), (1,)),
        "y": Output(),
        "last": Output(),
    }
    edges = (Edge("x", "n"), Edge("n", "p", recurrent=True), Edge("p", "y", recurrent=True), Edge("p", "sum"))
    graph = Graph(nodes, (*edges, Edge("sum", "last"), Edge("p", "m", recurrent=True))).validate()
    x = np.zeros((5, 1, 1), np.float32)
    x[0] = 1
    result = engine.run(graph, x, record=True)
    same(result, reference(graph, x))
    outputs = result.trace.outputs
    assert result.trace.currents["m"].ravel().tolist() == [0, 0, 1, 0, 0]
    assert outputs["last"].ravel().tolist() == [0, 1, 0, 0, 0]
    assert outputs["y"].ravel().tolist() == [0, 0, 1, 0, 0]


def test_event_streams_give_what_the_dense_input_gives() -> None:
    for seed in range(6):
        graph, x = draw(seed, T=8, N=3)
        streams = [EventStream.from_dense(x[:, n], 1e-3) for n in range(3)]
        dense, sparse = (engine.run(graph, values, record=True) for values in (x, streams))
        for name, spikes in dense.trace.spikes.items():
            np.testing.assert_array_equal(sparse.trace.spikes[name], spikes)
        assert {n: {k: v.tolist() for k, v in c.items()} for n, c in dense.counts.items()} == {
            n: {k: v.tolist() for k, v in c.items()} for n, c in sparse.counts.items()
        }
    one = engine.run(graph, streams[0])
    for name, values in one.trace.outputs.items():
        np.testing.assert_array_equal(values, dense.trace.outputs[name][:, :1])


def test_what_is_recorded() -> None:
    graph, x = draw(4)
    nothing, spikes, all_of_it = (engine.run(graph, x, record=how).trace for how in (False, "spikes", True))
    assert (nothing.spikes, nothing.states, nothing.currents) == ({}, {}, {})
    assert set(spikes.spikes) == set(all_of_it.spikes) == set(all_of_it.currents) == set(all_of_it.states)
    assert spikes.states == {}
    for name, values in all_of_it.spikes.items():
        np.testing.assert_array_equal(values, spikes.spikes[name])
        emit = graph.nodes[name].program.emit.kind  # type: ignore[attr-defined]
        assert values.dtype == {"spike": np.uint8, "count": np.int32, "state": np.float32}[emit]
    with pytest.raises(InputError, match="record is"):
        engine.run(graph, x, record="membranes")  # type: ignore[arg-type]


def test_without_counts_the_spikes_are_the_same() -> None:
    for seed in range(5):
        graph, x = draw(seed)
        counted, plain = (engine.run(graph, x, record=True, counts=how) for how in (True, False))
        assert (plain.counts, plain.touched) == ({}, {})
        for name, values in counted.trace.outputs.items():
            np.testing.assert_array_equal(plain.trace.outputs[name], values)


def test_the_execution_book_of_a_small_layer() -> None:
    weight = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    graph = chain({"x": Input((2,)), "w": Linear(weight), "n": neuron(LIF(0.5), (3,)), "y": Output()})
    x = np.array([[[1, 0]], [[1, 1]], [[0, 0]]], np.float32)
    result = engine.run(graph, x)
    assert result.ticks == 3
    assert result.seconds > 0
    # Three events, each reading a whole row of three weights, the zero included, which bfloat16 holds exactly.
    assert result.touched["w"]["weight_bytes"].tolist() == [3 * 3 * 2]
    assert result.touched["n"]["neurons"].tolist() == [3 * 3]
    assert result.touched["n"]["state_bytes"].tolist() == [3 * 2 * 3 * 4]
    assert result.touched["x"]["event_bytes"].tolist() == [3 * 8]
    assert {k: v.tolist() for k, v in result.counts["w"].items()} == {
        "products": [6],
        "zero_input": [6],
        "pruned": [6],
        "events_out": [0],
    }


def test_a_gridded_analog_input_is_rounded_half_to_even_and_clipped() -> None:
    graph = chain({"x": Input((6,), "analog", grid=ValueGrid(1, -4, 4)), "y": Output()})
    x = np.array([0.25, 0.75, 1.3, -0.25, 9.0, -9.0])
    expected = [0.0, 1.0, 1.5, 0.0, 2.0, -2.0]
    for arithmetic in ("float32", "float64", "integer"):
        found = engine.run(graph, x[None, None], arithmetic=arithmetic).trace.outputs["y"]
        assert found.ravel().tolist() == expected
    plain = chain({"x": Input((6,), "analog"), "y": Output()})
    assert engine.run(plain, x[None, None], arithmetic="float64").trace.outputs["y"].ravel().tolist() == x.tolist()


@pytest.mark.parametrize(
    ("edge", "maximum", "bad", "expected"),
    [
        ("binary", 1, 2.0, "0 or 1"),
        ("binary", 1, 0.5, "0 or 1"),
        ("binary", 1, np.nan, "0 or 1"),
        ("count", 3, 4.0, "a whole number from 0 to 3"),
        ("count", 3, -1.0, "a whole number from 0 to 3"),
        ("analog", 1, np.inf, "a finite number"),
    ],
)
def test_a_value_that_the_input_does_not_allow_is_named(edge: Any, maximum: int, bad: float, expected: str) -> None:
    graph = chain({"x": Input((2, 3), edge, maximum), "y": Output()})
    x = np.zeros((4, 2, 2, 3), np.float32)
    x[2, 1, 0, 2] = bad
    with pytest.raises(InputError, match=rf"'x' is .* at tick 2, sample 1, index \(0, 2\); expected {expected}"):
        engine.run(graph, x)


def test_inputs_that_do_not_fit_are_refused() -> None:
    graph = chain({"x": Input((3,)), "y": Output()})
    for x in (np.zeros((4, 2, 5)), np.zeros(3), np.array([["a"]]), np.zeros((2, 1, 3), complex)):
        with pytest.raises(InputError, match="input 'x'"):
            engine.run(graph, x)
    with pytest.raises(InputError, match="the graph has"):
        engine.run(graph, {"z": np.zeros((4, 2, 3))})
    with pytest.raises(InputError, match="at least one sample"):
        engine.run(graph, np.zeros((4, 0, 3)))
    short, long = (EventStream.from_dense(np.zeros((ticks, 3)), 1e-3) for ticks in (3, 4))
    with pytest.raises(EventsError, match="sample 1 has shape"):
        engine.run(graph, [short, long])
    with pytest.raises(EventsError, match="expected"):
        engine.run(graph, EventStream.from_dense(np.zeros((3, 4)), 1e-3))
    with pytest.raises(InputError, match="arithmetic is"):
        engine.run(graph, np.zeros((4, 2, 3)), arithmetic="float16")  # type: ignore[arg-type]


def test_two_inputs_need_their_names_and_the_same_length() -> None:
    nodes = {"a": Input((2,)), "b": Input((2,)), "s": Add(), "y": Output()}
    graph = Graph(nodes, (Edge("a", "s"), Edge("b", "s"), Edge("s", "y")))
    ones = np.ones((3, 1, 2))
    assert engine.run(graph, {"a": ones, "b": ones}).trace.outputs["y"].tolist() == (2 * ones).tolist()
    with pytest.raises(InputError, match="give a dict"):
        engine.run(graph, ones)
    with pytest.raises(InputError, match="differ in ticks and samples"):
        engine.run(graph, {"a": ones, "b": ones[:2]})


def test_a_bias_counts_as_a_drive_wherever_it_is_not_zero() -> None:
    bias = np.array([0.0, 0.25], np.float32)
    layers: dict[str, Node] = {
        "x": Input((1, 2, 2)),
        "w": Conv2d(np.ones((2, 1, 1, 1), np.float32), bias),
        "n": neuron(LIF(0.5, 9.0), (2, 2, 2)),
        "f": Flatten(),
        "y": Output(),
    }
    result = engine.run(chain(layers), np.zeros((5, 1, 1, 2, 2)))
    assert result.counts["n"]["updates_driven"].tolist() == [5 * 4]
