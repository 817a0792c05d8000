"""AEDAT4: a cut of a real recording, against the library itself; damage is refused and harms nobody."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import Events
from neuroaccel.datasets.readers import aedat4, guard, iterate_recording, open_recording
from neuroaccel.errors import FileFormatError, MissingExtra

CUT = Path(__file__).parents[1] / "data" / "davis346-cut.aedat4"
dv = pytest.importorskip("dv_processing")


def test_all_fields_are_the_librarys() -> None:
    found, theirs = open_recording(CUT), dv.io.MonoCameraRecording(str(CUT))
    batches = []
    while (batch := theirs.getNextEventBatch()) is not None:
        batches.append(batch.numpy())
    expected = np.concatenate(batches)
    data = found.events.data
    np.testing.assert_array_equal(data["t"] + found.start_us, expected["timestamp"])
    for ours, name in (("x", "x"), ("y", "y"), ("p", "polarity")):
        np.testing.assert_array_equal(data[ours], expected[name])
    assert data["t"][0] == 0
    assert len(data) == 11_648
    assert found.sensor_size == (346, 260, 2)
    assert found.camera == "DAVIS346_00000002"
    assert not found.repairs


def test_frames_and_motion_are_the_librarys() -> None:
    found, theirs = open_recording(CUT), dv.io.MonoCameraRecording(str(CUT))
    frames = list(found.frames())
    assert found.frame_count == len(frames) == 3
    for frame in frames:
        expected = theirs.getNextFrame()
        np.testing.assert_array_equal(frame.image, expected.image)
        assert frame.t_us + found.start_us == expected.timestamp
        assert frame.exposure_us == expected.exposure.total_seconds() * 1e6
    samples = []
    while (batch := theirs.getNextImuBatch()) is not None:
        samples += list(batch)
    assert found.imu_count == len(samples) == 301
    for name in ("accelerometer", "gyroscope"):
        expected = [[getattr(s, name + axis) for axis in "XYZ"] for s in samples]
        np.testing.assert_array_equal(found.imu[name], np.array(expected, np.float32))
    assert (found.imu["t"] + found.start_us).tolist() == [s.timestamp for s in samples]
    np.testing.assert_array_equal(found.imu["temperature"], np.array([s.temperature for s in samples], np.float32))


def test_in_parts_it_is_the_same() -> None:
    parts = list(iterate_recording(CUT, 2000))
    assert len(parts) > 3
    assert np.array_equal(np.concatenate([part.data for part in parts]), open_recording(CUT).events.data)


@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_truncated_file_is_named_or_read_up_to_there(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.aedat4"
    path.write_bytes(CUT.read_bytes()[: int(kept * CUT.stat().st_size)])
    with pytest.raises(FileFormatError, match=r"cut\.aedat4: truncated: .*offset \d+"):
        open_recording(path)
    found = open_recording(path, on_error="drop")
    assert found.repairs.truncated_bytes > 0
    whole = open_recording(CUT)
    assert 0 < len(found.events) <= len(whole.events)
    assert np.array_equal(found.events.data, whole.events.data[: len(found.events)])
    assert found.frame_count <= 3


def test_a_header_that_is_none_is_refused_before_the_library_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the library was asked")

    monkeypatch.setattr(guard, "run", never)
    good = CUT.read_bytes()
    path = tmp_path / "bad.aedat4"
    for content, message in [
        (good[:14], "ends at offset 14"),
        (good[:14] + struct.pack("<I", 2**31) + good[18:], r"header of 2147483648 bytes at offset 14"),
        (b"#!AER-DAT4.1\r\n" + good[14:], r"AER-DAT4\.1.*expected"),
        (good[:22] + b"XXXX" + good[26:], "IOHE"),
        (b"#!AER-DAT3.1\r\n" + good[14:], "only version 4"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            open_recording(path)


def test_a_packet_of_a_negative_size_is_named(tmp_path: Path) -> None:
    good = bytearray(CUT.read_bytes())
    at = aedat4.check(CUT).first
    struct.pack_into("<i", good, at + 4, -7)
    path = tmp_path / "bad.aedat4"
    path.write_bytes(good)
    with pytest.raises(FileFormatError, match=rf"-7 bytes at offset {at}"):
        open_recording(path)


def test_a_packet_that_hangs_the_library_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage within compressed packets has the library search without end; which bytes do, depends on its version."""
    monkeypatch.setattr(guard, "SECONDS", 1.0)
    good, end = CUT.read_bytes(), aedat4.check(CUT)
    rng = np.random.default_rng(4)
    data = bytearray(good)
    for place in rng.integers(end.first + 64, end.end, 300):
        data[place] ^= 0x5A
    path = tmp_path / "bad.aedat4"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"bad\.aedat4"):
        open_recording(path, on_error="drop")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from neuroaccel.extras import require

    def missing(module: str, extra: str) -> object:
        return require(f"{module}_that_nobody_has", extra)

    monkeypatch.setattr(aedat4, "require", missing)
    with pytest.raises(MissingExtra, match="recordings"):
        open_recording(CUT)


def test_a_recording_without_events_in_it(tmp_path: Path) -> None:
    path = tmp_path / "empty.aedat4"
    writer = dv.io.MonoCameraWriter(str(path), dv.io.MonoCameraWriter.DVSConfig("DVXplorer_1", (64, 48)))
    del writer
    found = open_recording(path)
    assert isinstance(found.events, Events)
    assert len(found.events) == 0
    assert found.sensor_size == (64, 48, 2)
