"""A convolution and its neurons run together, against the two run one after the other: bit for bit, on raw floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel.engine import convolution
from neuroaccel.engine.conv_population import ConvPopulation, Counted
from neuroaccel.engine.populations import Population
from neuroaccel.graph import Neuron
from neuroaccel.program import ALIF, IF, LIF, CubaLIF, NeuronSpec
from tests.conftest import examples
from tests.engine.convolutions import fill, layer, listed, work

# name -> neuron, geometry, what else: outputs fill words, parts of words, or several
CASES: dict[str, tuple[NeuronSpec, dict[str, Any], dict[str, Any]]] = {
    "LIF": (LIF(0.9, 1.0), {"padding": (1, 1)}, {"outputs": 16}),
    "LIF, two words": (LIF(0.9, 1.0), {"stride": (2, 1)}, {"outputs": 128}),
    "subtract": (LIF(0.9, 0.5, reset="subtract"), {"padding": (2, 1)}, {"outputs": 20, "zeros": 0.5}),
    "late reset": (LIF(0.8, 0.7, reset_delay=1, tie="ge"), {"groups": 2}, {"outputs": 24, "ones": True}),
    "bias": (LIF(0.9, 1.0), {"padding": (1, 1)}, {"outputs": 8, "bias": True, "number": "float64"}),
    "leak": (LIF(0.9, 1.0, v_leak=0.9), {"dilation": (2, 1)}, {"outputs": 70}),
    "euler": (LIF(threshold=0.8, form="euler", rate=0.3), {"dilation": (1, 3)}, {"outputs": 32}),
    "CubaLIF": (CubaLIF(0.8, 0.9, 1.0), {"stride": (3, 3), "padding": (1, 1)}, {"outputs": 64}),
    "ALIF": (ALIF(0.9, 0.6, rho=0.95, kappa=0.2), {"stride": (1, 2)}, {"outputs": 4}),
    "IF": (IF(1.5), {}, {"outputs": 1, "number": "float64"}),
    "per neuron": (LIF(0.9, 1.0), {"padding": (1, 1)}, {"outputs": 12, "wide": True}),
}


class Pair:
    """Both ways to run the same two nodes, on the same input."""

    def __init__(
        self, case: str, seed: int, ticks: int, samples: int, track: bool = True, record: bool = False
    ) -> None:
        spec, geometry, how = CASES[case]
        self.rng = rng = np.random.default_rng(seed)
        outputs, number = how["outputs"], how.get("number", "float32")
        weight = rng.normal(size=(outputs, 4 // geometry.get("groups", 1), 3, 3)) / 4
        weight[rng.random(weight.shape) < how.get("zeros", 0)] = 0
        bias = rng.normal(size=outputs) / 8 * (rng.random(outputs) < 0.5) if how.get("bias") else None
        options = {"number": number, "cells": True, "ones": how.get("ones", False), **geometry}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolution, "BAND", 10 * outputs * np.dtype(number).itemsize * 3)  # bands of a few rows
            self.conv, _, _ = layer(weight, bias, (12, 10), **options)
            twin, _, _ = layer(weight, bias, (12, 10), **options)
        values = {key: np.asarray(value, np.float32) for key, value in spec.values.items()}
        if how.get("wide"):
            values["beta"] = rng.uniform(0.5, 1, self.conv.static.shape).astype(np.float32)
            values["threshold"] = rng.uniform(0.5, 1, self.conv.static.shape).astype(np.float32)
        neuron = Neuron(spec.program, values, self.conv.static.shape)
        self.population = Population("n", neuron, self.conv.static, number, self.conv.address)
        self.pair = ConvPopulation(twin, self.population)
        self.ones = how.get("ones", False)
        self.ticks, rows = ticks, ticks * samples
        states = len(spec.program.states) if record else 0
        port = listed(np.zeros((rows, self.conv.input_size)), number)
        self.sums = work(self.conv, port, ticks, track)
        self.plain = work(self.population, self.sums.out, ticks, track, states)
        self.fused = work(self.pair, port, ticks, track, states)
        self.counted = Counted(twin)
        self.counting = work(self.counted, port, ticks, track)

    def step(self, rate: float, side: int = 12) -> None:
        """A block of ticks: events at some rate in a window of the image, none elsewhere."""
        x = self.rng.random((len(self.sums.out.found), 4, 12, 10)) < rate
        x[:, :, side:], x[:, :, :, side:] = False, False
        values: NDArray[Any] = x.reshape(len(x), -1) * 1.0
        if not self.ones:
            values *= self.rng.integers(1, 3, values.shape)
        fill(self.sums.ports[0], values)
        self.conv.run(self.sums)
        self.population.run(self.plain)
        self.pair.run(self.fused)
        self.counted.run(self.counting)

    def compare(self, settled: bool = False) -> None:
        plain, fused = self.plain, self.fused
        assert np.array_equal(plain.out.value, fused.out.value)
        assert np.array_equal(plain.out.found, fused.out.found)
        for row, found in enumerate(fused.out.found):
            assert sorted(fused.out.index[row, :found]) == list(np.flatnonzero(plain.out.value[row]))
        assert {k: v.tolist() for k, v in plain.counts.items()} == {k: v.tolist() for k, v in fused.counts.items()}
        assert {k: v.tolist() for k, v in self.sums.counts.items()} == {
            k: v.tolist() for k, v in self.counting.counts.items()
        }
        if settled:
            self.pair.settle(fused)
            for key in self.pair.fresh:
                want = self.population.outward(key, plain.state[key]).reshape(len(plain.state[key]), -1)
                assert np.array_equal(self.pair.outward(key, fused.state[key]), want)


@pytest.mark.parametrize("case", CASES)
def test_as_one_after_the_other(case: str) -> None:
    for seed in range(examples(2, 12)):
        for ticks, samples, track in ((1, 1, True), (3, 2, True), (2, 1, False)):
            pair = Pair(case, seed, ticks, samples, track)
            for block in range(30):
                pair.step(float(pair.rng.choice([0, 0, 0.005, 0.05, 0.4])), int(pair.rng.choice([3, 5, 12])))
                pair.compare(settled=block % 7 == 6)
            assert (pair.plain.counts["spikes"] > 0).all() == track


@pytest.mark.parametrize("case", ["subtract", "CubaLIF", "bias"])
def test_records(case: str) -> None:
    pair = Pair(case, 1, 3, 2, record=True)
    for _ in range(6):
        pair.step(0.1)
        pair.compare(settled=True)
        assert np.array_equal(pair.plain.kept, pair.fused.kept)
        assert np.array_equal(pair.pair.current(pair.fused), pair.conv.outward("", pair.sums.out.value))


def test_a_long_silence_is_made_up_for_exactly() -> None:
    pair = Pair("LIF", 5, 8, 1)
    pair.step(0.3)
    for _ in range(150):  # 1200 ticks: past the flush
        pair.step(0.0)
        pair.compare()
    pair.step(0.3)
    pair.compare(settled=True)


def test_only_what_is_due_is_looked_at() -> None:
    pair = Pair("LIF", 2, 1, 1)
    looked: Any = pair.fused.scratch["work"]
    pair.step(0.0)  # nobody knows yet that all sleep
    looked[:] = 0
    for _ in range(5):
        pair.step(0.0)
    assert not looked.any()
    pair.step(0.2, side=2)
    assert 0 < looked[1] <= 9
    assert looked[2] == 0
    pair.step(1.0)
    assert looked[2] == 120


def test_states_from_outside_hold_from_the_present_on() -> None:
    pair = Pair("CubaLIF", 4, 2, 2)
    for _ in range(4):
        pair.step(0.2)
    states = {k: pair.rng.normal(size=(2, pair.pair.static.size)).astype(np.float32) for k in pair.pair.fresh}
    for key, value in states.items():
        pair.plain.state[key][...] = pair.population.inward(key, value)
        pair.fused.state[key][...] = pair.pair.inward(key, value)
    pair.pair.restored(pair.fused)
    for rate in (0.0, 0.0, 0.1, 0.0):
        pair.step(rate)
        pair.compare(settled=True)


def test_a_reset_sample_begins_anew() -> None:
    pair = Pair("subtract", 6, 1, 2)
    for _ in range(5):
        pair.step(0.3)
    for w, operation in ((pair.plain, pair.population), (pair.fused, pair.pair)):
        for key, fresh in operation.allocate(1).items():
            w.state[key][0] = fresh[0]
    for rate in (0.0, 0.05, 0.3):
        pair.step(rate)
        pair.compare(settled=True)


def test_who_suits() -> None:
    pair = Pair("LIF", 0, 1, 1)
    assert not ConvPopulation.suits(pair.conv, pair.population)  # far too small to be worth it
    assert "bands" in pair.pair.explain()
    assert "together" in pair.counted.explain()
