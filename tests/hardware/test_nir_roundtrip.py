"""A graph that went through NIR is the graph that it was, bit for bit."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import (
    Add,
    AvgPool2d,
    Constant,
    Conv1d,
    Delay,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    Multiply,
    Neuron,
    Output,
    Probe,
    Reshape,
    ValueGrid,
    WeightGrid,
    chain,
    sha256,
)
from neuroaccel.graph.file import to_bytes
from neuroaccel.hardware.nir import export_nir, from_nir, import_nir, to_nir
from neuroaccel.program import IF, LI, LIF, CubaLIF, NeuronSpec
from tests.conftest import examples
from tests.hardware.nir_nets import NETS, neuron, weights
from tests.random_graphs import random_graph


def assert_same(a: Graph, b: Graph) -> None:
    """Every field and bit, and the order of nodes and edges, which the file's bytes do not hold."""
    assert list(a.nodes) == list(b.nodes)
    assert a.edges == b.edges
    assert to_bytes(a) == to_bytes(b)


@pytest.mark.parametrize("net", NETS)
def test_through_a_file(net: str, tmp_path: Path) -> None:
    graph = NETS[net]()
    path = export_nir(graph, tmp_path / "net.nir")
    assert [p.name for p in tmp_path.iterdir()] == ["net.nir"]
    back = import_nir(path, dt=graph.dt or 0)
    assert_same(back, graph)
    assert sha256(back) == sha256(graph)


def test_nodes_that_the_networks_do_not_hold(tmp_path: Path) -> None:
    grid = ValueGrid(4, -64, 63)
    nodes = {
        "x": Input((4, 6, 6), "analog", 1, grid),
        "avg": AvgPool2d((2, 1), (2, 1)),
        "later": Delay(np.arange(1, 73, dtype=np.int32).reshape(4, 3, 6)),
        "flat": Flatten(-2, -1),
        "c": Conv1d(weights(0, 4, 2, 3), None, WeightGrid(6), stride=2, padding=1, dilation=2, groups=2, weight_bits=8),
        "gain": Multiply(),
        "gain.table": Constant(weights(1, 4, 1)),
        "if": neuron(IF(0.5, gain=0.75), 4, 8),
        "again": Delay(np.asarray(2, np.int32)),
        "sum": Add(),
        "probe": Probe(0.75),
        "one": Reshape((32,)),
        "w": Linear(weights(2, 3, 32), np.zeros(3, np.float32), WeightGrid(6), unfolded_nominal=7),
        "li": neuron(LI(np.array([0.5, 1.0, 0.0], np.float32)), 3),
        "y": Output(),
    }
    names = [n for n in nodes if n != "gain.table"]
    edges = [Edge(a, b) for a, b in itertools.pairwise(names)]
    edges += [Edge("gain.table", "gain", "gate"), Edge("if", "sum")]
    graph = Graph(nodes, tuple(edges), dt=1e-3)
    assert_same(import_nir(export_nir(graph, tmp_path / "g.nir"), dt=1e-3), graph)


float32 = {"width": 32, "allow_nan": False, "allow_infinity": False}
unit = st.floats(0, 1, **float32)
finite = st.floats(-1e6, 1e6, **float32)
positive = st.floats(0, 1e6, **float32)


@st.composite
def populations(draw: st.DrawFn) -> Neuron:
    """Any neuron that NIR holds, its constants scalars or arrays of any float32 inside their bounds."""
    shape = draw(st.sampled_from([(1,), (3,), (2, 2)]))

    def value(elements: st.SearchStrategy[float]) -> Any:
        if draw(st.booleans()):
            return np.asarray(draw(elements), np.float32)
        return draw(arrays(np.float32, shape, elements=elements))

    how: dict[str, Any] = {"tie": draw(st.sampled_from(["gt", "ge"]))}
    if draw(st.booleans()):
        how |= {"reset": "to_value", "v_reset": value(finite)}
    kind = draw(st.sampled_from(["IF", "LIF", "euler", "decay_input", "CubaLIF", "LI"]))
    gain = {"gain": value(finite)} if draw(st.booleans()) else {}
    leak = {"v_leak": value(finite)} if draw(st.booleans()) else {}
    spec: NeuronSpec
    if kind == "IF":
        spec = IF(value(positive), **how, **gain)
    elif kind == "LIF":
        spec = LIF(value(unit), value(positive), **how, **gain, **leak)
    elif kind == "euler":
        rate = value(st.floats(2.0**-149, 1, width=32, exclude_min=False))
        spec = LIF(form="euler", rate=rate, threshold=value(positive), resistance=value(finite), **how, **leak)
    elif kind == "decay_input":
        spec = LIF(form="decay_input", tau=value(st.floats(1, 1e6, **float32)), threshold=value(positive), **how)
    elif kind == "CubaLIF":
        spec = CubaLIF(value(unit), value(unit), value(positive), **how, **gain, **leak)
    else:
        spec = LI(value(unit), **gain, **leak)
    node = neuron(spec, *shape)
    learnable = draw(st.lists(st.sampled_from(sorted(node.parameters)), unique=True))
    training: dict[str, Any] = {"surrogate": "triangle", "slope": 5.0, "detach_reset": False}
    return dataclasses.replace(node, learnable=tuple(learnable), **training)


