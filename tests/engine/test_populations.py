"""Populations on blocks of ticks: states, emissions and counts equal those of the interpreted program."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuroaccel.engine import codegen
from neuroaccel.engine.fixed import Format
from neuroaccel.engine.operation import Buffer, Static, Work
from neuroaccel.engine.populations import Population
from neuroaccel.errors import InputError
from neuroaccel.graph import Neuron
from neuroaccel.program import ALIF, LI, LIF, Arithmetic, CubaLIF, Fixed, GradedLIF, NeuronSpec
from tests.conftest import examples
from tests.engine.populations import Interpreter, Lent, drawn
from tests.engine.reference import Cell, Exact
from tests.engine.test_codegen import random_program
from tests.random_graphs import neuron


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


@settings(max_examples=examples(60, 2000), phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**32 - 1))
def test_blocks_of_ticks_equal_the_interpreted_program(seed: int) -> None:
    # Few populations, for each is compiled, but many inputs.
    fixed, rng = np.random.default_rng(seed % examples(10, 300)), np.random.default_rng(seed)
    size = int(fixed.choice([1, 3, 8, 65]))
    if fixed.random() < 0.3:
        spec, size = random_program(fixed), 3
    else:
        spec = drawn(fixed, (size,))
    number = ("float32", "float64")[int(fixed.integers(2))]
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


def integers(overflow: Any, low: int = -40) -> tuple[Neuron, NDArray[np.int64]]:
    """A population in integers with its currents ``[K * N, size]``, 6 ticks of 2 samples, in units of 1/16."""
    spec = LIF(0.75, np.array([1.0, 2.0, 1.0, 3.0, 1.0], np.float32), reset="subtract")
    how = Arithmetic(state=Fixed(9, 4, rounding="half_even", overflow=overflow))
    node = dataclasses.replace(neuron(spec, (5,)), arithmetic=how)
    return node, np.random.default_rng(4).integers(low, 90, (12, 5))


def run_integers(node: Neuron, current: NDArray[np.int64], **options: Any) -> Lent:
    port = Static((5,), np.zeros(5, np.bool_), Format(4, 1 << 12))
    population = Population("n", node, port, "int64", **options)
    ports, out = (Buffer.empty(12, 5, np.int64),), Buffer.empty(12, 5, np.int64)
    counts = {column: np.zeros(2, np.int64) for column in population.columns}
    work = Work(ports, out, population.allocate(2), {}, counts, ticks=6, kept=np.zeros((1, 12, 5), np.int64))
    lent = Lent(population, work)
    lent.run(current, np.zeros((12, 5), np.bool_), options.get("layout"))
    return lent


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_blocks_of_ticks_equal_whole_numbers_by_hand(overflow: Any) -> None:
    node, current = integers(overflow)
    work = run_integers(node, current).work
    cells = [[Cell(node, k, "integer") for k in range(5)] for _ in range(2)]
    for row in range(12):
        for k, cell in enumerate(cells[row % 2]):
            sent, _, _ = cell.tick(Exact(int(current[row, k]), 4))
            assert work.out.value[row, k] == sent.integer
            assert work.kept[0, row, k] == cell.values["v"].integer
    assert work.counts["spikes"].sum() == np.count_nonzero(work.out.value) > 5


@pytest.mark.parametrize("layout", [None, np.array([3, 0, 4, 1, 2], np.int32)])
def test_the_earliest_overflow_is_named(layout: Any) -> None:
    node, current = integers("error", low=0)
    current[:] = 0
    current[7, 2] = current[5, 4] = current[8, 0] = 1000
    with pytest.raises(InputError, match="tick 2: node 'n': a state of sample 1 at index 4 leaves"):
        run_integers(node, current, layout=layout)


def test_nothing_is_counted_unless_asked() -> None:
    lent = Lent.of(LIF(0.5), (4,), 2, 1)
    lent.work.track = False
    lent.run(np.full((2, 4), 2.0, np.float32))
    assert lent.work.out.found.tolist() == [4, 4]
    assert [c.tolist() for c in lent.work.counts.values()] == [[0], [0]]
