"""Attention of one query per tick over the keys and values of a memory."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from neuroaccel.errors import InputError


class Attention(nn.Module):
    """Heads of attention of one query over K keys.

    ``counts``: y_h = Σ_j (q_h·k_hj)·v_hj·2^-shift on whole numbers, exact while sums stay below 2^24;
    ``softmax``: y_h = Σ_j softmax_j(scale·q_h·k_hj)·v_hj.

    Arguments:
        heads: the D features are that many groups in a row.
        how: ``counts`` or ``softmax``.
        shift: of counts, at least 0.
        scale: of the softmax, above 0; None is 1/√(D/heads).
        masked: whether there is a port ``mask``.

    The ports are q ``[T, N, D]``, k and v ``[T, N, K, D]``, and mask ``[T, N, K]``: keys where it is 0 take no part;
    where no key does, y is 0.

    Raises:
        InputError: an option that is none of these.
    """

    on_sequences: ClassVar[bool] = True
    stateless: ClassVar[bool] = True

    def __init__(
        self,
        heads: int,
        how: Literal["softmax", "counts"] = "counts",
        shift: int = 0,
        scale: float | None = None,
        masked: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or how not in ("softmax", "counts") or shift < 0:
            raise InputError(f"Attention: {heads} heads, '{how}', shift {shift}; give softmax or counts, shift >= 0")
        if scale is not None and (how != "softmax" or scale <= 0):
            raise InputError(f"Attention: scale {scale}; a softmax has one above 0, counts have shift")
        self.heads, self.how, self.shift, self.scale = heads, how, shift, scale
        self.ports = ("q", "k", "v", "mask") if masked else ("q", "k", "v")

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *more: Tensor | None) -> tuple[Tensor, None]:
        mask = more[0] if len(self.ports) > 3 else None
        lead, keys = k.shape[:2], k.shape[2]
        if q.shape[-1] % self.heads:
            raise InputError(f"Attention: {q.shape[-1]} features do not divide into {self.heads} heads")
        split = (*lead, keys, self.heads, q.shape[-1] // self.heads)
        key, value = (x.reshape(split).transpose(2, 3) for x in (k, v))
        score = (key @ q.reshape(*lead, self.heads, split[-1], 1)).squeeze(-1)
        living = None if mask is None else (mask != 0).unsqueeze(2)
        if self.how == "softmax":
            score = score * (split[-1] ** -0.5 if self.scale is None else self.scale)
            if living is not None:
                # Where no key is left nothing is filled: a softmax of nothing has no gradient.
                score = score.masked_fill(~living & living.any(-1, keepdim=True), -torch.inf)
            score = score.softmax(-1)
        if living is not None:
            score = score * living
        y = (score.unsqueeze(-2) @ value).reshape(q.shape)
        return (y * 2.0**-self.shift if self.how == "counts" else y), None
