"""The cache: hit, miss, a key that sees every parameter, recovery from damage, many processes, a limited size."""

import dataclasses
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import cache, saccade
from neuroaccel.datasets.dvs import PixelArray
from neuroaccel.datasets.saccade import SaccadeDigits
from neuroaccel.errors import CacheError, FileFormatError, InputError

KEY = cache.cache_key(1, {"a": 1})


class Builder:
    """Counts how often it generates."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"data": np.arange(5000), "flags": np.array([True, False]), "nothing": np.empty((0, 3), np.float32)}


def sized(kilobytes):
    return lambda: {"data": np.zeros(kilobytes * 1000, np.uint8)}


def key(number):
    return cache.cache_key(1, {"number": number})


def child(code, *arguments):
    """A process of its own with the test's cache."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)


def test_second_time_is_mapped_read_only(cache_dir):
    build = Builder()
    first, second = (cache.cached("set", KEY, build) for _ in range(2))
    assert build.calls == 1
    assert set(first) == set(second) == {"data", "flags", "nothing"}
    for name, array in first.items():
        assert second[name].dtype == array.dtype
        assert second[name].shape == array.shape
        assert not array.flags.writeable
        np.testing.assert_array_equal(second[name], array)
    np.testing.assert_array_equal(first["data"], np.arange(5000))
    assert isinstance(first["data"], np.memmap)
    assert [entry.name for entry in cache_dir.iterdir()] == [f"set-{KEY}"]
    cache.cached("set", cache.cache_key(1, {"a": 2}), build)
    assert build.calls == 2


def test_key_sees_version_names_and_values_but_not_order():
    keys = [cache.cache_key(1, {"a": 1, "b": 2}), cache.cache_key(2, {"a": 1, "b": 2})]
    keys += [cache.cache_key(1, {"a": 2, "b": 1}), cache.cache_key(1, {"a": 1, "c": 2}), cache.cache_key(1, {"a": 1})]
    assert len(set(keys)) == len(keys)
    assert cache.cache_key(1, {"b": 2, "a": 1}) == keys[0]


def test_every_parameter_of_saccade_digits_changes_the_file(cache_dir):
    sensor = {"threshold": 0.3, "mismatch": 0.2, "refractory_us": 2000, "noise_hz": 1.0, "step_us": 500}
    changed = {"seed": 1, "sensor_size": 36, "digit_size": 27, "amplitude": 4.0, "saccade_us": 90_000}
    changed |= {"background": 0.3, "sensor": [PixelArray(**{name: value}) for name, value in sensor.items()]}
    assert set(changed) == {field.name for field in dataclasses.fields(SaccadeDigits)}
    assert set(sensor) == {field.name for field in dataclasses.fields(PixelArray)}
    every = [SaccadeDigits()]
    for name, value in changed.items():
        every += [SaccadeDigits(**{name: one}) for one in (value if isinstance(value, list) else [value])]
    for parameters in every:
        saccade.load(None, parameters=parameters, subset=[3])
    saccade.load(None, subset=[4])
    assert len(list(cache_dir.iterdir())) == len(every) + 1


def test_generator_version_changes_the_file(cache_dir, monkeypatch):
    saccade.load(None, subset=[3])
    monkeypatch.setattr(saccade, "GENERATOR_VERSION", 10**6)
    saccade.load(None, subset=[3])
    assert len(list(cache_dir.iterdir())) == 2


DAMAGES = {
    "flip": lambda whole: whole[:300] + bytes([whole[300] ^ 1]) + whole[301:],
    "truncate": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "foreign": lambda whole: b"something else",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["data.npy", "meta.json"])
def test_damaged_file_is_generated_again_with_a_warning(cache_dir, caplog, damage, file):
    build = Builder()
    cache.cached("set", KEY, build)
    path = cache_dir / f"set-{KEY}" / file
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        again = cache.cached("set", KEY, build)
    assert build.calls == 2
    assert "damaged" in caplog.text
    assert "made again" in caplog.text
    np.testing.assert_array_equal(again["data"], np.arange(5000))
    assert path.read_bytes() == whole
    cache.cached("set", KEY, build)
    assert build.calls == 2
    assert len(list(cache_dir.iterdir())) == 1


