"""The command line called in this process, a small trained run, and a model file of a network that nobody trained."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel.cli.main import run
from neuroaccel.engine.events import EventStream
from neuroaccel.graph import Flatten, Input, Linear, Neuron, Output, Readout, WeightGrid, chain, save_graph
from neuroaccel.program import LIF, resolve

TINY = ["train.epochs=1", "data.train_samples=64", "layers.0.channels=2", "layers.4.channels=2"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def call(*arguments: str | Path) -> Done:
    """Run the command line as `neuroaccel ARGUMENTS` would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def assert_refused(done: Done, *words: str, code: int = 2) -> None:
    """One line on standard error that holds the words, nothing on standard output, and this exit code."""
    lines = done.err.strip().splitlines()
    assert done.code == code, done
    assert len(lines) == 1, done.err
    assert lines[0].startswith("neuroaccel: ")
    assert "Traceback" not in done.err
    assert done.out == ""
    for word in words:
        assert word in lines[0]


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too: what must not change when a command is refused."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> tuple[Path, Done]:
    """A folder of runs with the finished run `tiny`, and what training it said."""
    runs = tmp_path_factory.mktemp("runs")
    changes = [word for change in TINY for word in ("--set", change)]
    done = call("train", "saccade-digits", "--name", "tiny", "--runs", runs, "--seed", "3", "--json", *changes)
    assert done.code == 0, done.err
    return runs, done


@pytest.fixture
def runs(trained_once: tuple[Path, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs for one test, which works in the folder above them."""
    copy = tmp_path / "runs"
    shutil.copytree(trained_once[0], copy)
    monkeypatch.chdir(tmp_path)
    return copy


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file that belongs to no run: 2·3·3 binary inputs, 4 neurons, a spike count; the test works beside it."""
    rng = np.random.default_rng(5)
    weight = (rng.integers(-32, 64, size=(4, 18)) / 64).astype(np.float32)
    spec = LIF(beta=0.875)
    parameters = {name: np.float32(value) for name, value in resolve(spec.program, spec.parameters).items()}
    graph = chain(
        {
            "x": Input((2, 3, 3)),
            "flat": Flatten(),
            "w": Linear(weight, grid=WeightGrid(6)),
            "n": Neuron(spec.program, {k: parameters[k] for k in spec.parameters}, (4,)),
            "count": Readout(),
            "y": Output(),
        },
        dt=0.01,
    )
    monkeypatch.chdir(tmp_path)
    return save_graph(graph, tmp_path / "own.safetensors")


def stream(shape: tuple[int, ...] = (2, 3, 3), ticks: int = 6, dt: float = 0.01, top: int = 1) -> EventStream:
    """A dense recording whose events have values from 0 to ``top``."""
    dense = np.random.default_rng(9).integers(0, top + 1, size=(ticks, *shape))
    return EventStream.from_dense(dense, dt, "count" if top > 1 else "binary")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A recording that fits ``model``."""
    return stream().save(tmp_path / "events.npz")
