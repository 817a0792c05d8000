"""What `inspect` prints, and the same as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuroaccel.errors import GraphError
from neuroaccel.graph import Edge, Graph, Input, Linear, Output, WeightGrid, chain, sha256
from neuroaccel.graph.show import describe, show
from neuroaccel.program import LIF
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron, weights


def small() -> Graph:
    w = np.array([[0, 0.25, 0.25], [0.5, 0.5, 0.5]], np.float32)
    beta = np.array([0.5, 0.75], np.float32)
    nodes = {
        "x": Input((3,)),
        "fc": Linear(w, np.ones(2, np.float32), grid=WeightGrid(2, 0.001)),
        "fb": Linear(np.eye(2, dtype=np.float32)),
        "lif": neuron(LIF(beta, 1.0), 2),
        "y": Output(),
    }
    edges = (
        Edge("x", "fc"),
        Edge("fc", "lif"),
        Edge("lif", "fb", recurrent=True),
        Edge("fb", "lif"),
        Edge("lif", "y"),
    )
    return Graph(nodes, edges, dt=0.001)


def test_prints_the_whole_table() -> None:
    graph = small()
    assert (
        show(graph)
        == f"""\
timing instant, dt 0.001 s, sha256 {sha256(graph)}
5 nodes, 2 neurons, 15 parameters, 10 synapses of which 7 (70.0%) live

name  node    emits           weights    living  grid        neuron                            from
x     Input   binary 3 exact
fb    Linear  analog 2 close  2x2        50.0%                                                 lif (last tick)
fc    Linear  analog 2 exact  2x3 +bias  83.3%   q=2 ±0.001                                    x
lif   Neuron  binary 2 close                                 LIF(beta=0.5..0.75, threshold=1)  fb, fc
y     Output  binary 2 close                                                                   lif"""
    )


def test_describes_the_same_as_json() -> None:
    graph = small()
    data = json.loads(json.dumps(describe(graph)))
    assert {k: data[k] for k in ("timing", "dt", "parameters", "synapses", "living_synapses", "neurons")} == {
        "timing": "instant",
        "dt": 0.001,
        "parameters": 15,
        "synapses": 10,
        "living_synapses": 7,
        "neurons": 2,
    }
    fc = next(row for row in data["nodes"] if row["name"] == "fc")
    assert fc["emits"] == {"shape": [2], "kind": "analog", "maximum": 10, "frac": 2}
    assert fc["grid"] == {"weight": {"q": 2, "largest_change": 0.001}}
    assert (fc["weights"], fc["bias"], fc["plastic"]) == ({"weight": [2, 3]}, True, False)
    assert fc["connectivity"] == pytest.approx(5 / 6)
    assert (fc["nominal_per_tick"], fc["pruned_per_tick"]) == (6, 1)
    lif = next(row for row in data["nodes"] if row["name"] == "lif")
    assert lif["neuron"]["parameters"] == {"beta": [0.5, 0.75], "threshold": [1.0, 1.0]}
    assert lif["neuron"]["key"] == LIF().program.key
    recurrent = [e["name"] for row in data["nodes"] for e in row["from"] if e["recurrent"]]
    assert recurrent == ["lif->fb:in"]


def test_scopes_are_nested_and_counted() -> None:
    data = describe(GRAPHS["frequency_tokens"]())
    encoder = next(row for row in data["nodes"] if row["name"] == "encoder")
    assert (encoder["scope"]["ticks"], encoder["scope"]["input"]) == (5, "slice")
    simulate = next(row for row in encoder["scope"]["nodes"] if row["name"] == "simulate")
    assert [row["name"] for row in simulate["scope"]["nodes"]] == ["in", "lif1", "linear", "lif2", "spikes"]
    assert data["neurons"] == 8 + 8 + 3
    assert encoder["parameters"] < data["parameters"]


def test_a_graph_that_does_not_validate_is_not_shown() -> None:
    with pytest.raises(GraphError, match="'fc' takes 3 inputs"):
        show(chain({"x": Input((4,)), "fc": Linear(weights(1, 2, 3)), "y": Output()}))
