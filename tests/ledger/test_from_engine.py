"""The engine's own counts and dense convolutions in torch make the same book, column for column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel import engine
from neuroaccel.engine import EventStream
from neuroaccel.errors import InputError
from neuroaccel.ledger import book_of, count, count_with_engine, format_table
from neuroaccel.ledger.energy_report import energy
from tests.conftest import examples
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
