"""The numbers of a recording, on recordings whose numbers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neuroaccel.datasets import Events
from neuroaccel.datasets.inspect import inspect_events

SIZE = (10, 10, 2)


def made(x: list[int], y: list[int], t: list[int], p: list[int]) -> Events:
    return Events.from_arrays(np.array(x, int), np.array(y, int), np.array(t, int), np.array(p, int), SIZE)


def test_numbers_that_are_known() -> None:
    found = inspect_events(made([0, 1, 1, 2], [0, 0, 0, 5], [100, 200, 200, 1_000_100], [0, 1, 1, 1]))
    assert (found.events, found.span_us, found.rate) == (4, 1_000_000, 4.0)
    assert found.peak_rate == 3 / 0.01
    assert (found.brighter, found.active, found.dead) == (0.75, 0.03, 0.97)
    assert found.interval_us[1] == 100
    assert found.pixel_interval_us == (0, 0, 0)
    assert found.hot == 0


def test_a_hot_pixel_is_found() -> None:
    rng = np.random.default_rng(0)
    pixel = np.concatenate([np.arange(10_000), np.full(5000, 4321)])
    rng.shuffle(pixel)
    events = Events.from_arrays(pixel % 100, pixel // 100, np.arange(len(pixel)), pixel % 2, (100, 100, 2))
    found = inspect_events(events)
    assert found.hot == 1
    assert found.hottest == ((21, 43, 5001),)
    assert found.hot_share == pytest.approx(5001 / 15_000)
    assert found.dead == 0
    assert found.pixel_interval_us[1] < 20


def test_no_event_and_one_event() -> None:
    none = inspect_events(made([], [], [], []))
    assert (none.events, none.span_us, none.active, none.dead, none.hot_share) == (0, 0, 0, 1, 0)
    assert math.isnan(none.rate)
    assert math.isnan(none.brighter)
    one = inspect_events(made([3], [3], [7], [1]))
    assert (one.events, one.span_us, one.peak_rate) == (1, 0, 100)
    assert math.isnan(one.interval_us[0])
    assert one.to_json()["brighter"] == 1.0
