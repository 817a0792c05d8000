"""One dense layer N×N with its neurons, at five input rates."""

import numpy as np
from numpy.typing import NDArray

from engine_bench import lava, limits, ours, rivals
from engine_bench.data import Layer, Storage, currents, layer, percent, settle, stream, uniform
from engine_bench.table import Contender, Table
from neuroaccel.engine import Result

TICKS = {1024: 400, 4096: 100}  # so that the weights' way into a cache that holds them does not count
RATES, OUTPUT_RATE = (0.005, 0.01, 0.05, 0.2, 0.5), 0.02
STORED: dict[Storage, int] = {"fp32": 4, "bf16": 2, "int8": 1}
OURS = ("fp32", "fp32, strict", "bf16", "int8", "fp32 sums", "int8 sums")


def work(table: Table) -> None:
    for size, ticks in TICKS.items():
        rng = np.random.default_rng(size)
        weights = {storage: layer(rng, (size, size), storage) for storage in STORED}
        for rate in RATES:
            _one_rate(table, weights, uniform(rng, ticks, (size,), rate), f"dense N={size}, {percent(rate)}")
    if table.peers:
        lava.dense(table)


def _one_rate(table: Table, weights: dict[Storage, Layer], x: NDArray[np.bool_], name: str) -> None:
    sequence, size = stream(x), x.shape[1]
    contenders: list[Contender] = []
    books: dict[str, Result] = {}
    for storage, raw in weights.items():
        (settled,), (expected,) = settle(x, [raw], OUTPUT_RATE)
        graph, who = ours.linears([settled]), f"neuroaccel ({storage})"
        books[who] = ours.counted(graph, sequence)
        contenders.append(Contender(who, ours.whole(graph, sequence), expected=expected))
        alone, drive = f"neuroaccel ({storage} sums)", currents(x, settled)
        books[alone] = books[who]
        contenders.append(Contender(alone, ours.sums(graph, sequence), expected=drive))
        if storage == "fp32":
            strict = "neuroaccel (fp32, strict)"
            books[strict] = books[who]
            contenders.append(Contender(strict, ours.session(graph, sequence), expected=expected))
        print(f"    {who}: {percent(round(float(expected.mean()), 4))} of the neurons fire")
        ours.explain(graph)
        contenders += rivals.nets(x, [settled], expected)
        contenders += rivals.products(x, settled, drive)
        contenders.append(limits.reader(_megabytes(size, storage)))
    seconds = table.contest(name, contenders)
    bandwidths = {storage: limits.READ / seconds.pop(limits.name(_megabytes(size, storage))) for storage in STORED}
    events = len(sequence) * size
    table.times(name, seconds, "neuroaccel (fp32)", len(x), events)
    for mode in OURS:
        table.ratios(name, seconds, f"neuroaccel ({mode})")
    for storage, bandwidth in bandwidths.items():
        metric = f"read bandwidth of {_megabytes(size, storage)} MB"
        table.add(name, "limit", metric, bandwidth / 1e9, "GB/s")
    for who, book in books.items():
        storage = next(s for s in STORED if s in who)
        moved = book.touched["w0"]["weight_bytes"].sum() / book.counts["w0"]["products"].sum()
        share = STORED[storage] * events / seconds[who] / bandwidths[storage]
        table.add(name, who, "weight bytes per event", moved, "B", "by the engine's own book", runs=1)
        table.add(name, who, "share of read bandwidth", share, "fraction", f"at {STORED[storage]} B an event, no reuse")


def _megabytes(size: int, storage: Storage) -> int:
    return size * size * STORED[storage] // 2**20
