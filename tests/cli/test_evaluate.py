"""neuroaccel evaluate."""

from __future__ import annotations

import json
from pathlib import Path

from neuroaccel.training.runs import Run
from tests.cli.calling import assert_refused, call


def test_it_measures_the_accuracy_that_training_printed(runs: Path) -> None:
    said = call("evaluate", "--json").json
    summary = Run(runs / "tiny").summary()
    assert list(said) == ["run", "task", "split", "samples", "accuracy", "loss"]
    assert (said["run"], said["task"], said["split"]) == ("tiny", "saccade-digits", "test")
    assert said["samples"] == summary["test_samples"]
    assert said["accuracy"] == summary["accuracy_snapped"]
    assert said["loss"] > 0


def test_executors_and_ways_to_name_the_model_agree(runs: Path) -> None:
    options = ("--split", "validation", "--json")
    torch = call("evaluate", "tiny", *options).json
    engine = call("evaluate", runs / "tiny", "--executor", "engine", *options).json
    file = call("evaluate", runs / "tiny" / "model.safetensors", *options).json
    assert torch == engine == file
    assert torch["split"] == "validation"


def test_a_file_outside_its_run_takes_a_recipe(runs: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((runs / "tiny" / "model.safetensors").read_bytes())
    said = call("evaluate", alone, "--recipe", "saccade-digits", "--split", "validation", "--json").json
    assert said["run"] == str(alone)
    assert said["accuracy"] == call("evaluate", "tiny", "--split", "validation", "--json").json["accuracy"]
    assert_refused(call("evaluate", alone, "--recipe", "nope"), "unknown recipe")


def test_the_text_is_for_people(runs: Path) -> None:
    done = call("evaluate", "tiny", "--split", "validation")
    assert done.code == 0
    assert "accuracy" in done.out
    assert "%" in done.out


def test_the_same_under_neurobench_s_names(runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    said = call("evaluate", "tiny", "--split", "validation", "--neurobench", target, "--json").json
    assert said["neurobench"] == str(target)
    found = json.loads(target.read_text())
    assert found["ClassificationAccuracy"] == said["accuracy"]
    assert found["neuroaccel"]["samples"] == said["samples"]
    operations = found["SynapticOperations"]
    assert 0 < operations["Effective_ACs"] < operations["Dense"]
    assert operations["Effective_MACs"] == 0
    assert found["neuroaccel"]["book"]["synaptic_events"] == operations["Effective_ACs"]
    assert 0 < found["ActivationSparsity"] < 1
    assert found["Footprint"] > 0
    assert_refused(call("evaluate", "tiny", "--neurobench", tmp_path / "no" / "x.json"), "there is no folder")
