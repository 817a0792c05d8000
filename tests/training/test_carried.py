"""What synapses carry, epoch by epoch: the last record is the model's own, and the training does not notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from neuroaccel.errors import FileFormatError
from neuroaccel.ledger.transfer import LayerTransfer, transfer
from neuroaccel.training import carried
from neuroaccel.training.evaluate import data_module
from neuroaccel.training.recipe import Recipe, load_recipe
from neuroaccel.training.run import train
from neuroaccel.training.runs import Run

QUICK = ["train.epochs=2", "data.train_samples=64", "layers.0.channels=4", "layers.4.channels=4", "data.ticks=6"]
QUICK += ["data.dt=0.05", "data.batch_size=16", "layers.0.kind=dendritic_conv2d"]  # with dropout further on


def recipe_of(method: str) -> Recipe:
    return load_recipe("saccade-digits", [*QUICK, f'pruning={{ method = "{method}", target = 0.2, every = 1 }}'])


@pytest.mark.parametrize("method", ["nsp", "rigl"])  # RigL probes dead weights between two steps
def test_the_last_record_is_of_the_model_and_the_training_is_the_same_without(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(method)
    run = train(recipe, tmp_path / "with", progress=False)
    records = run.transfers()
    assert [record["epoch"] for record in records] == [0, 1]
    x, _ = data_module(recipe).dataset("validation").batch(range(carried.SAMPLES))
    expected = transfer(run.graph(), x)
    assert [LayerTransfer.from_json(layer) for layer in records[1]["layers"]] == expected
    assert all(0 < row.connectivity < 1 for row in expected)
    assert records[0]["layers"] != records[1]["layers"]
    monkeypatch.setattr(carried.Carried, "on_train_epoch_end", lambda *_: None)
    plain = train(recipe, tmp_path / "without", progress=False)
    assert plain.transfers() == []
    assert json.dumps(plain.metrics()) == json.dumps(run.metrics())
    first, second = (torch.load(r.folder / "last.ckpt", weights_only=True)["state_dict"] for r in (run, plain))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_training_without_pruning_writes_none(tmp_path: Path) -> None:
    run = train(load_recipe("saccade-digits", [*QUICK, "train.epochs=1"]), tmp_path / "dense", progress=False)
    assert run.transfers() == []
    assert not (run.folder / "transfer.jsonl").exists()


def test_records_are_replaced_from_an_epoch_on_and_damage_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for epoch in (0, 1, 2, 1):
        run.append_transfer({"epoch": epoch, "layers": []})
    assert [record["epoch"] for record in run.transfers()] == [0, 1]
    assert run.metrics() == []
    (tmp_path / "transfer.jsonl").write_text("{")
    with pytest.raises(FileFormatError, match=r"transfer.jsonl: damaged"):
        run.transfers()
