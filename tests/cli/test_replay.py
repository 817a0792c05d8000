"""neuroaccel replay, and recordings given in time instead of ticks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.datasets import Events
from neuroaccel.graph import load_graph, save_graph
from tests.cli.calling import assert_refused, call


def test_a_run_comes_out_as_certified_and_a_changed_one_does_not(runs: Path) -> None:
    assert call("verify", "tiny", "--executors", "engine", "--samples", "3").code == 0
    certificate = runs / "tiny" / "certificate.json"
    said = call("replay", certificate, "tiny", "--json")
    assert said.code == 0, said.err
    assert said.json == {"ok": True, "certificate": str(certificate), "mismatches": []}
    data = json.loads(certificate.read_text())
    layer = next(iter(data["run"]["layers"].values()))
    layer["spikes"] += 1
    certificate.write_text(json.dumps(data))
    changed = call("replay", certificate, "tiny")
    assert changed.code == 1
    assert "certified are" in changed.out


def test_a_foreign_certificate_is_refused(runs: Path) -> None:
    (runs / "odd.json").write_text("{}")
    assert_refused(call("replay", runs / "odd.json", "tiny"), "odd.json")


def recording(x: list[int], t: list[int]) -> Events:
    count = len(x)
    return Events.from_arrays(x=x, y=[0] * count, t_us=t, p=[True] * count, sensor_size=(3, 3, 2))


def test_events_in_time_are_binned_in_the_networks_ticks(model: Path, tmp_path: Path) -> None:
    path = recording([0, 1, 2], [100, 12_000, 25_000]).save(tmp_path / "raw.npz")
    said = call("energy", model, "--input", path, "--profile", "cmos45", "--json").json
    assert said["input"]["file"] == str(path)
    assert call("verify", model, "--input", path, "--executors", "torch,engine").code == 0


@pytest.mark.parametrize(("x", "t", "message"), [([0, 7], [0, 10], "7"), ([0, 1], [10, 5], "time")])
def test_events_outside_the_sensor_or_back_in_time_are_refused(
    model: Path, tmp_path: Path, x: list[int], t: list[int], message: str
) -> None:
    from neuroaccel.engine.npz import write_npz

    good = np.load(recording([0, 1], [0, 10]).save(tmp_path / "good.npz"))
    arrays = {name: good[name] for name in good.files if name not in ("format", "version")}
    for name, values in (("x", x), ("t", t)):
        if name in arrays:
            arrays[name] = np.array(values, arrays[name].dtype)
        else:
            arrays["data"] = arrays["data"].copy()
            arrays["data"][name] = values
    path = write_npz(tmp_path / "bad.npz", "neuroaccel-events", 1, arrays)
    assert_refused(call("energy", model, "--input", path), message)


def test_events_in_time_need_a_network_with_a_tick(model: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    timeless = save_graph(replace(load_graph(model), dt=None), tmp_path / "timeless.safetensors")
    path = recording([0], [0]).save(tmp_path / "raw.npz")
    assert_refused(call("energy", timeless, "--input", path), "no dt")


def test_a_recording_does_not_overwrite_what_a_run_says_of_itself(runs: Path, tmp_path: Path) -> None:
    assert call("verify", "tiny", "--executors", "engine", "--samples", "2").code == 0
    assert call("energy", "tiny", "--samples", "2").code == 0
    before = {name: (runs / "tiny" / name).read_bytes() for name in ("certificate.json", "energy.json")}
    events = Events.from_arrays(x=[3], y=[4], t_us=[50], p=[False], sensor_size=(34, 34, 2)).save(tmp_path / "one.npz")
    assert call("verify", "tiny", "--executors", "engine", "--input", events).code == 0
    assert call("energy", "tiny", "--input", events).code == 0
    assert {name: (runs / "tiny" / name).read_bytes() for name in before} == before
