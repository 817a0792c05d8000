"""Formats are found by what files begin with, not by their names."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuroaccel.datasets.readers import iterate_recording, open_recording
from neuroaccel.datasets.readers.detect import detect
from neuroaccel.errors import EventsError, FileFormatError, InputError
from tests.datasets.readers.encoders import evt3, raw_file, some_events

CUT = Path(__file__).parents[1] / "data" / "davis346-cut.aedat4"


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    events = some_events(20)
    made = {"prophesee": raw_file(tmp_path / "a", "EVT3", evt3(events)), "npz": events.save(tmp_path / "b.npz")}
    np.save(tmp_path / "c.npy", events.data)
    with h5py.File(tmp_path / "d", "w", userblock_size=512) as file:
        file["x"] = 1
    (tmp_path / "e").write_text("x,y,t,p\n1,2,3,0\n")
    made |= {"npy": tmp_path / "c.npy", "hdf5": tmp_path / "d", "csv": tmp_path / "e", "aedat4": CUT}
    for name, path in made.items():
        odd = tmp_path / "odd.bin"
        shutil.copyfile(path, odd)
        assert detect(odd) == name


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"\x00\x01\x02\x03" * 9, r"00 01 02 03.*offset 0"), (b"#!AER-DAT2.0\r\n", "AEDAT 2.0")],
)
def test_what_is_none_of_them(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.raw").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        open_recording(tmp_path / "a.raw")


def test_no_file_no_such_choice(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such file"):
        open_recording(tmp_path / "a.raw")
    with pytest.raises(FileFormatError, match="cannot be read"):
        open_recording(tmp_path)
    with pytest.raises(InputError, match="raise, drop, clip"):
        open_recording(CUT, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(EventsError, match="number ≥ 1"):
        iterate_recording(CUT, 0)
