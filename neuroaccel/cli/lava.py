"""``neuroaccel lava``: Lava's own environment, and networks run in it."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import open_model, recording
from neuroaccel.cli.options import RUNS, Json, Runs
from neuroaccel.cli.output import emit, progress, results_only
from neuroaccel.errors import EventsError, InputError

if TYPE_CHECKING:
    from neuroaccel.graph import Trace

app = typer.Typer()
FILE_KIND, FILE_VERSION = "neuroaccel-trace", 1


class Arithmetic(StrEnum):
    """Lava's two process models."""

    float = "float"
    fixed = "fixed"


def group(context: typer.Context) -> None:
    """Run networks in Lava, Intel's simulator, which lives in a Python 3.10 environment of its own.

    Examples:
        neuroaccel lava setup
        neuroaccel export saccade-digits --to lava
        neuroaccel lava run runs/saccade-digits/lava --input events.npz
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def setup(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Where. Default: the user's cache folder.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Make the environment: Python 3.10 with lava-nc, about 310 MB. One that works already is kept.

    Examples:
        neuroaccel lava setup
        neuroaccel lava setup --folder .venv-lava
    """
    from neuroaccel.hardware.lava import make_environment

    with results_only():
        python = make_environment(folder)
    emit({"python": str(python)}, f"Lava runs under {python}", json)


def run(
    what: Annotated[
        str,
        typer.Argument(metavar="BUNDLE|RUN|FILE", help="An exported bundle, or a run or model file to export first."),
    ],
    events: Annotated[
        Path, typer.Option("--input", metavar="EVENTS.npz", help="The recording to run (EventStream.save).")
    ],
    model: Annotated[
        Arithmetic | None,
        typer.Option("--model", help="Arithmetic. A bundle has its own; else float.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, metavar="SECONDS", help="When to give up.")] = 600.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.npz", help="Write spikes, membranes and outputs.", show_default=False),
    ] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Run a network in Lava on a recording and bring its spikes back.

    Examples:
        neuroaccel lava run runs/saccade-digits/lava --input events.npz
        neuroaccel lava run saccade-digits --input events.npz --model fixed --out trace.npz --json
    """
    from neuroaccel.engine.npz import write_npz
    from neuroaccel.hardware.lava import run_bundle, run_lava

    if out is not None and not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}")
    bundle = Path(what)
    if bundle.is_dir() and (bundle / "graph.json").is_file():
        arithmetic, x = _bundle_input(bundle, events, model)
        python = _environment()
        with results_only(), progress("running Lava"):
            trace = run_bundle(bundle, x, timeout_s=timeout, python=python)
    else:
        graph, arithmetic = open_model(what, runs).graph, (model or Arithmetic.float).value
        x = recording(graph, events).x
        python = _environment()
        with results_only(), progress("running Lava"):
            trace = run_lava(graph, x, fixed=arithmetic == "fixed", timeout_s=timeout, python=python)
    spikes = {name: int(np.count_nonzero(values)) for name, values in trace.spikes.items()}
    outputs = {name: values[-1, 0].ravel().tolist() for name, values in trace.outputs.items()}
    data: dict[str, Any] = {"what": what, "model": arithmetic, "ticks": len(x), "spikes": spikes, "outputs": outputs}
    lines = [f"{what} in Lava ({arithmetic}), {len(x)} ticks of {events}"]
    lines += [f"  spikes of {name}: {count}" for name, count in spikes.items()]
    lines += [f"  {name} after the last tick: {values}" for name, values in outputs.items()]
    if out is not None:
        data["file"] = str(write_npz(out, FILE_KIND, FILE_VERSION, _arrays(trace)))
        lines.append(f"trace: {out}")
    emit(data, "\n".join(lines), json)


def _environment() -> Path:
    """The interpreter that has Lava, found or, where there is none yet, made."""
    from neuroaccel.errors import ExecutorUnavailable
    from neuroaccel.hardware.lava import find_environment, make_environment

    try:
        return find_environment()
    except ExecutorUnavailable:
        if os.environ.get("NEUROACCEL_LAVA_PYTHON"):
            raise  # the user has named one: making another would hide that it does not work
        typer.echo("making an environment for Lava (Python 3.10, about 310 MB)", err=True)
        return make_environment()


def _bundle_input(bundle: Path, events: Path, model: Arithmetic | None) -> tuple[str, NDArray[Any]]:
    """The bundle's arithmetic, and the recording in the shape that it takes."""
    from neuroaccel.engine.events import EventStream
    from neuroaccel.hardware.lava import load_bundle

    description = load_bundle(bundle).description
    own = str(description["model"])
    if model is not None and model.value != own:
        raise InputError(f"{bundle} is a {own} bundle; `neuroaccel export --to lava` makes the other kind")
    stream = EventStream.load(events)
    if len(description["inputs"]) != 1:
        raise InputError(f"{events}: one recording, but the bundle has inputs {', '.join(description['inputs'])}")
    ((name, entry),) = description["inputs"].items()
    if stream.shape != tuple(entry["shape"]):
        raise EventsError(f"{events}: events of shape {stream.shape}; '{name}' takes {tuple(entry['shape'])}")
    return own, stream.to_dense(np.float32)[:, None]


def _arrays(trace: Trace) -> dict[str, NDArray[Any]]:
    arrays = {f"outputs/{name}": values for name, values in trace.outputs.items()}
    arrays |= {f"spikes/{name}": values for name, values in trace.spikes.items()}
    arrays |= {f"states/{name}/{key}": v for name, states in trace.states.items() for key, v in states.items()}
    return arrays


app.callback(invoke_without_command=True, help=help_of(group))(group)
app.command("setup", help=help_of(setup))(setup)
app.command("run", help=help_of(run))(run)
