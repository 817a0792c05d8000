"""neuroaccel inspect."""

from __future__ import annotations

from pathlib import Path

from neuroaccel.graph import load_graph, sha256
from neuroaccel.graph.show import show
from tests.cli.calling import call


def test_it_shows_the_graph(model: Path) -> None:
    done = call("inspect", model)
    assert (done.code, done.out.rstrip("\n")) == (0, show(load_graph(model)))


def test_its_json_describes_every_node(model: Path) -> None:
    said = call("inspect", model, "--json").json
    assert [row["name"] for row in said["nodes"]] == ["x", "flat", "w", "n", "count", "y"]
    assert said["sha256"] == sha256(load_graph(model))


def test_a_run_may_be_named(runs: Path) -> None:
    assert call("inspect", "tiny").out == call("inspect", runs / "tiny" / "model.safetensors").out != ""
