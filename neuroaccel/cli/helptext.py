"""Help on the terminal from docstrings: paragraphs flow, examples keep their lines."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def help_of(function: Callable[..., Any]) -> str:
    """A function's docstring as typer should print it.

    Arguments:
        function: whose docstring holds paragraphs, and examples as indented lines under a line of their own.

    >>> def greet():
    ...     '''Say
    ...     hello.
    ...
    ...     Examples:
    ...         greet [you]
    ...     '''
    >>> help_of(greet)
    'Say hello.\\n\\nExamples:\\n$ greet \\\\[you]'
    """
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(_flow(paragraph.split("\n")) for paragraph in paragraphs).replace("[", "\\[")


def _flow(lines: list[str]) -> str:
    if any(line.startswith(" ") for line in lines):
        return "\n".join(f"$ {line.strip()}" if line.startswith(" ") else line for line in lines)
    return " ".join(lines)
