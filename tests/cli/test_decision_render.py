"""`neuroaccel decision render`: an episode of a run as a GIF."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.calling import assert_refused, call, files_in
from tests.decision.runs import run_of, untrained


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for model in ("dt", "snn-dt"):
        run_of(untrained(model), folder / model)
    run_of(untrained(env_id="Nothing-v9"), folder / "nowhere")
    return folder


def pictures(content: bytes) -> int:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "GIF"
        return int(getattr(image, "n_frames", 1))


def test_a_spiking_run_is_drawn_with_its_spikes(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "episode.gif"
    options = ("--out", out, "--target", "25", "--seed", "1", "--steps", "6", "--runs", runs)
    found = call("decision", "render", "snn-dt", *options, "--json").json
    assert (found["run"], found["env"], found["executor"], found["seed"]) == ("snn-dt", "CartPole-v1", "engine", 1)
    assert (found["target"], found["decisions"], found["return"], found["terminated"]) == (25, 6, 6, False)
    assert found["spikes_per_decision"] > 0
    assert found["file"] == str(out)
    content = out.read_bytes()
    assert (pictures(content), len(content)) == (6, found["bytes"])
    assert [path.name for path in tmp_path.iterdir()] == ["episode.gif"]
    call("decision", "render", "snn-dt", *options)
    assert out.read_bytes() == content
    text = call("decision", "render", "snn-dt", *options).out
    assert "spikes per decision" in text
    assert str(out) in text


def test_a_dense_run_is_drawn_as_frames_only_and_says_so(runs: Path) -> None:
    done = call("decision", "render", "dt", "--steps", "4", "--runs", runs)
    assert (done.code, done.err) == (0, "")
    assert "no spikes: a dense model, frames only" in done.out
    written = runs / "dt" / "plots" / "episode.gif"
    assert str(written) in done.out
    assert pictures(written.read_bytes()) == 4
    found = call("decision", "render", "dt", "--steps", "4", "--runs", runs, "--json").json
    assert (found["executor"], found["spikes_per_decision"], found["target"]) == ("module", None, 30)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), ["nobody", "snn-dt"]),
        (("nowhere",), ["Nothing-v9", "cannot be made"]),
        (("dt", "--out", "episode.png"), ["episode.png", ".gif"]),
        (("dt", "--out", "no/such/episode.gif"), ["no folder"]),
        (("dt", "--steps", "0"), ["--steps"]),
        (("dt", "--target", "nan"), ["target"]),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(
    runs: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    before = files_in(runs)
    assert_refused(call("decision", "render", *arguments, "--runs", runs), *words)
    assert files_in(runs) == before


def test_without_pygame_the_extra_is_named(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    done = call("decision", "render", "dt", "--out", tmp_path / "e.gif", "--runs", runs)
    assert_refused(done, "CartPole", "neuroaccel[gym]")
    assert list(tmp_path.iterdir()) == []
