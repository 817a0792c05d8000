"""``neuroaccel doctor``: what is installed here, what is missing, and how to get it."""

from __future__ import annotations

import dataclasses

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import Json
from neuroaccel.cli.output import emit


def register(app: typer.Typer) -> None:
    app.command("doctor", help=help_of(doctor))(doctor)


def doctor(json: Json = False) -> None:
    """Say what is installed, what is missing, and the command that gets it. Changes nothing.

    Examples:
        neuroaccel doctor
        neuroaccel doctor --json
    """
    from neuroaccel.cli.checks import all_checks

    checks = all_checks()
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok' if check.ok else '--'}  {check.name.ljust(width)}  {check.found}".rstrip())
        if check.cure:
            lines.append(f"{' ' * (width + 6)}to get it: {check.cure}")
    emit({"checks": [dataclasses.asdict(check) for check in checks]}, "\n".join(lines), json)
