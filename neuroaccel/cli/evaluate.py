"""``neuroaccel evaluate``: the accuracy of a trained network."""

from __future__ import annotations

from typing import Annotated

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import check_fit, open_model, recipe_of, samples_of, with_data_seed
from neuroaccel.cli.options import RUNS, Device, Executor, Json, Recipe, Runs, Seed, Split, What
from neuroaccel.cli.output import emit, progress, results_only


def register(app: typer.Typer) -> None:
    app.command("evaluate", help=help_of(evaluate))(evaluate)


def evaluate(
    what: What = None,
    split: Annotated[Split, typer.Option("--split", help="The part of the data to measure on.")] = Split.test,
    executor: Annotated[Executor, typer.Option("--executor", help="Who runs the network.")] = Executor.torch,
    recipe: Recipe = None,
    seed: Seed = None,
    device: Device = "cpu",
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Measure accuracy and loss of a trained network.

    Examples:
        neuroaccel evaluate
        neuroaccel evaluate saccade-digits --split validation --executor engine
        neuroaccel evaluate model.safetensors --recipe saccade-digits --json
    """
    from neuroaccel.training.evaluate import evaluate as measure

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
    emit(data, text, json)
