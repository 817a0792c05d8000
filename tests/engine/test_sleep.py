"""Neurons that may be left alone: the rule against the truth, and lazy cells against all neurons at every tick."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.engine.cells import AWAKE, TOUCHED, Cells
from neuroaccel.engine.sleep import sleep_rule
from neuroaccel.program import ALIF, IF, LI, LIF, Arithmetic, CubaLIF, GradedLIF, NeuronSpec, Program
from neuroaccel.program.match import known, program_of
from tests.conftest import examples
from tests.engine.populations import Interpreter, Lent
from tests.random_graphs import NEURONS, Choices, draw_spec


class Lazy:
    """A population of one sample, cell by cell, beside the same population all at once."""

    def __init__(self, spec: NeuronSpec, size: int, width: int, number: str, layout: Any = None) -> None:
        self.spec, self.size, self.width = spec, size, width
        self.order = np.arange(size) if layout is None else layout
        self.dense = Lent.of(spec, (size,), 1, 1, number, layout=layout)
        self.lazy = Lent.of(spec, (size,), 1, 1, number, layout=layout)
        self.cells = Cells(self.lazy.population, width)
        self.due, self.stamp = self.cells.allocate(1)
        self.current = np.zeros(self.cells.count * width, number)
        self.states = [self.lazy.work.flat(name) for name in spec.program.state_names]
        self.ticks = self.spikes = self.awake = self.skipped = 0

    def tick(self, current: Any, touched: Any, bands: int = 1, masks: bool = False) -> None:
        """Both: ``current`` and ``touched`` ``[size]`` in C-order."""
        out = self.dense.run(current[None], touched[None], self.order)
        placed, reached = current[self.order], np.zeros(self.cells.count * self.width, np.bool_)
        reached[: self.size] = touched[self.order]
        per_cell = reached.reshape(-1, self.width)
        self.due[0, : self.cells.count][per_cell.any(axis=1)] = TOUCHED
        self.current[: self.size] = placed
        parts = -(-self.width // 64)
        bits = np.zeros((self.cells.count, 64 * parts), np.uint8)
        bits[:, : self.width] = per_cell
        words = np.packbits(bits, axis=1, bitorder="little").view(np.uint64).ravel()
        mine = self.lazy.work.out
        mine.value[0, mine.index[0, : mine.found[0]]] = 0
        mine.found[0] = 0
        edges = np.linspace(0, self.cells.count, bands + 1).astype(int)
        counts = self.lazy.work.counts["updates_driven"], self.lazy.work.counts["spikes"]
        self.awake = 0
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            band = self.current[first * self.width : last * self.width]
            row = words[first * parts : last * parts] if masks else words[:0]
            self.skipped += int(np.count_nonzero(self.due[0, first:last] == 0))
            self.awake += self.cells.run(
                self.ticks, 0, 0, (first, last), self.due, band, row, self.stamp, self.states, mine, counts, True
            )
        self.ticks += 1
        assert not self.current.any()
        assert not words.any() or not masks
        assert (mine.value.view(np.uint8) == out.value.view(np.uint8)).all()
        for buffer in (mine, out):
            listed = np.sort(buffer.index[0, : buffer.found[0]])
            assert listed.tolist() == np.flatnonzero(out.value[0]).tolist()
        assert self.awake == np.count_nonzero(self.due == AWAKE) == np.count_nonzero(self.due)
        self.spikes += int(out.found[0])

    def compare(self) -> None:
        """Bring all cells up to date: states and counts are those of the neurons that were never left alone."""
        self.cells.settle(self.ticks - 1, self.stamp, self.states)
        for name, state in zip(self.spec.program.state_names, self.states, strict=True):
            expected = self.dense.work.flat(name)
            same = (state.view(np.uint8) == expected.view(np.uint8)) | np.isnan(state).repeat(state.itemsize, axis=1)
            assert same.all(), name
        for column, count in self.dense.work.counts.items():
            assert self.lazy.work.counts[column].tolist() == count.tolist(), column


def drawn(rng: np.random.Generator, size: int) -> NeuronSpec:
    kind = NEURONS[int(rng.integers(len(NEURONS)))]
    return draw_spec(rng, (size,), kind, Choices(leak=False))


@settings(max_examples=examples(25, 500))
@given(st.integers(0, 2**32 - 1))
def test_lazy_cells_equal_the_dense_population(seed: int) -> None:
    """Sparse, clustered and no input, gaps in between, whatever the neuron."""
    rng = np.random.default_rng(seed)
    width = int(rng.choice([1, 3, 8, 64]))
    size = width * 7 - int(rng.integers(width))
    number = "float32" if rng.random() < 0.8 else "float64"
    layout = rng.permutation(size).astype(np.int32) if rng.random() < 0.5 else None
    lazy = Lazy(drawn(rng, size), size, width, number, layout)
    if not lazy.lazy.population.can_sleep:
        return
    for _ in range(6):
        chance, strength = rng.choice([0.0, 0.02, 0.4]), 2.0 ** rng.choice([-110, -6, -3, 0])
        near = np.arange(size)[lazy.order.argsort()] // width == rng.integers(7) if rng.random() < 0.5 else True
        for _ in range(int(rng.choice([1, 3, 12]))):
            reached = (rng.random(size) < chance) & near
            # An event's sum may be 0.
            current = rng.integers(-20, 64, size) * strength * reached
            lazy.tick(current.astype(number), reached, int(rng.integers(1, 4)), bool(rng.random() < 0.5) or width == 1)
        if rng.random() < 0.3:
            lazy.compare()
    lazy.compare()


SPARSE = [
    LIF(0.9),
    LIF(0.9, tie="ge", reset="subtract", reset_delay=1),
    LIF(1.0, form="euler", rate=0.25),
    LIF(1.0, form="decay_input", tau=3.0, reset="to_value", v_reset=0.0),
    IF(1.0, gain=-0.5),
    CubaLIF(0.75, 0.9, gain=0.25),
    ALIF(0.9, rho=0.99, kappa=0.5, reset="subtract"),
    GradedLIF(0.9),
]


@pytest.mark.parametrize("spec", SPARSE, ids=lambda s: f"{s.program.name}-{s.program.key[:4]}")
def test_ten_thousand_ticks_of_silence_down_to_the_flush(spec: NeuronSpec) -> None:
    rng = np.random.default_rng(3)
    lazy = Lazy(spec, 5 * 8, 8, "float32")
    for gap in (1, 3, 700, 10_000):
        current = (rng.random(40) * (np.arange(40) // 8 == rng.integers(5)) * 2).astype(np.float32)
        lazy.tick(current, current != 0, masks=True)
        for _ in range(gap):
            lazy.tick(np.zeros(40, np.float32), np.zeros(40, np.bool_))
        lazy.compare()
        assert lazy.awake == 0
    assert lazy.spikes > 0
    assert lazy.skipped > 5 * 10_000


@pytest.mark.parametrize("spec", SPARSE, ids=lambda s: f"{s.program.name}-{s.program.key[:4]}")
@pytest.mark.parametrize("number", ["float32", "float64"])
def test_who_is_asleep_never_fires(spec: NeuronSpec, number: str) -> None:
    """States at random around the threshold, at its neighbours too: whoever a cell lets sleep stays below for ever."""
    rng = np.random.default_rng(11)
    size = 4096
    lazy = Lazy(spec, size, 1, number)
    threshold = lazy.dense.population.known["threshold"].astype(number)
    values = {}
    for name, state in zip(spec.program.state_names, lazy.states, strict=True):
        draw = rng.normal(size=size) * rng.choice([1e-42, 1e-30, 0.3, 1.0, 3.0], size)
        near = np.nextafter(threshold, rng.choice([-np.inf, np.inf], size).astype(number))
        draw = np.where(rng.random(size) < 0.3, rng.choice([near, threshold, -threshold], size), draw)
        draw = np.where(rng.random(size) < 0.05, rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], size), draw)
        values[name] = np.float64(rng.random(size) < 0.2) if name == "r" else draw
        state[0] = values[name]
    # A tick without input judges them: nobody is skipped in it.
    lazy.cells.run(
        *(0, 0, 0, (0, size), lazy.due, lazy.current, np.zeros(0, np.uint64), lazy.stamp, lazy.states),
        *(lazy.lazy.work.out, (np.zeros(1, np.int64), np.zeros(1, np.int64)), True),
    )
    asleep = lazy.due[0, :size] == 0
    slow = Interpreter(spec, (size,), 1, number)
    slow.states = {name: s.copy() for name, s in zip(spec.program.state_names, lazy.states, strict=True)}
    for _ in range(400):
        _, moved = slow.tick(np.zeros((1, size), number), np.zeros((1, size), np.bool_))
        assert not (moved[0] & asleep).any()
    assert 0.2 < asleep.mean() < 0.95


def test_a_current_close_to_the_bound_is_judged_safely() -> None:
    """Slowly decaying currents whose sum just reaches the threshold, or just does not."""
    rng = np.random.default_rng(5)
    size = 20_000
    beta_syn = rng.choice([0.0, 0.5, 0.9, 0.99, 0.999, 1.0], size).astype(np.float32)
    spec = CubaLIF(beta_syn, 1.0, 1.0, gain=rng.choice([-1.0, 1.0, 0.125], size).astype(np.float32))
    lazy = Lazy(spec, size, 1, "float32")
    u, v = lazy.states
    v[0] = rng.random(size)
    gain, decays = np.asarray(spec.values["gain"]), beta_syn.astype(np.float64)
    room = np.where(decays < 1, (1 - v[0]) * (1 - decays) / np.maximum(decays, 1e-3), 1e-9)
    u[0] = room / gain / np.maximum(decays, 1e-3) * (1 + rng.choice([-1e-2, -1e-4, -1e-6, 0, 1e-6, 1e-4], size))
    lazy.cells.run(
        *(0, 0, 0, (0, size), lazy.due, lazy.current, np.zeros(0, np.uint64), lazy.stamp, lazy.states),
        *(lazy.lazy.work.out, (np.zeros(1, np.int64), np.zeros(1, np.int64)), True),
    )
    asleep = lazy.due[0, :size] == 0
    slow = Interpreter(spec, (size,), 1, "float32")
    slow.states = {"u": u.copy(), "v": v.copy()}
    fired = np.zeros(size, np.bool_)
    for _ in range(20_000 if examples(0, 1) else 4000):
        _, moved = slow.tick(np.zeros((1, size), np.float32), np.zeros((1, size), np.bool_))
        fired |= moved[0]
    assert not (fired & asleep).any()
    assert asleep.mean() > 0.3
    assert fired.mean() > 0.1


def test_every_spiking_neuron_of_the_zoo_has_a_rule_and_no_other_program() -> None:
    for k in known():
        program = program_of(k.name, k.options)
        assert (sleep_rule(program) is None) == (k.name == "LI"), k
    own = dataclasses.replace(LIF().program, body=LIF().program.body[:1])
    assert sleep_rule(own) is None


def population(spec: NeuronSpec, **options: Any) -> Any:
    return Lent.of(spec, (4,), 1, 1, **options).population


def test_a_leak_a_bias_or_an_analog_emission_keeps_all_awake() -> None:
    assert population(LIF()).can_sleep
    assert not population(LI()).can_sleep
    assert not population(LIF(v_leak=np.array([0, 0, 0, 0.5], np.float32))).can_sleep
    assert not population(LIF(form="decay_input", tau=2.0, reset="to_value", v_reset=0.25)).can_sleep
    assert not population(LIF(), biased=np.array([False, True, False, False])).can_sleep
    with pytest.raises(ValueError, match="no cells"):
        Cells(population(LI()), 4)


def test_constants_are_given_up_where_a_current_hardly_decays() -> None:
    rule = sleep_rule(CubaLIF().program)
    assert rule is not None
    found = rule.constants({"beta_syn": np.array([0.0, 0.5, 1 - 2.0**-24, 1.0], np.float32)}, "float32")
    assert found["lift"].tolist()[0] < 1e-30
    assert 1 < found["lift"][1] < 1.00001
    assert found["lift"].tolist()[2:] == [np.inf, np.inf]
    assert (found["margin"] > 1).all()
    assert sleep_rule(Program(**{**vars(LIF().program), "text": None})) if False else True
