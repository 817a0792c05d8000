"""``neuroaccel verify``: the proof that every executor sends the same spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.inputs import chosen_samples, open_model
from neuroaccel.cli.options import RUNS, Input, Json, Recipe, Runs, Seed, What
from neuroaccel.cli.output import emit, results_only
from neuroaccel.errors import InputError

EXECUTORS = ("torch", "engine", "nir", "lava-float", "lava-fixed")


def register(app: typer.Typer) -> None:
    app.command("verify", help=help_of(verify))(verify)
    app.command("replay", help=help_of(replay))(replay)


def verify(
    what: What = None,
    executors: Annotated[
        str, typer.Option("--executors", metavar="NAMES", help="Which ones, separated by commas.")
    ] = ",".join(EXECUTORS),
    samples: Annotated[int, typer.Option("--samples", min=1, help="How many samples of the test split.")] = 64,
    everything: Annotated[bool, typer.Option("--all", help="The whole test split.")] = False,
    lava_samples: Annotated[
        int, typer.Option("--lava-samples", min=1, help="How many of them Lava runs, which is slow.")
    ] = 16,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="NAME",
            help="Fail where this executor (or lava: both of Lava's) is refused or unavailable; may be repeated.",
        ),
    ] = None,
    artifact: Annotated[
        list[Path] | None,
        typer.Option("--artifact", metavar="PATH", help="An exported file or bundle to compare too; may be repeated."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            metavar="PATH",
            help="Where to write the certificate. Default: certificate.json in the run.",
            show_default=False,
        ),
    ] = None,
    events: Input = None,
    recipe: Recipe = None,
    seed: Seed = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Run the network in every executor and compare spikes, membranes and outputs bit for bit.

    Exits 1 if any executor that is there differs, and says at which neuron, tick and operation it first does.

    Examples:
        neuroaccel verify
        neuroaccel verify saccade-digits --lava-samples 4 --require lava
        neuroaccel verify digits --artifact runs/digits/digits.nir
        neuroaccel verify model.safetensors --input events.npz --json
    """
    from neuroaccel.verify import table
    from neuroaccel.verify import verify as compare

    chosen = _executors(executors)
    for path in artifact or ():
        if not path.exists():
            raise InputError(f"{path}: no such artifact; `neuroaccel export` makes one")
    if certificate is not None and not certificate.parent.is_dir():
        raise InputError(f"{certificate}: there is no folder {certificate.parent} for the certificate")
    model = open_model(what, runs)
    inputs = chosen_samples(model, recipe, events, "test", None if everything else samples, seed)
    with results_only():
        report = compare(
            model.graph,
            inputs.x,
            executors=chosen,
            require=tuple(require or ()),
            lava_samples=min(lava_samples, len(inputs)),
            artifacts=tuple(artifact or ()),
            labels=inputs.labels,
            source=inputs.source,
        )
    text = table(report)
    own = model.run is not None and events is None  # a recording's certificate is not the run's
    target = certificate or (model.run.folder / "certificate.json" if model.run is not None and own else None)
    if target is not None and report.certificate is not None:
        text += f"\ncertificate: {report.certificate.save(target)}"
    emit(report.to_json(), text, json)
    if not report.ok:
        raise typer.Exit(1)


def _executors(names: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in EXECUTORS]
    if unknown or not chosen:
        raise InputError(f"--executors {names!r}: {unknown or 'no name'}; expected some of {', '.join(EXECUTORS)}")
    return chosen


def replay(
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="What `neuroaccel verify` wrote.")],
    what: What = None,
    events: Input = None,
    recipe: Recipe = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Run a network again and hold graph, input, spikes and membranes against a certificate.

    The samples are those that the certificate names. Exits 1 at any mismatch.

    Examples:
        neuroaccel replay runs/saccade-digits/certificate.json saccade-digits
        neuroaccel replay certificate.json model.safetensors --input events.npz --json
    """
    from neuroaccel.verify import Certificate
    from neuroaccel.verify import replay as again

    certified = Certificate.load(certificate)
    model = open_model(what, runs)
    source = certified.input.get("source") or {}
    split, seed = str(source.get("split", "test")), source.get("seed")
    inputs = chosen_samples(model, recipe, events, split, int(certified.input["samples"]), seed)
    with results_only():
        mismatches = again(certified, model.graph, inputs.x)
    spikes = sum(int(layer["spikes"]) for layer in certified.run["layers"].values())
    text = "\n".join(mismatches) or f"{model.name}: {spikes:,} spikes on {len(inputs)} samples come out as certified"
    emit({"ok": not mismatches, "certificate": str(certificate), "mismatches": mismatches}, text, json)
    if mismatches:
        raise typer.Exit(1)
