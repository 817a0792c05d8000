"""Which implementation runs each layer of a network, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuroaccel.kernels.block import Block
from neuroaccel.neurons import Neuron
from neuroaccel.neurons.backend import REFERENCE, choose
from neuroaccel.synapses import Dendritic, OverTime
from neuroaccel.synapses.layer_backend import choose_layer

KINDS = (Neuron, OverTime)


@dataclass(frozen=True)
class Choice:
    """Who runs a layer: ``torch`` (the reference) or ``numba``."""

    implementation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.implementation} ({self.reason})"


def _blocks(net: nn.Module, inputs: dict[nn.Module, Tensor]) -> dict[nn.Module, str]:
    """Layers that one operator would run, and a text that says so."""
    told: dict[nn.Module, str] = {}
    for network in net.modules():
        holder: Any = network
        for names in getattr(holder, "spans", {}).values():
            layers = [holder[name] for name in names]
            block = Block(*layers, *[None] * (4 - len(layers)))
            if layers[0] in inputs and not block.refuses(inputs[layers[0]]):
                told.update(dict.fromkeys(layers, f"one operator for {' → '.join(names)}"))
    return told


@contextmanager
def _listening(
    net: nn.Module, found: dict[str, Choice], modes: dict[nn.Module, bool], inputs: dict[nn.Module, Tensor]
) -> Iterator[None]:
    def neuron(layer: Neuron, x: Tensor) -> Choice:
        backend, reason = choose(layer.spec, x.to(layer.dtype), layer.values())
        return Choice(REFERENCE if backend is None else backend.name, reason)

    def stateless(layer: OverTime, x: Tensor) -> Choice:
        layer.training = modes[layer]  # it runs in evaluation, and is asked what it would do in its own mode
        # Whoever runs a dendritic layer runs its two weights as one plain layer.
        part, like = (layer.stacked(), layer.kind) if isinstance(layer, Dendritic) else (layer, None)
        backend, reason = choose_layer(part, x, like)
        layer.training = False
        if backend is None:
            return Choice(REFERENCE, reason)
        return Choice(backend.name, reason or backend.reason(part, x))

    def listener(name: str) -> Any:
        def hear(layer: Neuron | OverTime, args: tuple[Any, ...]) -> None:
            inputs.setdefault(layer, args[0])
            found.setdefault(name, neuron(layer, args[0]) if isinstance(layer, Neuron) else stateless(layer, args[0]))

        return hear

    def step(layer: Neuron, name: str) -> Any:
        real = layer.step

        def heard(i: Tensor, *args: Any, **options: Any) -> Any:
            found.setdefault(name, neuron(layer, i.unsqueeze(0)))
            return real(i, *args, **options)

        return heard

    hooks, layers = [], {n: m for n, m in net.named_modules() if isinstance(m, KINDS)}
    for name, layer in layers.items():
        hooks.append(layer.register_forward_pre_hook(listener(name)))
        if isinstance(layer, Neuron):
            vars(layer)["step"] = step(layer, name)  # which is no call of a module: no hook hears it
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers.values():
            vars(layer).pop("step", None)


def which(net: nn.Module, x: Any) -> dict[str, Choice]:
    """What ``net(x)`` would run, found by running it without gradients.

    Arguments:
        net: a network or a layer; its own state and its mode are left as they are.
        x: an input as the network takes it, ``[T, N, ...]``.

    Returns:
        name of the module → its choice, for neurons and the stateless layers of :mod:`neuroaccel.synapses`, as first
        called; a synapse's choice is that for the share of zeros in this x.

    Raises:
        InputError: ``NEUROACCEL_KERNELS`` forces an implementation that does not exist or cannot run a layer.

    >>> import torch
    >>> from neuroaccel.kernels import which
    >>> from neuroaccel.neurons import LIF
    >>> print(which(LIF(), torch.ones(5, 1, 3))[""])
    numba (a whole sequence in float32 on the CPU)
    >>> print(which(LIF(), torch.ones(1, 1, 3))[""])
    torch (numba: one tick of 3 neurons, it pays from 16384 on)
    """
    found: dict[str, Choice] = {}
    inputs: dict[nn.Module, Tensor] = {}
    modes = {m: m.training for m in net.modules()}
    net.eval()  # running statistics stay as they are
    try:
        with torch.no_grad(), _listening(net, found, modes, inputs):
            net(x)
    finally:
        for module, mode in modes.items():
            module.training = mode
    alone = Choice(REFERENCE, "the network does not run it")
    together = _blocks(net, inputs)
    layers = {n: m for n, m in net.named_modules() if isinstance(m, KINDS)}
    return {n: Choice("numba", together[m]) if m in together else found.get(n, alone) for n, m in layers.items()}
