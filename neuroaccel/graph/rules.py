"""What each kind of node emits for what enters it, and what is wrong with it if it cannot."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from neuroaccel.errors import GraphError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.signal import Signal, grid_of, held
from neuroaccel.program import check_parameters


@singledispatch
def emits(node: n.Node, name: str, ports: dict[str, Signal]) -> Signal:
    raise GraphError(f"node '{name}' has the unknown type {node.kind}")


@emits.register
def _(node: n.Input, name: str, ports: dict[str, Signal]) -> Signal:
    if any(d < 1 for d in node.shape):
        raise GraphError(f"Input '{name}': shape {node.shape} has an empty axis")
    if node.edge not in ("binary", "count", "analog"):
        raise GraphError(f"Input '{name}': edge is binary, count or analog, not '{node.edge}'")
    if node.edge == "analog":
        if node.grid is None:
            return Signal(node.shape, "analog", None, None)
        return Signal(node.shape, "analog", max(abs(node.grid.low), abs(node.grid.high)), node.grid.frac)
    if node.maximum < 1 or (node.edge == "binary" and node.maximum != 1):
        raise GraphError(f"Input '{name}': maximum {node.maximum} does not fit a {node.edge} edge")
    return Signal(node.shape, node.edge, node.maximum)


@emits.register
def _(node: n.Constant, name: str, ports: dict[str, Signal]) -> Signal:
    _finite(name, "value", node.value)
    return Signal(node.value.shape, "analog", *grid_of(node.value))


def _pass(node: n.Node, name: str, ports: dict[str, Signal]) -> Signal:
    return ports["in"]


for _type in (n.Output, n.Add, n.Probe):
    emits.register(_type)(_pass)


@emits.register
def _(node: n.Delay, name: str, ports: dict[str, Signal]) -> Signal:
    ticks = np.asarray(node.ticks)
    if ticks.dtype.kind not in "iu" or np.any(ticks < 1):
        raise GraphError(f"Delay '{name}': ticks must be whole numbers of at least 1")
    if ticks.ndim and ticks.shape != ports["in"].shape:
        raise GraphError(f"Delay '{name}': ticks have shape {ticks.shape}, the edge {ports['in'].shape}")
    return ports["in"]


def _finite(name: str, field: str, value: np.ndarray) -> None:
    if value.dtype.kind not in "fiu":
        raise GraphError(f"node '{name}': {field} has dtype {value.dtype}, expected a number")
    bad = np.argwhere(~np.isfinite(value))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise GraphError(f"node '{name}': {field}{list(index)} is {value[index]}, weights must be finite")


def _on_grid(name: str, field: str, values: np.ndarray, q: int) -> None:
    scaled = np.ldexp(values.astype(np.float64), q)
    bad = np.argwhere(scaled != np.rint(scaled))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise GraphError(f"node '{name}': {field}{list(index)} is {values[index]!r}, not on its grid of 2^-{q}")


def _weights(name: str, node: n.Synapse | n.Dendrite, dims: int) -> None:
    _finite(name, "weight", node.weight)
    if node.grid is not None:
        _on_grid(name, "weight", node.weight, node.grid.q)
    if node.weight.ndim != dims:
        raise GraphError(f"{node.kind} '{name}': weight has {node.weight.ndim} axes, expected {dims}")
    if node.bias is not None:
        _finite(name, "bias", node.bias)
        if node.bias.shape != node.weight.shape[:1]:
            raise GraphError(
                f"{node.kind} '{name}': bias has shape {node.bias.shape}, weight asks for {node.weight.shape[:1]}"
            )


def exact_sums(node: n.Dendrite, source: Signal) -> bool:
    """Whether W·x and V·x are exact in float32 in whatever order they are added: each lies on its grid below 2^24.

    Arguments:
        node: the dendrite.
        source: what enters it.
    """
    for weight, grid in ((node.weight, node.grid), (node.gate, node.gate_grid)):
        if grid is None or source.frac is None or source.maximum is None:
            return False
        rows = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(axis=1)
        top = np.ldexp(rows, grid.q) * source.maximum
        if held(int(top.max(initial=0)), grid.q + source.frac)[1] is None:
            return False
    return True


def _current(node: n.Synapse | n.Dendrite, source: Signal, shape: tuple[int, ...]) -> Signal:
    """A sum is exact where all of it lies on one grid and stays below 2^24, whatever the order of its addends."""
    if isinstance(node, n.Dendrite):
        exact = exact_sums(node, source) or node.arithmetic is not None
        return Signal(shape, "analog", None, None, source.exact and exact)
    if node.grid is None or source.frac is None or source.maximum is None:
        return Signal(shape, "analog", None, None, source.exact and node.arithmetic is not None)
    frac = node.grid.q + source.frac
    weight = np.abs(node.weight.astype(np.float64))
    if node.plastic is not None:
        weight = np.maximum(weight, node.plastic.bound)
    top = np.ldexp(weight.reshape(len(weight), -1).sum(axis=1), node.grid.q) * source.maximum
    if node.bias is not None:
        top = top + np.ldexp(np.abs(node.bias.astype(np.float64)), frac)
    maximum, on = held(int(top.max()), frac)
    return Signal(shape, "analog", maximum, on, source.exact and (on is not None or node.arithmetic is not None))


@emits.register
def _(node: n.Linear, name: str, ports: dict[str, Signal]) -> Signal:
    _weights(name, node, 2)
    source = ports["in"]
    if not source.shape or source.shape[-1] != node.weight.shape[1]:
        raise GraphError(
            f"Linear '{name}' takes {node.weight.shape[1]} inputs on the last axis, its edge has shape {source.shape}"
        )
    return _current(node, source, (*source.shape[:-1], node.weight.shape[0]))


def conv_output(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """⌊(size + 2·padding − dilation·(kernel − 1) − 1)/stride⌋ + 1."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _conv(
    node: n.Conv1d | n.Conv2d | n.Dendrite,
    name: str,
    source: Signal,
    options: list[tuple[int, int, int]],
) -> Signal:
    axes = len(options)
    _weights(name, node, axes + 2)
    out, per_group, *kernel = node.weight.shape
    if node.groups < 1 or out % node.groups:
        raise GraphError(f"{node.kind} '{name}': {out} output channels do not divide into {node.groups} groups")
    expected = per_group * node.groups
    if len(source.shape) != axes + 1 or source.shape[0] != expected:
        raise GraphError(
            f"{node.kind} '{name}' takes {expected} channels and {axes} axes, its edge has shape {source.shape}"
        )
    if any(s < 1 or p < 0 or d < 1 for s, p, d in options):
        raise GraphError(f"{node.kind} '{name}': stride and dilation must be >= 1 and padding >= 0")
    sizes = [
        conv_output(size, k, s, p, d) for size, k, (s, p, d) in zip(source.shape[1:], kernel, options, strict=True)
    ]
    if min(sizes) < 1:
        raise GraphError(f"{node.kind} '{name}': kernel {tuple(kernel)} does not fit into input {source.shape}")
    return _current(node, source, (out, *sizes))


