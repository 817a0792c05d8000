"""Docstrings as help."""

from __future__ import annotations

from neuroaccel.cli.helptext import help_of


def sample() -> None:
    """One sentence
    over two lines.

    A second paragraph,
    also flowing.

    Examples:
        program a [b]
        program c
    """


def test_paragraphs_flow_and_examples_keep_their_lines() -> None:
    assert help_of(sample) == (
        "One sentence over two lines.\n\nA second paragraph, also flowing.\n\nExamples:\n$ program a \\[b]\n$ program c"
    )
