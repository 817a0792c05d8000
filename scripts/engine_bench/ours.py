"""neuroaccel as a contender: graphs of layers, and runs of them."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine_bench.data import BETA, BITS, Layer
from neuroaccel import engine
from neuroaccel.engine import EventStream, Result
from neuroaccel.engine.inputs import Feed
from neuroaccel.engine.linear import Linear as LinearSums
from neuroaccel.engine.plan import Plan
from neuroaccel.graph import Conv2d, Graph, Input, Linear, Neuron, Node, Output, WeightGrid, chain
from neuroaccel.program import LIF

_TOLD: set[str] = set()


def population(shape: tuple[int, ...], threshold: float) -> Neuron:
    """LIF neurons with the decay and the reset of every contender."""
    spec = LIF(beta=BETA, threshold=threshold)
    return Neuron(spec.program, {name: np.float32(value) for name, value in spec.values.items()}, shape)


def linear(layer: Layer) -> Linear:
    return Linear(layer.weight, grid=WeightGrid(layer.q), weight_bits=BITS[layer.storage])


def linears(layers: Sequence[Layer]) -> Graph:
    """Input, then Linear and neurons for every layer, then the Output ``y``."""
    nodes: dict[str, Node] = {"x": Input((layers[0].whole.shape[1],))}
    for k, layer in enumerate(layers):
        nodes |= {f"w{k}": linear(layer), f"n{k}": population((len(layer.whole),), layer.threshold)}
    return chain(nodes | {"y": Output()}).validate()


def convolution(layer: Layer, shape: tuple[int, int, int], padding: int) -> Graph:
    """Input, Conv2d of stride 1 that keeps the size, neurons, Output."""
    weight = Conv2d(layer.weight, grid=WeightGrid(layer.q), padding=(padding, padding), weight_bits=BITS[layer.storage])
    target = (len(layer.whole), *shape[1:])
    nodes: dict[str, Node] = {"x": Input(shape), "w": weight, "n": population(target, layer.threshold), "y": Output()}
    return chain(nodes).validate()


def whole(graph: Graph, sequence: EventStream, counts: bool = False) -> Callable[[], EventStream]:
    """Events in, events out: a session over a whole sequence of one sample; every run resets it."""
    running = engine.Session(compiled(graph), counts=counts)
    (target,) = graph.outputs

    def run() -> EventStream:
        running.reset()
        given: EventStream = running.step(sequence)[target]
        return given

    return run


def session(graph: Graph, sequence: EventStream, at_once: int = 1) -> Callable[[], NDArray[Any]]:
    """A session that gets the events of one sample as they come, some ticks at once; every run resets it."""
    running = engine.Session(compiled(graph), counts=False)
    (source,), (target,) = graph.inputs, graph.outputs
    node = graph.nodes[source]
    assert isinstance(node, Input)
    pieces = [sequence.slice(t, min(t + at_once, sequence.ticks)) for t in range(0, sequence.ticks, at_once)]
    feeds = [(piece.ticks, {source: Feed(source, node, piece)}) for piece in pieces]

    def run() -> NDArray[Any]:
        running.reset()
        given = []
        for ticks, feed in feeds:
            for _ in running.blocks(feed, ticks):
                given.append(running.output(target))
        return np.concatenate(given)

    return run


def sums(graph: Graph, sequence: EventStream) -> Callable[[], NDArray[Any]]:
    """The currents of the first layer over all ticks, and no neurons: what others' products are."""
    operation = compiled(graph).steps["node", "w0"].operation
    assert isinstance(operation, LinearSums)
    value = sequence.to_dense()
    found = np.diff(sequence.indptr)
    index = np.zeros(value.shape, np.int32)
    for row, count, start in zip(index, found, sequence.indptr, strict=False):
        row[:count] = sequence.index[start : start + count]
    current = np.zeros((len(value), operation.outputs), np.float32)

    def run() -> NDArray[Any]:
        operation.currents(value, index, found, current)
        return current

    return run


@lru_cache(maxsize=1)
def compiled(graph: Graph) -> Plan:
    """The plan of the last graph, which several contenders may share."""
    return engine.compile_graph(graph)


def explain(graph: Graph) -> None:
    """Show which kernels and schedules the engine chose for synapses and neurons, every line once."""
    for line in engine.explain(graph).splitlines():
        kind = line.split()[1:2]
        if kind in (["Linear"], ["Conv2d"], ["Neuron"]) and line not in _TOLD:
            _TOLD.add(line)
            print(f"    {line}")


def counted(graph: Graph, sequence: EventStream) -> Result:
    """One run that counts; its time is of no interest."""
    return engine.run(compiled(graph), [sequence], counts=True, threads=1)
