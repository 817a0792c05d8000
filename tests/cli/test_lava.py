"""neuroaccel lava run | setup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.graph import load_graph
from neuroaccel.hardware.lava import find_environment
from tests.cli.calling import assert_refused, call, files_in, stream


def test_a_bundle_sends_the_spikes_of_the_engine(model: Path, events: Path) -> None:
    assert call("export", model, "--to", "lava", "--out", "bundle").code == 0
    done = call("lava", "run", "bundle", "--input", events, "--out", "trace.npz", "--timeout", "120", "--json")
    assert done.code == 0, done.err
    expected = engine.run(load_graph(model), stream().to_dense(np.float32)[:, None], record=True).trace
    assert (done.json["model"], done.json["ticks"]) == ("float", 6)
    assert done.json["spikes"] == {"n": int(np.count_nonzero(expected.spikes["n"]))} != {"n": 0}
    with np.load("trace.npz", allow_pickle=False) as stored:
        assert np.array_equal(stored["spikes/n"], expected.spikes["n"])
        assert np.array_equal(stored["outputs/y"], expected.outputs["y"])


def test_a_model_file_runs_in_fixed_point(model: Path, events: Path) -> None:
    done = call("lava", "run", model, "--input", events, "--model", "fixed", "--timeout", "120")
    assert done.code == 0, done.err
    assert "in Lava (fixed), 6 ticks" in done.out
    assert sorted(path.name for path in model.parent.iterdir()) == ["events.npz", "own.safetensors"]


def test_mistakes_are_refused(model: Path, events: Path) -> None:
    assert call("export", model, "--to", "lava", "--out", "bundle").code == 0
    other = stream((2, 4, 4)).save(model.with_name("other.npz"))
    before = files_in(model.parent)
    for arguments, words in [
        (("bundle", "--input", events, "--model", "fixed"), ["float bundle", "export"]),
        (("bundle", "--input", other), ["(2, 4, 4)", "(2, 3, 3)"]),
        (("bundle", "--input", "missing.npz"), ["missing.npz"]),
        (("bundle", "--input", events, "--out", "no/such/t.npz"), ["no/such"]),
        (("nothing", "--input", events), ["nothing"]),
        (("bundle",), ["--input"]),
    ]:
        assert_refused(call("lava", "run", *arguments), *words)
    assert files_in(model.parent) == before


def test_without_lava_it_says_how_to_get_it(model: Path, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROACCEL_LAVA_PYTHON", "/nowhere/python")
    assert_refused(call("lava", "run", model, "--input", events), "NEUROACCEL_LAVA_PYTHON", code=1)


def test_setup_keeps_an_environment_that_works() -> None:
    python = find_environment()
    said = call("lava", "setup", "--folder", python.parent.parent, "--json").json
    assert said == {"python": str(python)}
