"""Graph nodes as torch modules, for :meth:`neuroaccel.network.Network.from_graph`."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import Graph
from neuroaccel.graph import nodes as n
from neuroaccel.network.attention import Attention
from neuroaccel.network.clocks import Keep, Memory, Window
from neuroaccel.network.scope import Scope
from neuroaccel.neurons import Neuron
from neuroaccel.program import NeuronSpec
from neuroaccel.synapses import (
    Add,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    DendriticConv2d,
    DendriticLinear,
    Flatten,
    Linear,
    MaxPool2d,
    OverTime,
    PlasticLinear,
    Readout,
    SumPool2d,
    ThreeFactor,
)
from neuroaccel.synapses.over_state import masked_reset


class InputPort(nn.Module):
    """Where values enter; analog values on a declared grid are rounded (half to even) and clipped to it."""

    on_sequences: ClassVar[bool] = True

    def __init__(self, grid: n.ValueGrid | None = None) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None:
            return x
        found: Tensor = _OnGrid.apply(x, self.grid)  # type: ignore[no-untyped-call]
        return found


class _OnGrid(torch.autograd.Function):
    """Rounding with the gradient of what it rounds, so that networks before a scope can be trained on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: n.ValueGrid) -> Tensor:
        return (x * 2.0**grid.frac).round().clamp(grid.low, grid.high) * 2.0**-grid.frac

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class OutputPort(nn.Module):
    """A named result."""

    on_sequences: ClassVar[bool] = True
    stateless: ClassVar[bool] = True

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        return x, None


class Held(nn.Module):
    """A synapse that carries one tick (pipelined timing): gives at tick t what it took in at t − 1, zero at first."""

    on_sequences: ClassVar[bool] = True

    def __init__(self, synapse: OverTime | PlasticLinear) -> None:
        super().__init__()
        self.synapse: Any = synapse

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, _ = self.synapse(x)
        first = torch.zeros_like(y[:1]) if state is None else state.unsqueeze(0)
        return torch.cat([first, y[:-1]]), y[-1]

    def peek(self, state: Tensor | None, zeros: Tensor) -> Tensor:
        """What it gives this tick, ``[1, N, ...]``, before it takes anything in."""
        return (zeros if state is None else state).unsqueeze(0)

    def reset(self, state: Tensor, done: Tensor) -> Tensor:
        """Nothing held for the samples where ``done`` ([N], bool) holds."""
        return masked_reset(state, done, 0.0)


class HeldPlastic(Held):
    """The same of a synapse whose weights learn; the state is what it took in, and the synapse's own."""

    ports: ClassVar[tuple[str, ...]] = PlasticLinear.ports

    def forward(  # type: ignore[override]
        self, x: Tensor, third: Tensor | None = None, post: Tensor | None = None, state: Any = None
    ) -> tuple[Tensor, Any]:
        inner = None if state is None else state[1]
        y, inner = self.synapse(x, third, post, inner)
        return torch.cat([self.peek(state, torch.zeros_like(y[0])), y[:-1]]), (y[-1], inner)

    def peek(self, state: Any, zeros: Tensor) -> Tensor:
        return (zeros if state is None else state[0]).unsqueeze(0)

    def reset(self, state: Any, done: Tensor) -> Any:
        return masked_reset(state[0], done, 0.0), self.synapse.reset(state[1], done)


class Constant(nn.Module):
    """The same values at every tick and sample."""

    on_sequences: ClassVar[bool] = True
    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def emits_alone(self, like: Tensor) -> Tensor:
        """``[T, N, ...]`` for the T and N of ``like``."""
        return self.value.expand(*like.shape[:2], *self.value.shape)


