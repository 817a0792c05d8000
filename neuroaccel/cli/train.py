"""``neuroaccel train``: from a recipe to a trained, folded and snapped network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import RUNS, Device, Json, Runs
from neuroaccel.cli.output import emit, progress, results_only
from neuroaccel.errors import InputError


def register(app: typer.Typer) -> None:
    app.command("train", help=help_of(train))(train)


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe's name; see `neuroaccel recipes list`.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="A recipe file of your own, instead of RECIPE.", show_default=False
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe; may be repeated."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the run. Default: the recipe's.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of that name.")] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Seed of the weights. Default: the recipe's.", show_default=False),
    ] = None,
    device: Device = "cpu",
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Train a recipe into runs/NAME; an unfinished run of that name is resumed.

    Ends with the accuracy of the float network, of the folded and snapped one that every other command reads, and of a
    linear model on the time-summed frame.

    Examples:
        neuroaccel train saccade-digits
        neuroaccel train saccade-digits --name quick --set train.epochs=2 --seed 1
        neuroaccel train --config mine.toml --overwrite
    """
    from neuroaccel.training.recipe import load_recipe

    if (recipe is None) == (config is None):
        raise InputError("train takes either a RECIPE or --config FILE; `neuroaccel recipes list` shows the recipes")
    if config is not None and (config.suffix != ".toml" or not config.is_file()):
        raise InputError(f"{config}: no such recipe file; expected a .toml file")
    overrides = [*(changes or ()), *(() if seed is None else (f"seed={seed}",))]
    chosen = load_recipe(str(config or recipe), overrides)
    folder = runs / _folder_name(name if name is not None else chosen.name)

    from neuroaccel.training.run import train as fit

    bars = sys.stderr.isatty()  # in a log file they would be thousands of lines
    try:
        with results_only(), progress("generating data") as report:
            run = fit(chosen, folder, overwrite=overwrite, device=device, progress=bars, data_progress=report)
    except SystemExit as stop:  # lightning leaves the process by itself when interrupted
        raise KeyboardInterrupt from stop
    summary = run.summary()
    emit({"run": run.name, "task": chosen.name, "folder": str(run.folder), **summary}, _text(run.folder, summary), json)


def _folder_name(name: str) -> str:
    """The name of a folder directly in the folder of runs, and of nothing outside it."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise InputError(f"{name!r} cannot name a run; expected letters, digits, '-', '_' and '.', not first")
    return name


def _text(folder: Path, summary: dict[str, Any]) -> str:
    files = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
    return "\n".join(
        [
            f"accuracy on {summary['test_samples']} test samples",
            f"  float network                          {summary['accuracy_float']:.2%}",
            f"  folded and snapped                     {summary['accuracy_snapped']:.2%}",
            f"  linear model on the time-summed frame  {summary['accuracy_linear_on_summed_frame']:.2%}",
            f"trained in {summary['training_seconds']:.0f} s on {summary['threads']} threads",
            f"{folder}: {files}",
        ]
    )
