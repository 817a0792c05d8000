"""What can go wrong between a data set and its recordings: dead downloads, damaged files, wrong labels and events."""

from __future__ import annotations

import hashlib
import http.server
import io
import itertools
import logging
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroaccel.datasets import tonic_sets
from neuroaccel.errors import DataUnavailable, EventsError, FileFormatError, MissingExtra
from tests.conftest import examples
from tests.datasets.tonic.miniatures import MAKERS, bin_bytes, draw, write_aedat4, write_heidelberg

_TICKS = itertools.count(1)
ADDRESSES = {
    "n-mnist": "train_url",
    "dvs128-gesture": "train_url",
    "cifar10-dvs": "url",
    "n-caltech101": "url",
    "shd": "base_url",
    "ssc": "base_url",
    "n-tidigits": "base_url",
    "asl-dvs": "url",
}


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which nobody listens."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """N-MNIST with two recordings for the test."""
    root = tmp_path_factory.mktemp("digits")
    MAKERS["n-mnist"](root, per_class=1, test=2, classes=1)
    return root


def _reader(name: str) -> Any:
    return getattr(import_module("tonic.datasets"), tonic_sets.SETS[name].tonic_class)


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_a_dead_download_says_host_file_checksum_and_place(
    name: str, dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = _reader(name)
    monkeypatch.setattr(reader, ADDRESSES[name], dead)
    with pytest.raises(DataUnavailable) as caught:
        tonic_sets.load(name, "train", folder=tmp_path)
    part = tonic_sets.SETS[name].parts[tonic_sets.SETS[name].splits["train"][0]]
    archive, md5 = getattr(reader, part.archive), getattr(reader, part.md5)
    for words in (name, "127.0.0.1", dead, archive, md5, str(tmp_path / reader.__name__ / archive), "by hand"):
        assert words in str(caught.value)
    assert list(tmp_path.rglob("*")) == []  # nothing half-downloaded
    assert capsys.readouterr().out == ""
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", ["shd", "cifar10-dvs"])
def test_files_without_their_archive_are_kept_and_the_way_out_is_said(
    name: str, dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tonic fetches what it has if the archive is not beside it; an empty file of that name keeps it from that."""
    MAKERS[name](tmp_path, **({"classes": 2} if name == "cifar10-dvs" else {}))
    reader = _reader(name)
    monkeypatch.setattr(reader, ADDRESSES[name], dead)
    part = tonic_sets.SETS[name].parts[tonic_sets.SETS[name].splits["train"][0]]
    archive = tmp_path / reader.__name__ / getattr(reader, part.archive)
    archive.unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataUnavailable, match=r"127\.0\.0\.1.*an empty one will do"):
        tonic_sets.load(name, "train", folder=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    archive.touch()
    assert len(tonic_sets.load(name, "train", folder=tmp_path)) > 0


def test_a_set_that_is_in_no_package_any_more_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"poker-dvs: pips_train.tar.gz \(MD5 412b.*its package.*by hand"):
        tonic_sets.load("poker-dvs", "train", folder=tmp_path)


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server on this machine: its address, and what it serves by path."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content.get(self.path.strip("/"))
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", content
        server.shutdown()
        thread.join()


