"""Repairs: what is wrong is refused by name, dropped or clipped, and counted."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neuroaccel.datasets.repair import Repairs, repair, report
from neuroaccel.errors import EventsError, InputError
from tests.conftest import examples

SIZE = (8, 6, 2)
GOOD = ([1, 2, 3], [0, 1, 2], [5, 5, 9], [0, 1, 1])


def columns(x: list[int], y: list[int], t: list[int], p: list[int]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(c, np.int64) for c in (x, y, t, p))


@pytest.mark.parametrize("on_error", ["raise", "drop", "clip"])
def test_sound_events_stay_as_they_are(on_error: str) -> None:
    events, repairs = repair(*columns(*GOOD), SIZE, on_error)  # type: ignore[arg-type]
    assert events.data.tolist() == [(1, 0, 5, False), (2, 1, 5, True), (3, 2, 9, True)]
    assert not repairs
    assert (repairs.events, str(repairs)) == (3, "nothing to repair")


@pytest.mark.parametrize(
    ("field", "value", "name", "clipped"),
    [("x", 8, "outside", 7), ("x", -1, "outside", 0), ("y", 6, "outside", 5), ("t", -3, "wrong_time", 5),
     ("t", 2**62, "wrong_time", 2**62 - 1), ("p", 2, "wrong_polarity", 1), ("t", 4, "backwards", 5)]
)  # fmt: skip
def test_each_kind_of_wrong_event(field: str, value: int, name: str, clipped: int) -> None:
    held = dict(zip("xytp", (list(c) for c in GOOD), strict=True))
    held[field][1] = value
    if value == 2**62:
        held["t"][2] = 2**62 - 1
    given_columns = columns(held["x"], held["y"], held["t"], held["p"])
    with pytest.raises(EventsError, match=rf"file: event 1 \(.*{field}={value}.*"):
        repair(*given_columns, SIZE, "raise", "file")
    dropped, repairs = repair(*given_columns, SIZE, "drop", "file")
    assert repairs == Repairs(events=3, removed=1, **{name: 1})
    assert dropped.data["x"].tolist() == [1, 3]
    kept, repairs = repair(*given_columns, SIZE, "clip", "file")
    assert repairs.counts()[name] == 1
    assert repairs.removed == 0
    assert kept.data[field][1] == clipped


def test_parts_go_on_from_the_time_before() -> None:
    with pytest.raises(EventsError, match="earlier"):
        repair(*columns(*GOOD), SIZE, "raise", after=6)
    dropped, repairs = repair(*columns(*GOOD), SIZE, "drop", after=6)
    assert (dropped.data["t"].tolist(), repairs.backwards) == ([9], 2)


def test_sizes_that_are_none_and_types_that_are_wrong() -> None:
    with pytest.raises(EventsError, match="sensor_size"):
        repair(*columns(*GOOD), (0, 6, 2))
    with pytest.raises(EventsError, match="float64"):
        repair(np.zeros(3), *columns(*GOOD)[1:], SIZE)
    with pytest.raises(EventsError, match="shape"):
        repair(np.zeros(2, np.int64), *columns(*GOOD)[1:], SIZE)
    with pytest.raises(InputError, match="raise, drop, clip"):
        repair(*columns(*GOOD), SIZE, "mend")  # type: ignore[arg-type]


def test_the_size_of_the_events_themselves() -> None:
    assert repair(*columns(*GOOD), None)[0].sensor_size == (4, 3, 2)
    assert repair(*columns([], [], [], []), None)[0].sensor_size == (1, 1, 2)
    huge = columns([1, 10**9], [1, 1], [0, 0], [0, 1])
    assert repair(*huge, None, "drop")[1].outside == 1


def test_minus_one_is_a_convention_only_without_zero() -> None:
    assert repair(*columns(*GOOD[:3], [-1, 1, -1]), SIZE)[0].data["p"].tolist() == [False, True, False]
    with pytest.raises(EventsError, match="polarity"):
        repair(*columns(*GOOD[:3], [-1, 1, 0]), SIZE)


def test_what_was_repaired_is_told(caplog: pytest.LogCaptureFixture) -> None:
    repairs = Repairs(events=10, removed=2, outside=2, truncated_bytes=3)
    assert str(repairs) == "2 outside, 3 truncated bytes; 2 of 10 events removed"
    assert (repairs + repairs).outside == 4
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        report(repairs, "file")
        report(Repairs(events=3), "other")
    assert [r.message for r in caplog.records] == [f"file: {repairs}"]


WILD = st.integers(0, 12).flatmap(
    lambda n: st.tuples(
        *(arrays(dtype, n) for dtype in (np.int64, np.int16, np.int64, np.int8)),
    )
)


@given(WILD, st.sampled_from(["drop", "clip"]))
@settings(max_examples=examples(200, 5000))
def test_whatever_comes_in_sound_events_come_out(wild: tuple[np.ndarray, ...], on_error: str) -> None:
    """Events' own validation is the judge; repairing again finds nothing, and no event is lost without a count."""
    events, repairs = repair(*wild, SIZE, on_error)  # type: ignore[arg-type]
    assert repairs.events == len(wild[0])
    assert len(events) == repairs.events - repairs.removed
    assert repairs.removed == 0 or on_error == "drop"
    assert bool(repairs) or repairs.removed == 0
    again, more = repair(*(events.data[name] for name in "xytp"), SIZE, "raise")
    assert not more
    assert np.array_equal(again.data, events.data)
