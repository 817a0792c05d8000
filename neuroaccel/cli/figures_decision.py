"""The picture of ``neuroaccel decision evaluate``: what came of what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuroaccel.cli.figures import _png, _rows


def asked(rows: Sequence[Mapping[str, Any]], title: str, expert: float | None, random: float | None) -> bytes:
    """Mean return against the return asked for, bars of one standard deviation; as PNG.

    Arguments:
        rows: ``target``, ``return`` and ``sd`` of each.
        title: line above the picture.
        expert, random: their returns as dashed lines, where they are known.
    """
    figure, (axis,) = _rows(1, title, height=3.2)
    ordered = sorted(rows, key=lambda row: float(row["target"]))
    x = [row["target"] for row in ordered]
    axis.errorbar(
        x, [row["return"] for row in ordered], [row["sd"] for row in ordered], marker="o", capsize=3, label="model"
    )
    axis.plot([x[0], x[-1]], [x[0], x[-1]], color="lightgrey", linewidth=0.8, label="as asked")
    for value, name, colour in ((expert, "expert", "black"), (random, "random actions", "grey")):
        if value is not None:
            axis.axhline(value, linestyle="--", linewidth=0.8, color=colour, label=name)
    axis.set_xlabel("return asked for")
    axis.set_ylabel("return")
    axis.legend(frameon=False, fontsize=8)
    return _png(figure)
