"""Branches Delay → Linear that one operation runs: what is seen of them is what it would be one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine import EventStream, Session
from neuroaccel.engine.compiler import compile_graph
from neuroaccel.engine.delayed_synapses import DelayedSynapses, Group
from neuroaccel.engine.plan import Plan
from neuroaccel.errors import InputError
from neuroaccel.graph import (
    Constant,
    Delay,
    Edge,
    Graph,
    Input,
    Keep,
    Linear,
    Node,
    Output,
    Readout,
    Scope,
    WeightGrid,
)
from neuroaccel.program import IF, LIF, CubaLIF
from tests.engine.reference import reference, same
from tests.random_graphs import neuron

Counts = dict[str, dict[str, list[int]]]


def sparse(rng: np.random.Generator, shape: tuple[int, int], living: float = 0.1, **options: Any) -> Linear:
    """A few weights on a grid of 1/64."""
    weight = rng.integers(-24, 41, shape) * (rng.random(shape) < living)
    return Linear((weight / 64).astype(np.float32), grid=WeightGrid(6), **options)


def ticks(*values: int) -> Delay:
    return Delay(np.array(values[0] if len(values) == 1 else values, np.int32))


def pruned(
    seed: int, inputs: int = 40, outputs: int = 37, count: int = 1, how: str = "", delays: tuple[int, ...] = ()
) -> Graph:
    """An input, or neurons on it, whose delayed branches add up in neurons.

    ``how`` names what else there is: "hidden" neurons that send, a "direct" branch, a "constant" and a "dense" edge
    beside, a "second" source, a "readout" in place of neurons.
    """
    rng = np.random.default_rng(seed)
    nodes: dict[str, Node] = {"x": Input((inputs,), "count" if count > 1 else "binary", count)}
    edges, source = [], "x"
    if "hidden" in how:
        nodes |= {"first": sparse(rng, (inputs, inputs), 0.3), "h": neuron(LIF(0.75, 0.5), (inputs,))}
        edges += [Edge("x", "first"), Edge("first", "h")]
        source = "h"
    sources = [source, "x"] if "second" in how else [source]
    nodes |= {"n": neuron(CubaLIF(0.5, 0.875, 0.4) if seed % 2 else IF(0.5), (outputs,)), "y": Output()}
    if "readout" in how:
        nodes["n"] = Readout("max_membrane")
    for place in sources:
        for d in delays or rng.integers(1, 6, rng.integers(2, 6)):
            name = f"{place}{len(nodes)}"
            nodes |= {f"d{name}": ticks(int(d)), f"w{name}": sparse(rng, (outputs, inputs))}
            edges += [Edge(place, f"d{name}"), Edge(f"d{name}", f"w{name}"), Edge(f"w{name}", "n")]
        if "direct" in how:
            nodes[f"w{place}"] = sparse(rng, (outputs, inputs))
            edges += [Edge(place, f"w{place}"), Edge(f"w{place}", "n")]
    if "constant" in how:
        nodes["c"] = Constant((rng.integers(-1, 2, outputs) / 16).astype(np.float32))
        edges.append(Edge("c", "n"))
    if "dense" in how:
        nodes["w"] = dataclasses.replace(
            sparse(rng, (outputs, inputs), 1.0), bias=(rng.integers(-3, 4, outputs) / 64).astype(np.float32)
        )
        edges += [Edge("x", "w"), Edge("w", "n")]
    return Graph(nodes, (*edges, Edge("n", "y"))).validate()


def events(graph: Graph, seed: int, T: int = 20, N: int = 3, share: float = 0.08) -> NDArray[np.float32]:
    rng, x = np.random.default_rng(seed), graph.nodes["x"]
    assert isinstance(x, Input)
    values = rng.integers(1, (x.maximum or 1) + 1, (T, N, *x.shape)) * (rng.random((T, N, *x.shape)) < share)
    return values.astype(np.float32)


def merged(plan: Plan | Graph) -> set[str]:
    """Nodes whose part another operation does."""
    plan = plan if isinstance(plan, Plan) else compile_graph(plan)
    return {name for (kind, name), step in plan.steps.items() if kind == "node" and step.operation.merged}


def apart(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan in which every node runs by itself."""
    with monkeypatch.context() as patch:
        patch.setattr("neuroaccel.engine.compiler.groups", lambda *_: [])
        plan = compile_graph(graph)
    assert not merged(plan)
    return plan


def counts(session: Session) -> Counts:
    return {name: {k: v.tolist() for k, v in columns.items()} for name, columns in session.counts.items()}


def play(session: Session, x: NDArray[Any]) -> list[list[float]]:
    return [session.step(values)["y"].tolist() for values in x]


