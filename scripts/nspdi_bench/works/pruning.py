"""A whole training step of a dendritic network with and without pruning: what thresholds, masks and their steering add.

Steering happens once in a hundredth of a training (at most every 100 steps); its time is measured by itself and shared
out over the steps between.
"""

import statistics
import time
from collections.abc import Callable

import torch
from engine_bench.table import Contender, Table
from torch import Tensor

from neuroaccel import neurons, synapses
from neuroaccel.network import Network
from neuroaccel.synapses.pruning import METHODS, Pruner, parameter_groups, prune

ORDER = 1
DENSE = "neuroaccel (unpruned)"
TICKS, BATCH, RATE, TOTAL = 15, 32, 0.05, 10_000


def _dense() -> tuple[Network, tuple[int, ...]]:
    lif = neurons.LIF
    layers = [synapses.DendriticLinear(1024, 256), lif(), synapses.DendriticLinear(256, 10), lif(), synapses.Readout()]
    return Network(layers), (1024,)


def _conv() -> tuple[Network, tuple[int, ...]]:
    layers = [
        synapses.DendriticConv2d(2, 8, 5, padding=2),
        neurons.LIF(),
        synapses.SumPool2d(2),
        synapses.DendriticConv2d(8, 16, 3, padding=1),
        neurons.LIF(),
        synapses.SumPool2d(2),
        synapses.Flatten(),
        synapses.DendriticLinear(1024, 10),
        neurons.LIF(),
        synapses.Readout(),
    ]
    return Network(layers), (2, 34, 34)


def _step(network: Network, x: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(parameter_groups(network, 0.0), lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        final = network(x)[0][-1]
        torch.nn.functional.cross_entropy(final, labels).backward()
        optimizer.step()

    return run


def _steering(pruner: Pruner, runs: int) -> float:
    """Seconds of one steering of the thresholds or masks, in the middle of the ramp."""
    times = []
    for n in range(runs):
        started = time.perf_counter()
        pruner.step(TOTAL // 4 + 100 * n, TOTAL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def work(table: Table) -> None:
    for name, make in (("1024-256-10 NDI", _dense), ("8C5-16C3-10 NDI", _conv)):
        runs, pruners = {}, {}
        for method in ("", *METHODS):
            torch.manual_seed(0)
            network, shape = make()
            x = (torch.rand(TICKS, BATCH, *shape) < RATE).float()
            labels = torch.randint(0, 10, (BATCH,))
            if method:
                pruners[method] = prune(network, method, 0.1)
                pruners[method].step(TOTAL // 4, TOTAL)
            runs[f"neuroaccel ({method})" if method else DENSE] = _step(network, x, labels)
        label = f"training step, {name}"
        seconds = table.contest(label, [Contender(who, run) for who, run in runs.items()], warm=2)
        for method, pruner in pruners.items():
            who = f"neuroaccel ({method})"
            steering = _steering(pruner, table.runs)
            seconds[who] += steering / 100
            table.keep(label, who, "time per steering", steering, "s")
        table.times(label, seconds, DENSE)
        for method in METHODS:
            who = f"neuroaccel ({method})"
            table.add(label, who, "times the unpruned step's", seconds[who] / seconds[DENSE], "")
