"""The book balances or raises, compares exactly, joins and prints itself."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from neuroaccel.errors import ImbalanceError, InputError
from neuroaccel.ledger import COLUMNS, Book, join
from neuroaccel.ledger.assemble import assemble
from neuroaccel.program import Arithmetic, Fixed
from tests.ledger.parts import one_tick, two_neurons


def changed(book: Book, node: str, column: str, sample: int, by: int) -> dict[str, dict[str, np.ndarray]]:
    columns = {name: {c: v.copy() for c, v in each.items()} for name, each in book.columns.items()}
    columns[node][column][sample] += by
    return columns


def test_the_hand_count() -> None:
    book = one_tick()
    found = {
        name: {c: v.tolist() for c, v in column.items() if v.any()}
        for name, column in book.columns.items()
        if any(v.any() for v in column.values())
    }
    assert found == {
        "x": {"event_bytes": [8, 0]},
        "linear": {
            "synaptic_events": [2, 0],
            "weight_bytes": [8, 0],
            "nominal": [4, 4],
            "executed": [2, 0],
            "zero_input": [1, 3],
            "pruned": [1, 1],
        },
        "lif": {"updates_driven": [2, 0], "updates_nominal": [2, 2], "state_bytes": [16, 0]},
    }
    assert book.ann_macs == 4
    assert book.mean("synaptic_events") == (1.0, pytest.approx(2**0.5))
    assert book.mean("nominal", "linear") == (4.0, 0.0)


def test_an_operation_without_a_fate_is_named() -> None:
    book = one_tick()
    with pytest.raises(ImbalanceError, match=r"node 'linear', sample 1: nominal 5 is not zero_input 3 \+ pruned 1"):
        Book(1, book.facts, changed(book, "linear", "nominal", 1, 1))


def test_an_operation_with_two_fates_is_named() -> None:
    book = one_tick()
    with pytest.raises(ImbalanceError, match=r"node 'linear', sample 0: nominal 4 .* gated 2 \(difference -2\)"):
        Book(1, book.facts, changed(book, "linear", "gated", 0, 2))


def test_executed_is_events_and_macs() -> None:
    book = one_tick()
    with pytest.raises(ImbalanceError, match="node 'linear', sample 0: executed 2 is not synaptic_events 3"):
        Book(1, book.facts, changed(book, "linear", "synaptic_events", 0, 1))


def test_counts_are_not_negative() -> None:
    book = one_tick()
    with pytest.raises(ImbalanceError, match="node 'lif', sample 1: spikes is -1"):
        Book(1, book.facts, changed(book, "lif", "spikes", 1, -1))


def test_every_fate_takes_part_in_the_balance() -> None:
    book = one_tick()
    for fate in ("gated", "dropped", "cached", "exited"):
        columns = changed(book, "linear", fate, 0, 1)
        columns["linear"]["zero_input"][0] -= 1
        assert Book(1, book.facts, columns).columns["linear"][fate].tolist() == [1, 0]


def test_differences_are_readable() -> None:
    book = one_tick()
    other = Book(1, book.facts, changed(book, "lif", "spikes", 1, 3))
    assert book.differences(one_tick()) == []
    assert book.differences(other) == ["node 'lif', spikes, sample 1: 0 against 3"]
    assert book.differences(join([book, book])) == ["1 ticks, 2 samples against 1, 4"]


def test_joined_books_keep_their_samples() -> None:
    book = one_tick()
    both = join([book, book])
    assert both.columns["linear"]["zero_input"].tolist() == [1, 3, 1, 3]
    with pytest.raises(InputError, match="no books"):
        join([])
    with pytest.raises(InputError, match="same network"):
        join([book, one_tick(weight_bits=8)])


def test_unknown_columns_and_nodes() -> None:
    book = one_tick()
    with pytest.raises(InputError, match="node 'lif' has unknown columns"):
        Book(1, book.facts, {**book.columns, "lif": {"spices": np.zeros(2, np.int64)}})
    with pytest.raises(InputError, match="for nodes"):
        Book(1, book.facts, {"lif": book.columns["lif"]})
    with pytest.raises(InputError, match="which the graph does not hold"):
        assemble(two_neurons(), {"soma": {"spikes": np.zeros(2, np.int64)}}, ticks=1)
    with pytest.raises(InputError, match="unknown raw columns"):
        assemble(two_neurons(), {"lif": {"spices": np.zeros(2, np.int64)}}, ticks=1)
    with pytest.raises(InputError, match="counted nothing"):
        assemble(two_neurons(), {}, ticks=1)


def test_an_executor_that_loses_a_product_is_caught() -> None:
    counts = {"products": [2, 0], "zero_input": [0, 3], "pruned": [1, 1]}
    raw = {"linear": {k: np.array(v, np.int64) for k, v in counts.items()}}
    with pytest.raises(ImbalanceError, match="node 'linear', sample 0"):
        assemble(two_neurons(), raw, ticks=1)


def test_weight_bytes_are_rounded_up_per_node() -> None:
    assert one_tick(weight_bits=3).columns["linear"]["weight_bytes"].tolist() == [1, 0]


def test_state_bytes_are_rounded_up_per_node() -> None:
    """Two driven updates read and write a state of 25 bits: 100 bits."""
    graph = two_neurons()
    lif = replace(graph.nodes["lif"], arithmetic=Arithmetic(state=Fixed(25)))
    raw = {"linear": {"zero_input": np.array([3]), "pruned": np.array([1])}, "lif": {"updates_driven": np.array([2])}}
    book = assemble(replace(graph, nodes={**graph.nodes, "lif": lif}), raw, ticks=1)
    assert book.columns["lif"]["state_bytes"].tolist() == [13]


def test_json_holds_what_is_not_zero() -> None:
    data = json.loads(json.dumps(one_tick().to_json()))
    assert [entry["node"] for entry in data["nodes"]] == ["x", "linear", "lif", "y"]
    assert data["nodes"][2]["counts"] == {"updates_driven": [2, 0], "updates_nominal": [2, 2], "state_bytes": [16, 0]}
    assert data["totals"]["nominal"] == {"mean": 4.0, "sd": 0.0}
    assert set(data["totals"]) <= set(COLUMNS)


def test_unfolded_nominal_is_the_dense_network() -> None:
    graph = two_neurons()
    folded = replace(graph, nodes={**graph.nodes, "linear": replace(graph.nodes["linear"], unfolded_nominal=1)})
    raw = {"linear": {"zero_input": np.array([3]), "pruned": np.array([1])}}
    assert assemble(folded, raw, ticks=1).ann_macs == 1
    assert assemble(graph, raw, ticks=1).ann_macs == 4
