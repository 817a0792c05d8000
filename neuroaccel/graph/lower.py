"""Lower a torch network into a graph: translate, fold normalisations and pools, snap weights to exact grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroaccel.errors import GraphError, InputError, UnsupportedNode
from neuroaccel.graph import nodes as n
from neuroaccel.graph.fold import fold_pools
from neuroaccel.graph.graph import Edge, Graph
from neuroaccel.graph.infer import with_scopes_typed
from neuroaccel.graph.snap import snap as snap_weights
from neuroaccel.network import Keep, Memory, Network, Scope, Window
from neuroaccel.network.attention import Attention
from neuroaccel.network.nodes import Constant, InputPort, OutputPort, Pointwise
from neuroaccel.neurons import Neuron
from neuroaccel.synapses import (
    Add,
    Delay,
    Dendritic,
    DendriticConv1d,
    DendriticConv2d,
    Dropout,
    PlasticLinear,
    Readout,
    Recurrent,
    SumPool2d,
)

Shape = tuple[int, ...]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
EVERY = 149  # the smallest float32 is 2^-149


@dataclass
class _Draft:
    """The graph while it is being written.

    Arguments:
        gone: layers that compute nothing in a graph.
        entry: layer that became several nodes → the first of them; the last has the layer's name.
        synapse: such a layer → the node that holds its weights.
    """

    nodes: dict[str, n.Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    entry: dict[str, str] = field(default_factory=dict)
    synapse: dict[str, str] = field(default_factory=dict)


def lower(
    net: nn.Module,
    example: Tensor | Mapping[str, Tensor],
    *,
    dt: float | None = None,
    maximum: int | None = None,
    grid: n.ValueGrid | None = None,
    fold: bool = True,
    snap: bool = True,
    weight_bits: int | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Graph:
    """A graph that every executor can read.

    Arguments:
        net: a :class:`~neuroaccel.network.Network`, or a torch.nn.Sequential of layers.
        example: an input ``[T, N, ...]`` (or input name → one); its shape and kind of values are taken: 0 and 1 make
            a binary edge, whole non-negative numbers a count edge (then ``maximum`` must be given), others analog.
        dt: seconds per tick.
        maximum: the largest count that will ever enter.
        grid: the grid of analog input; without one the first synapse is ``close``, not exact.
        fold: fold pools into the synapse behind them where that is exact.
        snap: round weights to grids on which every sum is exact (:func:`neuroaccel.graph.snap.snap`).
        weight_bits: also limit weights to this many bits.
        metadata: notes to keep with the graph.

    Returns:
        A valid graph; the network in evaluation mode computes the same, up to folding and snapping.

    Raises:
        UnsupportedNode: a layer that no graph can hold, by name.
        GraphError: shapes that do not fit, weights that are not finite.
    """
    if not isinstance(net, Network | nn.Module | Sequence) or isinstance(net, str):
        raise InputError(f"lower takes a network of layers, not {type(net).__name__}")
    if not isinstance(net, Network):
        net = Network(list(net) if isinstance(net, Sequence | nn.Sequential) else [net])
    given = {
        n: _example(n, v) for n, v in (example if isinstance(example, Mapping) else {net.inputs[0]: example}).items()
    }
    inputs = {
        name: _input(name, x, maximum, grid or getattr(net[name], "grid", None))
        for name, x in given.items()
        if name in net.inputs
    }
    graph = replace(_drafted(net, given, inputs, snap), dt=dt, metadata=dict(metadata or {}))
    graph = with_scopes_typed(graph).validate()
    if fold:
        graph = fold_pools(graph)
    if snap:
        graph = snap_weights(graph, weight_bits)
    return graph.validate()


def _drafted(net: Network, given: Mapping[str, Tensor], inputs: Mapping[str, n.Input], snap: bool) -> Graph:
    """A network as it is, normalisations folded; Inputs of its scopes' graphs are analog, whatever enters them.

    Arguments:
        net: the network.
        given: Input → an example, which gives shape and device.
        inputs: Input → its node.
        snap: whether weights will be snapped.
    """
    for name in net.names:
        layer = net[name]
        if isinstance(layer, NORMS) and layer.running_var is None:
            raise UnsupportedNode(name, "lower", "a BatchNorm without running statistics depends on its batch")
        if isinstance(layer, PlasticLinear) and layer.rule.grid is None and not snap:
            raise UnsupportedNode(name, "lower", "what it learns needs a grid: give ThreeFactor(grid=...), or snap")
    shapes = net.shapes(given)
    draft = _Draft()
    for name in net.names:
        layer = net[name]
        entering = {e.port: shapes[e.source] for e in reversed(net.into(name))}
        if isinstance(layer, InputPort):
            draft.nodes[name] = inputs[name]
        elif isinstance(layer, Scope):
            draft.nodes[name] = _scope(name, layer, entering, next(iter(given.values())).device, snap)
        else:
            first = [shapes[e.source] for e in net.edges if e.target == name][:1]
            _translate(draft, name, layer, first[0] if first else (), shapes[name])
    draft.edges += net.edges
    for name in [m for m in net.order if isinstance(net[m], NORMS)]:
        _fold_norm(draft, name, net)
    _take_out(draft)
    inside = {(name, draft.synapse[name]) for name in draft.entry}
    edges = (
        e if (e.target, e.source) in inside else replace(e, target=draft.entry.get(e.target, e.target))
        for e in draft.edges
    )
    return Graph(draft.nodes, tuple(edges))


def _scope(name: str, layer: Scope, entering: Mapping[str, Shape], device: torch.device, snap: bool) -> n.Scope:
    """A network in a network; its graph's Inputs have the names of its ports."""
    given: dict[str, Tensor] = {}
    inputs: dict[str, n.Input] = {}
    called = dict(zip(layer.net.inputs, layer.ports, strict=True))
    for entry, port in called.items():
        shape = entering[port][1:] if layer.input == "slice" else entering[port]
        given[entry] = torch.zeros((1, 1, *shape), device=device)
        inputs[entry] = n.Input(shape, "analog", grid=getattr(layer.net[entry], "grid", None))
    try:
        inner = _drafted(layer.net, given, inputs, snap)
    except UnsupportedNode as error:
        raise UnsupportedNode(f"{name}/{error.node}", error.executor, error.reason) from error
    if taken := sorted((set(inner.nodes) - set(called)) & set(layer.ports)):
        raise GraphError(f"scope '{name}': its network has layers called like its ports: {', '.join(taken)}")
    edges = tuple(replace(e, source=called.get(e.source, e.source)) for e in inner.edges)
    nodes = {called.get(key, key): node for key, node in inner.nodes.items()}
    state: Literal["carry", "reset"] = "carry" if layer.carries else "reset"
    return n.Scope(Graph(nodes, edges), layer.ticks, layer.input, state, layer.output, tuple(layer.ports))


