"""The seam for faster implementations of stateless layers over sequences: Linear, convolution,
normalisation, pools.

They may add up a value's terms in another order than torch, which on raw float weights rounds otherwise; on the grid
that ``lower`` snaps to every order gives the same sums. ``NEUROACCEL_KERNELS`` forces torch, or the implementation of
a name wherever it can run a layer.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from neuroaccel.neurons.backend import REFERENCE, VARIABLE, forced, load


class LayerBackend(Protocol):
    """An implementation of some kinds of layers, on ``[T, N, ...]``.

    One of a dendritic kind is given a plain layer of W over V with the dendritic layer's bias, and its ``run`` gives
    the current: bit for bit what integration makes of that layer's two products.
    """

    name: str

    def refuses(self, layer: Any, x: Tensor) -> str:
        """Why it cannot run this, or an empty text."""

    def declines(self, layer: Any, x: Tensor) -> str:
        """Why it could run this but torch does better, or an empty text."""

    def run(self, layer: Any, x: Tensor) -> Tensor:
        """y, ``[T, N, ...]``."""

    def reason(self, layer: Any, x: Tensor) -> str:
        """Why it is taken, or by which of its ways."""


_LAYERS: dict[type[nn.Module], list[LayerBackend]] = {}


def register_layer(kind: type[nn.Module], backend: LayerBackend) -> None:
    """Add an implementation of a kind of layer; those added first are asked first."""
    _LAYERS.setdefault(kind, []).append(backend)


def choose_layer(layer: Any, x: Tensor, like: type[nn.Module] | None = None) -> tuple[LayerBackend | None, str]:
    """Who runs a layer on ``x`` (``[T, N, ...]``), ``None`` being torch, and why, where that is not torch.

    Arguments:
        layer: the layer, or what has the attributes of one of the kind ``like``.

    Raises:
        InputError: the forced implementation does not exist.
    """
    load()
    backends = [b for kind in (like or type(layer)).__mro__ for b in _LAYERS.get(kind, ())]
    force = forced() if backends else ""
    if force == REFERENCE:
        return None, f"{VARIABLE}={force}"
    reasons = []
    for backend in backends:
        if force not in ("", backend.name):
            continue
        reason = backend.refuses(layer, x) or ("" if force else backend.declines(layer, x))
        if not reason:
            return backend, f"{VARIABLE}={force}" if force else ""
        reasons.append(f"{backend.name}: {reason}")
    return None, "; ".join(reasons) or "no other implementation is registered"