KINDS = ("", "hidden", "direct", "constant", "dense", "hidden second", "hidden direct constant dense", "readout")
CASES = pytest.mark.parametrize(
    ("seed", "how", "count"), [(k, how, 1 + 2 * (k % 2)) for k, how in enumerate((*KINDS, *KINDS))]
)


@CASES
def test_they_equal_the_reference(seed: int, how: str, count: int) -> None:
    graph = pruned(seed, outputs=(37, 16, 21, 64)[seed % 4], count=count, how=how)
    x = events(graph, seed)
    plan = compile_graph(graph)
    expected_parts = {name for name in graph.nodes if name[0] in "dw" and len(name) > 1}
    assert merged(plan) == expected_parts
    expected = reference(graph, x)
    result = engine.run(plan, x, record=True)
    same(result, expected)
    assert np.count_nonzero(expected.outputs["y"])


@CASES
def test_blocks_streams_and_weights_read_are_as_they_were(
    seed: int, how: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = pruned(seed, count=count, how=how, inputs=30)
    x = events(graph, seed, T=23, N=2)
    plan, plain = compile_graph(graph), apart(graph, monkeypatch)
    assert merged(plan)
    slow = Session(plain, 2)
    expected = play(slow, x)
    for block in (1, 2, 3, 5, 8, 23):
        session = Session(plan, 2, block=block)
        streams = [EventStream.from_dense(x[:, k], 1e-3) for k in range(2)]
        outputs: list[Any] = []
        for first, last in ((0, 4), (4, 5), (5, 23)):
            found = session.step([stream.slice(first, last) for stream in streams])["y"]
            outputs += np.stack([stream.to_dense() for stream in found], axis=1).tolist()
        assert outputs == expected
        assert counts(session) == counts(slow)
        read = {name: value.tolist() for name, value in session.weights_read.items()}
        assert read == {name: value.tolist() for name, value in slow.weights_read.items()}
    silent = Session(plan, 2, counts=False)
    assert play(silent, x) == expected
    assert silent.counts == {}


@CASES
def test_a_restored_state_goes_on_as_if_nothing_had_happened(seed: int, how: str, count: int) -> None:
    graph = pruned(seed, count=count, how=how)
    x = events(graph, seed, T=16)
    plan = compile_graph(graph)
    session = Session(plan, 3)
    play(session, x[:7])
    state, before = session.state(), counts(session)
    assert any(state[f"{group.key}/ring"].any() for group in plan.groups)
    rest = play(session, x[7:])
    after = counts(session)
    session.restore(state)
    assert play(session, x[7:]) == rest
    other = Session(plan, 3, block=4)
    other.restore(state)
    assert {k: v.tolist() for k, v in other.state().items()} == {k: v.tolist() for k, v in state.items()}
    assert play(other, x[7:]) == rest
    for name, columns in counts(other).items():  # what was under way counts where it is due
        for column, found in columns.items():
            assert [a + b for a, b in zip(before[name][column], found, strict=True)] == after[name][column]


@pytest.mark.parametrize("delays", [(1, 1), (7, 3, 3, 9), tuple(range(1, 12)), (2,) * 16 + (30,)])
def test_any_number_of_branches_equals_the_reference(delays: tuple[int, ...]) -> None:
    graph = pruned(4, outputs=70, delays=delays, how="direct")
    x = events(graph, 5, T=40, N=2, share=0.03)
    assert len(merged(graph)) == 2 * len(delays) + 1
    same(engine.run(graph, x, record=True), reference(graph, x))


@pytest.mark.parametrize("seed", range(6))
def test_a_reset_sample_starts_fresh_and_the_others_go_on(seed: int) -> None:
    graph = pruned(seed, how=KINDS[seed], count=3)
    x = events(graph, seed, T=16)
    session, undisturbed, fresh = (Session(compile_graph(graph), 3) for _ in range(3))
    play(session, x[:7])
    play(undisturbed, x[:7])
    session.reset(np.array([False, True, False]))
    for values in x[7:]:
        found, kept, new = (s.step(values)["y"] for s in (session, undisturbed, fresh))
        np.testing.assert_array_equal(found[[0, 2]], kept[[0, 2]])
        np.testing.assert_array_equal(found[1], new[1])
    for name, columns in counts(session).items():
        for column, (first, second, third) in columns.items():
            assert [first, third] == counts(undisturbed)[name][column][::2]
            assert second == counts(fresh)[name][column][1]
    session.reset()
    assert {k: v.tolist() for k, v in session.state().items()} == {
        k: v.tolist() for k, v in Session(compile_graph(graph), 3).state().items()
    }
    assert all(not any(v) for columns in counts(session).values() for v in columns.values())


@pytest.mark.parametrize("living", [0.05, 0.9])
def test_other_weights_hold_for_what_is_under_way(living: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where branches of these weights would not be merged."""
    graph, rng = pruned(3, how="constant"), np.random.default_rng(0)
    x = events(graph, 3, T=16)
    new: dict[str, Any] = {
        name: sparse(rng, graph.nodes[name].weight.shape, living).weight  # type: ignore[attr-defined]
        for name in graph.of_type(Linear)
    }
    session, slow = Session(compile_graph(graph), 3), Session(apart(graph, monkeypatch), 3)
    for other in (session, slow):
        play(other, x[:6])
    state = session.state()
    for other in (session, slow):
        other.load(new)
    assert merged(session.plan)
    assert {k: v.tolist() for k, v in session.state().items()} == {k: v.tolist() for k, v in state.items()}
    assert play(session, x[6:]) == play(slow, x[6:])
    assert counts(session) == counts(slow)


def test_currents_that_cancel_have_touched_their_target() -> None:
    """A sum of +1 and -1 is 0, and an event reached it; where none did it is 0 as well."""
    weight = np.zeros((20, 20), np.float32)
    weight[3, 5], weight[4, 6] = 1, 1
    nodes: dict[str, Node] = {"x": Input((20,)), "n": neuron(LIF(0.5, 100.0), (20,)), "y": Output()}
    edges = [Edge("n", "y")]
    for k, w in ((1, weight), (3, -weight)):
        nodes |= {f"d{k}": ticks(k), f"w{k}": Linear(w, grid=WeightGrid(0))}
        edges += [Edge("x", f"d{k}"), Edge(f"d{k}", f"w{k}"), Edge(f"w{k}", "n")]
    graph = Graph(nodes, tuple(edges)).validate()
    x = np.zeros((6, 1, 20), np.float32)
    x[[0, 2], 0, 5] = 1  # tick 3: 1 of the event at tick 2, -1 of that at tick 0
    x[0, 0, 6] = 1
    plan = compile_graph(graph)
    assert merged(plan) == {"d1", "d3", "w1", "w3"}
    result = engine.run(plan, x, record=True)
    same(result, reference(graph, x))
    current = result.trace.currents["n"][:, 0]
    assert current[3].tolist() == [-1.0 if k == 4 else 0.0 for k in range(20)]
    assert not np.signbit(current[current == 0]).any()
    assert result.counts["n"]["updates_driven"].tolist() == [2 + 2 + 1]
    assert result.counts["d3"]["events_out"].tolist() == [3]


@pytest.mark.parametrize("state", ["reset", "carry"])
@pytest.mark.parametrize("kept", [False, True])
def test_inside_a_scope(state: Any, kept: bool) -> None:
    """What a reset or a dropped tick forgets on its way never counts."""
    inner = pruned(5, inputs=24, outputs=24, delays=(1, 2, 3))
    scope = Scope(inner, 4, state=state, port_names=("x",))
    nodes: dict[str, Node] = {"x": Input((24,)), "m": Input((1,)), "s": scope, "y": Output()}
    edges = [Edge("x", "s", "x"), Edge("s", "y")]
    if kept:
        edges = [Edge("x", "k"), Edge("m", "k", "mask"), Edge("k", "s", "x"), Edge("s", "y")]
        nodes["k"] = Keep()
    else:
        del nodes["m"]
    graph = Graph(nodes, tuple(edges)).validate()
    rng = np.random.default_rng(1)
    x = {"x": (rng.random((6, 2, 24)) < 0.2).astype(np.float32)}
    if kept:
        x["m"] = (rng.random((6, 2, 1)) < 0.5).astype(np.float32)
    plan = compile_graph(graph)
    assert merged(plan.inner["s"].plan)
    result = engine.run(plan, x, record=True)
    same(result, reference(graph, x))
    assert result.counts["s/n"]["spikes"].sum()
    session = Session(plan, 2)
    weights = {f"s/{name}": inner.nodes[name].weight for name in inner.of_type(Linear)}  # type: ignore[attr-defined]
    for t in range(6):
        values = {name: value[t] for name, value in x.items()}
        np.testing.assert_array_equal(session.step(values)["y"], result.trace.outputs["y"][t])
        session.load(weights)
        session.restore(session.state())


def altered(graph: Graph, changes: dict[str, Node], *more: Edge, without: tuple[Edge, ...] = ()) -> Graph:
    edges = tuple(edge for edge in graph.edges if edge not in without)
    return dataclasses.replace(graph, nodes={**graph.nodes, **changes}, edges=(*edges, *more))


def test_what_is_not_merged() -> None:
    graph, rng = pruned(0, delays=(1, 2, 3)), np.random.default_rng(0)
    linears, delays = graph.of_type(Linear), graph.of_type(Delay)
    first, second = linears[0], delays[0]
    node = graph.nodes[first]
    assert isinstance(node, Linear)
    assert merged(graph) == {*linears, *delays}
    others = {*linears, *delays} - {first, second}
    assert second == first.replace("w", "d")
    half = np.full(37, 0.5, np.float32)
    parts: dict[str, tuple[Graph, set[str]]] = {
        "a bias": (altered(graph, {first: dataclasses.replace(node, bias=half)}), others),
        "a Linear that is read": (altered(graph, {"z": Output()}, Edge(first, "z")), others),
        "no grid": (altered(graph, {first: Linear(node.weight * np.float32(np.pi))}), set()),
        "dense": (altered(graph, {k: sparse(rng, (37, 40), 1.0) for k in linears}), set()),
        "a Delay that is read": (altered(graph, {"z": Output()}, Edge(second, "z")), others),
        "two delays in one": (altered(graph, {second: Delay(rng.integers(1, 3, 40).astype(np.int32))}), others),
        "analog": (altered(graph, {"x": Input((40,), "analog")}), set()),
        "pipelined": (dataclasses.replace(graph, timing="pipelined"), set()),
    }
    for why, (other, expected) in parts.items():
        other.validate()
        assert merged(other) == expected, why
        x = events(other, 1, T=8, N=2, share=0.2)
        same(engine.run(other, x, record=True), reference(other, x))
    for arithmetic in ("float64", "integer"):
        assert not compile_graph(altered(graph, {"n": Readout("max_membrane")}), arithmetic).groups
    assert not merged(pruned(0, delays=(1, 4000)))  # sums of so many ticks leave the cache
    clocked = pruned(0, delays=(1, 2), inputs=30)
    kept = [Edge("x", "k"), Edge("m", "k", "mask"), *(Edge("k", d) for d in clocked.of_type(Delay))]
    removed = tuple(edge for edge in clocked.edges if edge.source == "x")
    clocked = altered(clocked, {"m": Input((1,)), "k": Keep()}, *kept, without=removed).validate()
    assert not merged(clocked)


def test_a_loop_is_not_merged() -> None:
    graph = pruned(2, inputs=37, delays=(1, 2))
    back = tuple(Edge("n", edge.target) for edge in graph.edges if edge.source == "x")
    weight = sparse(np.random.default_rng(3), (37, 37), 0.5)
    removed = tuple(edge for edge in graph.edges if edge.source == "x")
    graph = altered(graph, {"in": weight}, Edge("x", "in"), Edge("in", "n"), *back, without=removed).validate()
    assert not merged(graph)
    x = events(graph, 4)
    same(engine.run(graph, x, record=True), reference(graph, x))


def test_a_delay_that_two_linears_share_is_their_source() -> None:
    nodes: dict[str, Node] = {"x": Input((40,)), "d": ticks(2), "n": neuron(IF(0.5), (37,)), "y": Output()}
    nodes |= {f"w{k}": sparse(np.random.default_rng(k), (37, 40)) for k in range(3)}
    edges = [Edge("x", "d"), Edge("n", "y"), *(Edge("d", f"w{k}") for k in range(3))]
    graph = Graph(nodes, (*edges, *(Edge(f"w{k}", "n") for k in range(3)))).validate()
    plan = compile_graph(graph)
    assert merged(plan) == {"w0", "w1", "w2"}
    x = events(graph, 1)
    same(engine.run(plan, x, record=True), reference(graph, x))
    session = Session(plan, 3)
    assert [key for key in session.state() if "ring" in key] == ["d/ring"]
    play(session, x[:5])
    state = session.state()
    rest = play(session, x[5:])
    session.restore(state)
    assert play(session, x[5:]) == rest


def test_what_is_said_of_them() -> None:
    graph = pruned(0, delays=(1, 2, 4))
    (first, *_), (delay, *_) = graph.of_type(Linear), graph.of_type(Delay)
    said = engine.explain(graph)
    assert said.count("one of 3 Linears from 'x' in one CSR, every event at once") == 3
    assert "due in 1 to 4 ticks" in said
    assert said.count("no memory of its own") == 3
    session = Session(compile_graph(graph))
    session.step(np.zeros((1, 40), np.float32))
    for name in (first, delay):
        with pytest.raises(InputError, match=f"node '{name}' has no values, its part is done"):
            session.value(name)
    assert session.value("n").shape == (1, 37)
    operations = [s.operation for s in session.plan.steps.values() if isinstance(s.operation, DelayedSynapses)]
    assert [operation.explain() in said for operation in operations] == [True]
    assert all(isinstance(group, Group) and group.together < group.apart for group in session.plan.groups)