def _example(name: str, x: Any) -> Tensor:
    """An example as a tensor ``[T, N, ...]``; arrays will do."""
    found = x if isinstance(x, Tensor) else np.asarray(x)
    if not isinstance(found, Tensor) and found.dtype.kind not in "biuf":
        raise InputError(f"Input '{name}': the example is {type(x).__name__}, expected numbers [T, N, ...]")
    if found.ndim < 2 or 0 in found.shape[:2]:
        raise InputError(f"Input '{name}': the example has shape {tuple(found.shape)}, expected [T, N, ...]")
    return torch.as_tensor(found)


def _input(name: str, x: Tensor, maximum: int | None, grid: n.ValueGrid | None) -> n.Input:
    shape = tuple(x.shape[2:])
    if not torch.isfinite(x).all():
        raise GraphError(f"Input '{name}': the example is not finite")
    if grid is not None:
        return n.Input(shape, "analog", grid=grid)
    if bool(((x == 0) | (x == 1)).all()) and maximum in (None, 1):
        return n.Input(shape, "binary")
    if bool(((x == x.floor()) & (x >= 0)).all()):
        if maximum is None:
            raise GraphError(
                f"Input '{name}': the example holds counts up to {int(x.max())}; say the largest that will ever come: "
                "lower(..., maximum=...)"
            )
        return n.Input(shape, "count", maximum)
    return n.Input(shape, "analog")


def _array(t: Tensor | None) -> NDArray[np.float32] | None:
    return None if t is None else t.detach().cpu().to(torch.float32).numpy().copy()


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1])) if isinstance(value, Sequence) else (int(value), int(value))


def _one(value: Any) -> int:
    return int(value[0]) if isinstance(value, Sequence) else int(value)


def _population(layer: Neuron, shape: Shape) -> n.Neuron:
    spec = layer.effective_spec()
    parameters = {k: np.asarray(v, np.float32) for k, v in spec.values.items()}
    for key, value in parameters.items():
        if value.ndim and value.shape != shape:
            parameters[key] = np.broadcast_to(value, shape).copy()
    return n.Neuron(
        spec.program,
        parameters,
        shape,
        learnable=tuple(sorted(spec.learnable)),
        surrogate=spec.surrogate,
        slope=spec.slope,
        detach_reset=spec.detach_reset,
    )


