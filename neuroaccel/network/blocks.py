"""Layers of a network that one operator runs in training: Conv2d, batch normalisation, neurons, and maybe a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from neuroaccel.neurons import Neuron
from neuroaccel.synapses import AvgPool2d, BatchNorm2d, Conv2d, Flatten, SumPool2d

if TYPE_CHECKING:
    from neuroaccel.kernels.block import Block
    from neuroaccel.network.network import Network

KINDS: tuple[tuple[type[nn.Module], ...], ...] = ((Conv2d,), (BatchNorm2d,), (Neuron,), (SumPool2d, AvgPool2d))
NEURON = 2  # which of them
LEAST = 3  # the pool may be missing


def spans(net: Network) -> dict[str, tuple[str, ...]]:
    """Names of a block's layers by that of the first: nothing else enters them or reads what is inside."""
    found = {name: _follow(net, name) for name in net.order}
    return {name: names for name, names in found.items() if len(names) >= LEAST}


def _follow(net: Network, name: str) -> tuple[str, ...]:
    """Names of the layers from ``name`` on that are of a block's kinds, in its order."""
    names: list[str] = []
    at: str | None = name
    for kinds in KINDS:
        if at is None or type(net[at]) not in kinds or at in net.stands or net.clock[at] != ():
            break
        if len(net.into(at)) != 1 or net.into(at)[0].recurrent:
            break
        names.append(at)
        out = [e for e in net.edges if e.source == at]
        at = out[0].target if len(out) == 1 else None
    return tuple(names)


def block_of(net: Network, names: tuple[str, ...], x: torch.Tensor) -> Block | None:
    """The block that runs these layers on ``x``, or none where they run one after the other."""
    layers: list[Any] = [net[name] for name in names]
    if torch.compiler.is_compiling():  # a compiler fuses by itself
        return None
    if any(_heard(layer) or type(layer) not in kinds for layer, kinds in zip(layers, KINDS, strict=False)):
        return None
    from neuroaccel.kernels.block import Block  # with numba, which a network that is only built does without

    behind = [net[e.target] for e in net.edges if e.source == names[-1]]
    conv, norm, neuron, pool = [*layers, None][: len(KINDS)]
    block = Block(conv, norm, neuron, pool, all(isinstance(b, Flatten) for b in behind))
    return None if block.refuses(x) else block


def _heard(layer: Any) -> bool:
    """Whether somebody listens to a layer, who would hear nothing of it."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)
