"""A convolution 3×3, 32 → 64 channels, on 128×128, with its neurons; uniform input and moving patches.

Thresholds let the neurons fire at the rate of the input: a layer inside a network passes on what it takes in.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from engine_bench import ours
from engine_bench.data import (
    BETA,
    Layer,
    calibrated,
    layer,
    neurons,
    patches,
    percent,
    settle,
    stream,
    uniform,
)
from engine_bench.rivals import TORCH
from engine_bench.table import Contender, Table

SHAPE, OUT, RATES, TICKS = (32, 128, 128), 64, (0.005, 0.02), 20
INPUTS: dict[str, Callable[..., NDArray[np.bool_]]] = {"uniform": uniform, "clustered": patches}


def work(table: Table) -> None:
    rng = np.random.default_rng(128)
    raw = layer(rng, (OUT, SHAPE[0], 3, 3))
    dense = _dense_layer(rng)
    for rate in RATES:
        for kind, draw in INPUTS.items():
            name = f"conv 32→64, {percent(rate)} {kind}"
            x = draw(rng, TICKS, SHAPE, rate)
            settled, expected = settle_conv(x, raw, 1, rate)
            graph, sequence = ours.convolution(settled, SHAPE, 1), stream(x)
            ours.explain(graph)
            events = int(ours.counted(graph, sequence).counts["w"]["products"].sum())
            print(f"    input {percent(round(float(x.mean()), 5))}, {percent(round(float(expected.mean()), 5))} fire")
            given = [
                Contender("neuroaccel", ours.whole(graph, sequence), expected=expected),
                Contender(f"{TORCH} (per step)", per_step(x, settled, 1), expected=expected),
                Contender(f"{TORCH} (per step, channels last)", per_step(x, settled, 1, True), expected=expected),
                dense[0],
            ]
            seconds = table.contest(name, given)
            reference = dense[1] / seconds.pop(dense[0].who)
            table.times(name, seconds, "neuroaccel", TICKS, events)
            table.ratios(name, seconds, "neuroaccel")
            share = events / seconds["neuroaccel"] / reference
            table.add(name, "neuroaccel", "share of a dense layer's speed", share, "fraction", dense[0].who)


def _dense_layer(rng: np.random.Generator) -> tuple[Contender, int]:
    """Our own dense layer, with which a convolution's events per second are compared, and its events."""
    x = uniform(rng, 100, (1024,), 0.05)
    settled, (expected,) = settle(x, [layer(rng, (1024, 1024))], 0.02)
    run = ours.whole(ours.linears(settled), stream(x))
    return Contender("neuroaccel (dense N=1024, 5 %)", run, expected=expected), int(x.sum()) * 1024


def settle_conv(x: NDArray[np.bool_], raw: Layer, padding: int, rate: float) -> tuple[Layer, NDArray[np.uint8]]:
    """The layer with a threshold at which its neurons fire at about this rate, and their spikes [T, ...]."""
    weight = torch.from_numpy(raw.whole.astype(np.float64))
    drive = np.stack([_currents(torch.from_numpy(tick), weight, padding, raw.q) for tick in x])
    flat = drive.reshape(len(x), -1)
    threshold = calibrated(np.ascontiguousarray(flat[:, ::97]), rate)
    settled = Layer(raw.whole, raw.q, raw.storage, threshold)
    return settled, neurons(flat, threshold).reshape(drive.shape)


def _currents(tick: torch.Tensor, weight: torch.Tensor, padding: int, q: int) -> NDArray[np.float32]:
    sums = torch.nn.functional.conv2d(tick.double()[None], weight, padding=padding)[0]
    return np.ldexp(sums.numpy(), -q).astype(np.float32)


def per_step(
    x: NDArray[np.bool_], settled: Layer, padding: int, channels_last: bool = False
) -> Callable[[], NDArray[np.bool_]]:
    """torch, one convolution and one update per tick."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    spikes = [torch.from_numpy(tick).float()[None].contiguous(memory_format=layout) for tick in x]
    weight = torch.from_numpy(settled.weight).contiguous(memory_format=layout)

    @torch.inference_mode()
    def run() -> NDArray[np.bool_]:
        v: torch.Tensor | None = None
        given = []
        for s in spikes:
            i = torch.nn.functional.conv2d(s, weight, padding=padding)
            v = i if v is None else v.mul_(BETA).add_(i)
            fired = v > settled.threshold
            v.masked_fill_(fired, 0.0)
            given.append(fired)
        return torch.cat(given).numpy()

    return run