@emits.register
def _(node: n.Conv1d, name: str, ports: dict[str, Signal]) -> Signal:
    return _conv(node, name, ports["in"], [(node.stride, node.padding, node.dilation)])


@emits.register
def _(node: n.Conv2d, name: str, ports: dict[str, Signal]) -> Signal:
    return _conv(node, name, ports["in"], list(zip(node.stride, node.padding, node.dilation, strict=True)))


@emits.register
def _(node: n.Dendrite, name: str, ports: dict[str, Signal]) -> Signal:
    _finite(name, "gate", node.gate)
    if node.gate_grid is not None:
        _on_grid(name, "gate", node.gate, node.gate_grid.q)
    if node.gate.shape != node.weight.shape:
        raise GraphError(f"Dendrite '{name}': weight {node.weight.shape} and gate {node.gate.shape} differ in shape")
    if node.stride is not None:
        return _conv(node, name, ports["in"], list(zip(node.stride, node.padding, node.dilation, strict=True)))
    _weights(name, node, 2)
    source = ports["in"]
    if not source.shape or source.shape[-1] != node.weight.shape[1]:
        raise GraphError(f"Dendrite '{name}' takes {node.weight.shape[1]} inputs, its edge has shape {source.shape}")
    return _current(node, source, (*source.shape[:-1], node.weight.shape[0]))


