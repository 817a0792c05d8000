"""HDF5 in its several layouts, and damage to it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from neuroaccel.datasets import Events
from neuroaccel.datasets.readers import iterate_recording, open_recording
from neuroaccel.errors import FileFormatError
from tests.datasets.readers.encoders import SIZE, columns, same, some_events


def compound(events: Events) -> np.ndarray:
    data = np.empty(len(events), [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
    for name, column in columns(events).items():
        data[name] = column
    return data


@pytest.mark.parametrize("names", ["xytp", ("xs", "ys", "ts", "ps")])
@pytest.mark.parametrize("group", ["events", "/", "left/events"])
def test_columns_in_a_group(tmp_path: Path, names: str, group: str) -> None:
    events = some_events()
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, column in zip(names, columns(events).values(), strict=True):
            file.create_dataset(f"{group}/{name}", data=column, compression="gzip")
        file.attrs["sensor_resolution"] = (480, 640)
        file["t_offset"] = 77
    key = group if group.startswith("left") else None
    found = open_recording(path, key=key)
    same(found.events, events)
    assert (found.sensor_size, found.format, found.start_us) == (SIZE, "HDF5", 77)
    parts = list(iterate_recording(path, 100, key=key))
    assert [len(part) for part in parts] == [100] * 5
    assert np.array_equal(np.concatenate([part.data for part in parts]), events.data)


def test_prophesees_layout(tmp_path: Path) -> None:
    events = some_events()
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["CD/events"] = compound(events)
        file.attrs["geometry"] = "640x480"
        file.attrs["camera"] = "Gen4"
    found = open_recording(tmp_path / "a.hdf5")
    same(found.events, events)
    assert (found.sensor_size, found.camera) == (SIZE, "Gen4")


def test_seconds_with_decimals(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in (("xs", [1, 2]), ("ys", [1, 2]), ("ts", [0.000001, 1.5]), ("ps", [True, False])):
            file[f"events/{name}"] = values
    found = open_recording(tmp_path / "a.h5")
    assert found.events.data.tolist() == [(1, 1, 1, True), (2, 2, 1_500_000, False)]
    assert found.metadata["time_unit"] == "s"


def test_audio_events(tmp_path: Path) -> None:
    path = tmp_path / "shd.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, dtype in (("times", np.float16), ("units", np.uint16)):
            made = file.create_dataset(f"spikes/{name}", (3,), h5py.vlen_dtype(dtype))
            for sample in range(3):
                made[sample] = np.sort(rng.random(20)).astype(dtype) if name == "times" else rng.integers(0, 700, 20)
        file["labels"] = [4, 5, 6]
        file["extra/speaker"] = [1, 2, 3]
        times, units = file["spikes/times"][1], file["spikes/units"][1]
    with pytest.raises(FileFormatError, match="3 recordings"):
        open_recording(path)
    with pytest.raises(FileFormatError, match="0 to 2"):
        open_recording(path, key=3)
    found = open_recording(path, key=1)
    assert found.sensor_size == (700, 1, 1)
    assert (found.metadata["label"], found.metadata["speaker"]) == (5, 2)
    np.testing.assert_array_equal(found.events.data["x"], units)
    np.testing.assert_array_equal(found.events.data["t"], np.rint(times.astype(np.float64) * 1e6))


def test_what_holds_no_events(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["something"] = [1]
    with pytest.raises(FileFormatError, match=r"a\.h5.*something.*key"):
        open_recording(path)
    with pytest.raises(FileFormatError, match="elsewhere"):
        open_recording(path, key="elsewhere")
    with h5py.File(path, "w") as file:
        for name, values in (("x", [1, 2]), ("y", [1, 2]), ("t", [1]), ("p", [1, 2])):
            file[f"events/{name}"] = values
    with pytest.raises(FileFormatError, match="lengths"):
        open_recording(path)


def test_a_file_that_states_far_more_than_it_stores(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", (1 << 40,), "<i8", chunks=(1 << 16,))
    with pytest.raises(FileFormatError, match="states 8796093022208 bytes but holds 0"):
        open_recording(path)


@pytest.mark.parametrize("kept", [8, 100, 2000])
def test_a_truncated_file(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["CD/events"] = compound(some_events())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileFormatError, match=r"a\.h5"):
        open_recording(path)