def test_other_data_under_the_same_size_is_found_by_its_checksum(cache_dir, caplog):
    build = Builder()
    cache.cached("set", KEY, build)
    np.save(cache_dir / f"set-{KEY}" / "data.npy", np.zeros(5000, np.int64))
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        again = cache.cached("set", KEY, build)
    assert "the checksum of data.npy does not fit" in caplog.text
    np.testing.assert_array_equal(again["data"], np.arange(5000))


def test_checksums_are_computed_only_after_a_change(cache_dir, monkeypatch):
    """The cheap rule: the same size and time of change as when the sums were last right."""
    build, summed = Builder(), []
    cache.cached("set", KEY, build)
    real = cache._sha256
    monkeypatch.setattr(cache, "_sha256", lambda path: summed.append(path.name) or real(path))
    cache.cached("set", KEY, build)
    assert summed == []
    os.utime(cache_dir / f"set-{KEY}" / "data.npy")
    for _ in range(2):  # the second time the new time of change is known
        cache.cached("set", KEY, build)
        assert sorted(summed) == ["data.npy", "flags.npy", "nothing.npy"]
    assert build.calls == 1


def test_a_missing_file_is_made_again(cache_dir, caplog):
    build = Builder()
    cache.cached("set", KEY, build)
    (cache_dir / f"set-{KEY}" / "flags.npy").unlink()
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        assert cache.cached("set", KEY, build)["flags"].tolist() == [True, False]
    assert build.calls == 2


def test_arrays_outlive_the_removal_of_their_entry(cache_dir):
    arrays = cache.cached("set", KEY, Builder())
    (cache_dir / f"set-{KEY}" / "meta.json").write_text("{}")
    cache.cached("set", KEY, Builder())
    np.testing.assert_array_equal(arrays["data"], np.arange(5000))


def test_many_processes_at_once_build_once(cache_dir, tmp_path):
    code = """
import sys, time
from pathlib import Path
import numpy as np
from neuroaccel.datasets import cache
log, go = Path(sys.argv[1]), Path(sys.argv[2])
def build():
    with log.open("a") as file:
        file.write("built\\n")
    time.sleep(0.3)
    return {"data": np.arange(100_000)}
while not go.exists():
    time.sleep(0.005)
print(int(cache.cached("set", cache.cache_key(1, {}), build)["data"].sum()))
"""
    log, go = tmp_path / "log", tmp_path / "go"
    processes = [child(code, log, go) for _ in range(4)]
    go.touch()
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert said == [f"{sum(range(100_000))}\n"] * 4
    assert log.read_text() == "built\n"
    assert [path.name for path in cache_dir.iterdir()] == [f"set-{cache.cache_key(1, {})}"]


def test_a_killed_builder_leaves_no_entry_and_its_rubbish_goes(cache_dir, tmp_path):
    code = """
import sys, time
from pathlib import Path
import numpy as np
from neuroaccel.datasets import cache
def fill(folder):
    cache.write_array(folder / "data.npy", np.zeros(1000))
    Path(sys.argv[2]).touch()
    time.sleep(600)
cache.make("set", sys.argv[1], fill)
"""
    for number, again in enumerate((KEY, key(5))):  # the next build of the same entry, and that of another one
        marker = tmp_path / f"half{number}"
        process = child(code, KEY, marker)
        wait_for(marker)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        assert any(path.name.endswith(".building") for path in cache_dir.iterdir())
        assert cache.open_entry("set", KEY) is None
        assert cache.entries() == []
        made = cache.cached("set", again, Builder())
        np.testing.assert_array_equal(made["data"], np.arange(5000))
        assert [path.name for path in cache_dir.iterdir()] == [f"set-{again}"]
        del made
        assert cache.remove(cache.entries()[0])