@emits.register
def _(node: n.Pool2d, name: str, ports: dict[str, Signal]) -> Signal:
    source = ports["in"]
    if len(source.shape) != 3:
        raise GraphError(f"{node.kind} '{name}' takes [C, H, W], its edge has shape {source.shape}")
    if any(
        k < 1 or s < 1 or not 0 <= p <= k // 2 for k, s, p in zip(node.kernel, node.stride, node.padding, strict=True)
    ):
        raise GraphError(f"{node.kind} '{name}': kernel, stride >= 1 and padding <= kernel/2 expected")
    sizes = [
        conv_output(size, k, s, p, 1)
        for size, k, s, p in zip(source.shape[1:], node.kernel, node.stride, node.padding, strict=True)
    ]
    if min(sizes) < 1:
        raise GraphError(f"{node.kind} '{name}': window {node.kernel} does not fit into {source.shape}")
    shape = (source.shape[0], *sizes)
    window = node.kernel[0] * node.kernel[1]
    if isinstance(node, n.MaxPool2d):
        if source.kind != "binary":
            raise GraphError(f"MaxPool2d '{name}' is a spike-OR and needs a binary edge; it gets {source.kind}")
        return replace(source, shape=shape)
    if isinstance(node, n.SumPool2d):
        if source.kind == "analog":
            maximum = None if source.maximum is None else source.maximum * window
            return replace(source, shape=shape, maximum=maximum)
        return Signal(shape, "count", (source.maximum or 1) * window, 0, source.exact)
    power = window & (window - 1) == 0
    frac = source.frac + window.bit_length() - 1 if power and source.frac is not None else None
    maximum = None if source.maximum is None or frac is None else source.maximum * window
    return Signal(shape, "analog", maximum, frac, source.exact and frac is not None)


def _axis(node: n.Node, name: str, axis: int, dims: int) -> int:
    if not -dims <= axis < dims:
        raise GraphError(f"{node.kind} '{name}': axis {axis} of a value with {dims} axes")
    return axis % dims


@emits.register
def _(node: n.Flatten, name: str, ports: dict[str, Signal]) -> Signal:
    shape = ports["in"].shape
    start, end = (_axis(node, name, a, len(shape)) for a in (node.start, node.end))
    if start > end:
        raise GraphError(f"Flatten '{name}': start {node.start} lies behind end {node.end}")
    merged = int(np.prod(shape[start : end + 1], dtype=np.int64))
    return replace(ports["in"], shape=(*shape[:start], merged, *shape[end + 1 :]))


@emits.register
def _(node: n.Reshape, name: str, ports: dict[str, Signal]) -> Signal:
    if int(np.prod(node.shape, dtype=np.int64)) != ports["in"].size:
        raise GraphError(f"Reshape '{name}': {ports['in'].shape} does not hold as many values as {node.shape}")
    return replace(ports["in"], shape=node.shape)


@emits.register
def _(node: n.Select, name: str, ports: dict[str, Signal]) -> Signal:
    shape = ports["in"].shape
    axis = _axis(node, name, node.axis, len(shape))
    if not node.indices or not all(0 <= i < shape[axis] for i in node.indices):
        raise GraphError(f"Select '{name}': indices {node.indices} on an axis of {shape[axis]}")
    return replace(ports["in"], shape=(*shape[:axis], len(node.indices), *shape[axis + 1 :]))


@emits.register
def _(node: n.Multiply, name: str, ports: dict[str, Signal]) -> Signal:
    a, b = ports["in"], ports["gate"]
    if len(a.shape) != len(b.shape) or any(y not in (1, x) for x, y in zip(a.shape, b.shape, strict=False)):
        raise GraphError(f"Multiply '{name}': gate {b.shape} does not fit {a.shape}")
    if a.kind == b.kind == "binary":
        return replace(a, exact=a.exact and b.exact)
    whole = a.kind != "analog" and b.kind != "analog" and a.maximum and b.maximum
    if whole:
        return Signal(a.shape, "count", (a.maximum or 1) * (b.maximum or 1), 0, a.exact and b.exact)
    grid: tuple[int | None, int | None] = (None, None)
    if a.frac is not None and b.frac is not None and a.maximum is not None and b.maximum is not None:
        grid = held(a.maximum * b.maximum, a.frac + b.frac)
    return Signal(a.shape, "analog", *grid, a.exact and b.exact)


