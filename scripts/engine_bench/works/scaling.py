"""Time against events over four decades, and what silence costs."""

import numpy as np

from engine_bench import ours, rivals
from engine_bench.data import layer, settle, slope, stream
from engine_bench.table import Contender, Table
from engine_bench.works import conv

SIZE, TICKS = 4096, 100
EVENTS = (20, 200, 2_000, 20_000, 200_000)


def work(table: Table) -> None:
    _events(table)
    _silence(table)


def _events(table: Table) -> None:
    name, rng = f"scaling N={SIZE}, T={TICKS}", np.random.default_rng(1)
    weights = [layer(rng, (SIZE, SIZE))]
    contenders = []
    order = rng.permutation(TICKS * SIZE)
    for events in (0, *EVENTS):
        x = np.zeros(TICKS * SIZE, np.bool_)
        x[order[:events]] = True
        x = x.reshape(TICKS, SIZE)
        settled, (expected,) = settle(x, weights, 0.02) if events else (weights, (x,))
        run = ours.whole(ours.linears(settled), stream(x))
        contenders.append(Contender(f"neuroaccel ({events} events)", run, expected=expected))
    seconds = table.contest(name, contenders)
    for who, value in seconds.items():
        table.add(name, who, "time", value, "s")
    nothing, *times = seconds.values()
    table.add(name, "neuroaccel", "slope of log time over log events", slope(list(EVENTS), times), "")
    # Of two times that are nearly the same the difference is noise.
    above = [(float(n), t - nothing) for n, t in zip(EVENTS, times, strict=True) if t > 1.1 * nothing]
    if len(above) > 1:
        note = f"from {above[0][0]:g} events on; linear: 1"
        table.add(
            name, "neuroaccel", "the same, above silence's time", slope(*map(list, zip(*above, strict=True))), "", note
        )


def _silence(table: Table) -> None:
    rng = np.random.default_rng(2)
    name, sizes = "zero input, net 700-1024-1024-20", (700, 1024, 1024, 20)
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    layers, x = [layer(rng, shape) for shape in shapes], np.zeros((100, 700), np.bool_)
    expected = np.zeros((100, 20), np.bool_)
    contenders = [
        Contender("neuroaccel", ours.whole(ours.linears(layers), stream(x)), expected=expected),
        Contender(f"{rivals.TORCH} (per step)", rivals.per_step(x, layers), expected=expected),
    ]
    _share(table, name, table.contest(name, contenders))
    name, raw = "zero input, conv 32→64", layer(rng, (conv.OUT, conv.SHAPE[0], 3, 3))
    x = np.zeros((conv.TICKS, *conv.SHAPE), np.bool_)
    expected = np.zeros((conv.TICKS, conv.OUT, *conv.SHAPE[1:]), np.bool_)
    contenders = [
        Contender("neuroaccel", ours.whole(ours.convolution(raw, conv.SHAPE, 1), stream(x)), expected=expected),
        Contender(f"{rivals.TORCH} (per step)", conv.per_step(x, raw, 1), expected=expected),
        Contender(f"{rivals.TORCH} (per step, channels last)", conv.per_step(x, raw, 1, True), expected=expected),
    ]
    _share(table, name, table.contest(name, contenders))


def _share(table: Table, name: str, seconds: dict[str, float]) -> None:
    table.times(name, seconds, "neuroaccel")
    fastest = min(value for who, value in seconds.items() if who != "neuroaccel")
    table.add(name, "neuroaccel", "share of dense stepping's time", seconds["neuroaccel"] / fastest, "fraction")
