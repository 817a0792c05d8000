"""Rows {"task", "arm", "seed", "metric", "value"} of an experiment: its command line, its file, its tables.

What scripts of this folder share; to be imported, not run.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from neuroaccel.graph import write_atomic

Row = dict
Values = dict  # metric -> number, or list of numbers
Key = tuple[str, str, int]  # task, arm, seed


def rows_of(task: str, arm: str, seed: int, values: Values) -> list[Row]:
    return [{"task": task, "arm": arm, "seed": seed, "metric": m, "value": v} for m, v in values.items()]


def found(rows: list[Row], task: str, arm: str, metric: str) -> dict[int, float]:
    """Seed -> value."""
    return {r["seed"]: r["value"] for r in rows if (r["task"], r["arm"], r["metric"]) == (task, arm, metric)}


def table(rows: list[Row], tasks: Sequence[str], arms: Sequence[str], columns: dict[str, tuple[str, int]]) -> list[str]:
    """Lines of a table, mean ± sample standard deviation over seeds.

    Arguments:
        columns: metric -> its title, and how many digits behind the point.
    """
    lines = ["| task | arm | seeds | " + " | ".join(title for title, _ in columns.values()) + " |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    for task in tasks:
        for arm in arms:
            seeds = {r["seed"] for r in rows if (r["task"], r["arm"]) == (task, arm)}
            cells = []
            for metric, (_, digits) in columns.items():
                values = list(found(rows, task, arm, metric).values())
                spread = f" ± {statistics.stdev(values):,.{digits}f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):,.{digits}f}{spread}" if values else "")
            if seeds:
                lines.append(f"| {task} | {arm} | {len(seeds)} | " + " | ".join(cells) + " |")
    return lines


def paired(rows: list[Row], task: str, arm: str, against: str, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """A list of each seed that both arms have, ``[seeds, episodes]``."""
    a, b = (found(rows, task, name, metric) for name in (arm, against))
    both = sorted(set(a) & set(b))
    return (np.array([a[s] for s in both]), np.array([b[s] for s in both])) if both else None


def interval(a: np.ndarray, b: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """95 % of the difference of two arms' means [seeds, episodes]; seeds and episodes drawn anew, the same for both."""
    rng, out = np.random.default_rng(0), np.empty(draws)
    for i in range(draws):
        seeds, episodes = rng.integers(len(a), size=len(a)), rng.integers(a.shape[1], size=a.shape[1])
        out[i] = (a - b)[seeds][:, episodes].mean()
    low, high = np.percentile(out, (2.5, 97.5))
    return float(low), float(high)


@dataclass
class Experiment:
    """A set of trainings and what belongs beside them.

    Arguments:
        about: for --help.
        file: where the rows go; the tables go beside it.
        tasks, arms: what is trained.
        measure: (task, arm, seed, quick) -> values of a training; at the top level of its module.
        references: arms without training or seed.
        refer: (task, arm) -> values of such an arm.
        report: rows -> lines of the tables' file.
    """

    about: str
    file: Path
    tasks: Sequence[str]
    arms: Sequence[str]
    measure: Callable[[str, str, int, bool], Values]
    references: Sequence[str]
    refer: Callable[[str, str], Values]
    report: Callable[[list[Row]], list[str]]

    def rows(self) -> list[Row]:
        return json.loads(self.file.read_text()) if self.file.exists() else []

    def add(self, new: list[Row]) -> None:
        """Put rows behind those of the file, where another call may have added some meanwhile."""
        write_atomic(self.file, (json.dumps(self.rows() + new, indent=1) + "\n").encode())

    def main(self) -> None:
        parser = argparse.ArgumentParser(description=self.about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--seeds", type=int, default=3)
        parser.add_argument("--task", action="append", choices=tuple(self.tasks), help="only this one; may be repeated")
        parser.add_argument("--arm", action="append", choices=tuple(self.arms), help="only this one; may be repeated")
        parser.add_argument("--jobs", type=int, default=1, help="trainings at once, one thread each")
        parser.add_argument("--quick", action="store_true", help="seed 0, a few seconds per arm; writes no result")
        parser.add_argument("--render", action="store_true", help="only write the tables")
        options = parser.parse_args()
        if not options.render:
            tasks, arms = options.task or self.tasks, options.arm or self.arms
            todo = [(t, a, s) for s in range(1 if options.quick else options.seeds) for t in tasks for a in arms]
            self.train(todo, options.jobs, options.quick)
        if options.quick:
            return
        done = {(r["task"], r["arm"]) for r in self.rows()}
        for task, arm in [] if options.render else [(t, a) for t in self.tasks for a in self.references]:
            if (task, arm) not in done:
                self.add(rows_of(task, arm, 0, self.refer(task, arm)))
        print(self.render())

    def render(self) -> str:
        """Write the tables' file; returns its text."""
        text = "\n".join(self.report(self.rows())) + "\n"
        write_atomic(self.file.with_suffix(".md"), text.encode())
        return text

    def train(self, todo: list[Key], jobs: int, quick: bool) -> None:
        """Train what is missing; the rows of each training are in the file before the next one begins."""
        done = set() if quick else {(r["task"], r["arm"], r["seed"]) for r in self.rows()}
        todo = [key for key in todo if key not in done]
        started = time.perf_counter()
        for at, (key, values) in enumerate(self.finished(todo, jobs, quick), 1):
            new = rows_of(*key, values)
            if not quick:
                self.add(new)
            left = (time.perf_counter() - started) / at * (len(todo) - at)
            shown = {m: round(v, 3) for m, v in values.items() if not isinstance(v, list)}
            name = " ".join(map(str, key))
            print(f"{at}/{len(todo)} {name}: {json.dumps(shown)}, {left / 60:.0f} min left", flush=True)

    def finished(self, todo: list[Key], jobs: int, quick: bool) -> Iterator[tuple[Key, Values]]:
        """Trainings as they end; a single job runs in this process, so that its progress can be shown."""
        if jobs == 1:
            yield from ((key, self.measure(*key, quick)) for key in todo)
            return
        with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            waiting = {pool.submit(self.measure, *key, quick): key for key in todo}
            yield from ((waiting[future], future.result()) for future in as_completed(waiting))
