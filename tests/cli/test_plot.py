"""neuroaccel plot."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.cli.calling import assert_refused, call, files_in


def test_every_picture_is_a_png_with_something_in_it(runs: Path) -> None:
    said = call("plot", "tiny", "--json").json
    names = {Path(file).name for file in said["files"]}
    assert names == {"raster.png", "membranes.png", "loss.png", "spikes.png"}
    for file in said["files"]:
        assert imread(file).std() > 0
    assert {path.name for path in (runs / "tiny" / "plots").iterdir()} == names


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
