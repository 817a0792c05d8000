"""Rows as they come, and contests: contenders by turns, their medians, and whether their spikes are the same."""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import EventStream, Result

SHORT, WARM = 0.05, 0.01  # seconds
APART = "of those of the reference or its own"


@dataclass(frozen=True)
class Contender:
    """Someone who does a work.

    Arguments:
        who: name, and mode in parentheses.
        run: does all of it once and returns what it gave (array, tensor, or the engine's Result).
        exact: whether its result must equal the reference bit for bit; else the differing share is reported.
        expected: the reference, in C-order of [T, ...]; None: nothing to compare.
    """

    who: str
    run: Callable[[], Any]
    exact: bool = True
    expected: NDArray[Any] | None = None


class Table:
    """The rows, and what went wrong.

    Arguments:
        runs: how many runs a median has.
        peers: whether peers with environments of their own take part.
    """

    def __init__(self, runs: int, peers: bool = False) -> None:
        self.runs, self.peers = runs, peers
        self.rows: list[dict[str, Any]] = []
        self.differing: list[str] = []
        self.started = time.perf_counter()

    def progress(self, what: str) -> None:
        print(f"--- {what} (after {time.perf_counter() - self.started:.0f} s)", flush=True)

    def add(
        self,
        work: str,
        who: str,
        metric: str,
        value: float,
        unit: str,
        note: str = "",
        *,
        threads: int = 1,
        runs: int = 0,
    ) -> None:
        """Add a row and show it; ``runs`` where it is not the table's."""
        self.keep(work, who, metric, value, unit, threads, runs)
        print(f"{work:27} {who:48} {metric:28} {shown(value, unit):>14} {note}", flush=True)

    def keep(self, work: str, who: str, metric: str, value: float, unit: str, threads: int = 1, runs: int = 0) -> None:
        """Add a row that is not shown, since a note beside another shows it."""
        row = {"work": work, "who": who, "metric": metric, "value": float(value), "unit": unit, "threads": threads}
        self.rows.append({**row, "runs": runs or self.runs})

    def json(self) -> bytes:
        return (json.dumps(self.rows, indent=1) + "\n").encode()

    def contest(self, work: str, contenders: Sequence[Contender], warm: int = 1) -> dict[str, float]:
        """Run them by turns, check what they give, and return the median seconds of each."""
        times: dict[str, list[float]] = {c.who: [] for c in contenders}
        first: dict[str, float] = {}
        for k in range(self.runs + warm):
            for c in contenders:
                if k >= warm and first[c.who] < SHORT:
                    again(c.run)  # its caches, which the others' turns emptied, are not what a short run is about
                seconds, given = timed(c.run)
                if k >= warm:
                    times[c.who].append(seconds)
                    continue
                first[c.who] = seconds
                if k == 0 and c.expected is not None:
                    self._compare(work, c, given)
        return {who: statistics.median(t) for who, t in times.items()}

    def _compare(self, work: str, contender: Contender, given: Any) -> None:
        assert contender.expected is not None
        share = differing(given, contender.expected)
        if not contender.exact:
            self.add(work, contender.who, "differing spikes", share, "fraction", APART, runs=1)
        elif share:
            self.differing.append(f"{work}, {contender.who}: {share:.2%}")

    def times(self, work: str, seconds: Mapping[str, float], ours: str, steps: int = 0, events: int = 0) -> None:
        """Rows of times, each with its multiple of ours, and with synaptic events per second where they are given.

        Arguments:
            seconds: of the whole work.
            ours: whose multiples are shown.
            steps: ticks, where the rows are times per step.
            events: synaptic events of the work.
        """
        for who, value in seconds.items():
            note = f"{value / seconds[ours]:.2f}×"
            if events:
                self.keep(work, who, "synaptic events per second", events / value / 1e9, "G/s")
                note += f"  {events / value / 1e9:.3g} G synaptic events/s"
            self.add(work, who, "time per step" if steps else "time", value / max(steps, 1), "s", note)

    def ratios(self, work: str, seconds: Mapping[str, float], ours: str) -> None:
        """Rows of how many times as fast as everybody else one of ours is."""
        for who, value in seconds.items():
            if who != ours:
                self.keep(work, ours, f"times as fast as {who}", value / seconds[ours], "")


def again(run: Callable[[], Any]) -> None:
    """Run once, and then on until the time is up in which the weights of a large layer are back in their cache."""
    started = time.perf_counter()
    run()
    while time.perf_counter() - started < WARM:
        run()


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result of one run."""
    started = time.perf_counter()
    given = run()
    return time.perf_counter() - started, given


def values(given: Any) -> NDArray[Any]:
    """What a contender gave as an array."""
    if isinstance(given, Result):
        (given,) = given.trace.outputs.values()
    if isinstance(given, EventStream):
        return given.to_dense()
    return np.asarray(given)


def differing(given: Any, expected: NDArray[Any]) -> float:
    """Share of differing values among those that are not zero in one or the other."""
    found = values(given).reshape(-1)
    wanted = expected.reshape(-1)
    if found.size != wanted.size:
        return 1.0
    apart = np.count_nonzero(found != wanted)
    return apart / max(1, np.count_nonzero((found != 0) | (wanted != 0)))


def shown(value: float, unit: str) -> str:
    """A value for people: times in the unit that fits."""
    if unit == "s":
        for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if abs(value) * scale >= 1:
                return f"{value * scale:.3g} {name}"
        return f"{value * 1e9:.3g} ns"
    if unit == "fraction":
        return f"{value:.3%}"
    return f"{value:.4g} {unit}".rstrip()


def machine() -> str:
    """The processor's name, and how busy it is."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = "an unknown processor"
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
