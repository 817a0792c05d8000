"""Banded attention over spike counts: the exact one, without softmax, and the close one, with it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuroaccel.decision.routing import LEVELS


class _Level(torch.autograd.Function):
    """⌊x·2^-shift⌋ clipped to 0 … 15, in sixteenths; its gradient is the slope 2^-shift/16 inside, 0 outside."""

    @staticmethod
    def forward(x: Tensor, shift: int) -> Tensor:
        return (x * 2.0**-shift).floor().clamp(0, LEVELS - 1) / LEVELS

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.shift = inputs
        ctx.save_for_backward(x < 2.0**ctx.shift * LEVELS)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside * (2.0**-ctx.shift / LEVELS), None


def level(x: Tensor, shift: int) -> Tensor:
    """⌊x·2^-shift⌋ clipped to 0 … 15, divided by 16: whole multiples of 1/16."""
    result: Tensor = _Level.apply(x, shift)  # type: ignore[no-untyped-call]
    return result


def whole_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """(Q·Kᵀ)·V over what is seen, on spike counts: whole numbers, the same in any order below 2^24.

    Arguments:
        q: ``[B, H, L, features]``.
        k, v: ``[B, H, K, features]``.
        seen: bool ``[B or 1, 1, L, K]``.
    """
    return ((q @ k.transpose(2, 3)) * seen) @ v


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, micro_steps: int) -> Tensor:
    """softmax(Q·Kᵀ/√features)·V over what is seen, counts divided by the micro-steps."""
    scale = 1 / (micro_steps**2 * math.sqrt(q.shape[-1]))
    scores = (q @ k.transpose(2, 3)) * scale
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ (v / micro_steps)


def shift_for(values: Tensor, quantile: float = 0.95) -> int:
    """The smallest shift for which that share of the non-zero values stays below 16 after it; 0 where all are 0."""
    living = values[values > 0]
    if not len(living):
        return 0
    at = min(len(living) - 1, int(quantile * len(living)))
    top = float(living.flatten().sort().values[at])
    return max(0, math.floor(math.log2(top / LEVELS)) + 1)
