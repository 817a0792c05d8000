"""CSV: names, orders, units, and lines that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import Events
from neuroaccel.datasets.readers import iterate_recording, open_recording
from neuroaccel.errors import EventsError, FileFormatError, InputError
from tests.datasets.readers.encoders import SIZE, rows, same, some_events


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
@pytest.mark.parametrize("order", ["xytp", "txyp", "pytx"])
@pytest.mark.parametrize("header", [True, False])
def test_with_and_without_a_header(tmp_path: Path, mark: str, order: str, header: bool) -> None:
    events = some_events(start=5000)
    named = {"x": "x", "y": "Y", "t": "timestamp_us", "p": "polarity"}
    lines = ["# a comment", mark.join(named[field] for field in order)] if header else []
    lines += [mark.join(str(row["xytp".index(field)]) for field in order) for row in rows(events)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    key = None if header or order != "pytx" else order
    found = open_recording(path, sensor_size=SIZE, key=key)
    same(found.events, events)
    assert found.format == "CSV"
    assert found.metadata["time_unit"] == "us"
    parts = list(iterate_recording(path, 100, sensor_size=SIZE, key=key))
    assert [len(part) for part in parts] == [100] * 5
    same(Events(np.concatenate([p.data for p in parts]), SIZE), events)


@pytest.mark.parametrize(
    ("head", "time", "expected", "unit"),
    [
        ("t,x,y,p", "0.5", 500_000, "s"),
        ("t [ms],x,y,p", "0.5", 500, "ms"),
        ("t_ns,x,y,p", "1589163147365215123", 1589163147365215, "ns"),
        ("time(us),x,y,p", "7", 7, "us"),
        ("t_s,x,y,p", "7", 7_000_000, "s"),
    ],
)
def test_units_of_time(tmp_path: Path, head: str, time: str, expected: int, unit: str) -> None:
    (tmp_path / "a.csv").write_text(f"{head}\n{time},3,4,1\n")
    found = open_recording(tmp_path / "a.csv")
    assert found.events.data.tolist() == [(3, 4, expected, True)]
    assert found.metadata["time_unit"] == unit


def test_seconds_without_a_header_in_the_usual_text_files(tmp_path: Path) -> None:
    (tmp_path / "events.txt").write_text("0.003811000 96 133 0\n0.003820001 127 171 1\n0.003820001 13 17 1\n")
    found = open_recording(tmp_path / "events.txt")
    assert found.events.data.tolist() == [(96, 133, 3811, False), (127, 171, 3820, True), (13, 17, 3820, True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n", "line 1"),
        ("x,y,t,p\n1,2,3,0\n1,2,oops,0\n", "not numbers"),
        ("x,y,t,p\n1,2,3,0\n1,2\n", "not numbers"),
        ("x,x,t,p\n1,2,3,0\n", "both x"),
        ("1,1,1,1\n", "key"),
        ("# nothing\n# 1\n", "none of the first"),
        ("x,y,t,p\n1.5,2,3,0\n", "whole number"),
        ("x,y,t,p\n1,2,3,0\n1,2,99999999999999999999999,0\n", "not numbers"),
    ],
)
def test_lines_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FileFormatError, match=rf"a\.csv.*{message}|{message}"):
        open_recording(tmp_path / "a.csv")


def test_wrong_values_and_options(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y,t,p\n1,2,30,0\n1,2,3,0\n-4,2,40,1\n1,1,50,7\n")
    with pytest.raises(EventsError, match=r"a\.csv: event 1 .*earlier"):
        open_recording(path)
    assert open_recording(path, on_error="drop").repairs.counts() == {"outside": 1, "wrong_polarity": 1, "backwards": 1}
    with pytest.raises(InputError, match="fortnight"):
        open_recording(path, time_unit="fortnight")
    with pytest.raises(EventsError, match="sensor_size"):
        iterate_recording(path)


def test_a_last_line_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y,t,p\n1,2,3,0\n1,2,4,1\n1,2")
    with pytest.raises(FileFormatError, match="last line, at offset 24"):
        open_recording(path)
    found = open_recording(path, on_error="drop")
    assert (len(found.events), found.repairs.truncated_bytes) == (2, 3)


def test_a_header_alone_is_an_empty_recording(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,t,p\n")
    assert len(open_recording(tmp_path / "a.csv").events) == 0