@settings(max_examples=examples(300, 5000))
@given(populations(), st.sampled_from([1e-3, 1e-4, 1.0, 7.3e-5, 1 / 3]))
def test_any_constants_of_any_neuron(node: Neuron, dt: float) -> None:
    graph = chain({"x": Input(node.shape), "n": node, "y": Output()}, dt=dt)
    assert_same(from_nir(to_nir(graph), dt=dt), graph)


@settings(max_examples=examples(300, 5000))
@given(
    arrays(np.float32, 16, elements=st.floats(2.0**-20, 1, exclude_max=True, width=32)), st.sampled_from([1e-3, 1e-4])
)
def test_beta_needs_no_record(beta: np.ndarray, dt: float) -> None:
    """NIR's own fields give β back: float64 holds it, and nobody needs our metadata for that."""
    graph = chain({"x": Input((16,)), "n": neuron(LIF(beta), 16), "y": Output()}, dt=dt)
    nir_graph = to_nir(graph)
    nir_graph.metadata = {}
    back = from_nir(nir_graph, dt=dt).nodes["n"]
    assert isinstance(back, Neuron)
    assert back.parameters["beta"].tobytes() == beta.tobytes()
    assert set(back.parameters) == {"beta", "threshold"}  # the gain came back as 1, the leak as 0


def test_float32_would_have_lost_some_betas() -> None:
    """The control of the test above: what it finds is there to be found."""
    beta = np.random.default_rng(0).uniform(0, 1, 10_000).astype(np.float32)
    tau = (1e-3 / (1 - beta.astype(np.float64))).astype(np.float32)
    lost = np.mean((1 - 1e-3 / tau.astype(np.float64)).astype(np.float32) != beta)
    assert lost > 0.01


@settings(max_examples=examples(60, 1000))
@given(st.integers(0, 2**32 - 1))
def test_random_graphs(seed: int) -> None:
    graph = random_graph(
        np.random.default_rng(seed),
        neurons=("IF", "LIF", "LIF_euler", "LIF_decay_input", "CubaLIF"),
        resets=("zero", "to_value"),
        reset_delays=(0,),
        pools=("sum", "avg"),
        domains=("image", "sequence", "vector"),
        dendrites=False,
        timings=("instant",),
    )
    graph = dataclasses.replace(graph, dt=1e-3)
    try:
        nir_graph = to_nir(graph)
    except UnsupportedNode:
        assume(False)
    nir_graph.check_types()
    assert_same(from_nir(nir_graph, dt=1e-3), graph)
    nir_graph.metadata = {}
    bare = from_nir(nir_graph, dt=1e-3)
    assert len(bare.of_type(Neuron)) == len(graph.of_type(Neuron))


@settings(max_examples=examples(60, 600))
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=4, max_size=4, unique=True
    )
)
def test_any_names(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    nodes = (Input((2,)), Linear(weights(0, 2, 2)), neuron(LIF(), 2), Output())
    graph = chain(dict(zip(names, nodes, strict=True)), dt=1e-3)
    path = export_nir(graph, tmp_path_factory.mktemp("names") / "g.nir")
    assert_same(import_nir(path, dt=1e-3), graph)
    assert all(name.isidentifier() and name.isascii() for name in nir.read(path).nodes)
