"""From which density on the dense product over all ticks is faster than the events, for every layer size."""

import numpy as np

from engine_bench import ours
from engine_bench.data import Layer, Storage, crossing, layer, percent, settle, stream, uniform
from engine_bench.rivals import TORCH, compiled_neurons, fp32, int8, layer_wise
from engine_bench.table import Contender, Table

SIZES = (256, 512, 1024, 2048, 4096)
DENSITIES, TICKS, OUTPUT_RATE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8), 64, 0.02
PRODUCTS = {"int8": int8, "fp32": fp32}


def work(table: Table) -> None:
    for size in SIZES:
        rng = np.random.default_rng(size)
        for storage in ("int8", "fp32"):
            _one_size(table, rng, layer(rng, (size, size), storage), storage)


def _one_size(table: Table, rng: np.random.Generator, raw: Layer, storage: Storage) -> None:
    """Ours against the product of the same storage, both with neurons; and where the two lines cross."""
    size = len(raw.whole)
    name = f"crossover N={size}"
    who, rival = f"neuroaccel ({storage})", f"{TORCH} (layer-wise {storage}, compiled neurons)"
    ratios, mine, theirs = [], [], []
    for density in DENSITIES:
        x = uniform(rng, TICKS, (size,), density)
        settled, (expected,) = settle(x, [raw], OUTPUT_RATE)
        contenders = [
            Contender(who, ours.whole(ours.linears(settled), stream(x)), expected=expected),
            Contender(rival, layer_wise(x, settled, PRODUCTS[storage], compiled_neurons), expected=expected),
        ]
        seconds = table.contest(name, contenders)
        mine.append(seconds[who])
        theirs.append(seconds[rival])
        ratios.append(f"{percent(density)} {seconds[rival] / seconds[who]:.2g}×")
    found = crossing(list(DENSITIES), mine, theirs)
    note = f"{', '.join(ratios)}"
    beyond = found in (DENSITIES[0], 1.0)
    metric = f"density from which {storage} layer-wise wins"
    table.add(name, rival, metric, found, "fraction", f"{'beyond what was measured; ' if beyond else ''}ours is {note}")
