"""What reaches the terminal: results on standard output; progress, logs and errors on standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import typer

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Send whatever a library prints on the way to standard error, so that standard output holds the result alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def emit(data: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print a command's result, as one JSON object or as text."""
    typer.echo(json_text(data) if as_json else text)


def json_text(data: Mapping[str, Any]) -> str:
    """One JSON object on one line; numbers that JSON lacks (NaN, infinity) become null."""
    return json.dumps(_plain(data), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return _plain(value.tolist())
    return str(value)


def one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A bar on standard error, drawn only on a terminal and only from the first report on.

    Arguments:
        what: a few words before the bar.

    Returns:
        A function to call with (done, total).
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None, visible=False)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total, visible=True)

        yield report


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain text table: the first column to the left, as wide as it needs to be on any terminal."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def set_up_logging(verbose: bool) -> None:
    """Show the package's log on standard error: warnings, or with ``verbose`` everything that it tells."""
    logger = logging.getLogger("neuroaccel")
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    if not any(isinstance(handler, _ToStandardError) for handler in logger.handlers):
        logger.addHandler(_ToStandardError())


class _ToStandardError(logging.Handler):
    """Looks standard error up at every message, since tests and notebooks exchange it."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"{record.levelname.lower()}: {record.getMessage()}", err=True)
