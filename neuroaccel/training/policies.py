"""Spiking policies for reinforcement learning: an encoder of observations, a network, and stable-baselines3's classes.

What needs stable-baselines3 (:class:`SpikingActorCriticPolicy`, :class:`SpikingFeatures`, :class:`PruningCallback`,
:class:`VectorAdapter`) is imported when first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from neuroaccel.errors import InputError
from neuroaccel.extras import require
from neuroaccel.network import Network
from neuroaccel.neurons import LI, LIF
from neuroaccel.synapses import Linear, Readout

if TYPE_CHECKING:
    from neuroaccel.training.stable_baselines import (
        PruningCallback,
        SpikingActorCriticPolicy,
        SpikingFeatures,
        VectorAdapter,
    )

__all__ = [
    "PopulationEncoder",
    "PruningCallback",
    "SpikeInput",
    "SpikingActorCriticPolicy",
    "SpikingFeatures",
    "VectorAdapter",
    "spiking_network",
]

_LAZY = ("PruningCallback", "SpikingActorCriticPolicy", "SpikingFeatures", "VectorAdapter")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'neuroaccel.training.policies' has no attribute '{name}'")
    require("stable_baselines3", "gym")
    return getattr(importlib.import_module("neuroaccel.training.stable_baselines"), name)


class PopulationEncoder(nn.Module):
    """Numbers as spikes: each is seen by cells with overlapping hat-shaped tuning curves, which spike at their rate.

    r = max(0, 1 − |u·(K − 1) − k| / width)  for the cell k of K and a number at u in [0, 1] of its range;
    a spike at tick t where ⌊(t + 1)·r + ½⌋ > ⌊t·r + ½⌋.  The spikes of T ticks are the rate rounded to whole ones.
    It draws nothing, so that a policy's decisions can be repeated, and every value is binary.

    Arguments:
        low, high: the range of every number, finite; numbers outside of it are taken for its ends.
        cells: K, at least 2, for every number.
        ticks: T.
        width: half of a curve's base, in distances between cells.

    Raises:
        InputError: a range that is empty or not finite, fewer than two cells, no ticks.

    Source: population coding by tuning curves is textbook neuroscience; the hats and the rounding are ours.

    >>> import torch
    >>> PopulationEncoder([0.0], [1.0], cells=3, ticks=2, width=1.0)(torch.tensor([[0.25]]))[:, 0].tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """

    low: Tensor
    span: Tensor
    places: Tensor

    def __init__(self, low: ArrayLike, high: ArrayLike, *, cells: int = 12, ticks: int = 4, width: float = 1.5) -> None:
        super().__init__()
        bottom, top = np.asarray(low, np.float64).reshape(-1), np.asarray(high, np.float64).reshape(-1)
        # Some spaces end at the largest float32 instead of at infinity.
        if bottom.shape != top.shape or not ((bottom < top) & (np.abs(bottom) < 1e30) & (np.abs(top) < 1e30)).all():
            raise InputError(
                f"PopulationEncoder: a finite range is needed for every number, found {bottom.tolist()} to "
                f"{top.tolist()}; observations without bounds need ranges=(low, high), among a policy's policy_kwargs"
            )
        if cells < 2 or ticks < 1 or not width > 0:
            raise InputError(
                f"PopulationEncoder: {cells} cells, {ticks} ticks, width {width}; expected at least 2, 1, more than 0"
            )
        self.cells, self.ticks, self.width = cells, ticks, float(width)
        # Not persistent: they follow from the arguments, which whoever makes a policy gives again.
        self.register_buffer("low", torch.tensor(bottom, dtype=torch.float32), persistent=False)
        self.register_buffer("span", torch.tensor(top - bottom, dtype=torch.float32), persistent=False)
        self.register_buffer("places", torch.arange(cells, dtype=torch.float32), persistent=False)

    @property
    def features(self) -> int:
        """How many spike trains there are."""
        return self.low.numel() * self.cells

    def rates(self, x: Tensor) -> Tensor:
        """The cells' rates ``[N, features]`` in spikes a tick for numbers ``[N, ...]``."""
        u = ((x.flatten(1).float() - self.low) / self.span).clamp(0.0, 1.0) * (self.cells - 1)
        return (1.0 - (u.unsqueeze(-1) - self.places).abs() / self.width).clamp(min=0.0).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes ``[T, N, features]``, 0 or 1, for numbers ``[N, ...]``; no gradient reaches the numbers."""
        with torch.no_grad():
            rates = self.rates(x)
            t = torch.arange(self.ticks + 1, dtype=torch.float32, device=rates.device).reshape(-1, 1, 1)
            return torch.floor(t * rates + 0.5).diff(dim=0)


class SpikeInput(nn.Module):
    """Observations that are spikes already, such as those of ``neuroaccel.envs.encoders.SpikeObservation``.

    Arguments:
        shape: of one observation, ``[T, ...]``, ticks first.

    Raises:
        InputError: a shape without ticks and features.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        if len(shape) < 2 or min(shape) < 1:
            raise InputError(f"SpikeInput: spikes of shape {list(shape)}, expected [T, ...]")
        self.ticks, self.features = int(shape[0]), int(np.prod(shape[1:]))

    def rates(self, x: Tensor) -> Tensor:
        """Spikes per tick ``[N, features]`` of observations ``[N, T, ...]``, or flat ones."""
        return x.reshape(len(x), self.ticks, self.features).float().mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes ``[T, N, features]`` of observations ``[N, T, ...]``, or flat ones."""
        return x.reshape(len(x), self.ticks, self.features).float().transpose(0, 1).contiguous()


def spiking_network(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    ndi: bool = False,
    beta: float = 0.5,
    threshold: float = 1.0,
    readout_beta: float = 0.9,
    weight_gain: float = 3.0,
    surrogate: str = "atan",
    slope: float = 2.0,
) -> Network:
    """Dense spiking layers with a membrane readout: synapse and LIF for each hidden layer, synapse, LI, mean membrane.

    Arguments:
        inputs, hidden, outputs: sizes of the layers.
        ndi: every synapse is a :class:`~neuroaccel.synapses.DendriticLinear`, the last one too.
        beta, threshold: of the LIF neurons.
        readout_beta: of the leaky integrator whose mean over the ticks is the output.
        weight_gain: torch's initial weights of what feeds spiking neurons, times this; without it the few spikes of
            some ticks drive no neuron across its threshold. # ours
        surrogate, slope: the spikes' gradient.

    Returns:
        The network; its output's last tick, ``[N, outputs]``, is the answer. ``neuroaccel.lower`` takes it.

    Raises:
        InputError: a size below 1.
    """
    sizes = [inputs, *hidden, outputs]
    if min(sizes) < 1:
        raise InputError(f"spiking_network: sizes {sizes}, expected at least 1 each")
    synapse: type[nn.Module] = Linear
    if ndi:
        from neuroaccel.synapses import DendriticLinear

        synapse = DendriticLinear
    layers: dict[str, nn.Module] = {}
    for at in range(1, len(sizes)):
        last = at == len(sizes) - 1
        layer: Any = synapse(sizes[at - 1], sizes[at])
        if not last:
            with torch.no_grad():
                layer.weight.mul_(weight_gain)
        layers[f"synapse_{at}"] = layer
        if last:
            layers["membrane"] = LI(beta=readout_beta)
        else:
            layers[f"lif_{at}"] = LIF(beta=beta, threshold=threshold, surrogate=surrogate, slope=slope)
    layers["readout"] = Readout("mean_membrane")
    return Network(layers)
