"""A small trained run, a model file of a network that nobody trained, and a recording that fits it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.graph import Flatten, Input, Linear, Output, Readout, WeightGrid, chain, save_graph
from neuroaccel.program import LIF
from tests.cli.calling import Done, call, stream
from tests.graphs.parts import neuron

TINY = ["train.epochs=1", "data.train_samples=64", "layers.0.channels=2", "layers.4.channels=2"]


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
    graph = chain(
        {
            "x": Input((2, 3, 3)),
            "flat": Flatten(),
            "w": Linear(weight, grid=WeightGrid(6)),
            "n": neuron(LIF(beta=0.875), 4),
            "count": Readout(),
            "y": Output(),
        },
        dt=0.01,
    )
    monkeypatch.chdir(tmp_path)
    return save_graph(graph, tmp_path / "own.safetensors")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A recording that fits ``model``."""
    return stream().save(tmp_path / "events.npz")
