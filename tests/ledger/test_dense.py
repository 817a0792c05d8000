"""Dense convolutions of masks count what nested loops count, for every node that can be counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.errors import InputError
from neuroaccel.graph import Conv2d, Graph, Input, Linear, Neuron, Output, chain
from neuroaccel.ledger import COLUMNS, Book
from neuroaccel.ledger.dense import count_from_emissions
from neuroaccel.program import LIF
from tests.conftest import examples
from tests.graphs import GRAPHS
from tests.ledger.brute import Brute
from tests.ledger.made_up import made_up
from tests.random_graphs import random_graph

LEARNS = "plastic_head"  # tests/ledger/test_plastic.py counts it
TICKS = {"frequency_tokens": 20, "kept_tokens": 20}  # for its second window to be full, for some to be kept


def same(book: Book, expected: Mapping[str, Mapping[str, list[int]]]) -> list[str]:
    """What differs between a book and brute force, every column of every node."""
    found = []
    for name in book.facts:
        for c in COLUMNS:
            here, there = book.columns[name][c].tolist(), expected.get(name, {}).get(c, [0] * book.samples)
            if here != there:
                found.append(f"{name} {c}: {here} against {there}")
    return found


@settings(max_examples=examples(60, 600))
@given(st.integers(0, 2**32 - 1))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny", inputs=("binary", "count", "analog"))
    emissions, states = made_up(graph, rng, T=4, N=2)
    book = count_from_emissions(graph, emissions, states)
    assert same(book, Brute(graph, emissions, states).columns()) == []


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != LEARNS])
def test_hand_written_graphs(name: str) -> None:
    graph = GRAPHS[name]()
    emissions, states = made_up(graph, np.random.default_rng(3), T=TICKS.get(name, 4), N=2)
    book = count_from_emissions(graph, emissions, states)
    assert same(book, Brute(graph, emissions, states).columns()) == []
    assert book.total("executed").all()
    assert book.total("dropped").any() == (name == "kept_tokens")


@settings(max_examples=examples(40, 400))
@given(st.integers(0, 2**32 - 1))
def test_random_graphs_with_clocks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny", clocks=True)
    emissions, states = made_up(graph, rng, T=6, N=2)
    book = count_from_emissions(graph, emissions, states)
    assert same(book, Brute(graph, emissions, states).columns()) == []


def test_a_hand_count_with_border_and_pruning() -> None:
    """3x3 ones over 3x3 pixels, padding 1, centre tap pruned: a corner pixel has 4 products, one of them pruned."""
    weight = np.ones((1, 1, 3, 3), np.float32)
    weight[0, 0, 1, 1] = 0
    graph = chain(
        {
            "x": Input((1, 3, 3)),
            "conv": Conv2d(weight, padding=(1, 1), weight_bits=4),
            "lif": Neuron(LIF(0.5, 1.0).program, LIF(0.5, 1.0).values, (1, 3, 3)),  # type: ignore[arg-type]
            "y": Output(),
        }
    )
    x = np.zeros((2, 1, 1, 3, 3), np.float32)
    x[0, 0, 0, 0, 0] = 1  # a corner, at tick 0 only
    v = np.zeros((2, 1, 1, 3, 3), np.float32)
    v[0, 0, 0, 2, 2] = 1.0  # ends tick 0 at the threshold, so tick 1 starts there
    silent = np.zeros_like(x)
    book = count_from_emissions(graph, {"x": x, "conv": silent, "lif": silent}, {"lif": {"v": v}})
    conv = {c: int(book.columns["conv"][c][0]) for c in COLUMNS if book.columns["conv"][c][0]}
    # 4 corners with 4 products, 4 edges with 6, the centre with 9: 49 a tick, 9 of them the pruned tap's.
    assert conv == {
        "synaptic_events": 3,
        "executed": 3,
        "nominal": 98,
        "pruned": 18,
        "zero_input": 77,
        "weight_bytes": 2,  # 12 bits
    }
    lif = {c: int(book.columns["lif"][c][0]) for c in COLUMNS if book.columns["lif"][c][0]}
    assert lif == {"updates_driven": 4, "updates_nominal": 18, "state_bytes": 32}
    assert int(book.columns["x"]["event_bytes"][0]) == 8


def test_events_that_cancel_still_drive() -> None:
    graph = _two_inputs(np.array([[1.0, -1.0]], np.float32))
    x = np.ones((1, 1, 2), np.float32)
    zero = np.zeros((1, 1, 1), np.float32)
    book = count_from_emissions(graph, {"x": x, "linear": zero, "lif": zero}, {"lif": {"v": zero}})
    assert book.columns["lif"]["updates_driven"].tolist() == [1]


def test_missing_recordings_are_named() -> None:
    graph = _two_inputs(np.ones((1, 2), np.float32))
    x, zero = np.ones((1, 1, 2), np.float32), np.zeros((1, 1, 1), np.float32)
    with pytest.raises(InputError, match="no emissions of Neuron 'lif'"):
        count_from_emissions(graph, {"x": x, "linear": zero})
    with pytest.raises(InputError, match="state 'v' of Neuron 'lif'"):
        count_from_emissions(graph, {"x": x, "linear": zero, "lif": zero})


def _two_inputs(weight: np.ndarray) -> Graph:
    spec = LIF(0.5, 1.0)
    lif = Neuron(spec.program, spec.values, (1,))  # type: ignore[arg-type]
    return chain({"x": Input((2,)), "linear": Linear(weight), "lif": lif, "y": Output()})
