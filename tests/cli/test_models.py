"""What every command that takes RUN or FILE refuses, and the recordings that it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuroaccel.engine.events import EventStream
from tests.cli.calling import assert_refused, call, files_in, stream

COMMANDS = [["evaluate"], ["energy"], ["verify"], ["export", "--to", "nir"], ["inspect"]]


def spoil(model: Path, how: str) -> Path:
    """A file that is no model, in one of several ways."""
    path = model.with_name(f"{how}.safetensors")
    content = model.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a model at all")
    elif how == "foreign":
        from safetensors.numpy import save_file

        save_file({"weight": np.zeros(3, np.float32)}, path)
    return path


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "text", "foreign"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_file_that_is_no_model_is_refused(command: list[str], how: str, model: Path) -> None:
    path = spoil(model, how)
    before = files_in(model.parent)
    assert_refused(call(*command, path), path.name)
    assert files_in(model.parent) == before


@pytest.mark.parametrize("command", [*COMMANDS, ["plot"]], ids=lambda c: c[0])
def test_an_unknown_run_is_refused_with_the_known_ones(command: list[str], runs: Path) -> None:
    before = files_in(runs)
    assert_refused(call(*command, "nope"), "nope", "tiny")
    assert files_in(runs) == before


@pytest.mark.parametrize("command", [["evaluate"], ["energy"], ["verify"], ["export", "--to", "nir"], ["plot"]])
def test_where_nothing_is_trained_it_says_how(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(call(*command), "neuroaccel train")


def test_an_unfinished_run_is_no_model(runs: Path) -> None:
    (runs / "tiny" / "model.safetensors").unlink()
    assert_refused(call("evaluate", "tiny"), "not finished")


@pytest.mark.parametrize("command", [["evaluate"], ["energy"], ["verify"]], ids=lambda c: c[0])
def test_a_model_file_alone_does_not_say_whose_data(command: list[str], model: Path) -> None:
    assert_refused(call(*command, model), "--recipe")


@pytest.mark.parametrize("command", [["evaluate"], ["energy"], ["verify"]], ids=lambda c: c[0])
def test_data_of_another_shape_is_refused(command: list[str], model: Path) -> None:
    assert_refused(call(*command, model, "--recipe", "saccade-digits"), "(2, 3, 3)", "(2, 34, 34)")


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        (stream((2, 3, 4)), ["(2, 3, 4)", "(2, 3, 3)"]),
        (stream((18,)), ["(18,)", "(2, 3, 3)"]),
        (stream(dt=0.02), ["0.02", "0.01"]),
        (stream(top=3), ["binary"]),
        (stream(ticks=0), ["no ticks"]),
    ],
    ids=["larger sensor", "no sensor", "other ticks", "counts", "no ticks"],
)
@pytest.mark.parametrize("command", [["energy"], ["verify", "--executors", "torch,engine"]], ids=lambda c: c[0])
def test_a_recording_that_does_not_fit_is_refused(
    command: list[str], recording: EventStream, words: list[str], model: Path
) -> None:
    path = recording.save(model.with_name("other.npz"))
    before = files_in(model.parent)
    assert_refused(call(*command, model, "--input", path), "other.npz", *words)
    assert files_in(model.parent) == before


def outside(path: Path) -> None:
    """A file of events of which one lies beside the sensor."""
    good = dict(np.load(path))
    good["index"][0] = 10_000
    np.savez(path, **good)


@pytest.mark.parametrize("how", ["outside", "truncated", "foreign", "missing"])
def test_a_broken_recording_is_refused(how: str, model: Path, events: Path) -> None:
    if how == "outside":
        outside(events)
    elif how == "truncated":
        events.write_bytes(events.read_bytes()[:200])
    elif how == "foreign":
        np.savez(events, a=np.zeros(3))
    else:
        events.unlink()
    words = ["event 0", "address 10000"] if how == "outside" else []
    assert_refused(call("energy", model, "--input", events), "events.npz", *words)
