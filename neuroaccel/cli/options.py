"""The options and arguments that several commands share, each declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

What = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN|FILE",
        help="A run's name or folder, or a model file. Default: the newest finished run.",
        show_default=False,
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder that holds the runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="Whose data to use, instead of that of the recipe in the model file.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where torch computes: cpu or cuda.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Seed of the generated data. Default: the recipe's.", show_default=False),
]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="EVENTS.npz",
        help="A recording of your own (EventStream.save) in place of the test split.",
        show_default=False,
    ),
]

RUNS = Path("runs")


class Split(StrEnum):
    """Parts of a data set."""

    train = "train"
    validation = "validation"
    test = "test"


class Executor(StrEnum):
    """Executors that measure accuracy."""

    torch = "torch"
    engine = "engine"
