"""Frames of every kind against plain numpy, ``bin_events`` bit for bit, and tonic where it means the same."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.datasets import Events, bin_events
from neuroaccel.datasets.frames import (
    CountBins,
    TimeBins,
    TimeSurface,
    VoxelGrid,
    Windows,
    frames_from,
)
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import EventsError, RecipeError
from tests.conftest import examples
from tests.datasets.packed_batches import BATCHES, BINNINGS, batch


def merged(packed, binning, frames, ticks_of):
    """Frames event by event: ``ticks_of(sample, number in the sample, t)`` says where an event goes."""
    width, height, polarities = packed.sensor_size
    x = np.zeros((frames.ticks, len(packed), polarities, height, width), np.float32)
    inside = np.zeros(len(packed), np.int64)
    for n in range(len(packed)):
        for e in range(packed.start[n], packed.start[n + 1]):
            p, rest = divmod(int(packed.address[e]), width * height)
            row, column = divmod(rest, width)
            ticks = [t for t in ticks_of(n, e - packed.start[n], int(packed.t_us[e])) if 0 <= t < frames.ticks]
            inside[n] += bool(ticks)
            for t in ticks:
                if binning == "count":
                    x[t, n, p, row, column] += 1
                elif binning == "binary" or not x[t, n, :, row, column].any():
                    x[t, n, p, row, column] = 1
    return x, packed.counts - inside


def same(frames, packed, expected, lost, lengths):
    x, length = frames.frames(packed)
    assert x.dtype == np.float32
    assert length.dtype == np.int64
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(frames.left_out(packed), lost)
    np.testing.assert_array_equal(length, lengths)
    assert x.shape == (frames.ticks, len(packed), *frames.sample_shape(packed.sensor_size))
    for n, ticks in enumerate(length):
        assert not x[ticks:, n].any()
    dirty = np.full(x.shape, 7, np.float32)
    again, _ = frames.frames(packed, out=dirty)
    assert again is dirty
    np.testing.assert_array_equal(dirty, expected)


@given(BATCHES, st.sampled_from(BINNINGS), st.integers(1, 12), st.sampled_from([1, 30, 100, 999]))
@settings(max_examples=examples(150, 2000))
def test_time_bins(packed, binning, ticks, dt_us):
    frames = TimeBins(ticks, dt_us * 1e-6, binning)
    expected, lost = merged(packed, binning, frames, lambda n, k, t: [t // dt_us])
    lengths = [0 if last < 0 else min(last // dt_us + 1, ticks) for last in packed.last_us]
    same(frames, packed, expected, lost, lengths)


@given(BATCHES, st.sampled_from(BINNINGS), st.integers(1, 12), st.sampled_from([1, 30, 999]))
@settings(max_examples=examples(100, 1000))
def test_time_bins_are_bin_events_bit_for_bit(packed, binning, ticks, dt_us):
    x, length = TimeBins(ticks, dt_us * 1e-6, binning).frames(packed)
    for n in range(len(packed)):
        recording = packed.events(n)
        assert x[:, n].tobytes() == bin_events(recording, dt_us * 1e-6, ticks, binning).to_dense(np.float32).tobytes()
        assert length[n] == min(bin_events(recording, dt_us * 1e-6).ticks, ticks)


@given(BATCHES, st.sampled_from(BINNINGS), st.integers(1, 8), st.integers(1, 9))
@settings(max_examples=examples(100, 1000))
def test_count_bins(packed, binning, ticks, events):
    frames = CountBins(ticks, events, binning)
    expected, lost = merged(packed, binning, frames, lambda n, k, t: [k // events])
    same(frames, packed, expected, lost, [min(math.ceil(count / events), ticks) for count in packed.counts])


@given(
    BATCHES, st.sampled_from(BINNINGS), st.integers(1, 8), st.sampled_from([1, 40, 250]), st.sampled_from([1, 40, 99])
)
@settings(max_examples=examples(150, 2000))
def test_windows(packed, binning, ticks, length_us, stride_us):
    frames = Windows(ticks, length_us * 1e-6, stride_us * 1e-6, binning)

    def inside(n, k, t):
        return [w for w in range(ticks) if w * stride_us <= t < w * stride_us + length_us]

    expected, lost = merged(packed, binning, frames, inside)
    lengths = [0 if last < 0 else min(last // stride_us + 1, ticks) for last in packed.last_us]
    same(frames, packed, expected, lost, lengths)


@given(BATCHES, st.booleans(), st.integers(1, 9))
@settings(max_examples=examples(100, 1000))
def test_voxel_grid(packed, signed, ticks):
    frames = VoxelGrid(ticks, signed)
    polarities = packed.sensor_size[2]
    expected = np.zeros((ticks, len(packed), *frames.sample_shape(packed.sensor_size)))
    for n in range(len(packed)):
        part = slice(packed.start[n], packed.start[n + 1])
        t = packed.t_us[part].astype(np.float64)
        if not len(t):
            continue
        moment = (ticks - 1) * (t - t[0]) / max(t[-1] - t[0], 1)
        sign = np.where(packed.p[part] == 0, -1.0, 1.0) if signed and polarities == 2 else np.ones(len(t))
        channel = 0 if signed else packed.p[part]
        for k in range(ticks):  # the tent of the paper's equation, over all events of every moment
            weight = sign * np.maximum(0, 1 - np.abs(k - moment))
            np.add.at(expected[k, n], (channel, packed.y[part], packed.x[part]), weight)
    x, length = frames.frames(packed, out=np.full(expected.shape, 7, np.float32))
    np.testing.assert_allclose(x, expected, atol=2e-5)
    np.testing.assert_array_equal(length, np.where(packed.counts > 0, ticks, 0))
    assert not frames.left_out(packed).any()
    if not signed:  # every event is shared out wholly
        np.testing.assert_allclose(x.sum((0, 2, 3, 4)), packed.counts, rtol=1e-5)


@given(BATCHES, st.integers(1, 9), st.sampled_from([1, 50, 400]), st.sampled_from([1e-6, 1e-4, 1e-2]))
@settings(max_examples=examples(100, 1000))
def test_time_surface(packed, ticks, dt_us, tau):
    frames = TimeSurface(ticks, dt_us * 1e-6, tau)
    width, height, polarities = packed.sensor_size
    expected = np.zeros((ticks, len(packed), polarities, height, width))
    for n in range(len(packed)):
        part = slice(packed.start[n], packed.start[n + 1])
        for k in range(ticks):
            last = np.full((polarities, height, width), -np.inf)
            seen = packed.t_us[part] < (k + 1) * dt_us
            where = (packed.p[part][seen], packed.y[part][seen], packed.x[part][seen])
            np.maximum.at(last, where, packed.t_us[part][seen])
            expected[k, n] = np.exp(-((k + 1) * dt_us - last) * 1e-6 / tau)
    x, _ = frames.frames(packed, out=np.full(expected.shape, 7, np.float32))
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=2.0**-99)
    assert not ((x > 0) & (x < 2.0**-100)).any()
    np.testing.assert_array_equal(frames.left_out(packed), TimeBins(ticks, dt_us * 1e-6).left_out(packed))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize("binning", BINNINGS)
def test_counts_in_fewer_bytes(dtype, binning):
    packed = batch(3, (5, 3, 2), [400, 0, 90])
    frames = TimeBins(4, 2e-4, binning)
    x, _ = frames.frames(packed, dtype=dtype)
    assert x.dtype == dtype
    np.testing.assert_array_equal(x, frames.frames(packed)[0])


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.int16, 32767), (np.float32, 2**24)])
def test_a_count_stops_at_the_largest_number_of_its_type(dtype, most):
    n = min(most, 40_000) + 10
    packed = PackedEvents(np.array([0, n]), np.zeros(n, np.int32), np.zeros(n, np.int32), (2, 2, 1))
    x, _ = CountBins(1, n, "count").frames(packed, dtype=dtype)
    assert x.reshape(-1).tolist() == [min(n, most), 0, 0, 0]


def test_a_window_of_one_stride_is_a_time_bin():
    packed = batch(1, (5, 3, 2), [200, 50])
    x, length = TimeBins(6, 1e-4, "count").frames(packed)
    y, other = Windows(6, 1e-4, 1e-4, "count").frames(packed)
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(length, other)


def test_memory_maps_and_silent_batches(tmp_path):
    packed = batch(1, (5, 3, 2), [200, 50])
    for name in ("start", "t_us", "address"):
        np.save(tmp_path / f"{name}.npy", getattr(packed, name))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("start", "t_us", "address")]
    silent = batch(1, (5, 3, 2), [0, 0])
    for frames in (
        TimeBins(4, 1e-4),
        CountBins(4, 10),
        Windows(3, 2e-4, 1e-4),
        VoxelGrid(5),
        TimeSurface(4, 1e-4, 1e-3),
    ):
        np.testing.assert_array_equal(
            frames.frames(PackedEvents(*mapped, (5, 3, 2)))[0], frames.frames(packed)[0], err_msg=str(frames)
        )
        x, length = frames.frames(silent)
        assert not x.any()
        assert length.tolist() == [0, 0]
        x, length = frames.frames(PackedEvents.of([], (5, 3, 2)))
        assert (x.shape[1], length.shape) == (0, (0,))


def test_what_is_left_out_is_told(caplog):
    packed = batch(1, (5, 3, 2), [100], span_us=1000)
    frames = TimeBins(2, 1e-4)
    late = int((packed.t_us >= 200).sum())
    assert late > 0
    assert frames.left_out(packed).tolist() == [late]
    with caplog.at_level(logging.DEBUG, "neuroaccel"):
        frames.frames(packed)
    assert f"{late} of 100 events lie in no frame" in caplog.text


@pytest.mark.parametrize(
    "frames",
    [
        TimeBins(2, 1e-3),
        TimeBins(2, 1e-3, "count"),
        TimeBins(2, 1e-3, "first"),
        VoxelGrid(3),
        TimeSurface(2, 1e-3, 0.1),
    ],
    ids=str,
)
@pytest.mark.parametrize("address", [-1, 30, 2**31 - 1])
def test_events_outside_the_sensor_are_refused(frames, address):
    bad = PackedEvents(np.array([0, 3]), np.zeros(3, np.int32), np.array([0, address, 1], np.int32), (5, 3, 2))
    with pytest.raises(EventsError, match=f"event 1 of sample 0 has t = 0 µs and address {address}"):
        frames.frames(bad)


def test_memory_that_does_not_fit_is_refused():
    packed, frames = batch(1, (5, 3, 2), [10]), TimeBins(2, 1e-3)
    for out in (
        np.zeros((2, 1, 2, 3, 4), np.float32),
        np.zeros((2, 1, 2, 5, 3), np.float32).transpose(0, 1, 2, 4, 3),
        np.broadcast_to(np.float32(0), (2, 1, 2, 3, 5)),
    ):
        with pytest.raises(RecipeError, match="expected writable C-contiguous memory"):
            frames.frames(packed, out=out)
    with pytest.raises(RecipeError, match="frames of type float64"):
        frames.frames(packed, dtype=np.float64)
    with pytest.raises(RecipeError, match="frames of type uint8"):
        VoxelGrid(3).frames(packed, dtype=np.uint8)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"kind": "time", "ticks": 3, "dt": 0.1}, TimeBins(3, 0.1, "binary")),
        ({"kind": "count", "ticks": 3, "events": 5, "binning": "first"}, CountBins(3, 5, "first")),
        ({"kind": "window", "ticks": 3, "length": 0.2, "stride": 0.1}, Windows(3, 0.2, 0.1)),
        ({"kind": "voxel", "ticks": 3, "signed": False}, VoxelGrid(3, False)),
        ({"kind": "surface", "ticks": 3, "dt": 0.1, "tau": 1.0}, TimeSurface(3, 0.1, 1.0)),
    ],
)
def test_a_recipe_names_its_frames(table, expected):
    assert frames_from(table) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "cube", "ticks": 3}, "kind 'cube'; expected time, count, window, voxel, surface"),
        ({"ticks": 3}, "kind None"),
        ({"kind": "time", "ticks": 3}, r"fields \['ticks'\]; expected ticks, dt, binning"),
        ({"kind": "time", "ticks": 3, "dt": 0.1, "events": 3}, "expected ticks, dt, binning"),
        ({"kind": "time", "ticks": 0, "dt": 0.1}, "ticks is 0; expected a whole number"),
        ({"kind": "time", "ticks": 2.5, "dt": 0.1}, "ticks is 2.5"),
        ({"kind": "time", "ticks": True, "dt": 0.1}, "ticks is True"),
        ({"kind": "time", "ticks": 3, "dt": 1e-7}, "positive whole number of µs"),
        ({"kind": "time", "ticks": 3, "dt": "fast"}, "frames of kind 'time'"),
        ({"kind": "time", "ticks": 3, "dt": 0.1, "binning": "sum"}, "binning is 'sum'; expected binary or count or"),
        ({"kind": "count", "ticks": 3, "events": 0}, "events is 0"),
        ({"kind": "window", "ticks": 3, "length": 0.1, "stride": 0}, "positive whole number of µs"),
        ({"kind": "voxel", "ticks": 3, "signed": 1}, "signed is 1; expected true or false"),
        ({"kind": "surface", "ticks": 3, "dt": 0.1, "tau": 0}, "tau is 0; expected seconds above 0"),
        ({"kind": "surface", "ticks": 3, "dt": 0.1, "tau": math.nan}, "tau is nan"),
    ],
)
def test_a_table_that_names_none_is_refused(table, message):
    with pytest.raises(RecipeError, match=message):
        frames_from(table)


def recording(seed, count, span_us=5000, size=(6, 4, 2)):
    packed = batch(seed, size, [count], span_us)
    packed.t_us[0] = 0  # tonic counts from the first event
    return packed, packed.events(0)


def test_tonic_frames_are_the_same():
    to_frame = pytest.importorskip("tonic.transforms").ToFrame
    packed, events = recording(2, 500)
    size = packed.sensor_size
    found, _ = TimeBins(10, 5e-4, "count").frames(packed, dtype=np.int16)
    theirs = to_frame(sensor_size=size, time_window=500, start_time=0, end_time=5000)(events.data)
    np.testing.assert_array_equal(found[:, 0], theirs)
    found, _ = CountBins(8, 70, "count").frames(packed, dtype=np.int16)
    theirs = to_frame(sensor_size=size, event_count=70, include_incomplete=True)(events.data)
    np.testing.assert_array_equal(found[:, 0], theirs)
    found, _ = Windows(7, 2e-3, 5e-4, "count").frames(packed, dtype=np.int16)
    theirs = to_frame(sensor_size=size, time_window=2000, overlap=1500, start_time=0, end_time=5000)(events.data)
    np.testing.assert_array_equal(found[:, 0], theirs)


def test_tonic_time_surfaces_are_the_same():
    to_surface = pytest.importorskip("tonic.transforms").ToTimesurface
    packed, events = recording(4, 300)
    x, _ = TimeSurface(9, 5e-4, 2e-3).frames(packed)
    theirs = to_surface(sensor_size=packed.sensor_size, dt=500, tau=2000)(events.data)
    assert len(theirs) >= 9
    np.testing.assert_allclose(x[:, 0], theirs[:9], rtol=1e-5)


def test_a_recording_goes_out_and_in():
    packed, events = recording(5, 100)
    assert isinstance(events, Events)
    assert PackedEvents.of([events]).address.tolist() == packed.address.tolist()