@emits.register
def _(node: n.Table, name: str, ports: dict[str, Signal]) -> Signal:
    _finite(name, "values", node.values)
    if node.values.ndim != 1 or not node.values.size:
        raise GraphError(f"Table '{name}': values have shape {node.values.shape}, expected one axis of at least 1")
    source = ports["in"]
    if source.kind == "analog" and source.frac != 0:
        raise GraphError(f"Table '{name}' is indexed by whole numbers; its edge is {source}")
    whole = bool(np.all(node.values == np.floor(node.values)) and np.all(node.values >= 0))
    if whole:
        top = int(node.values.max())
        return Signal(source.shape, "binary" if top <= 1 else "count", max(top, 1), 0, source.exact)
    return Signal(source.shape, "analog", *grid_of(node.values), source.exact)


def neuron_signal(node: n.Neuron, exact: bool) -> Signal:
    emit = node.program.emit
    if emit.kind == "state":
        return Signal(node.shape, "analog", None, None, exact)
    return Signal(node.shape, "binary" if emit.kind == "spike" else "count", emit.maximum, 0, exact)


@emits.register
def _(node: n.Neuron, name: str, ports: dict[str, Signal]) -> Signal:
    check_parameters(node.program, node.parameters, f"Neuron '{name}'")
    for key, value in node.parameters.items():
        if np.asarray(value).ndim and np.asarray(value).shape != node.shape:
            raise GraphError(f"Neuron '{name}': parameter '{key}' has shape {value.shape}, the layer {node.shape}")
    source = ports["in"]
    if source.shape != node.shape:
        raise GraphError(f"Neuron '{name}' has shape {node.shape}, its edge {source.shape}")
    return neuron_signal(node, source.exact)


@emits.register
def _(node: n.Readout, name: str, ports: dict[str, Signal]) -> Signal:
    if node.how not in ("spike_count", "mean_membrane", "max_membrane", "last_membrane"):
        raise GraphError(f"Readout '{name}': unknown kind '{node.how}'")
    if node.how == "spike_count" and ports["in"].kind == "analog":
        raise GraphError(f"Readout '{name}' counts spikes, but its edge is analog")
    return Signal(ports["in"].shape, "analog", None, None, ports["in"].exact)


@emits.register
def _(node: n.Attention, name: str, ports: dict[str, Signal]) -> Signal:
    q, k, v = (ports[p] for p in ("q", "k", "v"))
    if len(q.shape) != 1 or len(k.shape) != 2 or k.shape[1] != q.shape[0] or v.shape != k.shape:
        raise GraphError(f"Attention '{name}': q {q.shape}, k {k.shape}, v {v.shape} do not fit q [D], k and v [K, D]")
    if node.heads < 1 or q.shape[0] % node.heads:
        raise GraphError(f"Attention '{name}': {q.shape[0]} features do not divide into {node.heads} heads")
    if node.how not in ("softmax", "counts") or node.shift < 0:
        raise GraphError(
            f"Attention '{name}': it is softmax or counts with a shift of at least 0, not {node.how}, {node.shift}"
        )
    if node.scale is not None and (node.how != "softmax" or not 0 < node.scale < np.inf):
        raise GraphError(f"Attention '{name}': scale {node.scale}; a softmax has one above 0, counts have shift")
    mask = ports.get("mask")
    if mask is not None and (mask.shape != k.shape[:1] or mask.kind != "binary"):
        raise GraphError(f"Attention '{name}': its mask must be binary {k.shape[:1]}, a value per key, not {mask}")
    exact = all(s.exact for s in ports.values())
    if node.how == "softmax":
        return Signal(q.shape, "analog", None, None, False)
    if any(s.kind == "analog" for s in (q, k, v)):
        raise GraphError(f"Attention '{name}' on counts needs binary or count edges")
    width = q.shape[0] // node.heads
    maximum = (q.maximum or 1) * (k.maximum or 1) * (v.maximum or 1) * width * k.shape[0]
    top, frac = held(maximum, node.shift)
    return Signal(q.shape, "analog", top, frac, exact and frac is not None)


