"""What counting costs, what a second thread gives, and how long the first call takes."""

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial

import numpy as np

from engine_bench import ours
from engine_bench.data import layer, percent, settle, stream, uniform
from engine_bench.table import Contender, Table
from engine_bench.works import conv
from neuroaccel import engine
from neuroaccel.engine import EventStream
from neuroaccel.graph import Graph, save_graph

SIZES, BATCH, RATE = (700, 1024, 1024, 20), 16, 0.02
FIRST_CALL = """
import time
import numpy as np
from neuroaccel import engine
from neuroaccel.graph import load_graph
graph = load_graph({path!r})
started = time.perf_counter()
engine.run(graph, np.zeros((10, 1, *{shape!r}), np.float32))
print(time.perf_counter() - started)
"""


def work(table: Table) -> None:
    rng = np.random.default_rng(16)
    net, streams = _net(rng)
    image, moving = _conv(rng)
    _counting(table, f"net 700-1024-1024-20, {percent(RATE)}", net, streams[0])
    _counting(table, "conv 32→64, 0.5 % clustered", image, moving)
    _threads(table, net, streams)
    _first_call(table, "net 700-1024-1024-20", net, (SIZES[0],))
    _first_call(table, "conv 32→64", image, conv.SHAPE)


def _net(rng: np.random.Generator) -> tuple[Graph, list[EventStream]]:
    samples = [uniform(rng, 100, (SIZES[0],), RATE) for _ in range(BATCH)]
    layers = [layer(rng, shape) for shape in zip(SIZES[1:], SIZES[:-1], strict=True)]
    settled, _ = settle(samples[0], layers, 0.02)
    return ours.linears(settled), [stream(x) for x in samples]


def _conv(rng: np.random.Generator) -> tuple[Graph, EventStream]:
    x = conv.patches(rng, conv.TICKS, conv.SHAPE, 0.005)
    settled, _ = conv.settle_conv(x, layer(rng, (conv.OUT, conv.SHAPE[0], 3, 3)), 1, 0.005)
    return ours.convolution(settled, conv.SHAPE, 1), stream(x)


def _counting(table: Table, name: str, graph: Graph, sequence: EventStream) -> None:
    """A small difference of large times: more turns than elsewhere."""
    wide = Table(4 * table.runs + 1)
    contenders = [
        Contender("neuroaccel", ours.whole(graph, sequence)),
        Contender("neuroaccel (counting)", ours.whole(graph, sequence, counts=True)),
    ]
    seconds = wide.contest(name, contenders, warm=3)
    for who, value in seconds.items():
        table.add(name, who, "time", value, "s", runs=wide.runs)
    more = seconds["neuroaccel (counting)"] / seconds["neuroaccel"] - 1
    table.add(name, "neuroaccel", "time that counting adds", more, "fraction", runs=wide.runs)


def _threads(table: Table, graph: Graph, streams: list[EventStream]) -> None:
    name = f"net 700-1024-1024-20, {percent(RATE)}, batch {BATCH}"
    (expected,) = engine.run(graph, streams, threads=1).trace.outputs.values()
    runs = {k: partial(engine.run, ours.compiled(graph), streams, counts=False, threads=k) for k in (1, 2)}
    seconds = table.contest(name, [Contender(f"{k}", run, expected=expected) for k, run in runs.items()])
    for k in runs:
        table.add(name, "neuroaccel", "time", seconds[f"{k}"], "s", f"threads: {k}", threads=k)
    table.add(name, "neuroaccel", "speed of 2 threads over 1", seconds["1"] / seconds["2"], "", threads=2)


def _first_call(table: Table, name: str, graph: Graph, shape: tuple[int, ...]) -> None:
    """In a fresh process with an empty cache of kernels, imports excluded."""
    runs = max(1, table.runs // 5)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.safetensors")
        save_graph(graph, path)
        times: dict[str, list[float]] = {"first call, no kernels cached": [], "first call, kernels cached": []}
        for k in range(runs):
            environment = {**os.environ, "NEUROACCEL_KERNEL_CACHE": os.path.join(folder, f"kernels{k}")}
            environment["PYTHONPATH"] = os.pathsep.join(sys.path)
            for found in times.values():
                command = [sys.executable, "-c", FIRST_CALL.format(path=path, shape=shape)]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                found.append(float(done.stdout))
    for metric, found in times.items():
        table.add(name, "neuroaccel", metric, statistics.median(found), "s", runs=runs)
