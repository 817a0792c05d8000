"""Surrogate gradients: the comparison is exact forwards, its derivative is a smooth stand-in backwards.

With u = left − right and slope k:

    atan              (k/2) / (1 + (π/2·k·u)²)      Fang et al., ICCV 2021
    fast_sigmoid      1 / (1 + k·\\|u\\|)²             Zenke & Ganguli, Neural Computation 2018
    triangle          max(0, 1 − k·\\|u\\|)            Bellec et al., NeurIPS 2018 (with k = 1 and no dampening)
    straight_through  1
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def derivative(u: Tensor, surrogate: str, slope: float) -> Tensor:
    """The surrogate's derivative at u, same shape."""
    if surrogate == "atan":
        return (slope / 2) / (1 + (math.pi / 2 * slope * u).square())
    if surrogate == "fast_sigmoid":
        return 1 / (1 + slope * u.abs()).square()
    if surrogate == "triangle":
        return (1 - slope * u.abs()).clamp(min=0)
    return torch.ones_like(u)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(left: Tensor, right: Tensor, op: str, surrogate: str, slope: float) -> Tensor:
        return (left > right if op == "gt" else left >= right).to(left.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        left, right, _, ctx.surrogate, ctx.slope = inputs
        ctx.right_shape = right.shape
        ctx.save_for_backward(left, right)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        grad = grads[0] * derivative(left - right, ctx.surrogate, ctx.slope)
        to_right = (-grad).sum_to_size(ctx.right_shape) if ctx.needs_input_grad[1] else None
        return grad, to_right, None, None, None


def spike(left: Tensor, right: Tensor, op: str, surrogate: str, slope: float) -> Tensor:
    """1 where ``left`` is above (``gt``) or at least (``ge``) ``right``, else 0, with a surrogate gradient.

    Arguments:
        left: the membrane, any shape.
        right: the threshold, broadcastable to ``left``.
        op: ``gt`` or ``ge``.
        surrogate: atan, fast_sigmoid, triangle or straight_through.
        slope: steepness k.

    Returns:
        Spikes in the dtype and shape of ``left``.
    """
    result: Tensor = _Spike.apply(left, right, op, surrogate, slope)  # type: ignore[no-untyped-call]
    return result


class _Floor(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        gradient: Tensor = grads[0]
        return gradient


def floor(x: Tensor) -> Tensor:
    """⌊x⌋ whose gradient is 1 (straight-through)."""
    result: Tensor = _Floor.apply(x)  # type: ignore[no-untyped-call]
    return result


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(raw: Tensor, low: float, high: float) -> Tensor:
        return raw.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        raw, ctx.low, ctx.high = inputs
        ctx.save_for_backward(raw)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (raw,) = ctx.saved_tensors
        outward = ((raw <= ctx.low) & (grads[0] > 0)) | ((raw >= ctx.high) & (grads[0] < 0))
        return grads[0].masked_fill(outward, 0), None, None


def bounded(raw: Tensor, low: float | None, high: float | None) -> Tensor:
    """``raw`` clamped to [low, high]; the gradient passes unless a descent step would push it further outside.

    Clamping, unlike a sigmoid, keeps a value inside the bounds as it is to the last bit, so that a network read back
    from a graph computes what the graph computes.
    """
    result: Tensor = _Bounded.apply(  # type: ignore[no-untyped-call]
        raw, -math.inf if low is None else low, math.inf if high is None else high
    )
    return result
