"""All nodes but neurons, both ways: a graph's node as a NIR node with a note, and back.

A note holds what NIR has no field for; :func:`read_node` does without it where the file is not ours.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import FileFormatError, UnsupportedNode
from neuroaccel.graph import nodes as n
from neuroaccel.hardware.nir.record import WHERE

logger = logging.getLogger("neuroaccel")
Shape = tuple[int, ...]
Note = dict[str, Any]

CURES = {
    "MaxPool2d": "NIR has no maximum; use SumPool2d, or a stride in the convolution",
    "Dendrite": "NIR has no product of two currents; use a Linear or Conv2d",
    "Attention": "NIR has no attention",
    "Plastic": "NIR has no learning rule; export the graph with its weights frozen (plastic=None)",
    "Arithmetic": "NIR is real-valued; export the graph without integer arithmetic",
    "Reshape": "NIR's Flatten is the only change of shape; reshape to one axis",
    "Multiply": "NIR's Scale multiplies by constants only; let a Constant of its own feed the gate",
    "Constant": "NIR has no source but its inputs; feed the values through an Input or a bias",
    "Linear": "NIR's matrix takes one axis; put a Flatten before it",
}
SAME = "it has no counterpart in NIR"


def refuse(name: str, what: str) -> UnsupportedNode:
    return UnsupportedNode(name, WHERE, f"{what}: {CURES.get(what, SAME)}")


def _weights(name: str, node: n.Synapse) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, Note]:
    if node.plastic is not None:
        raise refuse(name, "Plastic")
    if node.arithmetic is not None:
        raise refuse(name, "Arithmetic")
    bias = None if node.bias is None else np.array(node.bias, np.float32)
    note: Note = {"bias": bias is not None}
    if node.grid is not None:
        note["grid"] = [node.grid.q, node.grid.largest_change]
    note |= {"weight_bits": node.weight_bits, "unfolded_nominal": node.unfolded_nominal}
    return np.array(node.weight, np.float32), bias, note


def write_node(
    name: str, node: n.Node, shape: Shape, out: Shape, dt: float, gate: n.Constant | None
) -> tuple[Any, Note]:
    """The NIR node and the note of a graph's node.

    Arguments:
        name: its name, for messages.
        shape, out: of what enters and what leaves it.
        dt: seconds per tick.
        gate: the constant at a Multiply's gate.

    Raises:
        UnsupportedNode: NIR has no such node; says what to do.
    """
    match node:
        case n.Input():
            grid = None if node.grid is None else [node.grid.frac, node.grid.low, node.grid.high]
            return nir.Input(np.array(shape)), {"edge": node.edge, "maximum": node.maximum, "grid": grid}
        case n.Output():
            return nir.Output(np.array(shape)), {}
        case n.Linear():
            weight, bias, note = _weights(name, node)
            if len(shape) != 1:
                raise refuse(name, "Linear")
            return (nir.Linear(weight) if bias is None else nir.Affine(weight, bias)), note
        case n.Conv1d() | n.Conv2d():
            weight, bias, note = _weights(name, node)
            kind, spatial = (nir.Conv1d, shape[1]) if isinstance(node, n.Conv1d) else (nir.Conv2d, shape[1:])
            options = {key: getattr(node, key) for key in ("stride", "padding", "dilation", "groups")}
            zero = np.zeros(len(weight), np.float32)  # NIR's convolutions must have a bias
            return kind(spatial, weight=weight, bias=zero if bias is None else bias, **options), note
        case n.SumPool2d() | n.AvgPool2d():
            kind = nir.SumPool2d if isinstance(node, n.SumPool2d) else nir.AvgPool2d
            return kind(*(np.array(pair) for pair in (node.kernel, node.stride, node.padding))), {}
        case n.Flatten():
            # nir: the axes of the shape without batch, as in our graph.
            start, end = (axis % len(shape) for axis in (node.start, node.end))
            return nir.Flatten(np.array(shape), start, end), {"start": node.start, "end": node.end}
        case n.Reshape() if len(node.shape) == 1:
            return nir.Flatten(np.array(shape), 0, len(shape) - 1), {}
        case n.Delay():
            seconds = np.array(np.broadcast_to(np.asarray(node.ticks, np.float64) * dt, shape))
            return nir.Delay(seconds), {"scalar": bool(np.ndim(node.ticks) == 0)}
        case n.Add():
            # NIR adds up the edges of any node; ones leave the sum as it is.
            return nir.Scale(np.ones(shape, np.float32)), {}
        case n.Probe():
            return nir.Scale(np.ones(shape, np.float32)), {"threshold": node.threshold}
        case n.Multiply() if gate is not None:
            return nir.Scale(np.array(np.broadcast_to(gate.value, out), np.float32)), {"gate": list(gate.value.shape)}
    raise refuse(name, node.kind)


def _float32(name: str, field: str, value: Any) -> NDArray[np.float32]:
    wide = np.asarray(value)
    narrow = wide.astype(np.float32)
    if changed := int(np.count_nonzero(narrow.astype(np.float64) != wide.astype(np.float64))):
        logger.info("NIR node '%s': %d of %d values of %s were rounded to float32", name, changed, wide.size, field)
    return narrow


def _axes(value: Any, count: int) -> tuple[int, ...]:
    flat = [int(v) for v in np.ravel(value)]
    return tuple(flat * count if len(flat) == 1 else flat)


def _padding(name: str, node: Any, kernel: Shape, stride: Shape, dilation: Shape) -> Shape:
    if not isinstance(node.padding, str):
        return _axes(node.padding, len(kernel))
    if node.padding == "valid":
        return (0,) * len(kernel)
    both = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if any(b % 2 for b in both) or any(s != 1 for s in stride):
        raise UnsupportedNode(name, WHERE, "padding 'same' is uneven here; write the padding out")
    return tuple(b // 2 for b in both)


def _synapse(name: str, node: Any, note: Note, bias: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"weight": _float32(name, "weight", node.weight), "bias": None}
    if bias is not None and (note.get("bias", False) or np.any(np.asarray(bias) != 0)):
        out["bias"] = _float32(name, "bias", bias)
    if "grid" in note:
        grid = n.WeightGrid(int(note["grid"][0]), float(note["grid"][1]))
        arrays = [a for a in (out["weight"], out["bias"]) if a is not None]
        if all(np.array_equal(scaled := np.ldexp(a.astype(np.float64), grid.q), np.rint(scaled)) for a in arrays):
            out["grid"] = grid
        else:
            logger.warning("NIR node '%s' no longer lies on its grid 2^-%d; it is imported without one", name, grid.q)
    return out | {key: note[key] for key in ("weight_bits", "unfolded_nominal") if key in note}


def _convolution(name: str, node: Any, note: Note, axes: int) -> n.Node:
    fields = _synapse(name, node, note, node.bias)
    kernel = fields["weight"].shape[2:]
    if len(kernel) != axes:
        raise FileFormatError(f"NIR node '{name}': its weight has shape {fields['weight'].shape}")
    stride, dilation = _axes(node.stride, axes), _axes(node.dilation, axes)
    padding, groups = _padding(name, node, kernel, stride, dilation), int(np.ravel(node.groups)[0])
    if axes == 1:
        return n.Conv1d(**fields, stride=stride[0], padding=padding[0], dilation=dilation[0], groups=groups)
    pairs: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    return n.Conv2d(**fields, **pairs, groups=groups)


def _ticks(name: str, seconds: Any, dt: float, shape: Shape, note: Note) -> n.Delay:
    exact = np.asarray(seconds, np.float64) / dt
    ticks = np.rint(exact)
    if np.any(np.abs(exact - ticks) > 1e-6 * np.maximum(1, np.abs(exact))) or np.any(ticks < 1):
        span = f"{exact.min():g} to {exact.max():g}"
        raise UnsupportedNode(name, WHERE, f"a delay is a whole number of ticks of {dt:g} s, at least 1; it has {span}")
    whole = ticks.astype(np.int32)
    if note.get("scalar") and whole.size and np.all(whole == whole.flat[0]):
        return n.Delay(np.asarray(whole.flat[0]))
    return n.Delay(np.array(np.broadcast_to(whole, shape)) if whole.size == 1 and shape else whole)


def shape_of(name: str, types: Mapping[str, Any], key: str) -> Shape:
    shape = types.get(key)
    if shape is None:
        raise FileFormatError(f"NIR node '{name}' has no shape")
    return tuple(int(s) for s in np.ravel(shape))


def read_node(name: str, node: Any, shape: Shape, dt: float, note: Note, edge: n.EdgeKind) -> n.Node:
    """The graph's node of a NIR node that is no neuron and no Scale.

    Arguments:
        name, node: the NIR node.
        shape: of what enters it (``()`` if unknown).
        dt: seconds per tick.
        note: what :func:`write_node` noted, or nothing.
        edge: kind of what enters an Input whose file does not say.

    Raises:
        UnsupportedNode: a node that the graph cannot hold.
    """
    match type(node).__name__:
        case "Input":
            own = shape_of(name, node.input_type, "input")
            if "edge" not in note:
                return n.Input(own, edge)
            grid = None if note["grid"] is None else n.ValueGrid(*note["grid"])
            return n.Input(own, note["edge"], note["maximum"], grid)
        case "Output":
            return n.Output()
        case "Linear" | "Affine":
            fields = _synapse(name, node, note, getattr(node, "bias", None))
            if fields["weight"].ndim != 2:
                raise refuse(name, "Linear")
            return n.Linear(**fields)
        case "Conv1d":
            return _convolution(name, node, note, 1)
        case "Conv2d":
            return _convolution(name, node, note, 2)
        case "SumPool2d" | "AvgPool2d":
            pairs: list[Any] = [_axes(value, 2) for value in (node.kernel_size, node.stride, node.padding)]
            return (n.SumPool2d if isinstance(node, nir.SumPool2d) else n.AvgPool2d)(*pairs)
        case "Flatten":
            start, end = int(node.start_dim), int(node.end_dim)
            if note.get("kind") == "Reshape":
                return n.Reshape((int(np.prod(shape, dtype=np.int64)),))
            own = tuple(note[key] for key in ("start", "end") if key in note)
            same = len(own) == 2 and all(
                a % len(shape) == b % len(shape) for a, b in zip(own, (start, end), strict=True)
            )
            return n.Flatten(*(own if same else (start, end)))
        case "Delay":
            return _ticks(name, node.delay, dt, shape, note)
    raise refuse(name, type(node).__name__)
