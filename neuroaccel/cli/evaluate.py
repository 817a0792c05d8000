"""``neuroaccel evaluate``: the accuracy of a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import check_fit, open_model, recipe_of, samples_of, with_data_seed
from neuroaccel.cli.options import RUNS, Device, Executor, Json, Recipe, Runs, Seed, Split, What
from neuroaccel.cli.output import emit, progress, results_only
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.cli.inputs import Model
    from neuroaccel.training.recipe import Recipe as TrainingRecipe

BATCH = 64


def register(app: typer.Typer) -> None:
    app.command("evaluate", help=help_of(evaluate))(evaluate)


def evaluate(
    what: What = None,
    split: Annotated[Split, typer.Option("--split", help="The part of the data to measure on.")] = Split.test,
    executor: Annotated[Executor, typer.Option("--executor", help="Who runs the network.")] = Executor.torch,
    recipe: Recipe = None,
    seed: Seed = None,
    device: Device = "cpu",
    neurobench: Annotated[
        Path | None,
        typer.Option(
            "--neurobench",
            metavar="FILE.json",
            help="Also count the run and write it under NeuroBench's names and definitions.",
            show_default=False,
        ),
    ] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Measure accuracy and loss of a trained network.

    A NeuroBench file holds Footprint, ConnectionSparsity, ActivationSparsity, SynapticOperations, MembraneUpdates and
    ClassificationAccuracy as NeuroBench 2.3 defines them, and what those definitions leave out.

    Examples:
        neuroaccel evaluate
        neuroaccel evaluate --neurobench results.json
        neuroaccel evaluate saccade-digits --split validation --executor engine
        neuroaccel evaluate model.safetensors --recipe saccade-digits --json
    """
    from neuroaccel.training.evaluate import evaluate as measure

    if neurobench is not None and not neurobench.parent.is_dir():
        raise InputError(f"{neurobench}: there is no folder {neurobench.parent}")
    model = open_model(what, runs)
    task = recipe_of(model, recipe)
    check_fit(model, samples_of(task, split.value, 1, seed))
    with results_only(), progress(f"evaluating {split.value}") as report:
        found = measure(
            model.graph,
            with_data_seed(task, seed),
            split=split.value,
            executor=executor.value,
            device=device,
            progress=report,
        )
    data = {
        "run": model.name,
        "task": task.name,
        "split": split.value,
        "samples": found.samples,
        "accuracy": found.accuracy,
        "loss": found.loss,
    }
    text = (
        f"{model.name} on {task.data.name}, {found.samples} samples of {split.value}, run by {executor.value}: "
        f"accuracy {found.accuracy:.2%}, loss {found.loss:.4f}"
    )
    if neurobench is not None:
        data["neurobench"] = str(_neurobench(model, with_data_seed(task, seed), split.value, neurobench))
        text += f"\nunder NeuroBench's definitions: {neurobench}"
    emit(data, text, json)


def _neurobench(model: Model, recipe: TrainingRecipe, split: str, path: Path) -> Path:
    """Run the split once more in torch, count it, and write what NeuroBench would have."""
    import json as codec

    from neuroaccel.graph import write_atomic
    from neuroaccel.ledger.neurobench import NeuroBench
    from neuroaccel.training.evaluate import data_module

    bench = NeuroBench(model.graph)
    dataset = data_module(recipe).dataset(split)
    with results_only(), progress("counting") as report:
        for first in range(0, len(dataset), BATCH):
            x, labels = dataset.batch(list(range(first, min(first + BATCH, len(dataset)))))
            bench.add(x, labels)
            report(min(first + BATCH, len(dataset)), len(dataset))
    found: dict[str, Any] = bench.results("ClassificationAccuracy")
    return write_atomic(path, (codec.dumps(found, indent=4) + "\n").encode())
