"""A pruned layer whose synapses have delays of their own, like for like with general simulators."""

import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine_bench import ours, peers
from engine_bench.data import BETA, Layer, calibrated, layer, neurons, percent, stream, uniform
from engine_bench.table import APART, Contender, Table, differing
from neuroaccel.graph import Delay, Edge, Graph, Input, Linear, Node, Output, WeightGrid

SIZE, LIVING, DELAYS, TICKS, RATES, OUTPUT_RATE = 1024, 0.1, 8, 1000, (0.01, 0.05), 0.02


def work(table: Table) -> None:
    """One tenth of 1024×1024 synapses, each with a delay of 1 to 8 ticks."""
    rng = np.random.default_rng(8)
    raw = layer(rng, (SIZE, SIZE))
    living = rng.random((SIZE, SIZE)) < LIVING
    delay = np.where(living, rng.integers(1, DELAYS + 1, living.shape), 0)
    for rate in RATES:
        name = f"delays N={SIZE}, {percent(LIVING)} of synapses, {percent(rate)}"
        x = uniform(rng, TICKS, (SIZE,), rate)
        drive = _currents(x, raw, delay)
        settled = Layer(raw.whole, raw.q, raw.storage, calibrated(drive, OUTPUT_RATE))
        expected = neurons(drive, settled.threshold)
        graph = _graph(settled, delay)
        ours.explain(graph)
        events = int((x.sum(0, np.int64) * living.sum(0)).sum())
        seconds = table.contest(name, [Contender("neuroaccel", ours.whole(graph, stream(x)), expected=expected)])
        if table.peers:
            seconds |= _peers(table, name, x, settled, delay, expected)
        table.times(name, seconds, "neuroaccel", TICKS, events)
        table.ratios(name, seconds, "neuroaccel")


def _currents(x: NDArray[np.bool_], raw: Layer, delay: NDArray[np.int64]) -> NDArray[np.float32]:
    sums = np.zeros((TICKS, SIZE))
    for ticks in range(1, DELAYS + 1):
        weight = np.where(delay == ticks, raw.whole, 0).astype(np.float64)
        sums[ticks:] += x[:-ticks].astype(np.float64) @ weight.T
    return np.ldexp(sums, -raw.q).astype(np.float32)


def _graph(settled: Layer, delay: NDArray[np.int64]) -> Graph:
    """A branch for every delay: the delayed input and the synapses that have it."""
    nodes: dict[str, Node] = {"x": Input((SIZE,)), "n": ours.population((SIZE,), settled.threshold), "y": Output()}
    edges = [Edge("n", "y")]
    for ticks in range(1, DELAYS + 1):
        weight = np.where(delay == ticks, settled.weight, np.float32(0))
        nodes[f"d{ticks}"] = Delay(np.array(ticks, np.int32))
        nodes[f"w{ticks}"] = Linear(weight, grid=WeightGrid(settled.q))
        edges += [Edge("x", f"d{ticks}"), Edge(f"d{ticks}", f"w{ticks}"), Edge(f"w{ticks}", "n")]
    return Graph(nodes, tuple(edges)).validate()


def _peers(
    table: Table, name: str, x: NDArray[np.bool_], settled: Layer, delay: NDArray[np.int64], expected: NDArray[Any]
) -> dict[str, float]:
    """Brian2 (which rounds as we do) and NEST (in float64), each in its own process; one that fails is left out."""
    post, pre = np.nonzero(delay)
    tick, address = np.nonzero(x)
    given = {"tick": tick, "address": address, "pre": pre, "post": post, "weight": settled.weight[post, pre]}
    given |= {"delay": delay[post, pre], "inputs": SIZE, "outputs": SIZE, "ticks": TICKS, "runs": table.runs}
    given |= {"beta": BETA, "threshold": settled.threshold}
    seconds = {}
    for script, exact in (("brian2_delays.py", True), ("nest_delays.py", False)):
        try:
            found = peers.run(peers.environment(), script, given)
        except RuntimeError as error:
            print(f"    left out: {error}")
            continue
        fired = np.zeros_like(expected)
        fired[tuple(found["spikes"])] = 1
        share = differing(fired, expected)
        table.add(name, found["who"], "differing spikes", share, "fraction", APART, runs=1)
        if exact and share:
            table.differing.append(f"{name}, {found['who']}: {share:.2%}")
        seconds[found["who"]] = statistics.median(found["seconds"])
    return seconds
