"""neuroaccel verify."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.graph import load_graph, save_graph
from neuroaccel.verify import replay
from tests.cli.calling import assert_refused, call, stream


def test_executors_agree_and_the_certificate_can_be_replayed(runs: Path) -> None:
    said = call("verify", "tiny", "--executors", "torch,engine", "--samples", "5", "--json").json
    assert said["ok"] is True
    assert [row["name"] for row in said["executors"]] == ["torch", "engine"]
    for row in said["executors"]:
        assert (row["status"], row["differing"], row["samples"]) == ("ok", 0, 5)
    certificate = json.loads((runs / "tiny" / "certificate.json").read_text())
    assert certificate["input"]["source"]["split"] == "test"
    assert certificate["graph_sha256"] == said["certificate"]["graph_sha256"]


def test_a_recording_of_ones_own_and_a_certificate_elsewhere(model: Path, events: Path) -> None:
    target = model.with_name("proof.json")
    done = call("verify", model, "--input", events, "--executors", "torch,engine", "--certificate", target)
    assert done.code == 0, done.err
    assert done.out.strip().splitlines()[-1] == f"certificate: {target}"
    graph, x = load_graph(model), stream().to_dense(np.float32)[:, None]
    assert replay(target, graph, x) == []
    assert replay(target, graph, 1 - x) != []


def test_nothing_but_the_certificate_is_written(model: Path, events: Path) -> None:
    assert call("verify", model, "--input", events, "--executors", "engine").code == 0
    assert sorted(path.name for path in model.parent.iterdir()) == ["events.npz", "own.safetensors"]


def test_an_artifact_with_one_changed_weight_exits_1(model: Path, events: Path) -> None:
    from dataclasses import replace

    artifact = model.with_name("own.nir")
    assert call("export", model, "--to", "nir").code == 0
    arguments = ("verify", "--input", events, "--executors", "engine", "--artifact", artifact)
    assert call(*arguments, model).code == 0
    graph = load_graph(model)
    weight = graph.nodes["w"].weight.copy()  # type: ignore[attr-defined]
    weight[1, 2] += 2.0**-6
    other = replace(graph, nodes={**graph.nodes, "w": replace(graph.nodes["w"], weight=weight)})  # type: ignore[type-var]
    changed = save_graph(other, model.with_name("changed.safetensors"))
    done = call(*arguments, changed, "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    assert done.json["artifacts"][0]["status"] == "differs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--executors", "torch,abacus"], ["abacus", "lava-float"]),
        (["--executors", ","], ["no name"]),
        (["--artifact", "missing.nir"], ["missing.nir", "export"]),
        (["--certificate", "no/such/proof.json"], ["no/such"]),
        (["--require", "abacus"], ["abacus"]),
    ],
    ids=lambda value: value[0],
)
def test_mistakes_are_refused(arguments: list[str], words: list[str], model: Path, events: Path) -> None:
    assert_refused(call("verify", model, "--input", events, *arguments), *words)


def test_a_required_executor_that_is_not_here_is_a_failure(
    model: Path, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROACCEL_LAVA_PYTHON", "/nowhere/python")
    arguments = ("verify", model, "--input", events, "--executors", "engine,lava-float", "--json")
    said = call(*arguments)
    assert said.code == 0
    assert said.json["executors"][1]["status"] == "unavailable"
    assert said.json["executors"][1]["differing"] is None
    required = call(*arguments, "--require", "lava")
    assert required.code == 1
    assert required.json["ok"] is False
