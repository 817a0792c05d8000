"""Packed batches: what they hold, what they refuse, and that events go in and come out unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.datasets import Events
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import EventsError
from tests.conftest import examples

SIZE = (5, 3, 2)
ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 900), st.integers(0, 1)), min_size=0, max_size=20
)


def recording(rows, size=SIZE):
    rows = sorted(rows, key=lambda row: row[2])
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return Events.from_arrays(columns[0], columns[1], columns[2], columns[3].astype(bool), size)


@given(st.lists(ROWS, min_size=1, max_size=4))
@settings(max_examples=examples(50, 500))
def test_events_come_out_as_they_went_in(rows):
    samples = [recording(each) for each in rows]
    packed = PackedEvents.of(samples).validate()
    assert len(packed) == len(samples)
    assert packed.counts.tolist() == [len(sample) for sample in samples]
    for number, sample in enumerate(samples):
        assert packed.events(number).data.tolist() == sample.data.tolist()
        assert packed.last_us[number] == (sample.data["t"][-1] if len(sample) else -1)
        part = packed.sample == number
        assert packed.x[part].tolist() == sample.data["x"].tolist()
        assert packed.y[part].tolist() == sample.data["y"].tolist()
        assert packed.p[part].tolist() == sample.data["p"].astype(int).tolist()


def test_samples_are_gathered_in_the_order_asked_for():
    samples = [recording([(k, 0, k, 1)] * k) for k in range(4)]
    packed = PackedEvents.of(samples)
    taken = PackedEvents.gathered(packed.start, packed.t_us, packed.address, SIZE, [3, 0, 3, 1])
    assert taken.counts.tolist() == [3, 0, 3, 1]
    assert [taken.events(k).data.tolist() for k in range(4)] == [samples[k].data.tolist() for k in (3, 0, 3, 1)]
    assert len(PackedEvents.gathered(packed.start, packed.t_us, packed.address, SIZE, [])) == 0


def test_keeping_some_events_keeps_samples_apart():
    packed = PackedEvents.of([recording([(k % 5, 0, k, 0) for k in range(n)]) for n in (4, 0, 3)])
    kept = packed.keep(packed.t_us % 2 == 0)
    assert kept.start.tolist() == [0, 2, 2, 4]
    assert kept.t_us.tolist() == [0, 2, 0, 2]
    assert packed.keep(np.zeros(7, bool)).counts.tolist() == [0, 0, 0]


def test_read_only_memory_is_taken_as_it_is(tmp_path):
    np.save(tmp_path / "t.npy", np.arange(6, dtype=np.int32))
    t_us = np.load(tmp_path / "t.npy", mmap_mode="r")
    packed = PackedEvents(np.array([0, 6]), t_us, np.zeros(6, np.int32), SIZE).validate()
    assert np.shares_memory(packed.t_us, t_us)
    assert not packed.t_us.flags.writeable


def arrays(**changed):
    given_arrays = {
        "start": np.array([0, 2, 4]),
        "t_us": np.array([5, 9, 0, 3], np.int32),
        "address": np.array([0, 29, 7, 8], np.int32),
        "sensor_size": SIZE,
    }
    return given_arrays | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"t_us": np.zeros(4)}, r"t_us is float64 \[4\]; expected int32"),
        ({"address": np.zeros((2, 2), np.int32)}, r"address is int32 \[2, 2\]"),
        ({"address": np.zeros(3, np.int32)}, "4 times and 3 addresses"),
        ({"start": np.array([0, 3])}, "expected 0 to 4"),
        ({"start": np.array([0, 3, 2, 4])}, "not decreasing"),
        ({"start": np.array([1, 4])}, "expected 0 to 4"),
        ({"start": np.zeros(0, np.int64)}, "expected 0 to 4"),
        ({"sensor_size": (5, 3)}, "sensor_size is"),
        ({"sensor_size": (5, 3, 3)}, "sensor_size is"),
        ({"sensor_size": (0, 3, 2)}, "sensor_size is"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(changed, message):
    PackedEvents(**arrays())
    with pytest.raises(EventsError, match=message):
        PackedEvents(**arrays(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"address": np.array([0, 29, 30, 8], np.int32)}, "event 0 of sample 1 .* addresses from 0 to 29"),
        ({"address": np.array([0, -1, 3, 8], np.int32)}, "event 1 of sample 0 .* addresses from 0 to 29"),
        ({"t_us": np.array([5, 4, 0, 3], np.int32)}, "event 1 of sample 0 .* do not decrease"),
        ({"t_us": np.array([5, 9, 4, 3], np.int32)}, "event 1 of sample 1 .* do not decrease"),
        ({"t_us": np.array([5, 9, -4, 3], np.int32)}, "event 0 of sample 1 .* times from 0"),
    ],
)
def test_validate_names_the_first_wrong_event(changed, message):
    PackedEvents(**arrays()).validate()
    with pytest.raises(EventsError, match=message):
        PackedEvents(**arrays(**changed)).validate()


def test_recordings_that_do_not_fit_are_refused():
    with pytest.raises(EventsError, match="sample 1 is of a sensor"):
        PackedEvents.of([recording([]), recording([], (4, 3, 2))])
    with pytest.raises(EventsError, match="no samples"):
        PackedEvents.of([])
    with pytest.raises(EventsError, match="less than 2"):
        PackedEvents.of([recording([(0, 0, 2**31, 0)])])
    assert len(PackedEvents.of([], SIZE)) == 0
