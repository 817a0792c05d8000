"""The dense decision transformer: the spiking one's twin, with the same tokens, band, width, layers and heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from neuroaccel.decision.config import DecisionConfig


class Cache(NamedTuple):
    """Keys and values of the last tokens, oldest first; a value, which no call changes.

    Arguments:
        keys, values: ``[layers, B, heads, band − 1, width / heads]``; the newest token brings its own.
        filled: int64 ``[B]``, how many of them are there, counted from the newest.
    """

    keys: Tensor
    values: Tensor
    filled: Tensor


class Block(nn.Module):
    """x + W_o·Attention(LN(x)), then x + W_2·ReLU(W_1·LN(x))."""

    def __init__(self, config: DecisionConfig) -> None:
        super().__init__()
        d, self.heads = config.width, config.heads
        self.before_attention, self.before_hidden = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.mix = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.widen, self.narrow = nn.Linear(d, config.hidden * d), nn.Linear(config.hidden * d, d)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One block.

        Arguments:
            x: ``[B, L, d]``.
            keys, values: of earlier tokens, ``[B, heads, P, d / heads]``.
            seen: bool ``[B or 1, 1, L, P + L]``, which of all tokens each one attends to.

        Returns:
            ``[B, L, d]``, and the keys and values of earlier tokens and these.
        """
        B, L, d = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(B, L, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        scores = (q @ keys.transpose(2, 3)) * (d // self.heads) ** -0.5
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        x = x + self.mix((weights @ values).transpose(1, 2).reshape(B, L, d))
        return x + self.narrow(torch.relu(self.widen(self.before_hidden(x)))), keys, values


class DenseDT(nn.Module):
    """Predicts an action at every token from the last 3 N tokens, itself included, in every layer.

    x = LN(W_e·token + e[timestep]) → blocks → LN → logits (discrete), or tanh (continuous). # ours: the band, and one
    matrix for the three kinds of token; a token's vector is 0 where other kinds have their numbers, so it is three.

    Arguments:
        config: sizes; ``model`` and the fields of the spiking model are not read.

    Source: Chen et al. 2021 (Decision Transformer).

    >>> import torch
    >>> model = DenseDT(DecisionConfig(state_size=4, actions=2, width=8, heads=2, context=3))
    >>> tuple(model(torch.zeros(5, 9, 10), torch.zeros(5, 9, dtype=torch.long)).shape)
    (5, 9, 2)
    """

    def __init__(self, config: DecisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.token_size, config.width)
        self.timestep = nn.Embedding(config.max_steps, config.width)
        self.norm, self.after = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width, config.actions)
        nn.init.normal_(self.timestep.weight, std=0.02)

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        """Every token of whole sequences.

        Arguments:
            x: ``[B, L, token_size]``, of any length.
            steps: int64 ``[B, L]``, below ``max_steps``.

        Returns:
            ``[B, L, actions]``; those at state tokens, ``[:, 1::3]``, are the decisions.
        """
        empty = x.new_zeros(len(x), self.config.heads, 0, self.config.width // self.config.heads)
        at = torch.arange(x.shape[1], device=x.device)
        gap = at[:, None] - at[None, :]
        seen = ((gap >= 0) & (gap < self.config.band))[None, None]
        h = self._embedded(x, steps)
        for block in self.blocks:
            h, _, _ = block(h, empty, empty, seen)
        return self._read(h)

    def cache(self, batch: int) -> Cache:
        """No tokens yet, for ``batch`` episodes."""
        c = self.config
        weight = self.after.weight
        empty = weight.new_zeros(c.layers, batch, c.heads, c.band - 1, c.width // c.heads)
        return Cache(empty, empty, torch.zeros(batch, dtype=torch.long, device=weight.device))

    def step(self, x: Tensor, steps: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """The next token of each episode.

        Arguments:
            x: ``[B, token_size]``.
            steps: int64 ``[B]``.
            cache: of the tokens before.

        Returns:
            ``[B, actions]``, what ``forward`` gives at that token, and the cache with it.
        """
        predicted, cache = self.extend(x[:, None], steps[:, None], cache)
        return predicted[:, 0], cache

    def extend(self, x: Tensor, steps: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """The next L tokens at once: ``[B, L, token_size]``, ``[B, L]`` → ``[B, L, actions]`` and the cache."""
        before, L = self.config.band - 1, x.shape[1]
        # Token i of these stands at `before` + i; the cache's place j holds a token if j ≥ before − filled.
        at = torch.arange(before + L, device=x.device)
        gap = at[before:, None] - at[None, :]
        there = at[None, :] >= before - cache.filled[:, None]
        seen = ((gap >= 0) & (gap <= before))[None, None] & there[:, None, None]
        h = self._embedded(x, steps)
        keys, values = [], []
        for i, block in enumerate(self.blocks):
            h, k, v = block(h, cache.keys[i], cache.values[i], seen)
            keys.append(k[:, :, L:])
            values.append(v[:, :, L:])
        filled = (cache.filled + L).clamp(max=before)
        return self._read(h), Cache(torch.stack(keys), torch.stack(values), filled)

    def reset(self, cache: Cache, done: Tensor) -> Cache:
        """Forget the tokens of the episodes where ``done`` (bool ``[B]``)."""
        keep = (~done).to(cache.keys)[None, :, None, None, None]
        return Cache(cache.keys * keep, cache.values * keep, cache.filled.masked_fill(done, 0))

    def _embedded(self, x: Tensor, steps: Tensor) -> Tensor:
        embedded: Tensor = self.norm(self.embed(x) + self.timestep(steps))
        return embedded

    def _read(self, h: Tensor) -> Tensor:
        out: Tensor = self.head(self.after(h))
        return out.tanh() if self.config.continuous else out
