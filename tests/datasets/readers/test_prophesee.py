"""Prophesee's RAW and DAT files: all fields against what was encoded, and against expelliarmus where it is right."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import Events
from neuroaccel.datasets.readers import iterate_recording, open_recording
from neuroaccel.errors import EventsError, FileFormatError
from tests.datasets.readers.encoders import dat, evt2, evt3, evt21, header, raw_file, same, some_events

ENCODED: dict[str, tuple[str, Callable[[Events], bytes]]] = {
    "EVT2": ("EVT2", evt2),
    "EVT2.1": ("EVT21", evt21),
    "EVT2.1 legacy": ("EVT21;endianness=legacy", lambda events: evt21(events, legacy=True)),
    "EVT3": ("EVT3", evt3),
}


def encoded(folder: Path, name: str, events: Events) -> Path:
    if name == "DAT":
        path = folder / "a.dat"
        path.write_bytes(header("Data file containing CD events", "Version 2", "Width 640", "Height 480", end=False)
                         + dat(events))  # fmt: skip
        return path
    stated, encode = ENCODED[name]
    return raw_file(folder / "a.raw", stated, encode(events))


@pytest.mark.parametrize("name", [*ENCODED, "DAT"])
@pytest.mark.parametrize("start", [70, 16_700_000])
def test_all_fields_are_what_was_encoded(tmp_path: Path, name: str, start: int) -> None:
    """EVT3's 24 bits of time begin anew three times in these 60 s."""
    events = some_events(span_us=60_000_000 if start == 70 else 30_000, start=start)
    found = open_recording(encoded(tmp_path, name, events))
    same(found.events, events)
    assert found.format == name
    assert found.sensor_size == (640, 480, 2)
    assert found.metadata["sensor_size_from"] == "file"
    assert not found.repairs
    if name != "DAT":
        assert found.camera == "Prophesee"


@pytest.mark.parametrize("name", [*ENCODED, "DAT"])
@pytest.mark.parametrize("part", [1, 37, 1000])
def test_in_parts_it_is_the_same(tmp_path: Path, name: str, part: int) -> None:
    events = some_events(400)
    parts = list(iterate_recording(encoded(tmp_path, name, events), part))
    assert len(parts) > 1 or part == 1000
    same(Events(np.concatenate([p.data for p in parts]), events.sensor_size), events)


@pytest.mark.parametrize("name", ["EVT2", "DAT", "EVT3"])
def test_it_reads_what_the_library_writes_and_as_the_library_reads(tmp_path: Path, name: str) -> None:
    """EVT3 within 4 ms: expelliarmus writes no time base after the first, and counts the low bits' wraps by itself."""
    wizard = pytest.importorskip("expelliarmus").Wizard(encoding=name.lower())
    events = some_events(3000, span_us=4000 if name == "EVT3" else 30_000_000, start=4096)
    path = tmp_path / ("a.dat" if name == "DAT" else "a.raw")
    wizard.save(path, events.data)
    theirs = wizard.read(path)
    found = open_recording(path)
    same(found.events, events)
    for field in ("x", "y", "t", "p"):
        np.testing.assert_array_equal(found.events.data[field], theirs[field])


def test_time_begins_anew_after_its_bits_are_used_up(tmp_path: Path) -> None:
    events = some_events(200, span_us=10_000_000, start=0)
    late = (1 << 34) - 5_000_000
    found = open_recording(raw_file(tmp_path / "a.raw", "EVT2", evt2(events, wrapped=late)))
    np.testing.assert_array_equal(found.events.data["t"], events.data["t"] + late)
    late = (1 << 32) - 5_000_000
    shifted = Events(events.data.copy(), events.sensor_size)
    shifted.data["t"] += late
    found = open_recording(encoded(tmp_path, "DAT", shifted))
    np.testing.assert_array_equal(found.events.data["t"], shifted.data["t"])


