"""``neuroaccel reproduce``: protocols for published data sets, fixed in advance, for whoever has the data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import Device, Json
from neuroaccel.cli.output import emit, progress, results_only, table
from neuroaccel.errors import InputError

RESULTS, MACKEY_GLASS = Path("runs/reproduce"), "mackey-glass"


def register(app: typer.Typer) -> None:
    app.command("reproduce", help=help_of(reproduce))(reproduce)


def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(metavar="PROTOCOL", help="A protocol's name; without one they are listed.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DATA",
            help="Holds a folder per data set, as tonic lays them out. Default: NEUROACCEL_DATA, else the cache.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Only the first so many. Default: the protocol's.", show_default=False),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value; the results are kept apart. May be repeated."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train these seeds anew, whatever was found before.")
    ] = False,
    device: Device = "cpu",
    runs: Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of the results.")] = RESULTS,
    json: Json = False,
) -> None:
    """Run a protocol on a published data set: network, schedule, seeds, splits and choice of the model are fixed.

    Every seed is trained, its model is chosen on the validation split, and the test split is looked at once, after
    that. Interrupted, the same command goes on. Writes runs/reproduce/PROTOCOL.md and .json, which only runs fill.

    Files that hold wrong events or damaged recordings are refused; --set protocol.on_error=drop leaves those out.

    Examples:
        neuroaccel reproduce
        neuroaccel reproduce shd --folder ~/data --device cuda
        neuroaccel reproduce nmnist --seeds 1 --set train.epochs=5
        neuroaccel reproduce mackey-glass    (NeuroBench's track; generated, needs no data)
    """
    if name is None:
        given = [
            option
            for option, value in (("--seeds", seeds), ("--set", changes), ("--overwrite", overwrite or None))
            if value is not None
        ]
        if given:
            raise InputError(f"{', '.join(given)}: of which protocol? `neuroaccel reproduce` lists them")
        _list(folder, json)
        return
    if name == MACKEY_GLASS:
        given = [o for o, value in (("--folder", folder), ("--set", changes)) if value is not None]
        if given or device != "cpu":
            raise InputError(
                f"{', '.join(given or ['--device'])} means nothing to mackey-glass: it is generated and fitted"
            )
        _mackey_glass(runs, seeds, overwrite, json)
        return
    from neuroaccel.training.protocol import load_protocol

    protocol = load_protocol(name, changes or ())
    if folder is not None and not folder.expanduser().is_dir():
        raise InputError(f"{folder}: there is no such folder; expected one that holds the data sets' folders")

    from neuroaccel.training.reproduce import reproduce as run

    bars = sys.stderr.isatty()  # in a log file they would be thousands of lines
    try:
        with results_only(), progress(f"reading {protocol.recipe.data.name}") as report:
            found = run(
                protocol,
                runs,
                folder=folder,
                seeds=seeds,
                overwrite=overwrite,
                device=device,
                progress=bars,
                data_progress=report,
            )
    except SystemExit as stop:  # lightning leaves the process by itself when interrupted
        raise KeyboardInterrupt from stop
    data = {**found.table, "files": {"json": str(found.json), "markdown": str(found.markdown)}}
    text = found.markdown.read_text(encoding="utf-8").rstrip("\n")
    emit(data, f"{text}\n\n{found.markdown}, {found.json}", json)


def _mackey_glass(runs: Path, seeds: int | None, overwrite: bool, json: bool) -> None:
    from neuroaccel.training.mackey_glass_table import reproduce_mackey_glass

    with results_only(), progress("forecasting") as report:
        rows, file, markdown = reproduce_mackey_glass(
            runs, seeds=3 if seeds is None else seeds, overwrite=overwrite, progress=report
        )
    data = {"protocol": MACKEY_GLASS, "rows": rows, "files": {"json": str(file), "markdown": str(markdown)}}
    text = markdown.read_text(encoding="utf-8").rstrip("\n")
    emit(data, f"{text}\n\n{markdown}, {file}", json)


def _list(folder: Path | None, json: bool) -> None:
    from neuroaccel.training.protocol import whose_data_is_there

    found = whose_data_is_there(folder)
    rows = [(entry["name"], entry["data"], _there(entry), entry["title"]) for entry in found]
    rows.append((MACKEY_GLASS, "Mackey-Glass", "generated", "NeuroBench's track: forecast chaotic series"))
    text = table(("protocol", "data set", "its files", "what it trains"), rows)
    missing = [entry for entry in found if not entry["ready"]]
    if missing:
        text += "\n\nWhat is missing is fetched by the first run, or put it by hand into:\n" + "\n".join(
            f"  {entry['data']:<16} {entry['folder']}" for entry in missing
        )
    emit({"protocols": found}, text, json)


def _there(entry: dict[str, Any]) -> str:
    missing = [split for split, there in entry["splits"].items() if not there]
    if not missing:
        return "there"
    return "not there" if len(missing) == len(entry["splits"]) else f"no {', no '.join(missing)}"
