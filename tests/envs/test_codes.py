"""Codes: binary spikes of the stated form, and numbers that come back within the stated bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.envs.codes import CANDIDATES, CODES, DeltaCode, LatencyCode, PhaseCode, PopulationCode
from neuroaccel.errors import InputError, StateError
from tests.conftest import examples

LOW, HIGH = np.array([0.0, -3.0]), np.array([1.0, 5.0])
UNIT = st.lists(st.floats(-0.2, 1.2), min_size=2, max_size=2)
SETTINGS = settings(max_examples=examples(80, 800))


def number(unit: Any) -> np.ndarray[Any, Any]:
    return LOW + np.asarray(unit) * (HIGH - LOW)


def inside(unit: Any) -> np.ndarray[Any, Any]:
    return number(np.clip(unit, 0.0, 1.0))


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("batch", [(), (5,), (3, 2)])
def test_spikes_are_binary_and_each_of_a_batch_is_as_if_alone(kind: str, batch: tuple[int, ...]) -> None:
    code = CODES[kind](LOW, HIGH, ticks=5)
    x = number(np.random.default_rng(1).random((*batch, 2)))
    spikes, state = code(x)
    assert spikes.dtype == np.uint8
    assert spikes.shape == (5, *batch, *code.shape[1:])
    assert set(np.unique(spikes)) == {0, 1}
    for at in np.ndindex(*batch):
        assert (code(x[at])[0] == spikes[(slice(None), *at)]).all()
    assert code.decode(spikes).shape == x.shape
    assert (state is not None) == (kind == "delta")


@SETTINGS
@given(unit=UNIT, ticks=st.integers(2, 40))
def test_latency_comes_back_within_half_a_tick(unit: list[float], ticks: int) -> None:
    code = LatencyCode(LOW, HIGH, ticks=ticks)
    spikes, _ = code(number(unit))
    assert (spikes.sum(0) == 1).all()
    assert (np.abs(code.decode(spikes) - inside(unit)) <= (0.5 / (ticks - 1) + 1e-9) * (HIGH - LOW)).all()
    assert (code(code.decode(spikes))[0] == spikes).all()


def test_a_larger_number_spikes_earlier() -> None:
    at = LatencyCode([0.0], [1.0], ticks=11)(np.linspace(0, 1, 101)[:, None])[0].argmax(0)[:, 0]
    assert (np.diff(at) <= 0).all()
    assert (at[0], at[-1]) == (10, 0)


@SETTINGS
@given(unit=UNIT, period=st.integers(1, 16), periods=st.integers(1, 3))
def test_weighted_spikes_are_the_numbers_binary_digits(unit: list[float], period: int, periods: int) -> None:
    code = PhaseCode(LOW, HIGH, ticks=period * periods, period=period)
    spikes, _ = code(number(unit))
    assert (spikes.reshape(periods, period, 2) == spikes[:period]).all()
    k = np.floor(code.unit(number(unit)) * (2**period - 1) + 0.5).astype(int)
    assert ["".join(map(str, spikes[:period, i])) for i in (0, 1)] == [f"{v:0{period}b}" for v in k]
    assert (np.abs(code.decode(spikes) - inside(unit)) <= (0.5 / (2**period - 1) + 1e-9) * (HIGH - LOW)).all()
    assert (code(code.decode(spikes))[0] == spikes).all()


@SETTINGS
@given(
    unit=UNIT,
    cells=st.integers(2, 12),
    ticks=st.integers(1, 12),
    width=st.sampled_from([0.5, 2 / 3, 1.0]),
)
def test_a_cell_spikes_as_often_as_its_gaussian_says(unit: list[float], cells: int, ticks: int, width: float) -> None:
    code = PopulationCode(LOW, HIGH, ticks=ticks, cells=cells, width=width)
    spikes, _ = code(number(unit))
    places = np.linspace(0, 1, cells)
    response = np.exp(-((np.clip(unit, 0, 1)[:, None] - places) ** 2) / (2 * (width / (cells - 1)) ** 2))
    assert (np.abs(spikes.sum(0) - ticks * response) <= 0.5 + 1e-6).all()
    so_far = spikes.cumsum(0) - np.arange(1, ticks + 1)[:, None, None] * response  # spread over the ticks, too
    assert (np.abs(so_far) <= 0.5 + 1e-6).all()


@SETTINGS
@given(place=st.lists(st.integers(0, CANDIDATES - 1), min_size=2, max_size=2), cells=st.integers(4, 12), data=st.data())
def test_a_population_decodes_to_a_number_with_the_same_spikes(place: list[int], cells: int, data: Any) -> None:
    mode = data.draw(st.sampled_from(["rate", "latency"]))
    code = PopulationCode(LOW, HIGH, ticks=data.draw(st.integers(4, 16)), cells=cells, mode=mode)
    x = number(np.array(place) / (CANDIDATES - 1))
    spikes, _ = code(x)
    found = code.decode(spikes)
    assert (code(found)[0] == spikes).all()
    assert (np.abs(found - x) <= 0.5 / (cells - 1) * (HIGH - LOW)).all()


def test_more_ticks_make_a_population_more_exact() -> None:
    x = np.linspace(0, 1, 301)[:, None]
    off = [np.abs((code := PopulationCode([0.0], [1.0], ticks=t)).decode(code(x)[0]) - x).mean() for t in (2, 4, 8)]
    assert off[0] > 2 * off[1] > 4 * off[2]


def test_late_cells_stay_silent() -> None:
    spikes = PopulationCode([0.0], [1.0], ticks=10, cells=5, width=1.0, mode="latency", cutoff=0.5)([0.5])[0][:, 0]
    # Responses of the five cells: e⁻², e^-½, 1, e^-½, e⁻².
    assert spikes.sum(0).tolist() == [0, 1, 1, 1, 0]
    assert spikes.argmax(0)[1:4].tolist() == [4, 0, 4]


def test_drawn_spikes_follow_the_rates_and_the_seed() -> None:
    code = PopulationCode([0.0], [1.0], ticks=4000, cells=4, mode="bernoulli")
    one, two, three = (code([0.4], generator=np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != three).any()
    np.testing.assert_allclose(one.mean(0), code.rates(np.array([0.4])), atol=0.04)  # five standard deviations
    np.testing.assert_allclose(code.decode(one), [0.4], atol=0.02)
    with pytest.raises(InputError, match="needs a generator"):
        code([0.4])


@SETTINGS
@given(
    walk=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=30),
    ticks=st.integers(1, 6),
    threshold=st.sampled_from([1 / 64, 0.05, 0.1, 0.25]),
)
def test_delta_follows_what_moves_slowly_to_within_its_threshold(
    walk: list[float], ticks: int, threshold: float
) -> None:
    code = DeltaCode(LOW, HIGH, ticks=ticks, threshold=threshold)
    unit, state = np.full(2, 0.5), None
    for move in walk:
        unit = np.clip(unit + move * ticks * threshold * np.array([1.0, -0.5]), 0, 1)
        before = state
        spikes, state = code(number(unit), state)
        assert not (spikes[..., 0] & spikes[..., 1]).any()
        assert (np.diff(spikes.astype(int), axis=0) <= 0).all()  # at the first ticks
        found = code.decode(spikes, before)
        assert (np.abs(found - number(unit)) < (threshold + 1e-9) * (HIGH - LOW)).all()


def test_what_the_ticks_cannot_carry_follows() -> None:
    code = DeltaCode([0.0], [1.0], ticks=2, threshold=0.125)
    state = None
    sent = []
    for _ in range(4):
        spikes, state = code([1.0], state)
        sent.append(spikes.sum((0, 1)).tolist())
    assert sent == [[0, 2], [0, 2], [0, 0], [0, 0]]
    assert state is not None
    assert code([0.0], state)[0].sum((0, 1)).tolist() == [2, 0]


def test_a_masked_reset_is_fresh() -> None:
    code = DeltaCode(LOW, HIGH)
    x = number(np.random.default_rng(3).random((4, 2)))
    _, state = code(x)
    done = np.array([True, False, True, False])
    after = code.reset(state, done)
    assert state is not None
    assert after is not None
    assert (after == np.where(done[:, None], 0, state)).all()
    assert (code(x, after)[0][:, done] == code(x)[0][:, done]).all()
    assert code.reset(None, done) is None
    assert LatencyCode(LOW, HIGH).reset(None, done) is None
    with pytest.raises(StateError, match=r"done of shape \(3,\)"):
        code.reset(state, done[:3])
    with pytest.raises(StateError, match=r"shape \(4, 2\) for numbers of shape \(3, 2\)"):
        code(x[:3], state)
    with pytest.raises(StateError, match="LatencyCode has no state"):
        LatencyCode(LOW, HIGH)(x, state)


@pytest.mark.parametrize("kind", CODES)
def test_bad_numbers_are_named(kind: str) -> None:
    code = CODES[kind](LOW, HIGH, ticks=4)
    with pytest.raises(InputError, match=r"number at \[1, 0\] is NaN"):
        code([[0.0, 0.0], [np.nan, 1.0]])
    with pytest.raises(InputError, match=r"shape \(3,\), expected"):
        code([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="spikes of shape"):
        code.decode(np.zeros((3, *code.shape[1:])))
    with pytest.raises(InputError, match="0 or 1"):
        code.decode(np.full(code.shape, 2))
    assert (code([np.inf, -np.inf])[0] == code([1.0, -3.0])[0]).all()
    with pytest.raises(InputError, match="finite range"):
        CODES[kind]([0.0], [np.inf])
    with pytest.raises(InputError, match="finite range"):
        CODES[kind]([0.0, 1.0], [1.0, 1.0])
    with pytest.raises(InputError, match="ticks is a whole number"):
        CODES[kind](LOW, HIGH, ticks=0)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("population", {"mode": "rank"}, "rate, latency or bernoulli, not 'rank'"),
        ("population", {"cells": 1}, "cells is a whole number of at least 2"),
        ("population", {"width": 0.0}, "width 0.0"),
        ("population", {"cutoff": 1.0}, "cutoff 1.0"),
        ("population", {"mode": "latency", "ticks": 1}, "at least 2, not 1"),
        ("latency", {"ticks": 1}, "at least 2, not 1"),
        ("phase", {"ticks": 6, "period": 4}, "6 ticks of period 4"),
        ("phase", {"ticks": 32}, "at most 24"),
        ("delta", {"threshold": 0.0}, "threshold 0.0"),
    ],
)
def test_bad_options_are_named(kind: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        CODES[kind](LOW, HIGH, **options)


def test_a_number_without_a_spike_has_no_latency() -> None:
    with pytest.raises(InputError, match="one spike"):
        LatencyCode(LOW, HIGH, ticks=4).decode(np.zeros((4, 2)))
