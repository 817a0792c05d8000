"""The engine's own counts and dense convolutions in torch make the same book, column for column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel import engine
from neuroaccel.engine import EventStream
from neuroaccel.errors import InputError
from neuroaccel.graph import Dendrite, Edge, Flatten, Graph, Input, Keep, Linear, Node, Output, Readout, Select, chain
from neuroaccel.graph.nodes import EdgeKind
from neuroaccel.ledger import book_of, count, count_with_engine, format_table
from neuroaccel.ledger.energy_report import energy
from neuroaccel.program import LIF
from tests.conftest import examples
from tests.graphs.parts import neuron, weights
from tests.ledger.parts import two_neurons
from tests.ledger.test_torch_hooks import network, spikes
from tests.random_graphs import random_graph, random_input


@settings(max_examples=examples(100, 2000))
@given(st.integers(0, 2**32 - 1))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "small")
    x = random_input(graph, rng, T=6, N=2)
    assert count(graph, x).differences(count(graph, x, executor="torch")) == []


@settings(max_examples=examples(40, 500))
@given(st.integers(0, 2**32 - 1))
def test_windows_dropped_ticks_and_scopes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny", clocks=True, scopes=True)
    x = random_input(graph, rng, T=7, N=2)
    assert count(graph, x).differences(count(graph, x, executor="torch")) == []


def test_dropped_ticks_take_their_products_with_them() -> None:
    weight = np.array([[1, 0], [1, 1]], np.float32)
    nodes: dict[str, Node] = {
        "x": Input((2,)),
        "m": Input((1,)),
        "keep": Keep(),
        "w": Linear(weight),
        "n": neuron(LIF(0.5, 9.0), 2),
        "r": Readout(),
        "y": Output(),
    }
    pairs = ("x keep", "keep w", "w n", "n r", "r y")
    graph = Graph(nodes, (*(Edge(*p.split()) for p in pairs), Edge("m", "keep", "mask")))
    x, mask = np.ones((5, 2, 2), np.float32), np.zeros((5, 2, 1), np.float32)
    x[0] = 0
    mask[:2, 0] = 1  # sample 0 keeps two ticks, of which the first is silent; sample 1 keeps none
    book = count(graph, {"x": x, "m": mask})
    columns = book.columns["w"]
    assert columns["nominal"].tolist() == [5 * 4, 5 * 4]
    assert columns["dropped"].tolist() == [3 * 4, 5 * 4]
    assert columns["pruned"].tolist() == [2, 0]
    assert columns["zero_input"].tolist() == [3, 0]
    assert columns["synaptic_events"].tolist() == [3, 0]
    assert book.columns["r"]["elementwise"].tolist() == [2 * 2, 0]
    assert book.columns["n"]["updates_nominal"].tolist() == [5 * 2, 5 * 2]
    assert book.columns["n"]["updates_driven"].tolist() == [2, 0]
    assert book.columns["keep"]["event_bytes"].tolist() == [2 * 2 * 4, 0]
    assert book.differences(count(graph, {"x": x, "m": mask}, executor="torch")) == []


@pytest.mark.parametrize("edge", ["binary", "count"])
def test_dendrites(edge: EdgeKind) -> None:
    """One product y·z per neuron and tick that a living event reaches through W and through V, whatever was pruned."""
    w, v = weights(1, 6, 9, living=0.3), weights(2, 6, 9, living=0.3)
    w[[0, 3]], v[[3, 4]] = 0, 0
    conv = weights(3, 4, 1, 3, 3, living=0.5), weights(4, 4, 1, 3, 3, living=0.5)
    nodes: dict[str, Node] = {
        "x": Input((2, 3, 3), edge, 1 if edge == "binary" else 3),
        "conv": Dendrite(*conv, weights(5, 4), stride=(1, 1), padding=(1, 1), groups=2),
        "n1": neuron(LIF(0.5, 0.5), 4, 3, 3),
        "some": Select((1,), 0),
        "flat": Flatten(),
        "dense": Dendrite(w, v),
        "n2": neuron(LIF(0.5, 0.5), 6),
        "y": Output(),
    }
    graph = chain(nodes)
    x = (np.random.default_rng(0).random((8, 2, 2, 3, 3)) < 0.3).astype(np.float32) * (1 if edge == "binary" else 2)
    for timing in ("instant", "pipelined"):
        timed = Graph(graph.nodes, graph.edges, timing)  # type: ignore[arg-type]
        book = count(timed, x)
        assert book.differences(count(timed, x, executor="torch")) == []
        assert (book.columns["dense"]["macs"] > 0).all()
        assert (book.columns["conv"]["synaptic_events"] > 0).all() == (edge == "binary")
        for name in ("conv", "dense"):
            fates = sum(book.columns[name][fate] for fate in ("executed", "zero_input", "pruned"))
            assert (fates == book.columns[name]["nominal"]).all()


@settings(max_examples=examples(15, 100))
@given(st.integers(0, 2**32 - 1))
def test_analog_input(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "small", inputs=("analog",))
    x = random_input(graph, rng, T=4, N=2)
    assert count(graph, x).differences(count(graph, x, executor="torch")) == []


@pytest.mark.parametrize("fold", [True, False])
def test_a_network_with_and_without_folding(fold: bool) -> None:
    from neuroaccel.graph.lower import lower

    net, x = network(), spikes()
    graph = lower(net, x, fold=fold)
    book = count(graph, x)
    assert book.differences(count(graph, x, executor="torch")) == []
    assert book.total("spikes").all()
    if fold:
        assert book.differences(count(net, x)) == []


def test_event_streams_are_samples() -> None:
    x = (np.random.default_rng(0).random((5, 3, 2)) < 0.5).astype(np.float32)
    streams = [EventStream.from_dense(x[:, sample], dt=1e-3) for sample in range(3)]
    assert count(two_neurons(), streams).differences(count(two_neurons(), x)) == []


def test_both_books_of_a_run() -> None:
    x = np.ones((4, 2, 2), np.float32)
    book, execution = count_with_engine(two_neurons(), x)
    assert book.columns["linear"]["synaptic_events"].tolist() == [12, 12]
    assert (execution.samples, execution.ticks) == (2, 4)
    assert execution.neurons_touched["lif"] >= book.columns["lif"]["updates_driven"].sum()
    assert execution.seconds is not None
    assert sum(execution.bytes_by_level.values()) > 0
    assert "Execution book: engine, 2 samples" in format_table(energy(book, "cmos45"), book, execution)


def test_a_run_without_counts_has_no_book() -> None:
    x = np.ones((4, 2, 2), np.float32)
    with pytest.raises(InputError, match="counted nothing"):
        book_of(two_neurons(), engine.run(two_neurons(), x, counts=False))