def test_a_waiting_process_builds_when_the_builder_is_killed(cache_dir, tmp_path):
    code = """
import sys, time
from pathlib import Path
from neuroaccel.datasets import cache
def build():
    Path(sys.argv[2]).touch()
    time.sleep(600)
cache.cached("set", sys.argv[1], build)
"""
    first = child(code, KEY, tmp_path / "first")
    wait_for(tmp_path / "first")
    second = child(code, KEY, tmp_path / "second")
    time.sleep(0.2)
    assert not (tmp_path / "second").exists()
    first.kill()
    wait_for(tmp_path / "second")
    second.kill()
    for process in (first, second):
        process.communicate(timeout=60)


def test_what_is_in_the_making_is_left_alone(cache_dir, tmp_path):
    inside = []

    def fill(folder):
        cache.write_array(folder / "data.npy", np.zeros(10))
        inside.append(cache.sweep())
        cache.cached("other", key(1), sized(1))
        assert (folder / "data.npy").exists()
        return {"note": [1, "two"]}

    entry = cache.make("set", KEY, fill)
    assert inside == [0]
    assert entry.extra == {"note": [1, "two"]}
    assert sorted(path.name for path in cache_dir.iterdir()) == [f"other-{key(1)}", f"set-{KEY}"]


def test_left_overs_and_entries_of_older_versions_are_swept(cache_dir):
    (cache_dir / f"set-{KEY}.npz").write_bytes(b"x" * 1000)
    (cache_dir / f".set-{KEY}.abc.removed").mkdir()
    (cache_dir / f".set-{KEY}.abc.removed" / "data.npy").write_bytes(b"x" * 500)
    (cache_dir / "kernels").mkdir()
    (cache_dir / "notes.txt").write_text("mine")
    assert cache.sweep() == 1500
    assert sorted(path.name for path in cache_dir.iterdir()) == ["kernels", "notes.txt"]


def test_the_least_recently_used_entries_go_first(cache_dir, monkeypatch):
    for number in range(3):
        cache.cached("set", key(number), sized(100))
        os.utime(cache_dir / f"set-{key(number)}" / "meta.json", (number + 1, number + 1))
    cache.cached("set", key(0), sized(100))  # used again: now the newest
    monkeypatch.setenv("NEUROACCEL_CACHE_LIMIT", "310K")
    cache.cached("set", key(3), sized(100))
    assert {entry.key for entry in cache.entries()} == {key(0), key(2), key(3)}
    monkeypatch.setenv("NEUROACCEL_CACHE_LIMIT", "250K")
    cache.cached("set", key(4), sized(100))
    left = {entry.key for entry in cache.entries()}
    assert len(left) == 2
    assert key(4) in left
    assert key(2) not in left


def test_an_entry_in_use_is_never_evicted(cache_dir, monkeypatch, caplog):
    used = cache.cached("set", key(0), sized(100))["data"][10:]
    os.utime(cache_dir / f"set-{key(0)}" / "meta.json", (1, 1))
    monkeypatch.setenv("NEUROACCEL_CACHE_LIMIT", "1K")
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        made = cache.cached("set", key(1), sized(100))
    assert "more than NEUROACCEL_CACHE_LIMIT allows" in caplog.text
    assert len(cache.entries()) == 2
    assert not cache.remove(cache.entries()[0])
    assert used.sum() == made["data"].sum() == 0
    del used
    assert [entry.key for entry in cache.evict(1000)] == [key(0)]


def test_an_entry_that_another_process_uses_is_not_removed(cache_dir, tmp_path):
    cache.cached("set", KEY, Builder())
    code = """
import sys, time
from pathlib import Path
from neuroaccel.datasets import cache
arrays = cache.open_entry("set", sys.argv[1]).arrays
Path(sys.argv[2]).touch()
time.sleep(600)
"""
    process = child(code, KEY, tmp_path / "open")
    wait_for(tmp_path / "open")
    (entry,) = cache.entries()
    assert not cache.remove(entry)
    process.kill()  # its lock goes with it
    process.communicate(timeout=60)
    assert cache.remove(entry)
    assert not list(cache_dir.iterdir())


