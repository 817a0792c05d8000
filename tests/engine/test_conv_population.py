"""A convolution and its neurons run together, against the two run one after the other: bit for bit, on raw floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine import convolution
from neuroaccel.engine.conv_population import ConvPopulation, Counted
from neuroaccel.engine.inputs import Feed
from neuroaccel.engine.plan import Number
from neuroaccel.engine.populations import Population
from neuroaccel.graph import Conv2d, Graph, Input, Neuron, WeightGrid
from neuroaccel.program import ALIF, IF, LIF, CubaLIF, NeuronSpec
from tests.conftest import examples
from tests.engine.convolutions import due, fill, graph_of, layer, lazily, listed, work
from tests.engine.populations import SLEEPERS, drawn
from tests.engine.variants import convolutions, equal

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
        # On a grid, for the two run together only where sums are exact; and nowhere 0.
        weight = (np.rint(weight * 128) + 0.5) / 128
        weight[rng.random(weight.shape) < how.get("zeros", 0)] = 0
        bias = np.rint(rng.normal(size=outputs) * 32) / 256 * (rng.random(outputs) < 0.5) if how.get("bias") else None
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


class Both:
    """A graph of :func:`graph_of` run lazily, and with its convolution and neurons apart."""

    def __init__(self, graph: Graph, number: Number = "float32", block: int | None = None) -> None:
        node = graph.nodes["x"]
        assert isinstance(node, Input)
        self.input = node
        self.lazy = lazily(graph, number, block)
        with convolutions(together=False):
            self.apart = engine.open(graph, arithmetic=number)
        self.ticks = 0

    def play(self, x: NDArray[Any]) -> None:
        """Run ``x`` ``[T, 1, *shape]``: they emit the same at every tick."""
        feed = {"x": Feed("x", self.input, x.astype(np.float32))}
        lazy, apart = (
            np.concatenate([session.output("y") for _ in session.blocks(feed, len(x))])
            for session in (self.lazy, self.apart)
        )
        assert equal(lazy, apart), np.argwhere(lazy != apart)[:1] + self.ticks
        self.ticks += len(x)

    def silence(self, ticks: int) -> None:
        self.play(np.zeros((ticks, 1, *self.input.shape)))

    def compare(self) -> None:
        """States and counts are those of the neurons that were never left alone."""
        lazy, apart = self.lazy.state(), self.apart.state()
        assert all(equal(lazy[key], value) for key, value in apart.items())
        for node, columns in self.apart.counts.items():
            assert {k: v.tolist() for k, v in self.lazy.counts[node].items()} == {
                k: v.tolist() for k, v in columns.items()
            }, node

    def replace(self, scale: float) -> None:
        """All states times a factor, put in from outside."""
        state = {key: value * value.dtype.type(scale) for key, value in self.apart.state().items()}
        self.lazy.restore(state)
        self.apart.restore(state)


@settings(max_examples=examples(30, 1000), phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**32 - 1))
def test_any_lazy_neuron_equals_the_one_that_is_run_at_every_tick(seed: int) -> None:
    """Sparse, clustered and no input, gaps in between, whatever the neuron."""
    # Few programs, for the kernels of each are compiled, but many inputs.
    fixed, rng = np.random.default_rng(seed % examples(6, 100)), np.random.default_rng(seed)
    channels, size = int(fixed.choice([1, 3, 8, 64, 70])), (int(fixed.integers(3, 8)), int(fixed.integers(3, 8)))
    kinds = ("IF", "LIF", "LIF_euler", "LIF_decay_input", "CubaLIF", "ALIF")
    spec = drawn(fixed, (channels, *size), neurons=kinds, leak=bool(fixed.random() < 0.3))
    number: Number = "float32" if fixed.random() < 0.8 else "float64"
    weight = rng.integers(-16, 49, (channels, 2, 3, 3))
    weight[rng.random(weight.shape) < rng.choice([0.0, 0.5])] = 0
    bias = rng.integers(-3, 4, channels) * (rng.random(channels) < 0.5) if rng.random() < 0.15 else None
    grid = int(rng.choice([4, 6]))
    given_bias = None if bias is None else np.ldexp(np.float32(bias), -grid)
    conv = Conv2d(np.ldexp(np.float32(weight), -grid), given_bias, padding=(1, 1), grid=WeightGrid(grid))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "BAND", int(rng.choice([1, 3, 100])) * size[1] * channels * 8)
        both = Both(graph_of(conv, spec, size), number, (None, 1, 7)[int(rng.integers(3))])
    for _ in range(6):
        chance, (top, left) = rng.choice([0.0, 0.02, 0.4]), rng.integers(0, size)
        x = rng.integers(1, 5, (int(rng.choice([1, 3, 12])), 1, 2, *size))
        x[rng.random(x.shape) >= chance] = 0
        if rng.random() < 0.5:
            x[..., :top, :], x[..., :left] = 0, 0
        both.play(x)
        both.silence(int(rng.choice([1, 2, 40, 10_000], p=[0.4, 0.2, 0.3, 0.1])))
        if rng.random() < 0.3:
            both.compare()
        if rng.random() < 0.1:
            both.replace(2.0 ** rng.choice([-110, -20, 1]))
    both.compare()


@pytest.mark.parametrize("spec", SLEEPERS, ids=lambda s: f"{s.program.name}-{s.program.key[:4]}")
def test_ten_thousand_ticks_of_silence_down_to_the_flush(spec: NeuronSpec) -> None:
    rng = np.random.default_rng(3)
    weight = np.ldexp(rng.integers(-64, 65, (8, 2, 1, 1)).astype(np.float32), -5)
    both = Both(graph_of(Conv2d(weight, grid=WeightGrid(5)), spec, (1, 5)))
    for gap in (1, 3, 700, 10_000):
        x = np.zeros((1, 1, 2, 1, 5))
        x[..., rng.integers(5)] = rng.integers(1, 5, 2).reshape(1, 1, 2, 1)
        both.play(x)
        both.silence(gap)
        both.compare()
    assert not due(both.lazy).any()
    assert both.lazy.counts["n"]["spikes"] > 0
    # A cell is looked at when it is reached, when its neurons may fire, and once before it is known to sleep.
    assert both.lazy._works["node", "n"].scratch["work"][1] < 5 * 100


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
