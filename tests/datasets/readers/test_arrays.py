"""`.npy` and `.npz`: structured arrays, columns, Events.save; nothing unpickled, no trap for the memory."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel.datasets.readers import iterate_recording, open_recording
from neuroaccel.engine import EventStream
from neuroaccel.errors import EventsError, FileFormatError, InputError
from tests.datasets.readers.encoders import SIZE, columns, same, some_events


def test_what_events_save_wrote(tmp_path: Path) -> None:
    events = some_events()
    found = open_recording(events.save(tmp_path / "a.npz"))
    same(found.events, events)
    assert (found.sensor_size, found.format) == (SIZE, "npz")


@pytest.mark.parametrize(
    "names", [("x", "y", "t", "p"), ("xs", "ys", "ts", "ps"), ("X", "Y", "timestamp_us", "polarity")]
)
@pytest.mark.parametrize("form", ["npy", "npz of columns", "npz of one array"])
def test_structured_arrays_and_columns_by_name(tmp_path: Path, names: tuple[str, ...], form: str) -> None:
    events = some_events()
    named = dict(zip(names, columns(events).values(), strict=True))
    data = np.empty(len(events), [(name, column.dtype) for name, column in named.items()])
    for name, column in named.items():
        data[name] = column
    path = tmp_path / f"a.{form[:3]}"
    if form == "npy":
        np.save(path, data)
    elif form == "npz of columns":
        np.savez_compressed(path, **named)
    else:
        np.savez(path, anything=data)
    found = open_recording(path, sensor_size=SIZE)
    same(found.events, events)
    assert found.metadata["sensor_size_from"] == "given"
    parts = list(iterate_recording(path, 100, sensor_size=SIZE))
    assert [len(part) for part in parts] == [100] * 5


def test_four_columns_in_an_order_that_is_stated(tmp_path: Path) -> None:
    events = some_events()
    held = columns(events)
    np.save(tmp_path / "a.npy", np.stack([held[name].astype(np.float64) for name in "txyp"], 1))
    with pytest.raises(FileFormatError, match="key"):
        open_recording(tmp_path / "a.npy")
    with pytest.raises(InputError, match="txyy"):
        open_recording(tmp_path / "a.npy", key="txyy")
    same(open_recording(tmp_path / "a.npy", key="txyp", time_unit="us").events, events)


@pytest.mark.parametrize(
    ("t", "unit", "expected"),
    [
        ([0.0, 0.5], None, [0, 500_000]),
        ([1, 2], None, [1, 2]),
        ([1, 2], "ms", [1000, 2000]),
        ([1999, 2000], "ns", [1, 2]),
        ([0.25, 1.0], "ms", [250, 1000]),
    ],
)
def test_units_of_time(tmp_path: Path, t: list[Any], unit: str | None, expected: list[int]) -> None:
    np.savez(tmp_path / "a.npz", x=[0, 0], y=[0, 0], t=t, p=[0, 1])
    found = open_recording(tmp_path / "a.npz", time_unit=unit)
    assert found.events.data["t"].tolist() == expected
    assert found.metadata["time_unit"] == unit or unit is None


def test_polarity_of_minus_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=[0, 0], y=[0, 0], t=[0, 1], p=np.array([-1, 1], np.int8))
    assert open_recording(tmp_path / "a.npz").events.data["p"].tolist() == [False, True]


def test_binned_events_are_no_recording(tmp_path: Path) -> None:
    path = EventStream.from_dense(np.ones((2, 2, 3, 3)), 0.01).save(tmp_path / "a.npz")
    with pytest.raises(FileFormatError, match="binned"):
        open_recording(path)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], object), allow_pickle=True)
    with pytest.raises(FileFormatError, match="objects"):
        open_recording(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", x=np.array([{"x": 1}], object))
    with pytest.raises(FileFormatError, match="objects"):
        open_recording(tmp_path / "a.npz")


def test_a_header_that_states_more_than_there_is(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<i8", "fortran_order": False, "shape": (1 << 50,)})
    (tmp_path / "a.npy").write_bytes(head.getvalue() + b"12345678")
    with pytest.raises(FileFormatError, match=r"a\.npy: truncated.*the file ends at"):
        open_recording(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue() + b"12345678")
    with pytest.raises(FileFormatError, match=r"x\.npy states the shape"):
        open_recording(tmp_path / "a.npz")


def test_an_archive_that_unpacks_to_far_more_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    with pytest.raises(FileFormatError, match="states 314572800 bytes"):
        open_recording(path)


def test_a_truncated_archive_and_wrong_columns(tmp_path: Path) -> None:
    path = some_events().save(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(FileFormatError, match="truncated or foreign"):
        open_recording(path)
    np.savez(path, x=[1, 2], y=[1], t=[1, 2], p=[0, 1])
    with pytest.raises(FileFormatError, match="shapes"):
        open_recording(path)
    np.savez(path, x=[1.5, 2], y=[1, 2], t=[1, 2], p=[0, 1])
    with pytest.raises(FileFormatError, match=r"x of event 0 is 1\.5"):
        open_recording(path)
    np.savez(path, x=[1, 2], y=[1, 2], t=[float("nan"), 2], p=[0, 1])
    with pytest.raises(EventsError, match="no number"):
        open_recording(path)
    assert open_recording(path, on_error="drop").repairs.wrong_time == 1