def _translate(draft: _Draft, name: str, layer: nn.Module, before: Shape, after: Shape) -> None:
    if isinstance(layer, (nn.Identity, nn.Dropout, Dropout, *NORMS)):
        draft.gone.append(name)
        return
    if isinstance(layer, Recurrent):
        back = f"{name}.back"
        draft.nodes[name] = _population(layer.neuron, after)
        _translate(draft, back, layer.synapse, after, after)
        draft.edges += [Edge(name, back, recurrent=True), Edge(back, name)]
        return
    if isinstance(layer, DendriticConv1d):
        _line(draft, name, layer, before, after)
        return
    draft.nodes[name] = _node(name, layer, before, after)


def _line(draft: _Draft, name: str, layer: DendriticConv1d, before: Shape, after: Shape) -> None:
    """A convolution of a line, as that of an image one pixel high: a Dendrite has no other."""
    image, synapse = f"{name}.image", f"{name}.dendrite"
    line = _dendrite(name, layer)
    draft.nodes[image] = n.Reshape((before[0], 1, before[1]))
    draft.nodes[synapse] = replace(
        line,
        weight=line.weight[:, :, None],
        gate=line.gate[:, :, None],
        stride=(1, _one(layer.stride)),
        padding=(0, _one(layer.padding)),
        dilation=(1, _one(layer.dilation)),
        groups=layer.groups,
    )
    draft.nodes[name] = n.Reshape(after)
    draft.edges += [Edge(image, synapse), Edge(synapse, name)]
    draft.entry[name], draft.synapse[name] = image, synapse


def _numeric_padding(name: str, layer: nn.Module) -> None:
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        raise UnsupportedNode(name, "lower", "only numeric zero padding is supported; give padding as numbers")


def _dendrite(name: str, layer: Dendritic) -> n.Dendrite:
    _numeric_padding(name, layer)
    found = n.Dendrite(np.asarray(_array(layer.weight)), np.asarray(_array(layer.gate)), _array(layer.bias))
    if not isinstance(layer, DendriticConv2d):
        return found
    return replace(
        found,
        stride=_pair(layer.stride),
        padding=_pair(layer.padding),
        dilation=_pair(layer.dilation),
        groups=layer.groups,
    )


def _plastic(layer: PlasticLinear) -> n.Linear:
    rule = layer.rule
    # All float32 weights lie on the finest grid: snapping is then free to choose.
    grid = n.WeightGrid(EVERY if rule.grid is None else rule.grid)
    weight, bias = (_array(v) if rule.grid is None else _rounded(v, rule.grid) for v in (layer.weight, layer.bias))
    plastic = n.Plastic(rule.trace_decay, rule.rate, rule.bound)
    return n.Linear(np.asarray(weight), bias, grid, plastic=plastic)


def _rounded(t: Tensor | None, q: int) -> NDArray[np.float32] | None:
    """Weights on a grid, as snapping rounds them."""
    return None if t is None else np.ldexp(np.rint(np.ldexp(t.detach().cpu().double().numpy(), q)), -q).astype("f4")


