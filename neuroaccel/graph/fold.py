"""Fold sum and average pools into the synapse behind them, where that is exact, so that its input stays binary.

A window's sum through a weight is each of its inputs through that weight: the weight is repeated over the window.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neuroaccel.graph.fanout import fan_out
from neuroaccel.graph.graph import Graph
from neuroaccel.graph.infer import infer
from neuroaccel.graph.nodes import AvgPool2d, Conv2d, Flatten, Linear, Pool2d, Scope, SumPool2d
from neuroaccel.graph.rules import conv_output

Shape = tuple[int, ...]


def fold_pools(graph: Graph) -> Graph:
    """The same network with every exactly foldable SumPool2d and AvgPool2d gone.

    A pool stays where something other than a Linear or Conv2d (directly or behind a Flatten) reads it, where a padded
    convolution would read what the pool cut off, or where the convolution is dilated. Graphs of scopes are folded too.
    """
    scopes = {name: node for name, node in graph.nodes.items() if isinstance(node, Scope)}
    inner = {name: replace(node, graph=fold_pools(node.graph)) for name, node in scopes.items()}
    graph = replace(graph, nodes={**graph.nodes, **inner})
    for name in reversed(graph.of_type(SumPool2d, AvgPool2d)):  # of two in a row the second must go first
        graph = _without(graph, name) or graph
    return graph


def _readers(graph: Graph, pool: str) -> list[tuple[str | None, str]] | None:
    """(flatten or None, synapse) for all that reads the pool; None if anything else does."""
    found: list[tuple[str | None, str]] = []
    for edge in graph.out_of(pool):
        node = graph.nodes[edge.target]
        if edge.recurrent:
            return None
        if isinstance(node, Flatten):
            if len(graph.into(edge.target)) != 1:
                return None
            for behind in graph.out_of(edge.target):
                if behind.recurrent or not isinstance(graph.nodes[behind.target], Linear):
                    return None
                found.append((edge.target, behind.target))
        elif isinstance(node, Conv2d):
            found.append((None, edge.target))
        else:
            return None
    if any(len(graph.into(synapse)) != 1 for _, synapse in found) or not found:  # one that learns has three
        return None
    return found


def _without(graph: Graph, name: str) -> Graph | None:
    pool = graph.nodes[name]
    assert isinstance(pool, Pool2d)
    readers = _readers(graph, name)
    if readers is None or len(graph.into(name)) != 1:
        return None
    signals = infer(graph)
    source = graph.into(name)[0]
    before, after = signals[source.source].shape, signals[name].shape
    nodes = dict(graph.nodes)
    for flatten, synapse in readers:
        node = graph.nodes[synapse]
        folded: Linear | Conv2d | None = None
        if isinstance(node, Linear) and flatten is not None and len(signals[flatten].shape) == 1:
            folded = _linear(node, pool, before, after)
        elif isinstance(node, Conv2d):
            folded = _conv(node, pool, before, after)
        if folded is None:
            return None
        shape = signals[flatten].shape if flatten is not None else after
        assert isinstance(node, (Linear, Conv2d))
        nominal = node.unfolded_nominal or int(fan_out(node, shape)[0].sum())
        nodes[synapse] = replace(folded, unfolded_nominal=nominal)
    del nodes[name]
    edges = tuple(
        replace(e, source=source.source, recurrent=source.recurrent) if e.source == name else e
        for e in graph.edges
        if e.target != name
    )
    return Graph(nodes, edges, graph.timing, graph.dt, graph.metadata)


def _scale(pool: Pool2d) -> float:
    return 1.0 / (pool.kernel[0] * pool.kernel[1]) if isinstance(pool, AvgPool2d) else 1.0


def _linear(node: Linear, pool: Pool2d, before: Shape, after: Shape) -> Linear:
    channels, height, width = before
    _, rows, columns = after
    wide = np.zeros((node.weight.shape[0], channels, height, width))
    narrow = node.weight.astype(np.float64).reshape(-1, channels, rows, columns) * _scale(pool)
    for y in range(rows):
        top = y * pool.stride[0] - pool.padding[0]
        ys = slice(max(top, 0), min(top + pool.kernel[0], height))
        for x in range(columns):
            left = x * pool.stride[1] - pool.padding[1]
            xs = slice(max(left, 0), min(left + pool.kernel[1], width))
            wide[:, :, ys, xs] += narrow[:, :, y : y + 1, x : x + 1]
    return replace(node, weight=wide.reshape(len(wide), -1).astype(np.float32))


def _conv(node: Conv2d, pool: Pool2d, before: Shape, after: Shape) -> Conv2d | None:
    if node.dilation != (1, 1):
        return None
    kernel: list[int] = []
    for axis in range(2):
        taps, pad = node.weight.shape[2 + axis], node.padding[axis]
        window, stride, pool_pad = pool.kernel[axis], pool.stride[axis], pool.padding[axis]
        size, pooled = before[1 + axis], after[1 + axis]
        kernel.append((taps - 1) * stride + window)
        # What the pool cut off, or windows that overlap: a window in the padding would still reach the input.
        cut = pooled * stride - pool_pad < size
        out = conv_output(pooled, taps, node.stride[axis], pad, 1)
        if pad and cut:
            return None
        if out != conv_output(size, kernel[axis], node.stride[axis] * stride, pad * stride + pool_pad, 1):
            return None
    wide = np.zeros((*node.weight.shape[:2], *kernel))
    narrow = node.weight.astype(np.float64) * _scale(pool)
    for y in range(node.weight.shape[2]):
        for x in range(node.weight.shape[3]):
            top, left = y * pool.stride[0], x * pool.stride[1]
            wide[:, :, top : top + pool.kernel[0], left : left + pool.kernel[1]] += narrow[:, :, y, x, None, None]
    return replace(
        node,
        weight=wide.astype(np.float32),
        stride=(node.stride[0] * pool.stride[0], node.stride[1] * pool.stride[1]),
        padding=(
            node.padding[0] * pool.stride[0] + pool.padding[0],
            node.padding[1] * pool.stride[1] + pool.padding[1],
        ),
    )
