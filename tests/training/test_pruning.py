"""Pruned trainings: the recipe's table, checkpoints, resuming, what a run writes, any Lightning module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from neuroaccel.errors import RecipeError
from neuroaccel.graph import Dendrite, Synapse
from neuroaccel.synapses.pruning import parameter_groups
from neuroaccel.synapses.pruning_maps import NSP, maps_of
from neuroaccel.training import run as run_module
from neuroaccel.training.evaluate import evaluate
from neuroaccel.training.module import Classifier
from neuroaccel.training.pruning import Pruning
from neuroaccel.training.recipe import PruningOptions, Recipe, load_recipe, parse_recipe, to_toml
from neuroaccel.training.run import train
from neuroaccel.training.runs import Run

QUICK = ["train.epochs=3", "data.train_samples=96", "layers.0.channels=4", "layers.4.channels=4", "data.ticks=6"]
QUICK += ["data.dt=0.05", "data.batch_size=16"]


def recipe_of(method: str, *more: str) -> Recipe:
    pruning = f'pruning={{ method = "{method}", target = 0.1, every = 2 }}'
    return load_recipe("saccade-digits", [*QUICK, pruning, *more])


@pytest.mark.parametrize("method", ["nsp", "magnitude"])
def test_a_pruned_run_ends_at_its_target_and_the_model_is_plain_and_sparse(method: str, tmp_path: Path) -> None:
    recipe = recipe_of(method, "train.epochs=2", "lower.fold=false")  # a folded pool repeats weights
    run = train(recipe, tmp_path / "run", progress=False)
    summary = run.summary()
    assert 0.09 < summary["connectivity"] <= 0.1
    assert {row["layer"] for row in summary["living"]} == {"conv2d_1", "conv2d_2", "linear_1"}
    graph = run.graph()
    weights = [n.weight for n in graph.nodes.values() if isinstance(n, (Synapse, Dendrite))]
    living = sum(int(np.count_nonzero(w)) for w in weights)
    assert living <= sum(row["living"] for row in summary["living"])  # snapping may round more to 0
    shares = [m["living_share"] for m in run.metrics()]
    assert shares[-1] == pytest.approx(summary["connectivity"])  # Lightning keeps it in float32
    for row in summary["living"]:
        parts = [m[f"living_share/{row['layer']}.{row['tensor']}"] for m in run.metrics()]
        assert parts[-1] == pytest.approx(row["living"] / row["total"])
    assert evaluate(graph, recipe, executor="engine").accuracy == summary["accuracy_snapped"]


@pytest.mark.parametrize("method", ["nsp", "rigl"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(method)  # with dropout, whose masks go on too
    whole = train(recipe, tmp_path / "whole", progress=False)
    record = run_module._Record.on_train_epoch_end

    def stop_after_the_second(self: Any, trainer: Any, module: Any) -> None:
        record(self, trainer, module)
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module._Record, "on_train_epoch_end", stop_after_the_second)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(recipe, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    assert not Run(tmp_path / "cut").finished
    state = torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)
    assert state["callbacks"]["Pruning"]["steps"] == 12
    again = train(recipe, tmp_path / "cut", progress=False)
    first, second = (torch.load(r.folder / "last.ckpt", weights_only=True)["state_dict"] for r in (whole, again))
    assert first.keys() == second.keys()
    assert any(key.endswith(("d1", "mask")) for key in first)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert json.dumps(whole.metrics()) == json.dumps(again.metrics())
    assert len(whole.transfers()) == 3
    assert json.dumps(whole.transfers()) == json.dumps(again.transfers())
    assert whole.model_file.read_bytes() == again.model_file.read_bytes()


def test_the_table_is_read_written_and_refused() -> None:
    recipe = recipe_of("nsp")
    assert parse_recipe(to_toml(recipe), "copy") == recipe
    assert recipe.pruning is not None
    assert recipe.pruning.gain == "fixed"
    assert load_recipe("saccade-digits").pruning is None
    assert "pruning" not in to_toml(load_recipe("saccade-digits"))
    for change, message in (("target=0", "pruning.target"), ('gain="x"', "pruning.gain"), ("d9=1", "pruning.d9")):
        with pytest.raises(RecipeError, match=message):
            load_recipe("saccade-digits", [f"pruning={{ {change} }}"])


def test_decay_does_not_reach_thresholded_parameters() -> None:
    from neuroaccel.training.build import build
    from neuroaccel.training.pruning import pruner_of

    recipe = recipe_of("nsp", "train.weight_decay=0.5")
    network = build(recipe, (2, 34, 34))
    assert recipe.pruning is not None
    pruner_of(recipe.pruning, network, 0)
    module = Classifier(network, recipe, 10)
    decays = {
        id(p): g["weight_decay"] for g in module.configure_optimizers()["optimizer"].param_groups for p in g["params"]
    }
    thetas = [m.parametrizations.weight.original for m in network.modules() if maps_of(m)]  # type: ignore[union-attr]
    assert len(thetas) == 3
    assert {decays[id(t)] for t in thetas} == {0.0}
    assert set(decays.values()) == {0.0, 0.5}


class Any1(lightning.LightningModule):
    """A user's own module."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(parameter_groups(self, 0.0), 0.01)


def test_the_callback_prunes_any_lightning_module_also_over_gathered_gradients(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(64, 20), torch.randint(0, 4, (64,)))
    module, callback = Any1(), Pruning(options=PruningOptions(target=0.2, every=1))
    trainer = lightning.Trainer(
        max_epochs=3, accumulate_grad_batches=2, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.warns():  # of workers and of logging intervals
        trainer.fit(module, DataLoader(data, batch_size=8))
    assert isinstance(maps_of(module.layers[0])["weight"], NSP)
    assert callback.pruner is not None
    assert callback.pruner.steps == callback.pruner.total == 12
    assert 0.19 < callback.pruner.connectivity() <= 0.2
