"""Frames that torch's operations make, on the CPU and on a GPU where there is one, against the kernels' frames."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.datasets.device_frames import PackedTensors
from neuroaccel.datasets.frames import CountBins, TimeBins, TimeSurface, VoxelGrid, Windows
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import EventsError, RecipeError
from tests.conftest import examples
from tests.datasets.packed_batches import BATCHES, BINNINGS, batch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
TICKS = st.integers(1, 9)
RANGED = st.one_of(
    st.builds(TimeBins, TICKS, st.sampled_from([1e-6, 5e-5, 1e-3]), st.sampled_from(BINNINGS)),
    st.builds(CountBins, TICKS, st.integers(1, 9), st.sampled_from(BINNINGS)),
    st.builds(
        Windows,
        TICKS,
        st.sampled_from([1e-6, 4e-5, 2.5e-4]),
        st.sampled_from([1e-6, 4e-5, 9.9e-5]),
        st.sampled_from(BINNINGS),
    ),
)
CLOSE = st.one_of(
    st.builds(VoxelGrid, TICKS, st.booleans()),
    st.builds(TimeSurface, TICKS, st.sampled_from([5e-5, 4e-4]), st.sampled_from([1e-6, 1e-4, 1e-2])),
)


@pytest.mark.parametrize("device", DEVICES)
@given(packed=BATCHES, frames=RANGED)
@settings(max_examples=examples(150, 2000))
def test_frames_of_ranges_are_the_cpus_bit_for_bit(device, packed, frames):
    x, length = frames.on_device(packed, device)
    expected, ticks = frames.frames(packed)
    assert (x.dtype, x.device.type, x.is_contiguous()) == (torch.float32, device, True)
    assert tuple(x.shape) == expected.shape
    assert x.cpu().numpy().tobytes() == expected.tobytes()
    np.testing.assert_array_equal(length.cpu().numpy(), ticks)
    anything, lengths = frames.on_device(PackedTensors.of(packed), device)  # shipped with times, for whatever frames
    assert anything.cpu().numpy().tobytes() == expected.tobytes()
    np.testing.assert_array_equal(lengths.cpu().numpy(), ticks)


@pytest.mark.parametrize("device", DEVICES)
@given(packed=BATCHES, frames=CLOSE)
@settings(max_examples=examples(100, 1000))
def test_voxel_grids_and_time_surfaces_are_close(device, packed, frames):
    x, length = frames.on_device(packed, device)
    expected, ticks = frames.frames(packed)
    np.testing.assert_allclose(x.cpu().numpy(), expected, rtol=2e-5, atol=2e-5 if frames.kind == "voxel" else 2.0**-99)
    np.testing.assert_array_equal(length.cpu().numpy(), ticks)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_counts_in_fewer_bytes_stop_at_their_largest_number(device, dtype):
    n = 40_000
    packed = PackedEvents(np.array([0, n]), np.zeros(n, np.int32), np.zeros(n, np.int32), (2, 2, 1))
    x, _ = TimeBins(1, 1e-3, "count").on_device(packed, device, dtype)
    assert x.dtype == dtype
    assert x.flatten().tolist() == [torch.iinfo(dtype).max, 0, 0, 0]
    with pytest.raises(RecipeError, match="frames of type uint8"):
        VoxelGrid(3).on_device(packed, device, torch.uint8)
    with pytest.raises(RecipeError, match="frames of type float64"):
        TimeBins(1, 1e-3).on_device(packed, device, torch.float64)


def test_no_more_bytes_travel_than_the_frames_need():
    packed, frames = batch(1, (5, 3, 2), [200, 50]), TimeBins(4, 1e-4)
    anything, known = PackedTensors.of(packed), PackedTensors.of(packed, frames)
    assert (len(anything), anything.device.type) == (2, "cpu")
    assert anything.nbytes == (4 + 2) * 250 + 8 * 3
    assert known.nbytes == 2 * 250 + 8 * 3 + 2 * 8 * 4 * 2 + 8 * 2
    wide = PackedTensors.of(batch(1, (400, 300, 2), [200, 50]), frames)
    assert (wide.address.dtype, known.address.dtype) == (torch.int32, torch.int16)
    expected = torch.from_numpy(frames.frames(packed)[0])
    for shipped in (anything, known):
        there = pickle.loads(pickle.dumps(shipped.to("cpu")))  # noqa: S301 - what a loader's worker does to send it
        assert torch.equal(frames.on_device(there)[0], expected)
    assert torch.equal(PackedTensors.of(packed, VoxelGrid(3)).t_us, torch.from_numpy(packed.t_us))
    with pytest.raises(RecipeError, match="that were shipped for TimeBins"):
        TimeBins(5, 1e-4).on_device(known)


def test_addresses_of_sixteen_bits_are_whole():
    size = (256, 128, 2)
    address = np.array([0, 2**15 - 1, 2**15, 2**16 - 1], np.int32)
    packed = PackedEvents(np.array([0, 4]), np.zeros(4, np.int32), address, size)
    for frames in (TimeBins(1, 1e-3), VoxelGrid(1, signed=False), TimeSurface(1, 1e-3, 1.0)):
        x, _ = frames.on_device(packed)
        assert torch.nonzero(x.flatten()).flatten().tolist() == address.tolist()


def test_read_only_memory_is_copied_and_wrong_events_do_not_travel():
    packed = batch(1, (5, 3, 2), [20])
    for array in (packed.start, packed.t_us, packed.address):
        array.flags.writeable = False
    assert PackedTensors.of(packed).address.tolist() == packed.address.tolist()
    bad = PackedEvents(np.array([0, 1]), np.zeros(1, np.int32), np.array([30], np.int32), (5, 3, 2))
    with pytest.raises(EventsError, match="event 0 of sample 0"):
        PackedTensors.of(bad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pinned_events_are_shipped():
    packed = batch(1, (5, 3, 2), [200, 50])
    there = PackedTensors.of(packed, TimeBins(4, 1e-4)).pin_memory().to("cuda", non_blocking=True)
    x, _ = TimeBins(4, 1e-4).on_device(there)
    np.testing.assert_array_equal(x.cpu().numpy(), TimeBins(4, 1e-4).frames(packed)[0])
