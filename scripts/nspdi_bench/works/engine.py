"""NDI nets in the engine, dense and with 5 % of their synapses, beside torch: nanoseconds per step of one sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import torch
from engine_bench import ours
from engine_bench.data import BETA, calibrated, neurons, percent, stream, uniform
from engine_bench.table import Contender, Table
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from neuroaccel.graph import Dendrite, Graph, Input, Node, Output, WeightGrid, chain

NETS = ((700, 256, 20), (700, 1024, 1024, 20))
LIVING, RATES = (1.0, 0.1, 0.05), (0.02, 0.1)
TICKS = 256  # as many as the engine takes at once
BITS, GRID, GATE_GRID = 11, 11, 14  # whole weights of W and V up to 2^BITS, on 2^-GRID and 2^-GATE_GRID
TORCH = f"torch {version('torch').split('+')[0]} (per step)"


@dataclass(frozen=True, eq=False)
class Layer:
    """W and V, whole numbers on their grids, and the threshold of the neurons behind them; no bias."""

    weight: NDArray[np.float32]
    gate: NDArray[np.float32]
    threshold: float = 1.0

    def current(self, x: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The exact currents [T, out]: sums through float64, then rounded operation by operation."""
        y, z = ((x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.float32) for w in (self.weight, self.gate))
        product = y * z
        return np.asarray(product + y)


def layer(rng: np.random.Generator, shape: tuple[int, int], living: float) -> Layer:
    """Random W and V, each with this share of its synapses."""
    whole = (
        rng.integers(1, 2**BITS, (2, *shape)) * rng.choice([-1, 1], (2, *shape)) * (rng.random((2, *shape)) < living)
    )
    weight, gate = (np.ldexp(w.astype(np.float32), -q) for w, q in zip(whole, (GRID, GATE_GRID), strict=True))
    return Layer(weight, gate)


def settled(x: NDArray[np.bool_], layers: Sequence[Layer], rate: float) -> tuple[list[Layer], NDArray[np.uint8]]:
    """Layers with thresholds at which each fires at this rate, and the spikes of the last."""
    found, spikes = [], x.astype(np.uint8)
    for each in layers:
        drive = each.current(spikes.astype(np.bool_))
        found.append(replace(each, threshold=calibrated(drive, rate)))
        spikes = neurons(drive, found[-1].threshold)
    return found, spikes


def net(layers: Sequence[Layer]) -> Graph:
    """Input, then Dendrite and neurons for every layer, then the Output."""
    nodes: dict[str, Node] = {"x": Input((layers[0].weight.shape[1],))}
    for k, each in enumerate(layers):
        nodes[f"d{k}"] = Dendrite(each.weight, each.gate, grid=WeightGrid(GRID), gate_grid=WeightGrid(GATE_GRID))
        nodes[f"n{k}"] = ours.population((len(each.weight),), each.threshold)
    return chain(nodes | {"y": Output()}).validate()


def per_step(x: NDArray[np.bool_], layers: Sequence[Layer]) -> Callable[[], Tensor]:
    """torch, tick by tick: two products, and neurons."""
    spikes = torch.from_numpy(x).float()
    weights = [(torch.from_numpy(each.weight), torch.from_numpy(each.gate), each.threshold) for each in layers]

    @torch.inference_mode()
    def run() -> Tensor:
        states = [torch.zeros(len(w)) for w, _, _ in weights]
        given = []
        for s in spikes:
            for (w, gate, threshold), v in zip(weights, states, strict=True):
                y = functional.linear(s, w)
                v.mul_(BETA).add_((y * functional.linear(s, gate)).add_(y))
                fired = v > threshold
                v.masked_fill_(fired, 0.0)
                s = fired.float()
            given.append(fired)
        return torch.stack(given)

    return run


def work(table: Table) -> None:
    """Every net by turns: dense, pruned, and torch on both; spikes are equal bit for bit."""
    torch.set_num_threads(1)
    for sizes in NETS:
        for rate in RATES:
            rng = np.random.default_rng(sizes[1])
            name = f"NDI net {'-'.join(map(str, sizes))}, {percent(rate)} active"
            x = uniform(rng, TICKS, (sizes[0],), rate)
            contenders = []
            for living in LIVING:
                shapes = zip(sizes[1:], sizes[:-1], strict=True)
                layers, spikes = settled(x, [layer(rng, shape, living) for shape in shapes], rate)
                how = "dense" if living == 1 else f"connectivity {percent(living)}"
                graph = net(layers)
                contenders.append(Contender(f"neuroaccel ({how})", ours.whole(graph, stream(x)), expected=spikes))
                if living != LIVING[1]:
                    who = f"{TORCH.removesuffix(')')}, {how})"
                    contenders.append(Contender(who, per_step(x, layers), expected=spikes))
                kernel = ours.compiled(graph).steps["node", "d0"].operation.explain()
                print(f"    {how}: {kernel}", flush=True)
            seconds = table.contest(name, contenders)
            pruned = f"neuroaccel (connectivity {percent(LIVING[-1])})"
            table.times(name, seconds, pruned, TICKS)
            table.ratios(name, seconds, pruned)
