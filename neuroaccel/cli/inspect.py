"""``neuroaccel inspect``: what a model file holds."""

from __future__ import annotations

from typing import Annotated

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import open_model
from neuroaccel.cli.options import RUNS, Json, Runs
from neuroaccel.cli.output import emit


def register(app: typer.Typer) -> None:
    app.command("inspect", help=help_of(inspect))(inspect)


def inspect(
    what: Annotated[str, typer.Argument(metavar="FILE|RUN", help="A model file, or a run's name or folder.")],
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Show the graph in a model file: nodes, shapes, edge kinds, weight grids, neurons.

    Examples:
        neuroaccel inspect runs/saccade-digits/model.safetensors
        neuroaccel inspect saccade-digits --json
    """
    from neuroaccel.graph.show import describe, show

    graph = open_model(what, runs).graph
    emit(describe(graph), show(graph), json)
