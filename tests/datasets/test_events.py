"""Events and their binning, against brute force and against tonic."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroaccel.datasets import EVENT_DTYPE, Events, bin_events
from neuroaccel.errors import EventsError, FileFormatError

SIZE = (4, 3, 2)
EVENT = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5000), st.booleans())


def events(rows, size=SIZE, dtype=EVENT_DTYPE):
    return Events(np.array([tuple(row) for row in rows], dtype), size)


GOOD = [(0, 0, 10, 1), (1, 2, 20, 0), (3, 2, 20, 1), (0, 1, 999, 0)]


def test_dtype_is_tonics():
    assert EVENT_DTYPE.descr == [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "|b1")]


@given(st.lists(EVENT, max_size=40), st.sampled_from([100, 1000, 1700]), st.sampled_from(["binary", "count", "first"]))
def test_binning_equals_brute_force(rows, step_us, binning):
    rows = sorted(rows, key=lambda row: row[2])
    made = bin_events(events(rows), step_us * 1e-6, binning=binning)
    ticks = rows[-1][2] // step_us + 1 if rows else 0
    expected, taken = np.zeros((ticks, 2, 3, 4), int), set()
    for x, y, t, p in rows:
        tick = t // step_us
        if binning == "count":
            expected[tick, int(p), y, x] += 1
        elif binning == "binary" or (tick, y, x) not in taken:
            expected[tick, int(p), y, x] = 1
        taken.add((tick, y, x))
    np.testing.assert_array_equal(made.to_dense(), expected)
    assert made.merged == len(rows) - len(made)
    assert made.binning == binning
    assert made.dt == step_us * 1e-6
    if binning == "count":
        assert made.value.sum() == len(rows)
    else:
        assert made.value is None


def test_first_keeps_the_polarity_that_came_first():
    made = events([(1, 1, 10, 0), (1, 1, 20, 1), (2, 1, 30, 1), (2, 1, 30, 0)]).bin(1e-3, binning="first")
    assert np.argwhere(made.to_dense()).tolist() == [[0, 0, 1, 1], [0, 1, 1, 2]]
    assert made.merged == 2


def test_ticks_pad_and_cut_and_say_so(caplog):
    recording = events(GOOD)
    assert recording.bin(1e-4, ticks=50).ticks == 50
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        made = recording.bin(1e-5, ticks=2)
    assert "3 of 4 events lie after the last tick" in caplog.text
    assert made.ticks == 2
    assert len(made) == 1
    assert made.merged == 0
    assert recording.bin(1e-5, ticks=0).ticks == 0


def test_an_empty_recording_bins_to_nothing():
    empty = events([])
    assert empty.bin(0.01).ticks == 0
    assert not empty.bin(0.01, ticks=5, binning="count").to_dense().any()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"dt": 0.0}, "dt is 0.0 s"),
        ({"dt": -1e-3}, "positive whole number of µs"),
        ({"dt": 1.5e-6}, "whole number of µs"),
        ({"dt": float("inf")}, "dt is inf s"),
        ({"dt": 0.01, "ticks": -1}, "ticks is -1"),
        ({"dt": 0.01, "binning": "mean"}, "'mean'; expected one of"),
    ],
)
def test_bad_binning_is_refused(named, message):
    with pytest.raises(EventsError, match=message):
        bin_events(events(GOOD), **named)


WIDE = [("x", int), ("y", int), ("t", int), ("p", int)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((4, 0, 1000, 1), r"event 4 \(x=4, y=0, t=1000, p=1\) has x outside the range 0 to 3"),
        ((0, 3, 1000, 1), r"event 4 \(x=0, y=3, t=1000, p=1\) has y outside the range 0 to 2"),
        ((-1, 0, 1000, 1), r"event 4 \(x=-1, .* has x outside"),
        ((0, 0, 1000, 2), r"event 4 .* p=2\) has p outside the range 0 to 1"),
        ((0, 0, 1000, -1), r"event 4 .* p=-1\) has p outside"),
        ((0, 0, 998, 1), r"event 4 \(x=0, y=0, t=998, p=1\) is earlier than the event before it"),
    ],
)
def test_bad_events_are_named(row, message):
    with pytest.raises(EventsError, match=message):
        events([*GOOD, row, (9, 9, 0, 0)], dtype=WIDE)


def test_negative_time_is_refused():
    with pytest.raises(EventsError, match=r"event 0 .* has t outside time, which starts at 0"):
        events([(0, 0, -5, 1)])


def test_single_polarity_sensor_refuses_the_other():
    assert events([(0, 0, 1, 0)], (4, 3, 1)).bin(0.01).shape == (1, 3, 4)
    with pytest.raises(EventsError, match=r"event 0 .* has p outside the range 0 to 0"):
        events([(0, 0, 1, 1)], (4, 3, 1))


@pytest.mark.parametrize(
    "data",
    [
        np.zeros(3, [("x", "f4"), ("y", "i2"), ("t", "i8"), ("p", "?")]),
        np.zeros(3, [("x", "i2"), ("y", "i2"), ("t", "i8")]),
        np.zeros((3, 4), np.int64),
        np.zeros((3, 1), EVENT_DTYPE),
    ],
)
def test_wrong_types_are_refused(data):
    with pytest.raises(EventsError, match="expected one dimension with the fields x, y, t"):
        Events(data, SIZE)


@pytest.mark.parametrize("size", [(0, 3, 2), (4, 3), (4, 3, 3), (40000, 3, 2)])
def test_impossible_sensors_are_refused(size):
    with pytest.raises(EventsError, match="sensor_size"):
        Events(np.zeros(0, EVENT_DTYPE), size)


def test_wider_integers_are_converted_without_loss():
    recording = events(GOOD, dtype=WIDE)
    assert recording.data.dtype == EVENT_DTYPE
    assert recording.data.tolist() == events(GOOD).data.tolist()
    columns = [recording.data[name] for name in "xytp"]
    assert Events.from_arrays(*columns, SIZE).data.tolist() == recording.data.tolist()
    with pytest.raises(EventsError, match="the same for all"):
        Events.from_arrays(columns[0][:1], *columns[1:], SIZE)


def test_file_round_trip_and_refusal(tmp_path):
    path = events(GOOD).save(tmp_path / "recording.npz")
    read = Events.load(path)
    assert read.data.dtype == EVENT_DTYPE
    assert read.data.tolist() == events(GOOD).data.tolist()
    assert read.sensor_size == SIZE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="truncated or foreign"):
        Events.load(path)
    events(GOOD).bin(0.01).save(path)
    with pytest.raises(FileFormatError, match="found format 'neuroaccel-eventstream', expected 'neuroaccel-events'"):
        Events.load(path)


def test_file_with_bad_events_is_refused(tmp_path):
    path = events(GOOD).save(tmp_path / "recording.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, "sensor_size": np.array([4, 2, 2])})
    with pytest.raises(FileFormatError, match=r"recording\.npz: the file is inconsistent: event 1 "):
        Events.load(path)


def test_tonic_counts_the_same(cache_dir):
    transforms = pytest.importorskip("tonic.transforms")
    from neuroaccel.datasets import saccade

    recordings = saccade.load(None, subset=[0, 7])
    for sample in range(2):
        recording, _ = recordings[sample]
        to_frame = transforms.ToFrame(
            sensor_size=recording.sensor_size, time_window=10_000, start_time=0, end_time=300_000
        )
        frames = to_frame(recording.data)
        np.testing.assert_array_equal(recording.bin(0.01, 30, "count").to_dense(np.int16), frames)
