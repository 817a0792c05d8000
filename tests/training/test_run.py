"""Runs: trained, resumed, refused; what a finished one holds; evaluation in two executors."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from neuroaccel.errors import FileFormatError, InputError, RecipeError
from neuroaccel.graph import infer, load_graph
from neuroaccel.training.evaluate import evaluate, inputs
from neuroaccel.training.recipe import Recipe, load_recipe
from neuroaccel.training.run import train
from neuroaccel.training.runs import MODEL, Run, open_run, recipe_of, resolve_model

QUICK = ["train.epochs=2", "data.train_samples=96", "layers.0.channels=4", "layers.4.channels=4", "data.ticks=6"]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("saccade-digits", [*QUICK, "data.dt=0.05"])


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(recipe, tmp_path_factory.mktemp("runs") / "quick", progress=False)


def test_a_finished_run_holds_recipe_metrics_checkpoint_summary_and_model(finished: Run, recipe: Recipe) -> None:
    assert finished.finished
    assert finished.recipe() == recipe
    assert [m["epoch"] for m in finished.metrics()] == [0, 1]
    assert finished.metrics()[1]["train_loss"] < finished.metrics()[0]["train_loss"]
    summary = finished.summary()
    assert {"accuracy_float", "accuracy_snapped", "accuracy_linear_on_summed_frame"} <= set(summary)
    graph = finished.graph()
    assert graph.dt == 0.05
    assert all(s.exact for s in infer(graph).values())
    assert not list(finished.folder.glob(".*"))


def test_snapped_accuracy_is_measured_on_the_written_model_in_both_executors(finished: Run, recipe: Recipe) -> None:
    graph = load_graph(finished.folder / MODEL)
    in_torch = evaluate(graph, recipe)
    in_engine = evaluate(graph, recipe, executor="engine")
    assert in_torch.accuracy == in_engine.accuracy == finished.summary()["accuracy_snapped"]
    assert in_torch.loss == pytest.approx(in_engine.loss, abs=1e-6)
    assert in_torch.samples == 359


def test_checkpoints_hold_plain_types_only(finished: Run) -> None:
    state = torch.load(finished.folder / "last.ckpt", weights_only=True)
    assert state["epoch"] == 1


def test_a_finished_run_is_refused_without_overwrite_and_left_alone(finished: Run, recipe: Recipe) -> None:
    before = (finished.folder / MODEL).read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        train(recipe, finished.folder, progress=False)
    assert (finished.folder / MODEL).read_bytes() == before


def test_an_unfinished_run_goes_on_where_it_stopped(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neuroaccel.training import run as run_module

    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 3})})
    record = run_module._Record.on_train_epoch_end

    def stop_after_the_second(self, trainer, module):  # type: ignore[no-untyped-def]
        record(self, trainer, module)
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module._Record, "on_train_epoch_end", stop_after_the_second)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(longer, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    cut = Run(tmp_path / "cut")
    assert not cut.finished
    with pytest.raises(InputError, match="has not finished"):
        cut.graph()
    first = json.dumps(cut.metrics()[:2])
    with pytest.raises(InputError, match="another recipe"):
        train(recipe, cut.folder, progress=False)
    done = train(longer, cut.folder, progress=False)
    assert done.finished
    assert [m["epoch"] for m in done.metrics()] == [0, 1, 2]
    assert json.dumps(done.metrics()[:2]) == first


def test_a_damaged_checkpoint_is_named(recipe: Recipe, finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "recipe.toml").write_bytes((finished.folder / "recipe.toml").read_bytes())
    (folder / "last.ckpt").write_bytes((finished.folder / "last.ckpt").read_bytes()[:500])
    with pytest.raises(FileFormatError, match=r"last\.ckpt"):
        train(recipe, folder, progress=False)


def test_overwrite_never_empties_a_folder_that_is_no_run(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a run"):
        train(recipe, tmp_path, overwrite=True, progress=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_runs_are_found_by_name_folder_file_and_age(finished: Run, tmp_path: Path) -> None:
    root = finished.folder.parent
    assert open_run("quick", root).folder == finished.folder
    assert open_run(finished.folder).folder == finished.folder
    assert open_run(None, root).folder == finished.folder
    graph, run = resolve_model(finished.model_file)
    assert run is not None
    assert graph.nodes.keys() == finished.graph().nodes.keys()
    with pytest.raises(InputError, match=r"'none'.*quick"):
        open_run("none", root)
    with pytest.raises(InputError, match="no finished run"):
        open_run(None, tmp_path)


def test_the_model_file_alone_says_what_it_was_trained_on(finished: Run, recipe: Recipe, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(finished.model_file.read_bytes())
    graph, run = resolve_model(copy)
    assert run is None
    assert recipe_of(graph, "elsewhere") == recipe
    with pytest.raises(InputError, match="bare carries no recipe"):
        recipe_of(replace(graph, metadata={}), "bare")


def test_inputs_are_the_first_samples_of_a_split(recipe: Recipe) -> None:
    x, labels = inputs(recipe, "test", 5)
    assert x.shape == (6, 5, 2, 34, 34)
    assert len(labels) == 5
    with pytest.raises(InputError, match="359"):
        inputs(recipe, "test", 1000)


def test_a_device_that_is_not_there_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tpu"):
        train(recipe, tmp_path / "x", device="tpu", progress=False)


def test_count_binning_trains_and_lowers_to_a_count_edge(tmp_path: Path) -> None:
    options = [*QUICK, "data.dt=0.05", "train.epochs=1", "data.train_samples=32", "data.binning=count"]
    with pytest.raises(RecipeError, match="maximum"):
        load_recipe("saccade-digits", options)
    with pytest.raises(InputError, match=r"counts up to \d+, data.maximum is 1"):
        train(load_recipe("saccade-digits", [*options, "data.maximum=1"]), tmp_path / "small", progress=False)
    assert not (tmp_path / "small").exists()
    run = train(load_recipe("saccade-digits", [*options, "data.maximum=64"]), tmp_path / "counts", progress=False)
    signals = infer(run.graph())
    assert signals["input"].kind == "count"
    assert signals["conv2d_1"].exact


def test_damaged_files_of_a_run_are_named(finished: Run, recipe: Recipe, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "damaged"))
    (run.folder / "metrics.jsonl").write_text('{"epoch": 0}\n{"epo')
    (run.folder / "summary.json").write_text("[]")
    for read, name in ((run.metrics, "metrics.jsonl"), (run.summary, "summary.json")):
        with pytest.raises(FileFormatError, match=f"{name}: damaged"):
            read()
    run.model_file.unlink()
    (run.folder / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(FileFormatError, match=r"last\.ckpt: damaged checkpoint"):
        train(recipe, run.folder, progress=False)


def test_a_run_where_no_folder_can_be_made(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file/run: cannot be made"):
        train(recipe, tmp_path / "file" / "run", progress=False)


def test_a_run_with_frames_by_count_and_augmentation(tmp_path: Path) -> None:
    changes = ['data.frames={ kind = "count", events = 700 }', 'data.augment=[{ kind = "shift", max_pixels = 1 }]']
    recipe = load_recipe("saccade-digits", [*QUICK, "train.epochs=1", "data.train_samples=32", *changes])
    run = train(recipe, tmp_path / "framed", progress=False)
    assert run.recipe() == recipe
    assert evaluate(run.graph(), recipe).accuracy == run.summary()["accuracy_snapped"]
    x, _ = inputs(recipe, "test", 5)
    assert x.shape == (6, 5, 2, 34, 34)
    assert x[:, 0].sum() > 300  # 6 frames of 700 events each, of which some share a pixel
