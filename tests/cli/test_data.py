"""neuroaccel data list | prepare | clear | show."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuroaccel.datasets import cache, names, saccade
from tests.cli.calling import assert_refused, call, files_in

KEY = cache.cache_key(1, {})


def entry(name: str, kilobytes: int = 10, days: float = 0.0) -> Path:
    """An entry of the cache that was last used so long ago."""
    made = cache.make(name, KEY, lambda folder: cache.write_array(folder / "a.npy", np.zeros(125 * kilobytes)) or {})
    used = time.time() - days * 86_400
    os.utime(made.path / "meta.json", (used, used))
    return made.path


def test_list_names_every_set_and_what_is_here(cache_dir: Path) -> None:
    entry("saccade-digits", 2000)
    entry("shd-train")
    entry("something-else")
    data = call("data", "list", "--json").json
    rows = {row["name"]: row for row in data["sets"]}
    assert list(rows) == names()
    assert rows["saccade-digits"]["kind"] == "built-in"
    assert rows["saccade-digits"]["sensor_size"] == [34, 34, 2]
    assert rows["shd"]["kind"] == "download"
    assert rows["shd"]["files_there"] == []
    assert [rows[name]["cached_entries"] for name in ("saccade-digits", "shd", "ssc")] == [1, 1, 0]
    assert rows["saccade-digits"]["cached_bytes"] > 2_000_000
    assert data["cached_bytes"] == sum(e.bytes for e in cache.entries())
    assert data["other_cached_bytes"] == sum(e.bytes for e in cache.entries() if e.name == "something-else")
    assert data["limit_bytes"] is None
    text = call("data", "list").out
    for words in ("2.0 MB", "to be downloaded", "700 channels", str(cache_dir), *names()):
        assert words in text


def test_list_finds_files_of_a_download_in_the_folder(cache_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "SHD").mkdir()
    (tmp_path / "SHD" / "shd_train.h5").write_bytes(b"")
    rows = {row["name"]: row for row in call("data", "list", "--folder", tmp_path, "--json").json["sets"]}
    assert rows["shd"]["files_there"] == ["train", "validation"]
    assert "train, validation" in call("data", "list", "--folder", tmp_path).out


def test_list_says_the_limit(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROACCEL_CACHE_LIMIT", "20G")
    assert call("data", "list", "--json").json["limit_bytes"] == 20 * 10**9
    assert "of 20.0 GB allowed" in call("data", "list").out
    monkeypatch.setenv("NEUROACCEL_CACHE_LIMIT", "lots")
    assert_refused(call("data", "list"), "NEUROACCEL_CACHE_LIMIT", "lots")


def test_prepare_makes_every_split(shared_cache: Path) -> None:
    data = call("data", "prepare", "saccade-digits", "--json").json
    assert {split: made["recordings"] for split, made in data["splits"].items()} == {
        "train": 1258,
        "validation": 180,
        "test": 359,
    }
    assert data["splits"]["test"]["classes"] == 10
    assert data["splits"]["test"]["longest_s"] == pytest.approx(0.3)
    assert data["cached_bytes"] > 10**6
    one = call("data", "prepare", "saccade-digits", "--split", "test", "--json").json
    assert one["splits"] == {"test": data["splits"]["test"]}
    assert "1,258" in call("data", "prepare", "saccade-digits").out


def test_clear_removes_one_set_or_all(cache_dir: Path) -> None:
    for name in ("saccade-digits", "shd-train", "shd-test", "something-else"):
        entry(name)
    (cache_dir / f"old-{KEY}.npz").write_bytes(b"x" * 77)
    size = {e.name: e.bytes for e in cache.entries()}
    done = call("data", "clear", "shd", "--json").json
    assert sorted(done["removed"]) == [f"shd-test-{KEY}", f"shd-train-{KEY}"]
    assert done["freed_bytes"] == size["shd-train"] + size["shd-test"]
    assert {e.name for e in cache.entries()} == {"saccade-digits", "something-else"}
    text = call("data", "clear").out
    assert "freed" in text
    assert "left over" in text
    assert list(cache_dir.iterdir()) == []
    assert call("data", "clear", "--json").json == {
        "removed": [],
        "in_use": [],
        "freed_bytes": 0,
        "left_over_bytes": 0,
    }


@pytest.mark.parametrize(("option", "left"), [("12h", 0), ("2d", 1), ("1w", 2), ("4w", 3)])
def test_clear_what_was_not_used_lately(cache_dir: Path, option: str, left: int) -> None:
    for number, days in enumerate((1, 3, 10)):
        entry(f"set{number}", days=days)
    call("data", "clear", "--older-than", option)
    assert {e.name for e in cache.entries()} == {f"set{number}" for number in range(left)}


def test_clear_leaves_what_is_in_use(cache_dir: Path) -> None:
    path = entry("saccade-digits")
    held = cache.open_entry("saccade-digits", KEY)
    assert held is not None
    done = call("data", "clear", "--json").json
    assert done["in_use"] == [path.name]
    assert done["freed_bytes"] == 0
    assert "in use by a process" in call("data", "clear").out
    assert path.exists()
    del held
    assert call("data", "clear", "--json").json["removed"] == [path.name]


@pytest.mark.parametrize("option", ["30", "d", "-3d", "3 months"])
def test_a_time_that_is_none_clears_nothing(cache_dir: Path, option: str) -> None:
    entry("saccade-digits", days=400)
    assert_refused(call("data", "clear", f"--older-than={option}"), "--older-than", "30d")
    assert len(cache.entries()) == 1


def test_show_says_what_a_set_is_without_making_it(cache_dir: Path) -> None:
    data = call("data", "show", "saccade-digits", "--json").json
    assert data["classes"] == list(saccade.ABOUT.classes)
    assert data["files"] == []
    text = call("data", "show", "shd").out
    for words in ("700 channels", "to be downloaded", "Cramer", "CC BY 4.0"):
        assert words in text
    assert list(cache_dir.iterdir()) == []


def test_show_draws_recordings(shared_cache: Path, tmp_path: Path) -> None:
    options = ["--samples", "2", "--first", "3", "--ticks", "6", "--split", "test"]
    png, gif = tmp_path / "a.png", tmp_path / "a.gif"
    data = call("data", "show", "saccade-digits", "--png", png, "--gif", gif, *options, "--json").json
    assert data["files"] == [str(png), str(tmp_path / "a-frames.png"), str(gif)]
    for file, kind in zip(data["files"], ("PNG", "PNG", "GIF"), strict=True):
        with Image.open(file) as picture:
            assert picture.format == kind
    with Image.open(gif) as moving:
        assert getattr(moving, "n_frames", 1) == 6
    before = files_in(tmp_path)
    assert_refused(call("data", "show", "saccade-digits", "--gif", gif), "a.gif", "--overwrite")
    assert files_in(tmp_path) == before
    assert call("data", "show", "saccade-digits", "--gif", gif, "--overwrite", *options, "--samples", "1").code == 0
    assert files_in(tmp_path) != before


def test_show_refuses_what_it_cannot_draw(shared_cache: Path, tmp_path: Path) -> None:
    assert_refused(call("data", "show", "saccade-digits", "--png", tmp_path / "no" / "a.png"), "no folder")
    refused = call("data", "show", "saccade-digits", "--png", tmp_path / "a.png", "--first", "999999")
    assert_refused(refused, "--first is 999999", "1258")
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize("command", ["prepare", "clear", "show"])
def test_an_unknown_set_is_refused_with_the_known_ones(cache_dir: Path, command: str) -> None:
    assert_refused(call("data", command, "mnist"), "unknown data set 'mnist'", "saccade-digits", "shd")


@pytest.mark.parametrize("command", ["", "list", "prepare", "clear", "show", "inspect"])
def test_help_has_examples(command: str) -> None:
    done = call("data", *([command] if command else []), "--help")
    assert done.code == 0
    assert f"$ neuroaccel data {command}".strip() in done.out
