"""Lava on the first dense layer, for context."""

import statistics

import numpy as np

from engine_bench import peers
from engine_bench.data import BETA, layer, percent, settle, uniform
from engine_bench.table import APART, Table, differing

SIZE, TICKS, RATE, OUTPUT_RATE = 1024, 100, 0.05, 0.02


def dense(table: Table) -> None:
    """Rows of Lava, or a line that says why there are none."""
    python, rng = peers.lava(), np.random.default_rng(SIZE)
    if python is None:
        print("    Lava is left out: .venv-lava is missing (scripts/demo makes it where there is a Python 3.10)")
        return
    x = uniform(rng, TICKS, (SIZE,), RATE)
    (settled,), (expected,) = settle(x, [layer(rng, (SIZE, SIZE))], OUTPUT_RATE)
    tick, address = np.nonzero(x)
    given = {"tick": tick, "address": address, "weights": settled.weight, "inputs": SIZE, "outputs": SIZE}
    given |= {"ticks": TICKS, "runs": table.runs, "beta": BETA, "threshold": settled.threshold}
    try:
        found = peers.run(python, "lava_dense.py", given)
    except RuntimeError as error:
        print(f"    left out: {error}")
        return
    name, who, seconds = f"dense N={SIZE}, {percent(RATE)}", found["who"], statistics.median(found["seconds"])
    fired = np.zeros_like(expected)
    fired[tuple(found["spikes"])] = 1
    table.add(name, who, "differing spikes", differing(fired, expected), "fraction", APART, runs=1)
    table.times(name, {who: seconds}, who, TICKS, int(x.sum()) * SIZE)