class Pointwise(nn.Module):
    """A stateless function over sequences (reshape, select, table, product), with the ports it reads.

    ``passes`` says that it only moves values; ``node`` is the graph node that it came from.
    """

    on_sequences: ClassVar[bool] = True
    stateless: ClassVar[bool] = True

    def __init__(
        self,
        function: Callable[..., Tensor],
        ports: tuple[str, ...] = ("in",),
        passes: bool = False,
        node: n.Node | None = None,
    ) -> None:
        super().__init__()
        self.function, self.ports, self.passes, self.node = function, ports, passes, node

    def forward(self, *args: Any) -> tuple[Tensor, None]:
        return self.function(*args[:-1]), None


def module_of(graph: Graph, name: str) -> nn.Module:
    """The torch module of one node, weights copied.

    Raises:
        UnsupportedNode: torch cannot run it.
    """
    node = graph.nodes[name]
    if isinstance(node, n.Attention):
        return Attention(node.heads, node.how, node.shift, node.scale, "mask" in graph.ports(name))
    module = _module(node, name)
    if graph.timing == "pipelined" and isinstance(node, n.Synapse | n.Dendrite):
        if isinstance(module, PlasticLinear):
            return HeldPlastic(module)
        assert isinstance(module, OverTime)
        return Held(module)
    return module


@singledispatch
def _module(node: n.Node, name: str) -> nn.Module:
    raise UnsupportedNode(
        name, "torch", f"there is no torch module for {node.kind}; run the parts before and behind it by themselves"
    )


@_module.register
def _(node: n.Input, name: str) -> nn.Module:
    return InputPort(node.grid)


@_module.register
def _(node: n.Output, name: str) -> nn.Module:
    return OutputPort()


@_module.register
def _(node: n.Constant, name: str) -> nn.Module:
    return Constant(torch.from_numpy(np.array(node.value)))


def _filled(node: n.Synapse, name: str, module: nn.Linear | Conv1d | Conv2d) -> nn.Module:
    if node.plastic is not None and not isinstance(module, PlasticLinear):
        raise UnsupportedNode(
            name, "torch", "its weights learn, and only those of a Linear do; set Synapse.plastic to None"
        )
    if node.arithmetic is not None:
        raise UnsupportedNode(name, "torch", "integer arithmetic runs in the engine: engine.run(arithmetic='integer')")
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.array(node.weight)))
        if node.bias is not None:
            assert module.bias is not None
            module.bias.copy_(torch.from_numpy(np.array(node.bias)))
    return module


@_module.register
def _(node: n.Linear, name: str) -> nn.Module:
    out, inputs = node.weight.shape
    biased = node.bias is not None
    if node.plastic is not None and node.grid is not None:
        rule = ThreeFactor(node.plastic.trace_decay, node.plastic.rate, node.plastic.bound, node.grid.q)
        return _filled(node, name, PlasticLinear(inputs, out, rule, biased))
    return _filled(node, name, Linear(inputs, out, bias=biased))


@_module.register
def _(node: n.Conv1d | n.Conv2d, name: str) -> nn.Module:
    out, per_group, *kernel = node.weight.shape
    options = {key: getattr(node, key) for key in ("stride", "padding", "dilation", "groups")}
    kind: type[Conv1d | Conv2d] = Conv1d if isinstance(node, n.Conv1d) else Conv2d
    layer = kind(per_group * node.groups, out, tuple(kernel), bias=node.bias is not None, **options)
    return _filled(node, name, layer)


@_module.register
def _(node: n.Dendrite, name: str) -> nn.Module:
    if node.arithmetic is not None:
        raise UnsupportedNode(name, "torch", "integer arithmetic runs in the engine: engine.run(arithmetic='integer')")
    out, inputs, *kernel = node.weight.shape
    biased = node.bias is not None
    layer: DendriticLinear | DendriticConv2d
    if node.stride is None:
        # A node's bias lies on no grid: where it enters the sum shows.
        layer = DendriticLinear(inputs, out, biased, plain_at_zero=False)
    else:
        layer = DendriticConv2d(
            inputs * node.groups,
            out,
            tuple(kernel),
            stride=node.stride,
            padding=node.padding,
            dilation=node.dilation,
            groups=node.groups,
            bias=biased,
            plain_at_zero=False,
        )
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.array(node.weight)))
        layer.gate.copy_(torch.from_numpy(np.array(node.gate)))
        if node.bias is not None:
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(np.array(node.bias)))
    return layer


