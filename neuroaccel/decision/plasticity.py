"""Three-factor learning of the action head: what entered it, what it gave, and a factor derived from the return."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuroaccel.synapses.plastic import ThreeFactor


def learn_head(head: nn.Linear, trace: Tensor, x: Tensor, y: Tensor, third: Tensor, rule: ThreeFactor) -> Tensor:
    """Move a head's weights: E = λ·E + x·y per sample; Δw = rate·(mean of m·E over samples), on the rule's grid.

    Arguments:
        head: its weight changes in place; one weight serves all samples.
        trace: E ``[B, actions, width]``, zeros where an episode begins.
        x: what entered the head at a token, ``[B, width]``.
        y: post-synaptic values ``[B, actions]``: what the head gave, or (taken action − softmax), a descent direction.
        third: m ``[B]``.
        rule: λ, rate, bound and grid; a rate of 0 leaves every weight as it is, bit for bit.

    Returns:
        The new trace; no gradient runs through it.

    Source: arXiv 2508.21505, three-factor plasticity of the action head.
    """
    with torch.no_grad():
        trace = rule.traced(trace, x, y)
        driven = (third[:, None, None] * trace).mean(0, keepdim=True)
        head.weight.copy_(rule.moved(head.weight.unsqueeze(0), driven, torch.ones_like(third[:1]))[0])
    return trace


def modulator(returns: Tensor, mean: float, std: float) -> Tensor:
    """m = clip((G − mean)/std, −1, 1), with the data's mean and spread of G. # ours: the paper's f(G) is not known."""
    return ((returns - mean) / max(std, 1e-12)).clamp(-1, 1)