@emits.register
def _(node: n.LayerNorm, name: str, ports: dict[str, Signal]) -> Signal:
    _finite(name, "weight", node.weight)
    _finite(name, "bias", node.bias)
    if ports["in"].shape[-1:] != node.weight.shape or node.bias.shape != node.weight.shape:
        shapes = f"weight {node.weight.shape} on {ports['in'].shape}, bias {node.bias.shape}"
        raise GraphError(f"LayerNorm '{name}': {shapes}")
    if not 0 < node.epsilon < np.inf:
        raise GraphError(f"LayerNorm '{name}': epsilon {node.epsilon}, expected above 0")
    return Signal(ports["in"].shape, "analog", None, None, False)


@emits.register
def _(node: n.Softmax, name: str, ports: dict[str, Signal]) -> Signal:
    if not ports["in"].shape:
        raise GraphError(f"Softmax '{name}': its edge has no axis")
    return Signal(ports["in"].shape, "analog", None, None, False)


@emits.register
def _(node: n.Memory, name: str, ports: dict[str, Signal]) -> Signal:
    if node.capacity < 1:
        raise GraphError(f"Memory '{name}': capacity must be at least 1")
    return replace(ports["in"], shape=(node.capacity, *ports["in"].shape))


@emits.register
def _(node: n.Window, name: str, ports: dict[str, Signal]) -> Signal:
    if node.width < 1 or node.stride < 1:
        raise GraphError(f"Window '{name}': width and stride must be at least 1")
    return replace(ports["in"], shape=(node.width, *ports["in"].shape))


@emits.register
def _(node: n.Keep, name: str, ports: dict[str, Signal]) -> Signal:
    if ports["mask"].kind != "binary" or ports["mask"].size != 1:
        raise GraphError(f"Keep '{name}': its mask must be one binary value per tick, not {ports['mask']}")
    return replace(ports["in"], exact=ports["in"].exact and ports["mask"].exact)


@emits.register
def _(node: n.Scope, name: str, ports: dict[str, Signal]) -> Signal:
    from neuroaccel.graph.infer import infer

    inner = infer(node.graph)
    if node.ticks < 1 or len(node.graph.outputs) != 1 or tuple(node.graph.inputs) != node.port_names:
        raise GraphError(
            f"Scope '{name}' needs ticks >= 1, one Output, and ports named as its inputs {node.graph.inputs}, "
            f"not {node.port_names}"
        )
    for port in node.port_names:
        outer, expected = ports[port].shape, inner[port].shape
        if node.input == "slice":
            expected = (node.ticks, *expected)
        if outer != expected:
            raise GraphError(f"Scope '{name}': port '{port}' takes {expected}, its edge has shape {outer}")
        if not _fits(ports[port], inner[port]):
            raise GraphError(f"Scope '{name}': port '{port}' takes {inner[port]}, its edge is {ports[port]}")
    result = inner[node.graph.outputs[0]]
    result = replace(result, exact=result.exact and all(ports[p].exact for p in node.port_names))
    if node.output == "all":
        return replace(result, shape=(node.ticks, *result.shape))
    if node.output == "sum" and result.kind != "analog":
        return Signal(result.shape, "count", (result.maximum or 1) * node.ticks, 0, result.exact)
    if node.output == "sum" and result.maximum is not None and result.frac is not None:
        maximum, frac = held(result.maximum * node.ticks, result.frac)
        return replace(result, maximum=maximum, frac=frac)
    return result


def _fits(found: Signal, expected: Signal) -> bool:
    """Whether an edge may feed an Input: a binary one fits a count, and anything fits an analog Input."""
    if expected.kind == "analog":
        return True
    return found.kind != "analog" and (found.maximum or 1) <= (expected.maximum or 1)
