"""The cache: hit, miss, a key that sees every parameter, and recovery from damage."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import cache, saccade
from neuroaccel.datasets.dvs import PixelArray
from neuroaccel.datasets.saccade import SaccadeDigits
from neuroaccel.engine.npz import write_npz
from neuroaccel.errors import FileFormatError

KEY = cache.cache_key(1, {"a": 1})


class Builder:
    """Counts how often it generates."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"data": np.arange(5000), "flags": np.array([True, False]), "nothing": np.empty((0, 3), np.float32)}


def test_second_time_is_read(cache_dir):
    build = Builder()
    first, second = (cache.cached("set", KEY, build) for _ in range(2))
    assert build.calls == 1
    assert set(first) == set(second) == {"data", "flags", "nothing"}
    for name, array in first.items():
        assert second[name].dtype == array.dtype
        np.testing.assert_array_equal(second[name], array)
    assert [entry.name for entry in cache_dir.iterdir()] == [f"set-{KEY}.npz"]
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


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign"])
def test_damaged_file_is_generated_again_with_a_warning(cache_dir, caplog, damage):
    build = Builder()
    cache.cached("set", KEY, build)
    (path,) = cache_dir.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "truncate": whole[:middle],
        "empty": b"",
        "foreign": b"something else",
    }
    path.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        again = cache.cached("set", KEY, build)
    assert build.calls == 2
    assert "generating it again" in caplog.text
    np.testing.assert_array_equal(again["data"], np.arange(5000))
    assert path.read_bytes() == whole or len(path.read_bytes()) == len(whole)
    cache.cached("set", KEY, build)
    assert build.calls == 2


def test_checksum_catches_a_well_formed_file_with_other_data(cache_dir, caplog):
    build = Builder()
    cache.cached("set", KEY, build)
    (path,) = cache_dir.iterdir()
    with np.load(path) as archive:
        checksum = archive["checksum"]
    write_npz(path, cache.FILE_KIND, cache.FILE_VERSION, {**build(), "data": np.zeros(5000), "checksum": checksum})
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        again = cache.cached("set", KEY, build)
    assert "the checksum does not fit" in caplog.text
    np.testing.assert_array_equal(again["data"], np.arange(5000))


def test_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROACCEL_CACHE", str(tmp_path / "file" / "cache"))
    build = Builder()
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        made = cache.cached("set", KEY, build)
    assert len(made["data"]) == 5000
    assert "cannot be written" in caplog.text


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
