"""Every method to come fits the format: it validates, prints, round-trips bit for bit, and everything is counted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel.graph import Graph, Scope, infer, load_graph, save_graph, sha256
from neuroaccel.graph.clocks import ticks_of
from neuroaccel.graph.counting import columns_of, nominal_per_tick, pruned_per_tick
from neuroaccel.graph.show import describe, show
from neuroaccel.program import Program
from tests.graphs import CLOSE, GRAPHS

every_graph = pytest.mark.parametrize("name", GRAPHS)


def leaves(value: Any, path: str = "graph") -> Iterator[tuple[str, Any]]:
    """Every scalar and array below a graph, with its path."""
    if isinstance(value, Program):
        yield path, value
    elif dataclasses.is_dataclass(value):
        for f in dataclasses.fields(value):
            yield from leaves(getattr(value, f.name), f"{path}.{f.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}[{key}]")
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}[{i}]")
    else:
        yield path, value


@every_graph
def test_validates_and_says_what_is_exact(name: str) -> None:
    graph = GRAPHS[name]()
    signals = infer(graph)
    assert set(signals) == set(graph.nodes)
    close = [node for node in graph.order if not signals[node].exact]
    assert close[:1] == ([CLOSE[name]] if name in CLOSE else [])


@every_graph
def test_round_trips_bit_for_bit(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    again = load_graph(save_graph(graph, tmp_path / "model.safetensors"))
    assert sha256(again) == sha256(graph)
    before, after = dict(leaves(graph)), dict(leaves(again))
    assert before.keys() == after.keys()
    for path, value in before.items():
        assert type(after[path]) is type(value), path
        if isinstance(value, np.ndarray):
            assert after[path].dtype == value.dtype, path
            assert after[path].shape == value.shape, path
            assert after[path].tobytes() == value.tobytes(), path
        else:
            assert after[path] == value, path
    assert tuple(again.nodes) == tuple(graph.nodes), "the order of nodes breaks ties and must survive"
    assert again.order == graph.order


@every_graph
def test_prints_every_node_once(name: str) -> None:
    graph = GRAPHS[name]()
    lines = show(graph).splitlines()

    def names(g: Graph, depth: int = 0) -> Iterator[str]:
        for x in g.order:
            yield "  " * depth + x
            node = g.nodes[x]
            if isinstance(node, Scope):
                yield from names(node.graph, depth + 1)

    assert sha256(graph) in lines[0]
    width = lines[3].index("node ")
    assert [line[:width].rstrip() for line in lines[4:]] == list(names(graph))
    assert json.loads(json.dumps(describe(graph), allow_nan=False))["sha256"] == sha256(graph)


@every_graph
def test_counts_every_node(name: str) -> None:
    graph = GRAPHS[name]()
    signals = infer(graph)
    ticks = ticks_of(graph, 20)
    for node in graph.nodes:
        columns = columns_of(graph, node, signals)
        nominal, pruned = (f(graph, node, signals) for f in (nominal_per_tick, pruned_per_tick))
        assert 0 <= pruned <= nominal
        assert (nominal > 0) == ("nominal" in columns)
        assert 0 <= ticks[node] <= 20


def test_columns_that_methods_are_there_for() -> None:
    filled = {}
    for name, build in GRAPHS.items():
        graph = build()
        signals = infer(graph)
        filled[name] = {column for node in graph.nodes for column in columns_of(graph, node, signals)}
    assert {name for name, columns in filled.items() if "adc_conversions" in columns} == {"binary_weight"}
    assert {name for name, columns in filled.items() if "learning_updates" in columns} == {"plastic_head"}
    graded = {"binary_weight", "binary_weight_float"}
    assert {name for name, columns in filled.items() if "graded_bits" in columns} == graded
    assert "elementwise" in filled["decision_block"]
    assert {"synaptic_events", "macs"} <= filled["nonlinear_dendrite"]
