"""A network that went through a NIR file gives the same bits in the engine, with our record and without."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neuroaccel import engine
from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import Edge, Graph, Input, Linear, Neuron, Output
from neuroaccel.hardware.nir import export_nir, from_nir, import_nir, to_nir
from neuroaccel.program import LIF
from tests.conftest import examples
from tests.hardware.nir_nets import NETS, lif_net, neuron
from tests.random_graphs import random_graph, random_input


def assert_same_bits(a: engine.Result, b: engine.Result, names: set[str]) -> int:
    """Spikes and every state of the named populations; returns how many spikes there were."""
    spikes = 0
    for name in names:
        assert a.trace.spikes[name].tobytes() == b.trace.spikes[name].tobytes(), name
        for state, values in a.trace.states[name].items():
            assert values.tobytes() == b.trace.states[name][state].tobytes(), (name, state)
        spikes += int(np.count_nonzero(a.trace.spikes[name]))
    return spikes


@pytest.mark.parametrize("net", NETS)
def test_through_a_file(net: str, tmp_path: Path) -> None:
    graph = NETS[net]()
    back = import_nir(export_nir(graph, tmp_path / "a.nir"), dt=graph.dt or 0)
    x = random_input(graph, np.random.default_rng(3), T=60, N=3)
    a, b = (engine.run(g, x, record=True) for g in (graph, back))
    assert assert_same_bits(a, b, set(graph.of_type(Neuron))) > 100
    for name, values in a.trace.outputs.items():
        assert values.tobytes() == b.trace.outputs[name].tobytes()
    assert {n: {c: v.tolist() for c, v in cs.items()} for n, cs in a.counts.items()} == {
        n: {c: v.tolist() for c, v in cs.items()} for n, cs in b.counts.items()
    }


def random_decay_graph(seed: int, ties: tuple[str, ...]) -> Graph:
    graph = random_graph(
        np.random.default_rng(seed),
        neurons=("IF", "LIF", "CubaLIF"),
        resets=("zero", "to_value"),
        reset_delays=(0,),
        ties=ties,
        pools=("sum", "avg"),
        domains=("image", "sequence", "vector"),
        dendrites=False,
        inputs=("binary",),
        timings=("instant",),
    )
    return dataclasses.replace(graph, dt=1e-3)


@settings(max_examples=examples(25, 400))
@given(st.integers(0, 2**32 - 1), st.sampled_from([("gt",), ("ge",)]))
def test_nirs_own_fields_are_enough(seed: int, ties: tuple[str, ...]) -> None:
    """Without the record, and with every v ≥ θ turned into v > θ', not a bit of a spike or membrane changes."""
    graph = random_decay_graph(seed, ties)
    try:
        nir_graph = to_nir(graph)
    except UnsupportedNode:
        assume(False)
    nir_graph.metadata = {}
    bare = from_nir(nir_graph, dt=1e-3)
    ours = {(e.source, e.target) for e in graph.edges if e.recurrent}
    assume(ours == {(e.source, e.target) for e in bare.edges if e.recurrent})
    x = random_input(graph, np.random.default_rng(seed), T=12, N=2)
    a, b = (engine.run(g, x, record=True, counts=False) for g in (graph, bare))
    assert_same_bits(a, b, set(graph.of_type(Neuron)))


def meets_its_threshold(tie: Any) -> Graph:
    node = neuron(LIF(0.5, 0.75, tie=tie), 1)
    nodes = {"x": Input((1,)), "w": Linear(np.array([[0.5]], np.float32)), "n": node, "y": Output()}
    return Graph(nodes, (Edge("x", "w"), Edge("w", "n"), Edge("n", "y")), dt=1e-3)


def test_a_membrane_that_meets_its_threshold() -> None:
    """v = 0.5, then 0.25 + 0.5 = θ: the tie rule decides, and it survives NIR, which has no field for it."""
    x = np.ones((4, 1, 1), np.float32)
    found = {}
    for tie in ("gt", "ge"):
        nir_graph = to_nir(meets_its_threshold(tie))
        nir_graph.metadata = {}
        found[tie] = engine.run(from_nir(nir_graph, dt=1e-3), x).trace.outputs["y"].ravel().tolist()
    assert found == {"gt": [0, 0, 1, 0], "ge": [0, 1, 0, 1]}


def test_folding_r_changes_no_spike_where_the_record_says_so() -> None:
    graph = lif_net(LIF(0.5))  # R = 2
    folded = from_nir(to_nir(graph, fold_r=True), dt=1e-3)
    x = random_input(graph, np.random.default_rng(4), T=60, N=3)
    a, b = (engine.run(g, x, record=True) for g in (graph, folded))
    assert_same_bits(a, b, {"lif"})
    # Otherwise membranes move by roundings: hardly a spike, but not the same bits.
    graph = lif_net(LIF(0.9))
    folded = from_nir(to_nir(graph, fold_r=True), dt=1e-3)
    a, b = (engine.run(g, x, record=True) for g in (graph, folded))
    assert np.any(a.trace.states["lif"]["v"] != b.trace.states["lif"]["v"])
    assert np.mean(a.trace.spikes["lif"] != b.trace.spikes["lif"]) < 0.02


def test_a_foreign_loop_is_one_tick_long() -> None:
    """In the graph as in NIR's readers, what a neuron sends comes back one tick later."""
    nodes = {
        "x": nir.Input(np.array([1])),
        "n": nir.IF(np.array([1e3]), np.array([0.5]), np.array([0.0])),
        "back": nir.Linear(np.array([[-1]], np.float32)),
        "y": nir.Output(np.array([1])),
    }
    pairs = [("x", "n"), ("n", "back"), ("back", "n"), ("n", "y")]
    graph = from_nir(nir.NIRGraph(nodes, pairs, type_check=False), dt=1e-3)
    out = engine.run(graph, np.ones((5, 1, 1), np.float32)).trace.outputs["y"].ravel()
    assert out.tolist() == [1, 0, 1, 0, 1]  # each spike cancels the next input
