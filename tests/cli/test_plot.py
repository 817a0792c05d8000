"""neuroaccel plot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.cli.calling import assert_refused, call, files_in
from tests.cli.conftest import TINY


def test_every_picture_is_a_png_with_something_in_it(runs: Path) -> None:
    said = call("plot", "tiny", "--json").json
    names = {Path(file).name for file in said["files"]}
    assert names == {"raster.png", "membranes.png", "loss.png", "spikes.png"}
    for file in said["files"]:
        assert imread(file).std() > 0
    assert {path.name for path in (runs / "tiny" / "plots").iterdir()} == names


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A folder of runs with the pruned run `sparse`, three epochs of a dendritic network."""
    runs = tmp_path_factory.mktemp("pruned")
    changes = ["train.epochs=3", *TINY[1:], "data.ticks=6", "data.dt=0.05", "layers.0.kind=dendritic_conv2d"]
    changes += ["pruning={ target = 0.2, every = 1 }"]
    words = [word for change in changes for word in ("--set", change)]
    done = call("train", "saccade-digits", "--name", "sparse", "--runs", runs, "--json", *words)
    assert done.code == 0, done.err
    return runs


def test_a_pruned_run_shows_its_connectivity_too(pruned: Path, tmp_path: Path) -> None:
    of_pruning = {"connectivity.png", "accuracy.png", "transfer.png"}
    said = call("plot", "sparse", "--runs", pruned, "--json").json
    names = {Path(file).name for file in said["files"]}
    assert names == {"raster.png", "membranes.png", "loss.png", "spikes.png"} | of_pruning
    alone = call("plot", "sparse", "--runs", pruned, "--what", "pruning", "--out", tmp_path / "alone", "--json").json
    assert {Path(file).name for file in alone["files"]} == of_pruning
    for file in alone["files"]:
        assert imread(file).std() > 0
        assert Path(file).read_bytes() == (pruned / "sparse" / "plots" / Path(file).name).read_bytes()


def test_what_a_pruned_run_has_not_logged_is_left_out(pruned: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(pruned, copy)
    (copy / "sparse" / "transfer.jsonl").unlink()
    said = call("plot", "sparse", "--runs", copy, "--what", "pruning", "--json").json
    assert {Path(file).name for file in said["files"]} == {"connectivity.png", "accuracy.png"}
    (copy / "sparse" / "transfer.jsonl").write_text('{"epoch": 0, "layers": [{"node": "a"}]}\n')
    assert_refused(call("plot", "sparse", "--runs", copy, "--what", "pruning"), "transfer.jsonl: damaged", "living_w")
    (copy / "sparse" / "transfer.jsonl").write_text('{"epoch": 0}\n')
    assert_refused(call("plot", "sparse", "--runs", copy, "--what", "pruning"), "transfer.jsonl: damaged", "record 0")
    (copy / "sparse" / "metrics.jsonl").unlink()
    assert_refused(call("plot", "sparse", "--runs", copy, "--what", "pruning"), "epoch")


def test_a_run_without_pruning_has_no_such_picture(runs: Path) -> None:
    before = files_in(runs)
    assert_refused(call("plot", "tiny", "--what", "pruning"), "tiny", "without pruning")
    assert files_in(runs) == before


def test_one_picture_of_one_sample_elsewhere(runs: Path) -> None:
    first = call("plot", "tiny", "--what", "raster", "--out", "first")
    other = call("plot", "tiny", "--what", "raster", "--sample", "20", "--out", "other")
    assert (first.out, other.out) == ("first/raster.png\n", "other/raster.png\n")
    assert Path("first/raster.png").read_bytes() != Path("other/raster.png").read_bytes()


def test_the_loss_of_a_run_that_has_not_finished(runs: Path) -> None:
    (runs / "tiny" / "model.safetensors").unlink()
    assert call("plot", "tiny", "--what", "loss").code == 0
    assert_refused(call("plot", "tiny", "--what", "raster"), "not finished")
    (runs / "tiny" / "metrics.jsonl").unlink()
    assert_refused(call("plot", "tiny", "--what", "loss"), "epoch")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--what", "portrait"], "portrait"), (["--sample", "100000"], "100001"), (["--out", "file"], "file")],
    ids=["picture", "sample", "folder"],
)
def test_mistakes_are_refused_and_write_nothing(arguments: list[str], word: str, runs: Path) -> None:
    Path("file").write_text("in the way")
    before = files_in(runs.parent)
    assert_refused(call("plot", "tiny", *arguments), word)
    assert files_in(runs.parent) == before
