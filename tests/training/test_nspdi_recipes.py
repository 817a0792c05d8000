"""Recipes with dendritic layers and pruning for published data sets: each trained on its set in miniature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neuroaccel.graph import Dendrite, Linear, infer
from neuroaccel.synapses import Dendritic
from neuroaccel.training.build import build
from neuroaccel.training.evaluate import data_module, evaluate
from neuroaccel.training.recipe import load_recipe, recipe_names, recipe_text
from neuroaccel.training.run import train
from tests.datasets.tonic.miniatures import cifar10_dvs, dvs128_gesture, shd

MINIATURES: dict[str, Callable[[Path], object]] = {
    "cifar10-dvs-nspdi": lambda root: cifar10_dvs(root, classes=2),
    "dvs128-gesture-nspdi": lambda root: dvs128_gesture(root, users=(1, 20), classes=3),
    "shd-nspdi": lambda root: shd(root, per_class=4, classes=4),
}
SMALL = {
    "cifar10-dvs-nspdi": ["data.ticks=3", "data.dt=0.4", *(f"layers.{at}.channels=4" for at in (0, 4, 8, 12))],
    "dvs128-gesture-nspdi": [
        "data.ticks=4",
        "data.dt=0.3",
        *(f"layers.{at}.channels=4" for at in (1, 4, 8)),
        "layers.14.features=16",
    ],
    "shd-nspdi": ["data.ticks=20", "data.dt=0.05", "layers.2.features=12", "layers.6.features=8"],
}
QUICK = ["train.epochs=1", "data.batch_size=8"]
WIDTHS = {  # of the dendritic layers, and what the first of them reads
    "cifar10-dvs-nspdi": ([64, 128, 256, 256, 10], (2, 48, 48), 10),
    "dvs128-gesture-nspdi": ([64, 128, 128, 256, 110], (2, 32, 32), 20),
    "shd-nspdi": ([128, 256, 20], (140,), 100),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniatures of all three sets."""
    root = tmp_path_factory.mktemp("data")
    for make in MINIATURES.values():
        make(root)
    return root


def test_every_such_recipe_has_its_miniature_here() -> None:
    assert [name for name in recipe_names() if name.endswith("-nspdi")] == sorted(MINIATURES)


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_it_trains_on_the_sets_own_files(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROACCEL_DATA", str(folder))
    recipe = load_recipe(name, [*QUICK, *SMALL[name]])
    run = train(recipe, tmp_path / name, progress=False)
    summary = run.summary()
    assert 0.09 < summary["connectivity"] <= 0.1
    assert {row["tensor"] for row in summary["living"]} == {"weight", "gate"}
    assert not any(row["layer"] == "votes" for row in summary["living"])
    graph = run.graph()
    assert all(signal.exact for signal in infer(graph).values())
    synapses = [node for node in graph.nodes.values() if isinstance(node, Dendrite | Linear)]
    assert [type(node) for node in synapses[:-1]] == [Dendrite] * (len(synapses) - 1)
    found = evaluate(graph, recipe, executor="engine")
    assert (found.accuracy, found.samples) == (summary["accuracy_snapped"], summary["test_samples"])
    (metrics,), (carried,) = run.metrics(), run.transfers()
    parts = {f"living_share/{row['layer']}.{row['tensor']}" for row in summary["living"]}
    assert parts <= set(metrics)
    assert {row["layer"] for row in summary["living"]} <= {row["node"] for row in carried["layers"]}


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_the_network_input_and_pruning_are_those_it_says(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROACCEL_DATA", str(folder))
    recipe = load_recipe(name)
    widths, entering, ticks = WIDTHS[name]
    assert recipe.pruning is not None
    assert (recipe.pruning.method, recipe.pruning.target, recipe.data.ticks) == ("nsp", 0.1, ticks)
    assert recipe.data.train_samples is None
    assert recipe.train.weight_decay == 0
    text = recipe_text(name)
    comment = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert "Neither its tables nor its settings were available: all constants are ours" in comment
    x, _ = data_module(recipe).dataset("test").batch([0])
    assert len(x) == ticks
    network = build(recipe, tuple(x.shape[2:])).eval()
    dendritic = [module for module in network.modules() if isinstance(module, Dendritic)]
    assert [module.weight.shape[0] for module in dendritic] == widths
    seen: list[torch.Tensor] = []
    dendritic[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(x)
    assert seen[0].shape[2:] == entering
    assert set(seen[0].unique().tolist()) <= {0.0, 1.0}  # events stay events up to there
    assert seen[0].any()
