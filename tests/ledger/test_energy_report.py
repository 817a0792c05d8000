"""Energies worked out by hand, what is missing said, strictness, baselines, proxies."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, Input, Linear, Neuron, Output, chain
from neuroaccel.ledger import Book, energy, execution_book, format_table, load_profile, to_json
from neuroaccel.ledger.assemble import assemble
from neuroaccel.ledger.execution import level_of
from neuroaccel.program import LIF, Arithmetic, Fixed, NeuronSpec
from tests.ledger.parts import one_tick


def book_of(linear: Linear, spec: NeuronSpec, counts: dict[str, int], edge: str = "binary", ticks: int = 3) -> Book:
    """A book with one sample, its counts as given; what is left of nominal had no input."""
    out, inputs = linear.weight.shape
    lif = Neuron(spec.program, spec.values, (out,))  # type: ignore[arg-type]
    graph = chain({"x": Input((inputs,), edge, 3 if edge == "count" else 1), "w": linear, "n": lif, "y": Output()})  # type: ignore[arg-type]
    pruned = int((linear.weight == 0).sum()) * ticks
    left = linear.weight.size * ticks - pruned - counts["products"]
    raw = {
        "w": {"products": counts["products"], "zero_input": left, "pruned": pruned},
        "n": {"updates_driven": counts.get("driven", 0), "spikes": counts.get("spikes", 0)},
    }
    return assemble(graph, {k: {c: np.array([v]) for c, v in each.items()} for k, each in raw.items()}, ticks=ticks)


def test_two_neurons_in_45_nm_by_hand() -> None:
    report = energy(one_tick(), "cmos45")
    # 2 additions; 2 updates of one product, one sum and one comparison (the flush is wiring);
    # 8 bytes of weights, 16 of states, 8 of events in 8 KB memories: 4 accesses of 64 bits.
    by_hand = 2 * 0.9 + 2 * (3.7 + 0.9 + 0.9) + 4 * 10.0
    assert report.per_sample[0].tolist() == pytest.approx([by_hand, 0.0])
    assert report.mean_pj == pytest.approx((by_hand / 2, by_hand / 2))
    assert report.sd_pj[0] == pytest.approx(by_hand / 2**0.5)
    rows = {r.node: r for r in report.rows}
    assert rows["linear"].energies["synapse"][0].tolist() == pytest.approx([1.8, 0])
    assert rows["lif"].energies["neuron"][0].tolist() == pytest.approx([11.0, 0])
    assert rows["lif"].energies["memory"][0].tolist() == pytest.approx([20.0, 0])
    assert rows["x"].energies["memory"][0].tolist() == pytest.approx([10.0, 0])
    assert (rows["x"].role, rows["linear"].role) == ("encoding", "first layer")
    assert not report.lower_bound
    # Idle updates happen in the silent sample only: two, each with an 8-byte read and write of its state.
    assert report.clocked_extra_pj == pytest.approx(((11.0 + 20.0) / 2,) * 2)


def test_two_neurons_on_loihi_by_hand() -> None:
    report = energy(one_tick(), "loihi1-davies2018")
    assert report.per_sample[0].tolist() == pytest.approx([2 * 23.6 + 2 * 81, 2 * 52])
    assert report.lower_bound
    assert "synaptic_event is published as a minimum" in report.bounds
    assert any("barrier" in m for m in report.missing)
    assert any("enter at 'x'" in m for m in report.missing)
    assert any("placement" in note for note in report.notes)
    assert report.clocked_extra_pj is None
    assert report.baselines[0].total_pj is None


def test_dense_baselines_by_hand() -> None:
    baselines = {b.name: b for b in energy(one_tick(), "cmos45").baselines}
    dense = baselines["dense ANN, equal precision, without weight reuse"]
    assert dense.macs == 4
    assert dense.compute_pj == pytest.approx((4 * 4.6 + 2 * 0.9,) * 2)
    # 16 bytes of weights, and twice 2 activations written and read, 16 bytes each.
    assert dense.memory_pj == pytest.approx((60.0, 60.0))
    quantised = baselines["quantised ANN, iso-precision 1 bits, with weight reuse"]
    assert quantised.compute_pj == pytest.approx((4 * 0.23 + 2 * 0.03,) * 2)
    assert quantised.memory_pj == pytest.approx((4 / 8 * 10 + 2 * 0.5 / 8 * 10,) * 2)
    assert "int8" in quantised.note


def test_weight_reuse_reads_each_weight_once() -> None:
    kernel = one_tick()
    facts = {**kernel.facts, "linear": replace(kernel.facts["linear"], ann_macs=40)}
    baselines = {b.name: b for b in energy(Book(1, facts, kernel.columns), "cmos45").baselines}
    apart = [baselines[f"dense ANN, equal precision, {k} weight reuse"].memory_pj for k in ("without", "with")]
    assert apart[0] is not None
    assert apart[1] is not None
    assert apart[0][0] - apart[1][0] == pytest.approx((40 - 4) * 4 / 8 * 10)


@pytest.mark.parametrize(("ticks", "bits"), [(1, 1), (3, 2), (4, 3), (7, 3), (8, 4), (300, 9)])
def test_iso_precision_is_the_number_of_values_that_t_ticks_tell_apart(ticks: int, bits: int) -> None:
    book = book_of(Linear(np.ones((2, 2), np.float32)), LIF(0.5, 1.0), {"products": 4}, ticks=ticks)
    names = [b.name for b in energy(book, "cmos45").baselines]
    assert f"quantised ANN, iso-precision {bits} bits, without weight reuse" in names
    nearest = "int8" if bits <= 8 else "int32"
    assert any(nearest in b.note for b in energy(book, "cmos45").baselines)


def test_macs_on_count_edges_multiply_and_add() -> None:
    linear = Linear(np.ones((2, 2), np.float32))
    counted = energy(book_of(linear, LIF(0.5, 1.0), {"products": 10}, edge="count"), "cmos45")
    binary = energy(book_of(linear, LIF(0.5, 1.0), {"products": 10}), "cmos45")
    assert counted.class_pj("synapse")[0] == pytest.approx(10 * 4.6)
    assert binary.class_pj("synapse")[0] == pytest.approx(10 * 0.9)


def test_macs_have_no_published_figure_on_loihi() -> None:
    book = book_of(Linear(np.ones((2, 2), np.float32)), LIF(0.5, 1.0), {"products": 10}, edge="count")
    report = energy(book, "loihi1-davies2018")
    assert report.class_pj("synapse") == (0.0, 0.0)
    assert any("graded_mac" in m for m in report.missing)


def test_a_layer_beyond_on_chip_memory_is_a_range() -> None:
    book = book_of(Linear(np.ones((1024, 513), np.float32)), LIF(0.5, 1.0), {"products": 16})
    report = energy(book, "cmos45")
    assert report.class_pj("memory") == pytest.approx((16 * 4 / 8 * 1300, 16 * 4 / 8 * 2600))


def test_integer_arithmetic_is_charged_at_its_width() -> None:
    narrow = Arithmetic(weight=Fixed(8), input=Fixed(2, signed=False), accumulator=Fixed(24))
    linear = Linear(np.ones((2, 2), np.float32), arithmetic=narrow, weight_bits=8)
    report = energy(book_of(linear, LIF(0.5, 1.0), {"products": 10}, edge="count"), "cmos45")
    assert report.class_pj("synapse")[0] == pytest.approx(10 * (0.2 + 0.1))


def test_a_division_without_a_constant_makes_a_lower_bound_and_strict_raises() -> None:
    spec = LIF(threshold=1.0, form="decay_input", tau=2.0)
    book = book_of(Linear(np.ones((2, 2), np.float32)), spec, {"products": 4, "driven": 2})
    report = energy(book, "cmos45")
    assert report.missing == ("div in updates of 'n': no published constant 'fp32_div'",)
    assert report.lower_bound
    assert "at least" in format_table(report)
    with pytest.raises(InputError, match="profile 'cmos45': div in updates of 'n'"):
        energy(book, "cmos45", strict=True)
    with pytest.raises(InputError, match="profile 'loihi1-davies2018'"):
        energy(one_tick(), "loihi1-davies2018", strict=True)
    assert energy(one_tick(), "cmos45", strict=True).mean_pj == energy(one_tick(), "cmos45").mean_pj


def test_static_energy_stands_apart_and_needs_a_duration() -> None:
    without = energy(one_tick(), "loihi1-davies2018")
    assert without.static_pj is None
    assert any("needs a duration" in note for note in without.notes)
    given = energy(one_tick(), "loihi1-davies2018", duration_s=1e-3)
    assert given.static_pj == pytest.approx((0.104e-3 * 1e12,) * 2)
    assert given.mean_pj == without.mean_pj
    clocked = energy(one_tick(dt=2e-3), "loihi1-davies2018")
    assert clocked.duration_s == 2e-3
    with pytest.raises(InputError, match="duration is 0 s"):
        energy(one_tick(), "cmos45", duration_s=0)
    with pytest.raises(InputError, match="no published constant 'static'"):
        energy(one_tick(), "cmos45", duration_s=1, strict=True)


def test_resets_are_charged_per_spike() -> None:
    linear = Linear(np.ones((2, 2), np.float32))
    spec = LIF(0.5, 1.0, reset="subtract")
    quiet, firing = (energy(book_of(linear, spec, {"products": 4, "driven": 2, "spikes": s}), "cmos45") for s in (0, 2))
    assert firing.class_pj("neuron")[0] - quiet.class_pj("neuron")[0] == pytest.approx(2 * 0.9)


def test_a_bias_is_an_addition_of_the_update() -> None:
    weight = np.ones((2, 2), np.float32)
    plain, biased = (
        energy(book_of(Linear(weight, bias), LIF(0.5, 1.0), {"products": 4, "driven": 2}), "cmos45")
        for bias in (None, np.ones(2, np.float32))
    )
    assert biased.class_pj("neuron")[0] - plain.class_pj("neuron")[0] == pytest.approx(2 * 0.9)


def test_proxies_have_their_own_names_and_no_part_in_the_total() -> None:
    report = energy(one_tick(), "cmos45")
    assert report.proxies == {"proxy_syops": pytest.approx(0.9), "proxy_spike_5pJ": 0.0}
    assert set(report.to_json()["proxies_pj"]) == {"proxy_syops", "proxy_spike_5pJ"}


def test_provenance_names_every_charged_constant() -> None:
    report = energy(one_tick(), "cmos45")
    names = {c["name"] for c in report.provenance}
    assert names == {"fp32_add", "fp32_mul", "int8_add", "int8_mul", "sram_8kb"}
    assert all(c["source"] and c["unit"] == "pJ" for c in report.provenance)
    assert report.to_json()["node"] == "45 nm"


def test_a_profile_object_is_taken_as_it_is() -> None:
    profile = load_profile("cmos45")
    add = profile.constants["fp32_add"]
    doubled = replace(profile, constants={**profile.constants, "fp32_add": replace(add, value=(1.8, 1.8))})
    assert energy(one_tick(), doubled).class_pj("synapse")[0] == pytest.approx(1.8)


def test_the_command_lines_json() -> None:
    book = one_tick()
    data = to_json(book, [energy(book, p) for p in ("cmos45", "loihi1-davies2018")], execution_book(book, "torch"))
    assert list(data) == ["layers", "totals", "energy_pj", "provenance", "execution"]
    assert set(data["energy_pj"]) == {"cmos45", "loihi1-davies2018"}
    assert data["layers"][1]["counts"]["synaptic_events"] == 1.0
    assert json.loads(json.dumps(data)) == json.loads(json.dumps(data, allow_nan=False))


def test_the_table_says_it_all() -> None:
    book = one_tick(dt=1e-3)
    table = format_table(energy(book, "cmos45"), book, execution_book(book, "engine", seconds=0.5))
    for words in ("Algorithm book", "balance: nominal 4 = executed 1", "Execution book: engine", "in 0.5 s"):
        assert words in table
    for words in ("first layer", "encoding", "26.4 pJ", "static power: not published", "Horowitz, ISSCC 2014"):
        assert words in table
    assert table.index("Algorithm book") < table.index("Execution book") < table.index("Energy per inference")


def test_the_execution_book() -> None:
    book = one_tick()
    silent = execution_book(book, "torch")
    assert (silent.neurons_touched, silent.bytes_by_level, silent.seconds) == ({}, {}, None)
    moved = {
        "neurons": np.array([2, 2]),
        **{c: np.array([8, 4]) for c in ("weight_bytes", "state_bytes", "event_bytes")},
    }
    clocked = execution_book(book, "engine", seconds=0.1, touched={"lif": moved})
    assert clocked.neurons_touched == {"lif": 4}
    assert clocked.bytes_by_level == {"L1": 36}
    assert [level_of(s) for s in (32768, 32769, 2**20 + 1, 2**25 + 1)] == ["L1", "L2", "L3", "DRAM"]


def test_a_graph_stays_out_of_the_energy() -> None:
    """Everything that a profile needs is in the book: a book alone is enough."""
    book = one_tick()
    again = Book(book.ticks, dict(book.facts), {k: dict(v) for k, v in book.columns.items()})
    assert energy(again, "cmos45").mean_pj == energy(book, "cmos45").mean_pj
    assert not any(isinstance(value, Graph) for value in vars(again).values())
