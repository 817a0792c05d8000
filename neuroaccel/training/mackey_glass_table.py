"""The Mackey-Glass track as files: rows that runs fill, resumable, and a table written from them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuroaccel.datasets.mackey_glass import REPEATS
from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import write_atomic
from neuroaccel.training.mackey_glass import ARMS, TASK, Protocol, Row, run_mackey_glass

FIELDS = {"task": str, "arm": str, "seed": int, "metric": str, "value": float}


def reproduce_mackey_glass(
    root: str | Path = "runs/reproduce",
    *,
    seeds: int = 3,
    protocol: Protocol | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Row], Path, Path]:
    """Run what is missing of the track; ``mackey-glass.json`` is written after each training, ``.md`` at last.

    Arguments:
        root: folder of both files.
        seeds: repeats of every series, from NeuroBench's last one down.
        protocol: what to run; its repeats are replaced by those that ``seeds`` says.
        overwrite: forget earlier rows.
        progress: called with (done, total) trainings.

    Returns:
        All rows, the JSON file, the table.

    Raises:
        InputError: more seeds than NeuroBench has repeats, or none.
        FileFormatError: an earlier ``mackey-glass.json`` that is damaged.
    """
    if not 1 <= seeds <= REPEATS:
        raise InputError(f"{TASK}: {seeds} seeds were asked for; expected 1 to {REPEATS}")
    protocol = replace(protocol or Protocol(), repeats=tuple(range(REPEATS - 1, REPEATS - 1 - seeds, -1)))
    file = Path(root) / f"{TASK}.json"
    rows = [] if overwrite else read_rows(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{file.parent}: cannot be made ({error.strerror})") from error

    def keep(new: list[Row]) -> None:
        rows.extend(new)
        write_atomic(file, (json.dumps(rows, indent=1) + "\n").encode())

    run_mackey_glass(protocol, done=tuple(rows), progress=progress, finished=keep)
    table = write_atomic(file.with_suffix(".md"), render(rows).encode())
    return rows, file, table


def read_rows(file: Path) -> list[Row]:
    """The rows of an earlier run; none if there is no such file.

    Raises:
        FileFormatError: it holds something else.
    """
    if not file.exists():
        return []
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError(f"a {type(rows).__name__}, expected a list")
        return [{key: kind(row[key]) for key, kind in FIELDS.items()} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{file}: damaged ({type(error).__name__}: {error}); --overwrite starts anew") from error


def render(rows: Sequence[Row]) -> str:
    """The rows as Markdown; every figure is one of theirs, or a mean or spread of them."""
    smape = {(r["task"], r["seed"], r["arm"]): r["value"] for r in rows if r["metric"] == "smape"}
    seeds = sorted({r["seed"] for r in rows})
    lines = [
        "# mackey-glass",
        "",
        "Closed-loop forecasts of 10 Lyapunov times; symmetric mean absolute percentage error, 0 to 200, the smaller",
        "the better; mean ± sample standard deviation over repeats. `snn`: the spiking forecaster in the event engine,",
        "16 ticks to a point; `snn-64`: the same with 64; `esn`: an echo state network of as many units, fitted by the",
        "same regression on the same points; `mean`: the mean of what was heard. Each network has one setting for all",
        "delays, chosen by its forecasts on other repeats: 27 spiking settings and 7 of `esn` were tried, with 3 or 4",
        "penalties each; `snn-64` was added when the results of `snn` were known. The series are generated",
        "(`neuroaccel.datasets.mackey_glass`), not NeuroBench's files.",
        "",
        f"Repeats, which are the seeds: {', '.join(map(str, seeds)) or 'none yet'}.",
        "",
        f"| task | {' | '.join(ARMS)} |",
        f"|---|{'---|' * len(ARMS)}",
    ]
    tasks = sorted({r["task"] for r in rows})
    for task in tasks:
        cells = [[v for (t, _, a), v in smape.items() if (t, a) == (task, arm)] for arm in ARMS]
        lines.append(f"| {task} | {' | '.join(map(_spread, cells))} |")
    # A mean over the easier delays only would say nothing beside one over all of them.
    whole = [arm for arm in ARMS if tasks and all((t, s, arm) in smape for t in tasks for s in seeds)]
    every = {arm: [v for (_, _, a), v in smape.items() if a == arm] for arm in whole}
    means = [_spread(every[arm]) if arm in every else "not all run" for arm in ARMS]
    middles = [f"{statistics.median(every[arm]):.2f}" if arm in every else "not all run" for arm in ARMS]
    lines += [f"| all | {' | '.join(means)} |", f"| median | {' | '.join(middles)} |"]
    lines += [
        "",
        _comparison(smape, "snn"),
        "",
        _comparison(smape, "snn-64"),
        "",
        "Work per forecast point, under NeuroBench's definitions:",
        "",
    ]
    lines += ["| arm | metric | mean |", "|---|---|---|"]
    work: dict[tuple[str, str], list[float]] = {}
    for r in rows:
        if r["metric"] != "smape":
            work.setdefault((r["arm"], r["metric"]), []).append(r["value"])
    lines += [f"| {arm} | {metric} | {statistics.fmean(values):.5g} |" for (arm, metric), values in work.items()]
    return "\n".join(lines) + "\n"


def _comparison(smape: dict[tuple[str, int, str], float], spiking: str) -> str:
    """Both networks on the same stretches, pair by pair."""
    found: list[Any] = [
        value - smape[task, seed, "esn"]
        for (task, seed, arm), value in smape.items()
        if arm == spiking and (task, seed, "esn") in smape
    ]
    if len(found) < 2:
        return f"`{spiking}` − `esn`: not enough pairs yet."
    mean, error = statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))
    says = "beyond" if abs(mean) > 2 * error else "within"
    return (
        f"`{spiking}` − `esn` over {len(found)} stretches: {mean:+.2f} ± {error:.2f} (standard error), {says} two\n"
        f"standard errors; `{spiking}` is the better one in {sum(d < 0 for d in found)} of them."
    )


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "not run"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"