@pytest.mark.parametrize(
    ("text", "size"),
    [("", None), ("500", 500), ("1.5k", 1500), ("20G", 20 * 10**9), ("2Gi", 2**31), ("3 MB", 3 * 10**6)],
)
def test_size_limit(monkeypatch, text, size):
    monkeypatch.setenv("NEUROACCEL_CACHE_LIMIT", text)
    assert cache.size_limit() == size


@pytest.mark.parametrize("text", ["big", "-1", "1X", "1e9", "I"])
def test_a_limit_that_is_none_is_refused_before_anything_is_made(cache_dir, monkeypatch, text):
    monkeypatch.setenv("NEUROACCEL_CACHE_LIMIT", text)
    build = Builder()
    with pytest.raises(InputError, match="NEUROACCEL_CACHE_LIMIT"):
        cache.cached("set", KEY, build)
    assert build.calls == 0


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_only_time_and_leaves_nothing(cache_dir, monkeypatch, caplog):
    monkeypatch.setattr(np.lib.format, "write_array", full)
    build = Builder()
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        made = cache.cached("set", KEY, build)
    np.testing.assert_array_equal(made["data"], np.arange(5000))
    assert build.calls == 1
    for words in ("No space left on device", "MB free", "neuroaccel data clear"):
        assert words in caplog.text
    assert not list(cache_dir.iterdir())


@pytest.mark.parametrize("step", ["_write_json", "_move_away"])
def test_a_disk_that_fills_up_at_the_last_step_leaves_nothing(cache_dir, monkeypatch, step):
    monkeypatch.setattr(cache, step, full)
    with pytest.raises(CacheError, match="No space left"):
        cache.make("set", KEY, lambda folder: {})
    assert not list(cache_dir.iterdir())


def test_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROACCEL_CACHE", str(tmp_path / "file" / "cache"))
    build = Builder()
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        made = cache.cached("set", KEY, build)
    assert len(made["data"]) == 5000
    assert build.calls == 1
    assert "cannot be written" in caplog.text


def test_an_entry_on_a_read_only_disk_is_read(cache_dir, monkeypatch):
    build = Builder()
    cache.cached("set", KEY, build)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    (cache_dir / f"set-{KEY}" / "stamp.json").unlink()
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(cache, "_write_json", refuse)
    assert len(cache.cached("set", KEY, build)["data"]) == 5000
    assert build.calls == 1


def test_objects_are_refused(cache_dir, caplog):
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        made = cache.cached("set", KEY, lambda: {"data": np.array([{}], object)})
    assert made["data"][0] == {}
    assert "cannot be cached" in caplog.text
    assert not list(cache_dir.iterdir())


def test_meta_says_what_the_entry_holds(cache_dir):
    cache.cached("set", KEY, Builder())
    meta = json.loads((cache_dir / f"set-{KEY}" / "meta.json").read_text())
    assert (meta["kind"], meta["name"], meta["key"]) == ("neuroaccel-cache", "set", KEY)
    assert meta["arrays"]["nothing"]["shape"] == [0, 3]
    (entry,) = cache.entries()
    assert entry.bytes == sum(file.stat().st_size for file in (cache_dir / f"set-{KEY}").iterdir())
    assert abs(entry.last_used - time.time()) < 600


def test_failed_generation_leaves_nothing(cache_dir):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached("set", KEY, fail)
    assert not list(cache_dir.iterdir())


@pytest.mark.parametrize(("name", "key"), [("../set", KEY), ("set", "../key"), ("", KEY)])
def test_names_cannot_leave_the_folder(cache_dir, name, key):
    with pytest.raises(FileFormatError, match="expected a plain name"):
        cache.cached(name, key, Builder())


def test_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("NEUROACCEL_CACHE", "/somewhere/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/xdg")
    assert cache.cache_dir() == Path("/somewhere/own")
    monkeypatch.delenv("NEUROACCEL_CACHE")
    assert cache.cache_dir() == Path("/somewhere/xdg/neuroaccel")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG rules: ignored unless absolute
    assert cache.cache_dir() == Path.home() / ".cache" / "neuroaccel"
