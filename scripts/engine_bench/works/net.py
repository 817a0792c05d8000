"""A whole net, 700-1024-1024-20, one sample."""

import numpy as np

from engine_bench import ours, rivals
from engine_bench.data import Storage, layer, percent, settle, stream, uniform
from engine_bench.table import Contender, Table

SIZES, RATES, TICKS, HIDDEN_RATE = (700, 1024, 1024, 20), (0.01, 0.02, 0.03), 100, 0.02
STORAGES: tuple[Storage, ...] = ("fp32", "bf16", "int8")


def work(table: Table) -> None:
    rng = np.random.default_rng(700)
    shapes = list(zip(SIZES[1:], SIZES[:-1], strict=True))
    weights = {storage: [layer(rng, shape, storage) for shape in shapes] for storage in STORAGES}
    for rate in RATES:
        name = f"net {'-'.join(map(str, SIZES))}, {percent(rate)}"
        x = uniform(rng, TICKS, (SIZES[0],), rate)
        contenders: list[Contender] = []
        for storage, layers in weights.items():
            settled, spikes = settle(x, layers, HIDDEN_RATE)
            graph, who = ours.linears(settled), "neuroaccel" if storage == "fp32" else f"neuroaccel ({storage})"
            contenders.append(Contender(who, ours.whole(graph, stream(x)), expected=spikes[-1]))
            if storage == "fp32":
                run = ours.session(graph, stream(x))
                contenders.append(Contender("neuroaccel (strict)", run, expected=spikes[-1]))
                for k, fired in enumerate(spikes[:-1], 1):
                    table.add(name, who, f"rate of hidden layer {k}", fired.mean(), "fraction", runs=1)
            ours.explain(graph)
            contenders += rivals.nets(x, settled, spikes[-1])
        seconds = table.contest(name, contenders)
        table.times(name, seconds, "neuroaccel")
        table.ratios(name, seconds, "neuroaccel")
