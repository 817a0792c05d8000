"""What the engine refuses, and when."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import (
    Attention,
    Edge,
    Graph,
    Input,
    LayerNorm,
    Linear,
    Node,
    Output,
    Plastic,
    Scope,
    Softmax,
    WeightGrid,
    chain,
)
from tests.random_graphs import random_graph

EYE = np.eye(4, dtype=np.float32)
ALONE: dict[str, Node] = {
    "LayerNorm": LayerNorm(np.ones(4, np.float32), np.zeros(4, np.float32)),
    "Softmax": Softmax(),
}


def refused(graph: Graph, name: str, close: bool = False) -> None:
    """The node, and it alone, is refused: by refusals, and before a run looks at its input."""
    graph.validate()
    for arithmetic in ("integer",) if close else ("float32", "float64"):
        reasons = engine.refusals(graph, arithmetic)  # type: ignore[arg-type]
        assert list(reasons) == [name]
        with pytest.raises(UnsupportedNode, match=f"engine cannot hold node '{name}'") as caught:
            engine.run(graph, "no input at all", arithmetic=arithmetic)  # type: ignore[arg-type]
        assert (caught.value.node, caught.value.executor, caught.value.reason) == (name, "engine", reasons[name])
        why, what_to_do = re.split("; |, and ", reasons[name], maxsplit=1)
        assert why
        assert what_to_do.split()[0] in {"run", "use", "put", "set"}


@pytest.mark.parametrize("kind", list(ALONE))
def test_what_is_close_is_refused_in_integers(kind: str) -> None:
    refused(chain({"x": Input((4,)), "node": ALONE[kind], "y": Output()}), "node", close=True)


def test_weights_that_learn_are_refused_in_integers() -> None:
    nodes: dict[str, Node] = {
        "x": Input((4,)),
        "reward": Input((1,)),
        "target": Input((4,)),
        "w": Linear(EYE, grid=WeightGrid(0), plastic=Plastic(0.9, 0.1, 1.0)),
        "y": Output(),
    }
    edges = (Edge("x", "w"), Edge("reward", "w", "third"), Edge("target", "w", "post"), Edge("w", "y"))
    refused(Graph(nodes, edges), "w", close=True)


def test_softmax_attention_is_refused_in_integers() -> None:
    nodes: dict[str, Node] = {
        "q": Input((4,)),
        "k": Input((3, 4)),
        "v": Input((3, 4)),
        "a": Attention(2, "softmax"),
        "y": Output(),
    }
    refused(Graph(nodes, (*(Edge(p, "a", p) for p in "qkv"), Edge("a", "y"))), "a", close=True)


def test_what_runs_has_no_refusals() -> None:
    for seed in range(5):
        graph = random_graph(np.random.default_rng(seed))
        assert engine.refusals(graph) == {}


def test_all_refusals_are_given_at_once() -> None:
    nodes: dict[str, Node] = {"x": Input((4,)), "d": ALONE["LayerNorm"], "s": Softmax(), "y": Output()}
    edges = (Edge("x", "d"), Edge("x", "s"), Edge("d", "y"), Edge("s", "y"))
    inner = Graph(nodes, edges)
    assert set(engine.refusals(inner, "integer")) == {"d", "s"}
    outer = chain({"x": Input((4,)), "scope": Scope(inner, 2, port_names=("x",)), "y": Output()})
    outer = dataclasses.replace(outer, edges=(Edge("x", "scope", "x"), Edge("scope", "y")))
    assert set(engine.refusals(outer, "integer")) == {"scope/d", "scope/s"}


def test_a_graph_that_does_not_validate_is_refused_as_such() -> None:
    graph = chain({"x": Input((3,)), "w": Linear(EYE), "y": Output()})
    with pytest.raises(GraphError):
        engine.run(graph, np.zeros((1, 1, 3)))
    good = dataclasses.replace(graph, nodes={**graph.nodes, "x": Input((4,))})
    assert engine.run(good, np.ones((1, 1, 4))).trace.outputs["y"].tolist() == [[[1, 1, 1, 1]]]
