"""``neuroaccel export``: the network in other people's formats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import Model, open_model
from neuroaccel.cli.options import RUNS, Json, Runs, What
from neuroaccel.cli.output import emit, results_only
from neuroaccel.errors import InputError


class Format(StrEnum):
    """What can be written."""

    nir = "nir"
    lava = "lava"


class Reader(StrEnum):
    """Who is to read a NIR file."""

    strict = "strict"
    snntorch = "snntorch"
    norse = "norse"
    lava = "lava"


def register(app: typer.Typer) -> None:
    app.command("export", help=help_of(export))(export)


def export(
    what: What = None,
    to: Annotated[Format, typer.Option("--to", help="The format.")] = ...,  # type: ignore[assignment]
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Lava: the fixed-point model, in Loihi's integer arithmetic.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="File (NIR) or folder (Lava). Default: in the run.", show_default=False
        ),
    ] = None,
    fold_r: Annotated[
        bool, typer.Option("--fold-r", help="NIR: fold R into the weights, for readers that ignore it.")
    ] = False,
    allow_approximate: Annotated[
        bool, typer.Option("--allow-approximate", help="NIR: write what it cannot hold as the nearest that it can.")
    ] = False,
    profile: Annotated[
        Reader, typer.Option("--profile", help="NIR: who is to read it; strict keeps to NIR's own definitions.")
    ] = Reader.strict,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Write the network as a NIR file or as a Lava bundle that runs without this package.

    Each carries the hash of the graph, so that `verify --artifact` knows what it must equal. A second export replaces
    the first.

    Examples:
        neuroaccel export --to nir
        neuroaccel export saccade-digits --to lava --fixed
        neuroaccel export model.safetensors --to nir --out model.nir
    """
    nir_only = [
        ("--fold-r", fold_r),
        ("--allow-approximate", allow_approximate),
        ("--profile", profile is not Reader.strict),
    ]
    misplaced = [name for name, given in ([("--fixed", fixed)] if to is Format.nir else nir_only) if given]
    if misplaced:
        raise InputError(f"{', '.join(misplaced)} means nothing with --to {to.value}")
    model = open_model(what, runs)
    target = _target(model, to, fixed, out)
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}")
    data: dict[str, Any] = {"run": model.name, "to": to.value, "path": str(target)}
    with results_only():
        if to is Format.nir:
            from neuroaccel.hardware.nir import export_nir

            export_nir(model.graph, target, fold_r=fold_r, allow_approximate=allow_approximate, profile=profile.value)
        else:
            from neuroaccel.hardware.lava import export_lava

            export_lava(model.graph, target, fixed=fixed)
            data["model"] = "fixed" if fixed else "float"
    from neuroaccel.graph import sha256

    data["sha256"] = sha256(model.graph)
    emit(data, f"{target}: {model.name} as {to.value}, graph {data['sha256'][:16]}", json)


def _target(model: Model, to: Format, fixed: bool, out: Path | None) -> Path:
    if out is not None:
        return out
    lava = "lava-fixed" if fixed else "lava"
    if model.run is not None:
        return model.run.folder / (f"{model.run.name}.nir" if to is Format.nir else lava)
    file = Path(model.name)
    return file.with_suffix(".nir") if to is Format.nir else file.with_name(f"{file.stem}.{lava}")
