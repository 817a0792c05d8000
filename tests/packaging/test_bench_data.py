"""What scripts/bench_data computes by itself: its events, the bytes that frames must move, and a file format."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets.frames import TimeBins

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from data_bench import data, spikingjelly
from data_bench.works.decoding import _write_evt3


def test_recordings_have_the_density_and_the_span_that_are_stated():
    events = data.gesture(3, 5000, 60_000)
    assert (len(events), events.data["t"][0], events.data["t"][-1]) == (5000, 0, 59_999)
    assert events.data.tolist() == data.gesture(3, 5000, 60_000).data.tolist()
    assert events.data.tolist() != data.gesture(4, 5000, 60_000).data.tolist()
    assert 0.4 < events.data["p"].mean() < 0.6
    assert len(np.unique(events.data["x"])) > 60


def test_frames_must_move_addresses_cells_and_output():
    packed = data.batch([data.gesture(0, 100, 1000)])
    x, _ = TimeBins(1, 1e-3, "count").frames(packed)
    cells = len(np.unique(packed.address))
    assert data.moved(packed, x) == 4 * 100 + 4 * 128 * 128 * 2 + 4 * cells


def test_spikingjellys_frames_are_ours():
    integrate = spikingjelly.integrate()
    if integrate is None:
        pytest.skip("SpikingJelly is not installed")
    events = data.gesture(1, 3000, 100_000)
    columns = {name: np.ascontiguousarray(events.data[name]) for name in "txyp"}
    theirs = integrate(columns, 10_000, 128, 128)
    x, _ = TimeBins(10, 1e-2, "count").frames(data.batch([events]))
    np.testing.assert_array_equal(x[:, 0], theirs)


def test_a_written_evt3_file_is_read_back(tmp_path):
    from neuroaccel.datasets.readers import open_recording

    events = data.gesture(2, 3000, 20_000_000)  # past the 16.8 s at which EVT3's clock starts anew
    _write_evt3(tmp_path / "events.raw", events)
    found = open_recording(tmp_path / "events.raw", sensor_size=data.SIZE).events.data
    for column in "xyp":
        np.testing.assert_array_equal(found[column], events.data[column])
    np.testing.assert_array_equal(found["t"] - found["t"][0], events.data["t"])
