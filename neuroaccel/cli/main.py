"""The command line ``neuroaccel``: its groups of commands, and what happens to their errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from neuroaccel import __version__
from neuroaccel.cli import (
    data,
    decision,
    doctor,
    energy,
    evaluate,
    export,
    inspect,
    lava,
    plot,
    recipes,
    reproduce,
    train,
    trajectories,
    verify,
)
from neuroaccel.cli import run as play
from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import Json
from neuroaccel.cli.output import emit, one_line, set_up_logging
from neuroaccel.errors import NeuroaccelError

INTERRUPTED = 130

app = typer.Typer(
    name="neuroaccel",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell what is being done.")] = False,
) -> None:
    """Spiking networks whose spikes are the same everywhere and whose every operation is counted.

    The main job, from training to an exported network:
        neuroaccel train saccade-digits
        neuroaccel evaluate
        neuroaccel energy
        neuroaccel verify
        neuroaccel export --to nir

    Each command explains itself: neuroaccel COMMAND --help. What is installed and what is missing: neuroaccel doctor.
    """
    set_up_logging(verbose)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.callback(invoke_without_command=True, help=help_of(root))(root)
train.register(app)
reproduce.register(app)
evaluate.register(app)
energy.register(app)
verify.register(app)
export.register(app)
inspect.register(app)
play.register(app)
plot.register(app)
doctor.register(app)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")
app.add_typer(decision.app, name="decision")
app.add_typer(trajectories.app, name="trajectories")
app.add_typer(lava.app, name="lava")


def version(json: Json = False) -> None:
    """Print the version.

    Examples:
        neuroaccel version
        neuroaccel version --json
    """
    emit({"version": __version__}, __version__, json)


app.command("version", help=help_of(version))(version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    0: done; 1: a failure; 2: the user's mistake; 130: interrupted. An error is one line on standard error.

    Arguments:
        arguments: without the program's name; by default those of the process.
    """
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    debug = "--debug" in arguments  # wherever it stands: who adds it repeats a command that has failed
    arguments = [a for a in arguments if a != "--debug"]
    try:
        code = app(arguments, prog_name="neuroaccel", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001  (the outermost frame: nobody else is left to show it)
        if debug:
            traceback.print_exc()
        return _report(error)
    if code == INTERRUPTED:
        return _failed("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    if isinstance(error, NeuroaccelError):
        return _failed(one_line(error), error.exit_code)
    usage = getattr(error, "format_message", None)
    if usage is not None:  # a usage error, of the click that typer brings along or of one beside it
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "neuroaccel"
        return _failed(f"{' '.join(usage().split()).rstrip('.')} (see {command} --help)", 2)
    if isinstance(error, BrokenPipeError):
        return 1  # who read our output has left, and with it whoever would read a message
    return _failed(f"{type(error).__name__}: {one_line(error)} (--debug shows the traceback)", 1)


def _failed(message: str, code: int) -> int:
    typer.echo(f"neuroaccel: {message}", err=True)
    return code