def test_vectors_of_evt3(tmp_path: Path) -> None:
    """Base at column 600, then 12 columns and 8: bits 0 and 11, then 0 and 7 of the columns after these."""
    words = [0x8001, 0x6002, 0x0007, 0x3000 | 1 << 11 | 600, 0x4801, 0x5081, 0xA001, 0xE123, 0x7001, 0xF002]
    found = open_recording(raw_file(tmp_path / "a.raw", "EVT3", struct.pack("<10H", *words)))
    assert found.events.data["x"].tolist() == [600, 611, 612, 619]
    assert set(found.events.data["y"].tolist()) == {7}
    assert set(found.events.data["t"].tolist()) == {4098}
    assert found.events.data["p"].all()
    assert found.metadata["triggers"] == 1


def test_events_before_the_first_time_base_have_no_time(tmp_path: Path) -> None:
    body = struct.pack("<3I", 5 << 11, 0x8 << 28 | 1, 1 << 28 | 3 << 22 | 6 << 11 | 9)
    found = open_recording(raw_file(tmp_path / "a.raw", "EVT2", body))
    assert found.events.data.tolist() == [(6, 9, 67, True)]
    assert found.metadata["events_before_time_base"] == 1


@pytest.mark.parametrize("name", [*ENCODED, "DAT"])
def test_a_file_that_ends_amid_a_word(tmp_path: Path, name: str) -> None:
    events = some_events(100)
    path = encoded(tmp_path, name, events)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match=rf"{path.name}.*offset.*truncated"):
        open_recording(path)
    found = open_recording(path, on_error="drop")
    assert found.repairs.truncated_bytes == {"EVT3": 1, "EVT2": 3}.get(name, 7)
    same(found.events, Events(events.data[: len(found.events)], events.sensor_size))
    assert len(found.events) >= 97


@pytest.mark.parametrize(
    ("name", "word"), [("EVT2", struct.pack("<I", 0x5 << 28)), ("EVT2.1", struct.pack("<Q", 0x5 << 60)),
                       ("EVT2.1 legacy", struct.pack("<Q", 0x5 << 28)), ("EVT3", struct.pack("<H", 0x9000))]
)  # fmt: skip
def test_a_reserved_word_is_named_or_skipped(tmp_path: Path, name: str, word: bytes) -> None:
    events = some_events(100)
    path = encoded(tmp_path, name, events)
    offset = path.stat().st_size
    with path.open("ab") as file:
        file.write(word)
    with pytest.raises(FileFormatError, match=rf"offset {offset}"):
        open_recording(path)
    found = open_recording(path, on_error="drop")
    assert found.repairs.unknown_words == 1
    same(found.events, events)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"% evt 9.0\n", "evt '9.0'"),
        (b"% format HISTO3D\n", "format"),
        (b"% date today\n\x00\x00", "no encoding"),
        (b"% " + b"a" * 70_000, "no end"),
        (b"% Version 2\n", "ends at offset"),
        (b"% Version 2\n\x30\x10abc", "type 0x30 and 16 bytes"),
        (b"% format EVT3;width=999999;height=7\n", "999999"),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        open_recording(path)


def test_events_beside_the_stated_sensor(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(header("geometry 100x480", "evt 2.0") + evt2(some_events(100)))
    with pytest.raises(EventsError, match=r"a\.raw: event \d+ .*\(100, 480, 2\)"):
        open_recording(path)
    beside = int(np.count_nonzero(some_events(100).data["x"] >= 100))
    dropped = open_recording(path, on_error="drop")
    assert (dropped.repairs.outside, len(dropped.events)) == (beside, 100 - beside)
    clipped = open_recording(path, on_error="clip")
    assert (clipped.repairs.outside, len(clipped.events)) == (beside, 100)


def test_a_recording_without_events(tmp_path: Path) -> None:
    found = open_recording(raw_file(tmp_path / "a.raw", "EVT3", b""))
    assert len(found.events) == 0
    assert list(iterate_recording(tmp_path / "a.raw")) == []
