"""Events of a gesture camera through the first layer of a convolutional net, in a session."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from engine_bench import ours
from engine_bench.data import BETA, Layer, layer, neurons, patches, percent, stream
from engine_bench.rivals import TORCH
from engine_bench.table import Contender, Table
from engine_bench.works.conv import settle_conv
from neuroaccel.graph import Conv2d, Flatten, Graph, Input, Linear, Node, Output, WeightGrid, chain

SHAPE, OUT, CLASSES, TICKS, BLOCK, RATE, OUTPUT_RATE = (2, 128, 128), 16, 11, 200, 20, 0.03, 0.005


def work(table: Table) -> None:
    """Conv 3×3 and neurons, with the 11 classes behind them so that a tick's output is small."""
    rng = np.random.default_rng(11)
    x = patches(rng, TICKS, SHAPE, RATE)
    first, spikes = settle_conv(x, layer(rng, (OUT, SHAPE[0], 3, 3)), 1, OUTPUT_RATE)
    last, expected = _classes(spikes, layer(rng, (CLASSES, OUT * SHAPE[1] * SHAPE[2]), bits=5))
    graph, sequence = _graph(first, last), stream(x)
    name = f"stream 2×128×128, conv 3×3 → {OUT}"
    ours.explain(graph)
    print(f"    {percent(round(float(x.mean()), 5))} input, {percent(round(float(spikes.mean()), 5))} fire")
    contenders = [
        Contender("neuroaccel", ours.whole(graph, sequence), expected=expected),
        Contender(f"neuroaccel ({BLOCK} ticks at once)", ours.session(graph, sequence, BLOCK), expected=expected),
        Contender("neuroaccel (strict)", ours.session(graph, sequence), expected=expected),
        Contender(f"{TORCH} (per step)", _torch(x, first, last), expected=expected),
    ]
    seconds = table.contest(name, contenders)
    table.times(name, seconds, "neuroaccel", TICKS)
    table.ratios(name, seconds, "neuroaccel")
    for who, value in seconds.items():
        table.add(name, who, "input events per second", len(sequence) / value / 1e6, "M/s")


def _classes(spikes: NDArray[np.uint8], raw: Layer) -> tuple[Layer, NDArray[np.uint8]]:
    """The readout with its threshold, and its spikes."""
    drive = np.stack([np.ldexp(raw.whole[:, tick.reshape(-1) != 0].sum(1, np.int64), -raw.q) for tick in spikes])
    threshold = float(np.float32(2 * drive.std()))
    settled = Layer(raw.whole, raw.q, raw.storage, threshold)
    return settled, neurons(drive.astype(np.float32), threshold)


def _graph(first: Layer, last: Layer) -> Graph:
    nodes: dict[str, Node] = {
        "x": Input(SHAPE),
        "w": Conv2d(first.weight, grid=WeightGrid(first.q), padding=(1, 1)),
        "n": ours.population((OUT, *SHAPE[1:]), first.threshold),
        "flat": Flatten(),
        "readout": Linear(last.weight, grid=WeightGrid(last.q)),
        "classes": ours.population((CLASSES,), last.threshold),
        "y": Output(),
    }
    return chain(nodes).validate()


def _torch(x: NDArray[np.bool_], first: Layer, last: Layer) -> Callable[[], torch.Tensor]:
    spikes = [torch.from_numpy(tick).float()[None] for tick in x]
    kernel, matrix = torch.from_numpy(first.weight), torch.from_numpy(last.weight)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        v, u = torch.zeros(1, OUT, *SHAPE[1:]), torch.zeros(1, CLASSES)
        given = []
        for s in spikes:
            v.mul_(BETA).add_(torch.nn.functional.conv2d(s, kernel, padding=1))
            fired = v > first.threshold
            v.masked_fill_(fired, 0.0)
            u.mul_(BETA).add_(torch.nn.functional.linear(fired.float().flatten(1), matrix))
            decided = u > last.threshold
            u.masked_fill_(decided, 0.0)
            given.append(decided)
        return torch.cat(given)

    return run