@_module.register
def _(node: n.SumPool2d, name: str) -> nn.Module:
    return SumPool2d(node.kernel, node.stride, node.padding)


@_module.register
def _(node: n.AvgPool2d, name: str) -> nn.Module:
    return AvgPool2d(node.kernel, node.stride, node.padding)


@_module.register
def _(node: n.MaxPool2d, name: str) -> nn.Module:
    return MaxPool2d(node.kernel, node.stride, node.padding)


@_module.register
def _(node: n.Flatten, name: str) -> nn.Module:
    return Flatten(node.start + 1 if node.start >= 0 else node.start, node.end + 1 if node.end >= 0 else node.end)


@_module.register
def _(node: n.Reshape, name: str) -> nn.Module:
    return Pointwise(lambda x: x.reshape(*x.shape[:2], *node.shape), passes=True, node=node)


@_module.register
def _(node: n.Select, name: str) -> nn.Module:
    axis = node.axis + 2 if node.axis >= 0 else node.axis

    def pick(x: Tensor) -> Tensor:
        return x.index_select(axis, torch.tensor(node.indices, device=x.device))

    return Pointwise(pick, passes=True, node=node)


@_module.register
def _(node: n.Add | n.Probe, name: str) -> nn.Module:
    return Add()


@_module.register
def _(node: n.Multiply, name: str) -> nn.Module:
    return Pointwise(torch.mul, ("in", "gate"), node=node)


@_module.register
def _(node: n.Table, name: str) -> nn.Module:
    values = torch.from_numpy(np.array(node.values))

    def look_up(x: Tensor) -> Tensor:
        index = (x - node.low).clamp(0, len(values) - 1).to(torch.int64)
        return values.to(x.device)[index]

    return Pointwise(look_up, node=node)


@_module.register
def _(node: n.Delay, name: str) -> nn.Module:
    return Delay(torch.from_numpy(np.array(node.ticks)))


@_module.register
def _(node: n.Neuron, name: str) -> nn.Module:
    if node.arithmetic is not None:
        raise UnsupportedNode(name, "torch", "integer arithmetic runs in the engine: engine.run(arithmetic='integer')")
    spec = NeuronSpec(
        node.program,
        {k: np.array(v) for k, v in node.parameters.items()},
        frozenset(node.learnable),
        node.surrogate,
        node.slope,
        node.detach_reset,
    )
    return Neuron(spec)


@_module.register
def _(node: n.Readout, name: str) -> nn.Module:
    return Readout(node.how)


@_module.register
def _(node: n.Memory, name: str) -> nn.Module:
    return Memory(node.capacity)


@_module.register
def _(node: n.Window, name: str) -> nn.Module:
    return Window(node.width, node.stride)


@_module.register
def _(node: n.Keep, name: str) -> nn.Module:
    return Keep()


@_module.register
def _(node: n.LayerNorm, name: str) -> nn.Module:
    norm = nn.LayerNorm(node.weight.shape, node.epsilon)
    with torch.no_grad():
        norm.weight.copy_(torch.from_numpy(np.array(node.weight)))
        norm.bias.copy_(torch.from_numpy(np.array(node.bias)))
    return norm


@_module.register
def _(node: n.Softmax, name: str) -> nn.Module:
    return nn.Softmax(-1)


@_module.register
def _(node: n.Scope, name: str) -> nn.Module:
    from neuroaccel.network.network import Network

    try:
        inner = Network.from_graph(node.graph)
    except UnsupportedNode as error:
        raise UnsupportedNode(f"{name}/{error.node}", error.executor, error.reason) from error
    return Scope(inner, node.ticks, node.input, node.state, node.output, node.port_names)
