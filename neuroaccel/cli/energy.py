"""``neuroaccel energy``: what an inference costs, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import Samples, chosen_samples, open_model
from neuroaccel.cli.options import RUNS, Input, Json, Recipe, Runs, Seed, What
from neuroaccel.cli.output import emit, progress, results_only

if TYPE_CHECKING:
    from neuroaccel.graph import Graph
    from neuroaccel.ledger import Book, ExecutionBook

PROFILES = ("cmos45", "loihi1-davies2018")
BATCH = 16


def register(app: typer.Typer) -> None:
    app.command("energy", help=help_of(energy))(energy)


def energy(
    what: What = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="NAME|FILE",
            help=f"Hardware profile, may be repeated. Default: {' and '.join(PROFILES)}.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="How many samples of the test split.")] = 64,
    everything: Annotated[bool, typer.Option("--all", help="The whole test split.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where an operation has no published constant.")
    ] = False,
    events: Input = None,
    recipe: Recipe = None,
    seed: Seed = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Count every operation of the network and charge it under hardware profiles.

    Prints the algorithm book with its balance, what the engine really did, and per profile the energy of each layer,
    the dense baselines and the totals per inference. For a run, the same stands in its energy.json.

    Examples:
        neuroaccel energy
        neuroaccel energy saccade-digits --profile cmos45 --all
        neuroaccel energy model.safetensors --input events.npz --json
    """
    from neuroaccel.graph.file import write_atomic
    from neuroaccel.ledger import energy as charge
    from neuroaccel.ledger import format_book, format_execution, format_table, load_profile, to_json

    profiles = [load_profile(name) for name in profile or PROFILES]
    model = open_model(what, runs)
    inputs = chosen_samples(model, recipe, events, "test", None if everything else samples, seed)
    with results_only():
        book, execution = _books(model.graph, inputs)
    reports = [charge(book, constants, strict=strict) for constants in profiles]
    data: dict[str, Any] = {"run": model.name, "input": inputs.source, **to_json(book, reports, execution)}
    lines = [format_book(book), "", format_execution(execution)]
    for report in reports:
        lines += ["", format_table(report)]
    if model.run is not None and events is None:  # a recording's figures are not the run's
        from neuroaccel.cli.output import json_text

        path = write_atomic(model.run.folder / "energy.json", f"{json_text(data)}\n".encode())
        lines += ["", f"the same as JSON: {path}"]
    emit(data, "\n".join(lines), json)


def _books(graph: Graph, inputs: Samples) -> tuple[Book, ExecutionBook]:
    """Both books of a run of the engine, in batches that fit into memory."""
    from neuroaccel import engine
    from neuroaccel.ledger import book_of, execution_book, join

    books: list[Book] = []
    touched: list[Mapping[str, Mapping[str, NDArray[np.int64]]]] = []
    seconds = 0.0
    with progress("counting") as report:
        for first in range(0, len(inputs), BATCH):
            result = engine.run(graph, inputs.x[:, first : first + BATCH])
            books.append(book_of(graph, result))
            touched.append(result.touched)
            seconds += result.seconds
            report(min(first + BATCH, len(inputs)), len(inputs))
    together = {
        name: {column: np.concatenate([part[name][column] for part in touched]) for column in columns}
        for name, columns in touched[0].items()
    }
    book = join(books)
    return book, execution_book(book, "engine", seconds=seconds, touched=together)
