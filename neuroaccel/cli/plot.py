"""``neuroaccel plot``: pictures of a run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import open_run, samples_of
from neuroaccel.cli.options import RUNS, Json, Runs, Seed
from neuroaccel.cli.output import emit, results_only
from neuroaccel.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from neuroaccel.training.runs import Run

SAMPLES = 16  # of which the first is drawn, and all are counted


class Picture(StrEnum):
    """What can be drawn."""

    raster = "raster"
    membranes = "membranes"
    loss = "loss"
    spikes = "spikes"
    pruning = "pruning"
    all = "all"


TRAINING = {Picture.loss, Picture.pruning}  # drawn from what the training has logged


def register(app: typer.Typer) -> None:
    app.command("plot", help=help_of(plot))(plot)


def plot(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A run's name or folder. Default: the newest finished run.", show_default=False
        ),
    ] = None,
    picture: Annotated[Picture, typer.Option("--what", help="Which picture.")] = Picture.all,
    sample: Annotated[int, typer.Option("--sample", min=0, help="Which test sample to draw.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write. Default: plots in the run.", show_default=False),
    ] = None,
    seed: Seed = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Draw a run as PNG files: raster and membranes of a test sample, loss over epochs, spikes per layer.

    Of a run with pruning also, over its training: the connectivity of every layer, and against it the accuracy and
    what living synapses carry.

    Examples:
        neuroaccel plot
        neuroaccel plot saccade-digits --what raster --sample 3
        neuroaccel plot saccade-digits --what loss --out pictures
        neuroaccel plot saccade-digits --what pruning
    """
    from neuroaccel.graph.file import write_atomic

    run = open_run(what, runs)
    wanted: set[Picture] = set(Picture) - {Picture.all} if picture is Picture.all else {picture}
    if run.recipe().pruning is None:
        wanted.discard(Picture.pruning)
        if not wanted:
            raise InputError(f"run {run.name} was trained without pruning; its recipe has no table [pruning]")
    with results_only():
        drawn = _draw(run, wanted, sample, seed)
    folder = out or run.folder / "plots"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{folder}: a file of that name is in the way; --out names another folder") from error
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); --out names another folder") from error
    files = [str(write_atomic(folder / f"{name}.png", content)) for name, content in drawn.items()]
    emit({"run": run.name, "files": files}, "\n".join(files), json)


def _draw(run: Run, wanted: set[Picture], sample: int, seed: int | None) -> dict[str, bytes]:
    from neuroaccel.cli import figures

    drawn = {}
    metrics = run.metrics() if wanted & TRAINING else []
    if wanted & TRAINING and not metrics:
        raise InputError(f"run {run.name} has not finished an epoch yet; there is no training to draw")
    if Picture.loss in wanted:
        drawn["loss"] = figures.loss(metrics, f"{run.name}: training")
    if Picture.pruning in wanted:
        from neuroaccel.cli import figures_pruning
        from neuroaccel.training.runs import TRANSFER

        try:
            drawn |= figures_pruning.of_run(metrics, run.transfers(), run.name)
        except InputError as error:
            raise FileFormatError(f"{run.folder / TRANSFER}: damaged ({error})") from error
    if wanted - TRAINING:
        from neuroaccel import engine

        graph = run.graph()
        found = samples_of(run.recipe(), "test", max(SAMPLES, sample + 1), seed)
        first = found.x[:, sample : sample + 1]
        label = "" if found.labels is None else f", label {found.labels[sample]}"
        title = f"{run.name}: test sample {sample}{label}"
        if wanted & {Picture.raster, Picture.membranes}:
            trace = engine.run(graph, first, record=True).trace
            if Picture.raster in wanted:
                drawn["raster"] = figures.raster(graph, trace, first, title)
            if Picture.membranes in wanted:
                drawn["membranes"] = figures.membranes(graph, trace, title)
        if Picture.spikes in wanted:
            many = engine.run(graph, found.x[:, :SAMPLES], record=True).trace
            drawn["spikes"] = figures.spikes(many, f"{run.name}: {min(SAMPLES, len(found))} test samples")
    return drawn