def _zipped(root: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.write(root / name, name)
    return buffer.getvalue()


def test_a_download_is_unpacked_and_read(
    serving: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, content = serving
    made = [mini for mini in MAKERS["shd"](tmp_path / "there") if mini.part == "test"]
    archive = _zipped(tmp_path / "there" / "SHD", "shd_test.h5")
    content["shd_test.h5.zip"] = archive
    monkeypatch.setattr(_reader("shd"), "base_url", address)
    monkeypatch.setattr(_reader("shd"), "test_md5", hashlib.md5(archive, usedforsecurity=False).hexdigest())
    found = tonic_sets.load("shd", "test", folder=tmp_path / "here")
    assert found.labels.tolist() == [mini.label for mini in made]


def test_a_download_of_something_else_leaves_nothing_behind(
    serving: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, content = serving
    content["shd_test.h5.zip"] = b"<html>we have moved</html>"
    monkeypatch.setattr(_reader("shd"), "base_url", address)
    with pytest.raises(DataUnavailable, match=r"shd_test.h5.zip \(MD5 1503a5.*corrupted"):
        tonic_sets.load("shd", "test", folder=tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_a_damaged_archive_is_named_and_kept(dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reader("shd"), "base_url", dead)
    archive = tmp_path / "SHD" / "shd_test.h5.zip"
    archive.parent.mkdir()
    archive.write_bytes(b"half of it")
    digest = hashlib.md5(b"half of it", usedforsecurity=False).hexdigest()
    with pytest.raises(FileFormatError, match=rf"shd_test.h5.zip is damaged.*{digest}, expected 1503a5"):
        tonic_sets.load("shd", "test", folder=tmp_path)
    assert archive.read_bytes() == b"half of it"


def test_an_archive_that_cannot_be_unpacked(dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "SHD" / "shd_test.h5.zip"
    archive.parent.mkdir()
    archive.write_bytes(b"no zip")
    monkeypatch.setattr(_reader("shd"), "base_url", dead)
    monkeypatch.setattr(_reader("shd"), "test_md5", hashlib.md5(b"no zip", usedforsecurity=False).hexdigest())
    with pytest.raises(DataUnavailable, match="not a zip file"):
        tonic_sets.load("shd", "test", folder=tmp_path)
    assert archive.exists()


def test_without_tonic_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"tonic.*neuroaccel\[datasets\]"):
        tonic_sets.load("shd", "train", folder=tmp_path)


def _shd(root: Path, labels: list[int], speakers: list[int], channels: list[int] | None = None) -> Path:
    (root / "SHD").mkdir(parents=True)
    times = np.array([0.1, 0.2])
    rows = [(np.array(channels or [5, 9]), times)] * 4
    path = root / "SHD" / "shd_test.h5"
    write_heidelberg(path, rows, labels, speakers, ["a", "b"])
    (root / "SHD" / "shd_test.h5.zip").touch()
    return path


@pytest.mark.parametrize(
    ("labels", "speakers", "words"),
    [
        ([0, 1, 0], [4] * 4, "4 recordings have 3 labels"),
        ([0, 1, 0, 1], [4] * 3, "3 speakers"),
        ([0, 1, 0, 2], [4] * 4, r"recording 3 has label 2; expected 0 to 1"),
        ([], [], "4 recordings have 0 labels and 0 speakers"),
    ],
)
def test_missing_and_wrong_labels_are_named(labels: list[int], speakers: list[int], words: str, tmp_path: Path) -> None:
    _shd(tmp_path, labels, speakers)
    with pytest.raises(FileFormatError, match=words):
        tonic_sets.load("shd", "test", folder=tmp_path)


def test_a_file_without_labels_is_named(tmp_path: Path) -> None:
    path = _shd(tmp_path, [0] * 4, [4] * 4)
    with h5py.File(path, "a") as file:
        del file["labels"]
    with pytest.raises(FileFormatError, match=r"SHD.*labels"):
        tonic_sets.load("shd", "test", folder=tmp_path)


def test_a_truncated_hdf5_file_is_named(tmp_path: Path) -> None:
    path = _shd(tmp_path, [0] * 4, [4] * 4)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileFormatError, match=r"SHD cannot be read"):
        tonic_sets.load("shd", "test", folder=tmp_path)


@pytest.mark.parametrize(
    ("on_error", "events"), [("drop", [(9, 0)]), ("clip", [(699, 0), (9, 0)])], ids=lambda value: str(value)[:4]
)
def test_events_outside_are_refused_dropped_or_clipped(
    on_error: Any, events: list[tuple[int, int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _shd(tmp_path, [0, 1, 0, 1], [4] * 4, channels=[700, 9])
    with pytest.raises(EventsError, match=r"recording 0: event 0 \(x=700.*outside the sensor"):
        tonic_sets.load("shd", "test", folder=tmp_path)
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        found = tonic_sets.load("shd", "test", folder=tmp_path, on_error=on_error)
    assert [tuple(int(v) for v in row) for row in zip(found[0][0].data["x"], found[0][0].data["y"], strict=True)] == (
        events
    )
    assert "4 outside" in caplog.text


def test_recordings_of_no_events_are_refused_left_out_or_kept(tmp_path: Path) -> None:
    MAKERS["dvs128-gesture"](tmp_path, classes=2)
    np.save(tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_fluorescent" / "1.npy", np.zeros((0, 4)))
    with pytest.raises(EventsError, match=r"user24_fluorescent/1.npy: has no events"):
        tonic_sets.load("dvs128-gesture", "test", folder=tmp_path)
    kept = tonic_sets.load("dvs128-gesture", "test", folder=tmp_path, on_error="clip")
    left = tonic_sets.load("dvs128-gesture", "test", folder=tmp_path, on_error="drop")
    assert (len(kept), len(left)) == (4, 3)
    assert sorted(np.diff(kept.start).tolist()) == [0, 90, 90, 90]


def _damage_gesture(root: Path) -> str:
    path = root / "DVSGesture" / "ibmGestureTest" / "user24_fluorescent" / "1.npy"
    path.write_bytes(path.read_bytes()[:150])
    return "user24_fluorescent/1.npy"


def _damage_aedat4(root: Path) -> str:
    path = root / "CIFAR10DVS" / "cat" / "cifar10_cat_0.aedat4"
    path.write_bytes(path.read_bytes()[:700])
    return "cat/cifar10_cat_0.aedat4"


def _no_events_stream(root: Path) -> str:
    path = root / "CIFAR10DVS" / "cat" / "cifar10_cat_0.aedat4"
    path.write_bytes(b"#!AER-DAT4.0\r\n" + bytes(100))  # its decoder panics, outside of Python's exceptions
    return "cat/cifar10_cat_0.aedat4"


def _damage_mat(root: Path) -> str:
    (root / "ASLDVS" / "a" / "a_0001.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(40))
    return "a/a_0001.mat"


def _damage_bin(root: Path) -> str:
    path = root / "NCALTECH101" / "Caltech101" / "airplanes" / "image_0001.bin"
    path.write_bytes(path.read_bytes()[:-3])
    return "airplanes/image_0001.bin"


@pytest.mark.parametrize(
    ("name", "damage", "whole"),
    [
        ("dvs128-gesture", _damage_gesture, 88),
        ("cifar10-dvs", _damage_aedat4, 40),
        ("cifar10-dvs", _no_events_stream, 40),
        ("n-caltech101", _damage_bin, 30),
        ("asl-dvs", _damage_mat, 30),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_damaged_recording_is_named_or_left_out(name: str, damage: Any, whole: int, tmp_path: Path) -> None:
    MAKERS[name](tmp_path, **({"classes": 4} if name == "cifar10-dvs" else {}))
    victim = damage(tmp_path)
    refusals = []
    for split in ("train", "validation", "test"):
        try:
            tonic_sets.load(name, split, folder=tmp_path)
        except FileFormatError as error:
            refusals.append(str(error))
    assert len(refusals) == 1
    assert victim in refusals[0]
    assert "on_error='drop'" in refusals[0]
    left = [len(tonic_sets.load(name, s, folder=tmp_path, on_error="drop")) for s in ("train", "validation", "test")]
    assert sum(left) == whole - 1


def test_a_file_that_is_no_recording_is_named(tmp_path: Path) -> None:
    MAKERS["dvs128-gesture"](tmp_path, classes=2)
    np.save(tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_fluorescent" / "labels.npy", np.zeros(3))
    with pytest.raises(FileFormatError, match=r"DVSGesture cannot be read.*labels"):
        tonic_sets.load("dvs128-gesture", "test", folder=tmp_path)


def test_times_of_a_broken_clock_are_no_recording(tmp_path: Path) -> None:
    MAKERS["cifar10-dvs"](tmp_path, per_class=1, classes=1)
    x, y, t, p = draw(np.random.default_rng(0), (128, 128), 20, 1000)
    t[-1] = 2**40
    write_aedat4(tmp_path / "CIFAR10DVS" / "airplane" / "cifar10_airplane_0.aedat4", (128, 128), x, y, t, p)
    with pytest.raises(FileFormatError, match=r"airplane_0.aedat4: cannot be decoded.*a time of \d+ µs"):
        tonic_sets.load("cifar10-dvs", "train", folder=tmp_path)


def test_n_mnist_events_beside_its_34_pixels_are_named(tmp_path: Path) -> None:
    MAKERS["n-mnist"](tmp_path, per_class=1, test=1, classes=1)
    path = tmp_path / "NMNIST" / "Test" / "0" / "00000.bin"
    path.write_bytes(bin_bytes(np.array([3, 34]), np.array([3, 3]), np.array([7, 9]), np.array([0, 1])))
    with pytest.raises(EventsError, match=r"Test/0/00000.bin: event 1 \(x=34, y=3, t=9, p=1\)"):
        tonic_sets.load("n-mnist", "test", folder=tmp_path)


def test_an_archive_whose_inner_archive_nobody_unpacked_is_said(
    serving: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tonic 1.7 unpacks N-Caltech101's archive and not the one inside it, and finds no recording then."""
    address, content = serving
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("N-Caltech101-archive/Caltech101.zip", b"...")
    content["archive"] = buffer.getvalue()
    reader = _reader("n-caltech101")
    monkeypatch.setattr(reader, "url", address + "archive")
    monkeypatch.setattr(reader, "file_md5", hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest())
    with pytest.raises(
        FileFormatError, match=r"there is no recording; expected files such as .*Caltech101/\*\*/\*.bin"
    ):
        tonic_sets.load("n-caltech101", "train", folder=tmp_path)


@given(st.lists(st.tuples(*(st.integers(0, 255) for _ in range(5))), max_size=12), st.integers(0, 4))
@settings(max_examples=examples(25, 500), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_events_or_one_readable_error(digits: Path, records: list[tuple[int, ...]], more: int) -> None:
    """Whatever an N-MNIST file holds, it is read, or refused with its name; repaired, it is always valid."""
    path = digits / "NMNIST" / "Test" / "0" / "00000.bin"
    path.write_bytes(b"".join(bytes(record) for record in records) + b"\x01" * more)
    os.utime(path, ns=(0, next(_TICKS)))  # another time of change, though written within a clock's tick
    refusal = ""
    try:
        tonic_sets.load("n-mnist", "test", folder=digits)
    except (EventsError, FileFormatError) as error:
        refusal = str(error)
    assert not refusal or "Test/0/00000.bin" in refusal
    repaired = tonic_sets.load("n-mnist", "test", folder=digits, on_error="drop")
    assert len(repaired) in (1, 2)
    for sample in range(len(repaired)):
        repaired[sample][0].validate()
