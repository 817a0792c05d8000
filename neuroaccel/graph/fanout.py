"""How many products each input of a synapse takes part in: the static half of every counting rule.

``full``: products inside the border with every weight counted as non-zero. ``living``: those whose weight is not 0.
``full − living`` is pruned, whatever the reason.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import nodes as n
from neuroaccel.graph.rules import conv_output

Counts = NDArray[np.int64]


def _span(size: int, out: int, tap: int, stride: int, padding: int, dilation: int) -> slice:
    """Input positions that one kernel tap touches inside the border, as a slice."""
    offset = tap * dilation - padding
    first = max(0, -(offset // stride)) if offset < 0 else 0
    last = min(out - 1, (size - 1 - offset) // stride)
    return slice(first * stride + offset, last * stride + offset + 1, stride) if last >= first else slice(0, 0)


def conv_fan_out(
    weight: NDArray[np.float32],
    shape: tuple[int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> tuple[Counts, Counts]:
    """(full, living) fan-out of every input of a 2-d convolution, shape ``[C, H, W]``."""
    out, per_group, ky, kx = weight.shape
    channels, height, width = shape
    rows, columns = (
        conv_output(size, k, s, p, d)
        for size, k, s, p, d in zip((height, width), (ky, kx), stride, padding, dilation, strict=True)
    )
    living_of = (weight.reshape(groups, out // groups, per_group, ky, kx) != 0).sum(axis=1, dtype=np.int64)
    living_of = living_of.reshape(channels, ky, kx)
    full, living = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for y in range(ky):
        ys = _span(height, rows, y, stride[0], padding[0], dilation[0])
        for x in range(kx):
            xs = _span(width, columns, x, stride[1], padding[1], dilation[1])
            full[:, ys, xs] += out // groups
            living[:, ys, xs] += living_of[:, y, x, None, None]
    return full, living


def fan_out(node: n.Node, shape: tuple[int, ...]) -> tuple[Counts, Counts]:
    """(full, living) fan-out of every input of a synapse, in the shape of its input.

    Arguments:
        node: Linear, Conv1d, Conv2d, or a Dendrite (W only; its gate is another weight of the same shape).
        shape: shape of what enters it.

    Raises:
        TypeError: the node has no weights.
    """
    if isinstance(node, n.Conv2d) or (isinstance(node, n.Dendrite) and node.stride is not None):
        channels, height, width = shape
        return conv_fan_out(
            node.weight, (channels, height, width), node.stride or (1, 1), node.padding, node.dilation, node.groups
        )
    if isinstance(node, n.Conv1d):
        full, living = conv_fan_out(
            node.weight[:, :, None, :],
            (shape[0], 1, shape[1]),
            (1, node.stride),
            (0, node.padding),
            (1, node.dilation),
            node.groups,
        )
        return full[:, 0], living[:, 0]
    if isinstance(node, (n.Linear, n.Dendrite)):
        full = np.broadcast_to(np.int64(node.weight.shape[0]), shape)
        living = np.broadcast_to((node.weight != 0).sum(axis=0, dtype=np.int64), shape)
        return np.array(full), np.array(living)
    raise TypeError(f"{node.kind} has no fan-out")
