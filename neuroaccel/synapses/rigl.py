"""RigL: a sparse net that drops its smallest weights and grows those whose gradient is largest.

Source: Evci et al. 2020, "Rigging the Lottery", algorithm 1. Ours: the weights also take the step whose gradients
decide what grows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuroaccel.synapses.pruning_maps import Mask


@torch.no_grad()
def draw(mask: Mask, living: int, generator: torch.Generator) -> None:
    """A random mask of ``living`` weights."""
    order = torch.randperm(mask.mask.numel(), generator=generator)
    flat = torch.zeros(mask.mask.numel(), dtype=torch.bool)
    flat[order[:living]] = True
    mask.mask.copy_(flat.reshape(mask.mask.shape))


@torch.no_grad()
def drop_and_grow(mask: Mask, theta: Tensor, fraction: float) -> int:
    """Drop this fraction of the living weights by their size, grow as many dead ones by their gradient, at 0.

    Arguments:
        mask: whose ``probe`` has gathered dL/dw of the dead weights.
        theta: the parameter, of which weights that grow are set to 0.
        fraction: of the living weights.

    Returns:
        How many were exchanged.
    """
    alive = mask.mask.flatten()
    gradient = None if mask.probe is None else mask.probe.grad
    mask.probe = None
    if gradient is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(gradient)  # every process must grow the same weights
    count = min(int(fraction * int(alive.sum())), int((~alive).sum()))
    if gradient is None or count == 0:
        return 0
    flat = theta.detach().flatten()
    drop = torch.where(alive, flat.abs(), torch.inf).topk(count, largest=False, sorted=False).indices
    grow = torch.where(alive, -1.0, gradient.flatten().abs()).topk(count, sorted=False).indices
    alive = alive.clone()
    alive[drop] = False
    alive[grow] = True
    flat = flat.clone()
    flat[grow] = 0
    theta.copy_(flat.reshape(theta.shape))
    mask.mask.copy_(alive.reshape(mask.mask.shape))
    return count
