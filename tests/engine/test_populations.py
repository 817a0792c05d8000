"""Populations on blocks of ticks: states, emissions and counts equal those of the program read operation by operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.engine import codegen
from neuroaccel.engine.operation import Static
from neuroaccel.engine.populations import Population
from neuroaccel.program import ALIF, LI, LIF, CubaLIF, GradedLIF, NeuronSpec
from tests.conftest import examples
from tests.engine.populations import Interpreter, Lent
from tests.engine.test_codegen import random_program
from tests.random_graphs import NEURONS, Choices, _Draft, _spec, neuron


def bits(a: Any) -> Any:
    """What equality bit for bit compares; all NaNs are one."""
    a = np.where(np.isnan(a), np.asarray(np.nan, a.dtype), a)
    return a.view(f"u{a.dtype.itemsize}")


def check(
    spec: NeuronSpec, shape: tuple[int, ...], current: Any, touched: Any, number: str = "float32", **options: Any
) -> int:
    """Run ``current`` ``[blocks, K, N, size]`` block by block; returns the number of events."""
    blocks, ticks, batch, size = current.shape
    lent = Lent.of(spec, shape, ticks, batch, number, **options)
    slow = Interpreter(spec, shape, batch, number)
    slow.leaks |= options.get("biased", False)
    layout = options.get("layout")
    order = np.arange(size) if layout is None else layout
    updates, spikes = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    for b in range(blocks):
        out = lent.run(current[b].reshape(-1, size), touched[b].reshape(-1, size), layout)
        for t in range(ticks):
            rows = slice(t * batch, (t + 1) * batch)
            sent, moved = slow.tick(current[b, t], touched[b, t])
            assert (bits(out.value[rows]) == bits(sent)).all(), (b, t)
            for j, name in enumerate(spec.program.state_names):
                assert (bits(lent.work.kept[j, rows]) == bits(slow.states[name][:, order])).all(), (b, t, name)
            updates += moved.sum(axis=1)
            for k in range(batch):
                listed = np.sort(out.index[rows][k, : out.found[rows][k]])
                assert listed.tolist() == np.flatnonzero(sent[k] != 0).tolist()
            if spec.program.emit.kind != "state":
                spikes += (sent != 0).sum(axis=1)
        for name in spec.program.state_names:
            assert (bits(lent.work.flat(name)) == bits(slow.states[name][:, order])).all()
    assert lent.work.counts["updates_driven"].tolist() == updates.tolist()
    assert lent.work.counts["spikes"].tolist() == spikes.tolist()
    return int(spikes.sum())


@settings(max_examples=examples(30, 600))
@given(st.integers(0, 2**32 - 1))
def test_blocks_of_ticks_equal_the_interpreted_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.choice([1, 3, 8, 65]))
    draft = _Draft(rng, Choices(), "x")
    if rng.random() < 0.3:
        spec = random_program(rng)
        size = 3
    else:
        spec = _spec(draft, (size,), NEURONS[int(rng.integers(len(NEURONS)))])
    number = ("float32", "float64")[int(rng.integers(2))]
    shape = (2, int(rng.integers(1, 6)), int(rng.integers(1, 4)), size)
    current = (rng.integers(-40, 80, shape) / 64 * (rng.random(shape) < 0.6)).astype(number)
    touched = rng.random(shape) < rng.choice([0.0, 0.5, 1.0], (*shape[:3], 1))
    options: dict[str, Any] = {}
    if rng.random() < 0.5:
        options["layout"] = rng.permutation(size).astype(np.int32)
    if rng.random() < 0.3:
        options["biased"] = rng.random(size) < 0.5
    check(spec, (size,), current, touched, number, **options)


@pytest.mark.parametrize("spec", [LIF(0.9), ALIF(reset="subtract", reset_delay=1), GradedLIF(0.75), LI(0.5)])
def test_more_neurons_than_a_block(spec: NeuronSpec) -> None:
    size = 2 * codegen.BLOCK + 37
    rng = np.random.default_rng(5)
    current = rng.random((2, 4, 2, size)).astype(np.float32)
    touched = rng.random(current.shape) < 0.5
    spikes = check(spec, (size,), current, touched)
    spikes += check(spec, (size,), current, touched, layout=rng.permutation(size).astype(np.int32))
    assert spikes > 1000 or spec.program.fire is None


def test_values_out_of_range_come_through() -> None:
    current = np.array([np.nan, np.inf, -np.inf, 3e38, 1e-44, -0.0], np.float32).reshape(1, 1, 1, 6).repeat(6, axis=1)
    for spec in (LIF(0.5, reset="subtract"), CubaLIF(1.0, 1.0), GradedLIF(1.0)):
        check(spec, (6,), current, np.zeros(current.shape, np.bool_))


def test_parameters_that_all_neurons_share_are_read_once() -> None:
    spec = LIF(np.full(4, 0.5, np.float32), np.array([1, 1, 1, 2], np.float32))
    population = Population("n", neuron(spec, (4,)), Static.plain((4,)), "float32")
    assert population.wide == {"threshold"}
    assert [p.tolist() for p in population.parameters] == [[0.5], [1, 1, 1, 2]]
    assert "per neuron: threshold" in population.explain()


def test_states_go_in_and_out_of_the_layout() -> None:
    layout = np.array([2, 0, 3, 1, 5, 4], np.int32)
    population = Population("n", neuron(LIF(), (2, 3)), Static.plain((2, 3)), "float32", layout)
    value = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    inward = population.inward("v", value)
    assert inward[0].tolist() == [2, 0, 3, 1, 5, 4]
    assert (population.outward("v", inward) == value).all()


def test_nothing_is_counted_unless_asked() -> None:
    lent = Lent.of(LIF(0.5), (4,), 2, 1)
    lent.work.track = False
    lent.run(np.full((2, 4), 2.0, np.float32))
    assert lent.work.out.found.tolist() == [4, 4]
    assert [c.tolist() for c in lent.work.counts.values()] == [[0], [0]]
