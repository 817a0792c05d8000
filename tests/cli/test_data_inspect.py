"""neuroaccel data inspect, and neuroaccel run with recordings of other formats."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.calling import assert_refused, call, files_in

CUT = Path(__file__).parents[1] / "datasets" / "data" / "davis346-cut.aedat4"


def test_numbers_and_pictures_of_a_real_recording(tmp_path: Path) -> None:
    pytest.importorskip("dv_processing")
    png, gif = tmp_path / "a.png", tmp_path / "a.gif"
    done = call("data", "inspect", CUT, "--png", png, "--gif", gif, "--json")
    assert (done.code, done.err) == (0, "")
    said = done.json
    assert (said["events"], said["frames"], said["imu"]) == (11_648, 3, 301)
    assert (said["format"], said["sensor_size"]) == ("AEDAT4", [346, 260, 2])
    assert said["metadata"]["camera"] == "DAVIS346_00000002"
    assert said["repairs"] == {}
    assert 0.29e6 < said["span_us"] < 0.3e6
    assert 0 < said["brighter"] < 1
    assert said["active"] + said["dead"] == pytest.approx(1)
    assert said["pictures"] == [str(png), str(gif)]
    assert Image.open(io.BytesIO(png.read_bytes())).format == "PNG"
    assert Image.open(io.BytesIO(gif.read_bytes())).size == (346, 260)
    text = call("data", "inspect", CUT).out
    for word in ("AEDAT4", "346 x 260", "11,648", "motion samples", "nothing to repair", "hot pixels"):
        assert word in text


def test_damage_is_refused_or_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("x,y,t,p\n1,2,30,0\n1,2,3,0\n9,2,40,1\n")
    before = files_in(tmp_path)
    assert_refused(call("data", "inspect", "bad.csv", "--png", "a.png"), "bad.csv", "event 1", "on_error")
    assert_refused(call("data", "inspect", "nowhere.raw"), "nowhere.raw", "no such file")
    assert_refused(call("data", "inspect", "bad.csv", "--on-error", "drop", "--gif", "no/a.gif"), "no folder")
    assert_refused(call("data", "inspect", "bad.csv", "--sensor", "big"), "--sensor", "346x260")
    assert_refused(call("data", "inspect", "bad.csv", "--on-error", "mend"), "mend")
    assert files_in(tmp_path) == before
    done = call("data", "inspect", "bad.csv", "--on-error", "drop", "--sensor", "5x5", "--json")
    assert done.code == 0
    assert "1 outside, 1 backwards; 2 of 3 events removed" in done.err
    assert (done.json["repairs"], done.json["removed"]) == ({"outside": 1, "backwards": 1}, 2)


def test_one_of_several_recordings_by_its_number(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("times", "units"):
            made = file.create_dataset(f"spikes/{name}", (2,), h5py.vlen_dtype(np.float32))
            made[0], made[1] = np.arange(3, dtype=np.float32), np.arange(5, dtype=np.float32)
    assert call("data", "inspect", path, "--key", "1", "--json").json["events"] == 5
    assert_refused(call("data", "inspect", path), "2 recordings")


def test_run_plays_what_can_be_opened(model: Path, tmp_path: Path) -> None:
    """A sensor as large as the network's input stands for a file that states none."""
    (tmp_path / "a.csv").write_text("x,y,t,p\n0,0,100,1\n1,1,12000,0\n2,1,25000,1\n")
    said = call("run", model, tmp_path / "a.csv", "--json")
    assert said.code == 0, said.err
    assert (said.json["input_events"], said.json["ticks"]) == (3, 3)
    (tmp_path / "large.csv").write_text("x,y,t,p\n0,0,100,1\n7,1,12000,0\n")
    assert_refused(call("run", model, tmp_path / "large.csv"), "large.csv", "(2, 3, 3)")
    assert_refused(call("run", model, CUT), "(2, 260, 346)", "(2, 3, 3)")
    (tmp_path / "bad.bin").write_bytes(b"\x00\x01\x02")
    assert_refused(call("run", model, tmp_path / "bad.bin"), "bad.bin", "offset 0")


@pytest.mark.parametrize("place", [30, 60])
def test_run_refuses_an_array_whose_header_is_damaged(model: Path, tmp_path: Path, place: int) -> None:
    """numpy parses that header as Python, with Python's own errors."""
    np.save(tmp_path / "a.npy", np.zeros(3, [(name, "<i8") for name in "xytp"]))
    data = bytearray((tmp_path / "a.npy").read_bytes())
    data[place] = 0
    (tmp_path / "a.npy").write_bytes(data)
    assert_refused(call("run", model, tmp_path / "a.npy"), "a.npy", "header")
