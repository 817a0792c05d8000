"""neuroaccel export."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.graph import load_graph, sha256
from neuroaccel.hardware.lava import compare_lava, load_bundle
from neuroaccel.hardware.nir import compare_nir
from tests.cli.calling import assert_refused, call, files_in


def test_nir_goes_into_the_run_and_again(runs: Path) -> None:
    target = runs / "tiny" / "tiny.nir"
    graph = load_graph(runs / "tiny" / "model.safetensors")
    for _ in range(2):
        said = call("export", "tiny", "--to", "nir", "--json").json
        assert (said["run"], said["to"]) == ("tiny", "nir")
        assert Path(said["path"]).resolve() == target
        assert said["sha256"] == sha256(graph)
        assert compare_nir(graph, target) == []


@pytest.mark.parametrize(
    ("options", "folder", "arithmetic"), [([], "lava", "float"), (["--fixed"], "lava-fixed", "fixed")]
)
def test_lava_goes_into_the_run_and_again(options: list[str], folder: str, arithmetic: str, runs: Path) -> None:
    target = runs / "tiny" / folder
    for _ in range(2):
        said = call("export", "tiny", "--to", "lava", *options, "--json").json
        assert said["model"] == arithmetic
        assert load_bundle(target).description["model"] == arithmetic
        assert compare_lava(load_graph(runs / "tiny" / "model.safetensors"), target) == []
    left = {path.name for path in (runs / "tiny").iterdir()}
    assert not any(name.startswith(".") for name in left)


def test_beside_a_model_file_or_where_asked(model: Path) -> None:
    assert call("export", model, "--to", "nir").code == 0
    assert call("export", model, "--to", "lava").code == 0
    assert call("export", model, "--to", "nir", "--out", model.with_name("x.nir")).code == 0
    assert {path.name for path in model.parent.iterdir()} == {"own.safetensors", "own.nir", "own.lava", "x.nir"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "nir", "--fixed"], ["--fixed", "nir"]),
        (["--to", "lava", "--fold-r"], ["--fold-r", "lava"]),
        (["--to", "nir", "--out", "no/such/x.nir"], ["no/such"]),
        (["--to", "nir", "--profile", "abacus"], ["abacus"]),
        (["--to", "tape"], ["tape"]),
    ],
    ids=" ".join,
)
def test_mistakes_are_refused_and_write_nothing(arguments: list[str], words: list[str], model: Path) -> None:
    before = files_in(model.parent)
    assert_refused(call("export", model, *arguments), *words)
    assert files_in(model.parent) == before


def test_a_folder_that_is_no_bundle_is_left_alone(model: Path) -> None:
    mine = model.with_name("mine")
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    assert_refused(call("export", model, "--to", "lava", "--out", mine), "mine")
    assert files_in(mine) == {"letter.txt": b"dear"}
