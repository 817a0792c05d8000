"""Three-factor learning of the action head: what entered it, what it gave, and a factor derived from the return."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
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


def modulator(returns: Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    """m = clip((G − mean)/std, −1, 1), with the data's mean and spread of G. # ours: the paper's f(G) is not known."""
    spread = std.clamp(min=1e-12) if isinstance(std, Tensor) else max(std, 1e-12)
    return ((returns - mean) / spread).clamp(-1, 1)


class OnlineModulator:
    """The third factor of E episodes' decisions where returns to go are not known yet: :func:`modulator` of rewards.

    While an episode lasts, m of a decision is that of its reward, by the mean and spread of the rewards so far of this
    one of the E, so that a reward that never changes says nothing. An episode's last decision gets m of its return,
    by the middle and half the width of the data's returns. # ours: the paper does not learn online.

    Arguments:
        episodes: E.
        lowest, highest: returns of the data.

    >>> m = OnlineModulator(1, 0.0, 100.0)
    >>> m(np.array([30.0]), np.array([False])).tolist(), m(np.array([45.0]), np.array([True])).tolist()
    ([0.0], [0.5])
    """

    def __init__(self, episodes: int, lowest: float, highest: float) -> None:
        self.middle, self.half = (lowest + highest) / 2, (highest - lowest) / 2
        self._count = 0
        self._earned, self._mean, self._squares = np.zeros((3, episodes))

    def __call__(self, rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Rewards ``[E]`` and which episodes end with them → m ``[E]``."""
        self._count += 1
        gap = rewards - self._mean
        self._mean = self._mean + gap / self._count
        self._squares = self._squares + gap * (rewards - self._mean)
        earned = self._earned + rewards
        self._earned = np.where(ended, 0.0, earned)
        given, mean, std = (torch.from_numpy(v) for v in (rewards, self._mean, np.sqrt(self._squares / self._count)))
        during, last = modulator(given, mean, std), modulator(torch.from_numpy(earned), self.middle, self.half)
        return np.where(ended, last.numpy(), during.numpy()).astype(np.float32)
