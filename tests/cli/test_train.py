"""neuroaccel train: what it makes, and what it refuses before it makes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.graph import load_graph
from neuroaccel.training.runs import Run
from tests.cli.calling import Done, assert_refused, call, files_in


def test_train_makes_a_finished_run_and_says_so(trained_once: tuple[Path, Done]) -> None:
    folder, said = trained_once[0] / "tiny", trained_once[1].json
    assert (said["run"], said["task"], said["folder"]) == ("tiny", "saccade-digits", str(folder))
    for key in ("accuracy_float", "accuracy_snapped", "accuracy_linear_on_summed_frame"):
        assert 0 < said[key] <= 1
    run = Run(folder)
    assert run.finished
    assert run.recipe().seed == 3
    assert (run.recipe().train.epochs, run.recipe().layers[0]["channels"]) == (1, 2)
    assert load_graph(run.model_file).validate().outputs


def test_a_finished_run_is_refused_without_overwrite(runs: Path) -> None:
    before = files_in(runs)
    assert_refused(call("train", "saccade-digits", "--name", "tiny"), "tiny", "--overwrite")
    assert files_in(runs) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], ["unknown recipe 'nope'", "saccade-digits"]),
        (["saccade-digits", "--set", "train.epoch=3"], ["train.epoch"]),
        (["saccade-digits", "--set", "train.epochs=few"], ["train.epochs", "few"]),
        (["saccade-digits", "--set", "train.epochs"], ["key=value"]),
        (["saccade-digits", "--set", "layers.99.kind=lif"], ["layers.99.kind"]),
        (["saccade-digits", "--set", "layers.0.kind=abacus"], ["layers[0]", "abacus", "conv2d"]),
        (["saccade-digits", "--set", "layers.0.kernel=99"], ["layers[0]", "conv2d"]),
        (["saccade-digits", "--set", "data.name=abacus"], ["abacus", "saccade-digits"]),
        (["saccade-digits", "--name", "../elsewhere"], ["../elsewhere"]),
        (["saccade-digits", "--name", ""], ["name a run"]),
        (["saccade-digits", "--config", "x.toml"], ["either"]),
        ([], ["either", "recipes list"]),
        (["--config", "missing.toml"], ["missing.toml"]),
        (["--config", "notes.txt"], ["notes.txt", ".toml"]),
        (["--config", "broken.toml"], ["broken.toml", "TOML"]),
        (["saccade-digits", "--device", "abacus"], ["abacus", "cpu"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("a recipe?")
    (tmp_path / "broken.toml").write_text("name = ")
    before = files_in(tmp_path)
    assert_refused(call("train", *arguments), *words)
    assert files_in(tmp_path) == before


def test_overwriting_with_a_recipe_that_cannot_be_built_keeps_the_run(runs: Path) -> None:
    before = files_in(runs)
    arguments = ("train", "saccade-digits", "--name", "tiny", "--overwrite")
    assert_refused(call(*arguments, "--set", "layers.0.kind=abacus"), "abacus")
    assert files_in(runs) == before


def test_an_interrupt_of_lightning_is_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: object, **__: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("neuroaccel.training.run.train", leave)
    assert_refused(call("train", "saccade-digits", "--runs", tmp_path), "interrupted", code=130)
