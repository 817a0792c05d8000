"""Which implementation runs each neuron layer of a network, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from neuroaccel.neurons import Neuron
from neuroaccel.neurons.backend import REFERENCE, choose


@dataclass(frozen=True)
class Choice:
    """Who runs a layer: ``torch`` (the reference) or ``numba``."""

    implementation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.implementation} ({self.reason})"


@contextmanager
def _listening(net: nn.Module, found: dict[str, Choice]) -> Iterator[None]:
    def listener(name: str) -> Any:
        def hear(layer: Neuron, args: tuple[Any, ...]) -> None:
            x = args[0].to(layer.dtype)
            backend, reason = choose(layer.spec, x, layer.values())
            found.setdefault(name, Choice(REFERENCE if backend is None else backend.name, reason))

        return hear

    hooks = [m.register_forward_pre_hook(listener(n)) for n, m in net.named_modules() if isinstance(m, Neuron)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def which(net: nn.Module, x: Any) -> dict[str, Choice]:
    """What ``net(x)`` would run, found by running it without gradients.

    Arguments:
        net: a network or a layer; its own state and its mode are left as they are.
        x: an input as the network takes it, ``[T, N, ...]``.

    Returns:
        name of the module → its choice; a layer that the network runs tick by tick is the reference's.

    Raises:
        InputError: ``NEUROACCEL_KERNELS`` forces an implementation that does not exist or cannot run a layer.

    >>> import torch
    >>> from neuroaccel.kernels import which
    >>> from neuroaccel.neurons import LIF
    >>> print(which(LIF(), torch.ones(5, 1, 3))[""])
    numba (a whole sequence in float32 on the CPU)
    >>> print(which(LIF(), torch.ones(1, 1, 3))[""])
    torch (numba: one tick is no sequence)
    """
    found: dict[str, Choice] = {}
    modes = {m: m.training for m in net.modules()}
    net.eval()  # running statistics stay as they are
    try:
        with torch.no_grad(), _listening(net, found):
            net(x)
    finally:
        for module, mode in modes.items():
            module.training = mode
    alone = Choice(REFERENCE, "it runs tick by tick, as in a loop of layers, or not at all")
    return {n: found.get(n, alone) for n, m in net.named_modules() if isinstance(m, Neuron)}
