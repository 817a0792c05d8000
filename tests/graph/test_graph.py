"""Order, cycles, feedback, and what latches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.errors import GraphError
from neuroaccel.graph import (
    Add,
    Delay,
    Edge,
    Graph,
    Input,
    Linear,
    Neuron,
    Node,
    Output,
    Scope,
    WeightGrid,
    chain,
    infer,
)
from neuroaccel.program import LIF
from tests.conftest import examples
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron

EYE = np.eye(2, dtype=np.float32)


def loop(*back: Edge, timing: str = "instant", **more: Node) -> Graph:
    """x → fc → lif → y with something that leads back."""
    nodes: dict[str, Node] = {
        "x": Input((2,)),
        "fc": Linear(EYE, grid=WeightGrid(0)),
        "lif": neuron(LIF(), 2),
        "y": Output(),
        **more,
    }
    forward = (Edge("x", "fc"), Edge("fc", "lif"), Edge("lif", "y"))
    return Graph(nodes, (*forward, *back), timing=timing)  # type: ignore[arg-type]


FB = {"fb": Linear(EYE, grid=WeightGrid(0))}
LINE = {"line": Delay(np.array(2))}


def test_chain_connects_in_order() -> None:
    graph = chain({"a": Input((1,)), "b": Add(), "c": Output()}, dt=0.5, metadata={"k": 1})
    assert [e.name for e in graph.edges] == ["a->b:in", "b->c:in"]
    assert (graph.dt, graph.metadata, graph.order) == (0.5, {"k": 1}, ("a", "b", "c"))
    assert (graph.inputs, graph.outputs, graph.of_type(Add)) == (("a",), ("c",), ("b",))


def test_edges_into_a_port_come_in_the_order_of_their_names() -> None:
    graph = Graph(
        {"b": Input((1,)), "a": Input((1,)), "sum": Add(), "y": Output()},
        (Edge("b", "sum"), Edge("a", "sum"), Edge("sum", "y")),
    )
    assert [e.source for e in graph.into("sum")] == ["a", "b"]
    assert [e.target for e in graph.out_of("sum")] == ["y"]


def test_a_cycle_needs_an_edge_that_waits() -> None:
    with pytest.raises(GraphError, match="a cycle through lif, y, fb has no recurrent edge and no Delay"):
        loop(Edge("lif", "fb"), Edge("fb", "lif"), **FB).validate()
    loop(Edge("lif", "fb", recurrent=True), Edge("fb", "lif"), **FB).validate()
    loop(Edge("lif", "line"), Edge("line", "fb"), Edge("fb", "lif"), **FB, **LINE).validate()


def test_a_pipelined_synapse_opens_a_cycle_by_itself() -> None:
    graph = loop(Edge("lif", "fb"), Edge("fb", "lif"), timing="pipelined", **FB)
    assert graph.latches("fb")
    assert not loop(**FB).latches("fb")
    assert set(graph.validate().order) == set(graph.nodes)


def test_feedback_must_leave_a_neuron() -> None:
    graph = loop(Edge("lif", "fb"), Edge("fb", "lif", recurrent=True), **FB)
    with pytest.raises(GraphError, match="edge 'fb->lif:in' feeds back from Linear 'fb'; feedback must leave a Neuron"):
        graph.validate()
    loop(Edge("lif", "line"), Edge("line", "fc"), **LINE).validate()  # a Delay behind a neuron will do


def test_self_feedback_of_a_neuron() -> None:
    graph = loop(Edge("lif", "fc", recurrent=True))
    signals = infer(graph)
    assert graph.order == ("x", "fc", "lif", "y")
    assert signals["fc"].maximum == 2, "x and the neuron's own last spike"


def test_learning_ports_are_read_at_the_end_of_the_tick() -> None:
    graph = GRAPHS["plastic_head"]()
    post = next(e for e in graph.edges if e.port == "post")
    assert not post.recurrent
    assert not post.waits
    assert graph.order.index("head") < graph.order.index("actions"), "the edge back from what it drives closes no cycle"


@settings(max_examples=examples(100, 1000))
@given(st.data())
def test_order_runs_sources_first(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    names = [f"n{i}" for i in range(size)]
    shuffled = data.draw(st.permutations(names))
    nodes: dict[str, Node] = {"x": Input((1,)), **{n: Add() for n in shuffled}}
    pairs = [(names[i], names[j]) for i in range(size) for j in range(i + 1, size)]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    back = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    edges = tuple(
        [Edge("x", n) for n in names] + [Edge(a, b) for a, b in chosen] + [Edge(b, a, recurrent=True) for a, b in back]
    )
    order = Graph(nodes, edges).order
    assert sorted(order) == sorted(nodes)
    assert all(order.index(e.source) < order.index(e.target) for e in edges if not e.recurrent)


def test_names_of_what_runs() -> None:
    graph = GRAPHS["feedback"]()
    assert graph.of_type(Neuron) == ("layer1", "layer2")
    assert GRAPHS["flow_step"]().of_type(Scope) == ("field",)
