"""What the tests of convolutions share: random layers, and the buffers to run them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine.conv_population import ConvPopulation
from neuroaccel.engine.convolution import Convolution
from neuroaccel.engine.operation import Buffer, Operation, Static, Work
from neuroaccel.engine.plan import Number
from neuroaccel.engine.synapses import bias_flags
from neuroaccel.graph import Conv2d, Edge, Graph, Input, Output
from neuroaccel.graph.rules import conv_output
from neuroaccel.program import NeuronSpec
from tests.engine.variants import convolutions
from tests.random_graphs import neuron

Pair = tuple[int, int]


def graph_of(conv: Conv2d, spec: NeuronSpec, size: Pair) -> Graph:
    """Counts of a ``size`` image ``x``, a convolution ``w`` on a grid, the neurons ``n`` that read it, their Output."""
    axes = zip(size, conv.weight.shape[2:], conv.stride, conv.padding, conv.dilation, strict=True)
    target = (len(conv.weight), *(conv_output(*axis) for axis in axes))
    source = Input((conv.weight.shape[1] * conv.groups, *size), edge="count", maximum=4)
    names = ("x", "w", "n", "y")
    nodes = dict(zip(names, (source, conv, neuron(spec, target), Output()), strict=True))
    return Graph(nodes, tuple(Edge(*pair) for pair in pairwise(names)))


def lazily(graph: Graph, number: Number = "float32", block: int | None = None) -> engine.Session:
    """A session of one sample of :func:`graph_of` that runs the two together, however small they are."""
    with convolutions(together=True):
        plan = engine.compile_graph(graph, number)
    assert isinstance(plan.steps["node", "n"].operation, ConvPopulation)
    return engine.Session(plan, block=block)


def due(session: engine.Session) -> NDArray[np.bool_]:
    """Which cells of :func:`lazily`'s neurons the next tick looks at even if no event comes, ``[OH * OW]``."""
    found: NDArray[np.bool_] = session._works["node", "n"].state["@due"][0] != 0
    return found


def layer(
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    size: Pair,
    *,
    number: str = "float32",
    cells: bool = False,
    ones: bool = False,
    **options: Any,
) -> tuple[Convolution, Conv2d, tuple[int, ...]]:
    """The operation and the node of a convolution of an image of that size, and the shape of its input."""
    node = Conv2d(weight.astype(np.float32), None if bias is None else bias.astype(np.float32), **options)
    source = (node.weight.shape[1] * node.groups, *size)
    axes = zip(size, node.weight.shape[2:], node.stride, node.padding, node.dilation, strict=True)
    target = (len(weight), *(conv_output(*axis) for axis in axes))
    static = Static(target, bias_flags(node, target))
    given = node.weight.astype(number), None if node.bias is None else node.bias.astype(number)
    return Convolution("conv", node, Static.plain(source), static, *given, cells, ones), node, source


def random_layer(rng: np.random.Generator, **choices: Any) -> tuple[Convolution, Conv2d, tuple[int, ...]]:
    """Any geometry, kernels larger than the image among them; weights and biases are small whole numbers."""
    while True:
        groups = int(rng.choice([1, 1, 2, 3]))
        per_group, outputs = int(rng.integers(1, 4)), groups * int(rng.choice([1, 3, 8, 16, 20, 70]))
        pairs: list[Pair] = [(int(a), int(b)) for a, b in rng.integers(1, 5, (4, 2))]
        kernel, stride, dilation, size = pairs[0], pairs[1], pairs[2], (2 * pairs[3][0], 3 * pairs[3][1])
        padding = (int(rng.integers(0, 5)), int(rng.integers(0, 5)))
        axes = zip(size, kernel, stride, padding, dilation, strict=True)
        if min(conv_output(*axis) for axis in axes) > 0:
            break
    weight = rng.integers(1, 9, (outputs, per_group, *kernel)) * rng.choice([-1, 1], (outputs, per_group, *kernel))
    weight = np.where(rng.random(weight.shape) < rng.choice([0.0, 0.3, 0.9]), 0, weight)
    bias = rng.integers(-4, 5, outputs) if rng.integers(2) else None
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return layer(weight, bias, size, **options, **choices)


def listed(values: NDArray[Any], number: str) -> Buffer:
    """A buffer with these values ``[R, size]`` and their events in rising order."""
    buffer = Buffer.empty(*values.shape, number)
    fill(buffer, values)
    return buffer


def fill(buffer: Buffer, values: NDArray[Any]) -> None:
    """Other values, and their events."""
    buffer.value[...] = values
    for row, value in enumerate(values):
        events = np.flatnonzero(value)
        buffer.index[row, : len(events)], buffer.found[row] = events, len(events)


def work(operation: Operation, port: Buffer, ticks: int = 1, track: bool = True, states: int = 0) -> Work:
    """What a session would lend; its output holds rubbish, as after earlier blocks."""
    rows = len(port.found)
    counts = {column: np.zeros(rows // ticks, np.int64) for column in operation.columns}
    out = Buffer.empty(rows, operation.static.size, operation.dtype)
    if not operation.finds_events:
        out.value[...] = 77
    kept = np.zeros((states, rows if states else 0, operation.static.size), operation.dtype)
    return Work((port,), out, operation.allocate(rows // ticks), operation.scratch(), counts, track, ticks, kept)
