"""Multiply-accumulates of a dense decision, by formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from neuroaccel.decision.baselines import MLPPolicy
from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.dense import DenseDT


@dataclass(frozen=True)
class DenseCosts:
    """Multiply-accumulates of one decision, where every input counts; LayerNorm, softmax and ReLU are none.

    Arguments:
        embed: into the width, by a matrix per kind of token: a kind's places that are always 0 cost nothing.
        attention: queries, keys, values and the output's mixing, which read weights.
        products: of queries with keys, and of weights with values.
        hidden: the layers between two attentions.
        head: of the state token alone.
    """

    embed: int
    attention: int
    products: int
    hidden: int
    head: int

    @property
    def total(self) -> int:
        return self.embed + self.attention + self.products + self.hidden + self.head

    @property
    def weights_read(self) -> int:
        """Those that read a weight."""
        return self.total - self.products


def macs_per_decision(model: DenseDT | MLPPolicy | DecisionConfig, *, cached: bool = True) -> DenseCosts:
    """MACs of a decision once N steps have gone by; of a model, pruned weights (0) are left out.

    Cached, a step's three tokens are computed, each attending to 3 N. Recomputed, all tokens of the window are, up to
    the state's: 3 N − 1 of them, the i-th attending to i.

    Arguments:
        model: a decision transformer, a config of one, or a memoryless policy (whose layers are ``hidden`` but for
            the last).
        cached: whether keys and values are kept.
    """
    if isinstance(model, MLPPolicy):
        sizes = [_living(layer) for layer in model.layers if isinstance(layer, nn.Linear)]
        return DenseCosts(0, 0, 0, sum(sizes[:-1]), sizes[-1])
    c = model if isinstance(model, DecisionConfig) else model.config
    d, steps = c.width, 1 if cached else c.context
    tokens = 3 if cached else c.band - 1
    pairs = 3 * c.band if cached else sum(range(1, c.band))
    embed = steps * (1 + c.state_size + c.actions) * d
    mixing, hidden, head = c.layers * 4 * d * d, c.layers * 2 * c.hidden * d * d, d * c.actions
    if isinstance(model, DenseDT):
        embed = steps * int(torch.count_nonzero(model.embed.weight[:, : 1 + c.state_size + c.actions]))
        parts: Any = list(model.blocks)
        mixing = sum(_living(block.qkv) + _living(block.mix) for block in parts)
        hidden = sum(_living(block.widen) + _living(block.narrow) for block in parts)
        head = _living(model.head)
    if not cached:
        embed -= d * c.actions  # the window's last action comes after the decision
    return DenseCosts(embed, tokens * mixing, c.layers * 2 * d * pairs, tokens * hidden, head)


def _living(layer: nn.Linear) -> int:
    return int(torch.count_nonzero(layer.weight))