def _node(name: str, layer: nn.Module, before: Shape, after: Shape) -> n.Node:
    if isinstance(layer, OutputPort):
        return n.Output()
    if isinstance(layer, Constant):
        return n.Constant(np.asarray(_array(layer.value)))
    if isinstance(layer, Neuron):
        return _population(layer, after)
    if isinstance(layer, Dendritic):
        return _dendrite(name, layer)
    if isinstance(layer, PlasticLinear):
        return _plastic(layer)
    if isinstance(layer, nn.Linear):
        return n.Linear(np.asarray(_array(layer.weight)), _array(layer.bias))
    _numeric_padding(name, layer)
    if isinstance(layer, nn.Conv1d):
        return n.Conv1d(
            np.asarray(_array(layer.weight)),
            _array(layer.bias),
            stride=_one(layer.stride),
            padding=_one(layer.padding),
            dilation=_one(layer.dilation),
            groups=layer.groups,
        )
    if isinstance(layer, nn.Conv2d):
        return n.Conv2d(
            np.asarray(_array(layer.weight)),
            _array(layer.bias),
            stride=_pair(layer.stride),
            padding=_pair(layer.padding),
            dilation=_pair(layer.dilation),
            groups=layer.groups,
        )
    if isinstance(layer, SumPool2d):
        return n.SumPool2d(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))
    if isinstance(layer, nn.AvgPool2d):
        if layer.ceil_mode or layer.divisor_override or not layer.count_include_pad:
            raise UnsupportedNode(name, "lower", "AvgPool2d with ceil_mode, divisor_override or excluded padding")
        return n.AvgPool2d(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))
    if isinstance(layer, nn.MaxPool2d):
        if layer.ceil_mode or layer.return_indices or _pair(layer.dilation) != (1, 1):
            raise UnsupportedNode(name, "lower", "MaxPool2d with ceil_mode, return_indices or dilation")
        return n.MaxPool2d(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))
    if isinstance(layer, nn.Flatten):
        start = layer.start_dim - 1 if layer.start_dim > 0 else layer.start_dim
        return n.Flatten(start, layer.end_dim - 1 if layer.end_dim > 0 else layer.end_dim)
    if isinstance(layer, Delay):
        return n.Delay(layer.ticks.cpu().numpy().astype(np.int32))
    if isinstance(layer, Readout):
        return n.Readout(layer.how)
    if isinstance(layer, Add):
        return n.Add()
    if isinstance(layer, Memory):
        return n.Memory(layer.capacity)
    if isinstance(layer, Window):
        return n.Window(layer.width, layer.stride)
    if isinstance(layer, Keep):
        return n.Keep()
    if isinstance(layer, Attention):
        return n.Attention(layer.heads, layer.how, layer.shift, layer.scale)
    if isinstance(layer, nn.LayerNorm):
        return _layer_norm(name, layer)
    if isinstance(layer, nn.Softmax) and layer.dim in (-1, len(before)):
        return n.Softmax()
    if isinstance(layer, nn.Unflatten) and layer.dim != 0:
        return n.Reshape(after)
    if isinstance(layer, Pointwise) and layer.node is not None:
        return layer.node
    raise UnsupportedNode(
        name, "lower", f"{type(layer).__name__} has no graph node; use layers of neuroaccel.synapses and neurons"
    )


def _layer_norm(name: str, layer: nn.LayerNorm) -> n.LayerNorm:
    if len(layer.normalized_shape) != 1:
        raise UnsupportedNode(name, "lower", "a LayerNorm over several axes; flatten them before it")
    size = layer.normalized_shape[0]
    weight, bias = _array(layer.weight), _array(layer.bias)
    weight = np.ones(size, np.float32) if weight is None else weight
    return n.LayerNorm(weight, np.zeros(size, np.float32) if bias is None else bias, layer.eps)


def _fold_norm(draft: _Draft, name: str, net: Network) -> None:
    """BatchNorm folds into the synapse right before it: w·γ/√(var + ε), computed in float64.

    Of a Dendrite W and b alone change: its i = (y·z + y) + b is y times something, plus b, and V stays.
    """
    entering = [e for e in draft.edges if e.target == name]
    source = entering[0].source if len(entering) == 1 else ""
    while source in draft.gone and not isinstance(net[source], NORMS):
        more = [e for e in draft.edges if e.target == source]
        source = more[0].source if len(more) == 1 else ""
    holder = draft.synapse.get(source, source)
    node = draft.nodes.get(holder)
    readers = [e for e in draft.edges if e.source == source]
    learns = isinstance(node, n.Synapse) and node.plastic is not None
    if not isinstance(node, n.Synapse | n.Dendrite) or learns or len(readers) != 1 or entering[0].recurrent:
        raise UnsupportedNode(
            name,
            "lower",
            "a BatchNorm folds only into the synapse directly before it, read by nothing else, whose weights do not "
            "learn while it runs; move it",
        )
    norm: Any = net[name]
    variance, mean = (t.detach().cpu().double().numpy() for t in (norm.running_var, norm.running_mean))
    scale = 1.0 / np.sqrt(variance + norm.eps)
    shift = -mean * scale
    if norm.affine:
        gamma, beta = (t.detach().cpu().double().numpy() for t in (norm.weight, norm.bias))
        scale, shift = scale * gamma, shift * gamma + beta
    bias = shift + (0 if node.bias is None else node.bias.astype(np.float64) * scale)
    weight = node.weight.astype(np.float64) * scale.reshape(-1, *([1] * (node.weight.ndim - 1)))
    draft.nodes[holder] = replace(node, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _take_out(draft: _Draft) -> None:
    """Take out layers that compute nothing any more: their readers read what they read."""
    for name in draft.gone:
        entering = [e for e in draft.edges if e.target == name]
        leaving = [e for e in draft.edges if e.source == name]
        if len(entering) != 1:
            draft.nodes[name] = n.Add()
            continue
        source = entering[0]
        draft.edges = [e for e in draft.edges if e.target != name and e.source != name]
        draft.edges += [replace(e, source=source.source, recurrent=e.recurrent or source.recurrent) for e in leaving]
