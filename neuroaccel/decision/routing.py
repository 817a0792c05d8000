"""Dendritic routing: every head's output is weighed by a gate that depends on what all heads say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 16  # outputs of the exact attention and gates are whole multiples of 1/16
ROUTE_BITS = 3  # weights of the exact router lie on 2^-3
LIMIT = 4.0  # logits of the exact router's table end here: sigmoid(4) is within 1/32 of 1


class _Nearest(torch.autograd.Function):
    """The nearest multiple of 2^-bits (half to even), gradient 1."""

    @staticmethod
    def forward(x: Tensor, scale: float) -> Tensor:
        return (x * scale).round() / scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        return grads[0], None


def nearest(x: Tensor, scale: float) -> Tensor:
    """round(x·scale)/scale, half to even, whose gradient is 1 (straight-through)."""
    result: Tensor = _Nearest.apply(x, scale)  # type: ignore[no-untyped-call]
    return result


class Router(nn.Module):
    """α = sigmoid(W·m + b) ``[H]``, m_h the mean over the features of head h; H² + H numbers.

    Exact, it is a table on whole numbers: with y a multiple of 1/16 and W of 2^-3, z = Σ_j (8 W_hj)·Σ_f 16 y_jf + K_h
    is whole, W·m + b = z/(128·features), and α is rounded to a whole multiple of 1/16 in 1/16 … 15/16. In training the
    roundings are straight-through.

    Arguments:
        heads: H.
        features: of a head.
        exact: whether it is a table.

    Source: arXiv 2508.21505, dendritic routing (yhat = Σ_h α_h y_h). # ours: gates per head, then concatenated, so that
    the width stays; the output weights then make the sum.
    """

    table: Tensor

    def __init__(self, heads: int, features: int, exact: bool) -> None:
        super().__init__()
        self.features, self.exact = features, exact
        self.linear = nn.Linear(heads, heads)
        nn.init.normal_(self.linear.weight, std=0.5)
        nn.init.zeros_(self.linear.bias)
        self.unit = (1 << ROUTE_BITS) * LEVELS * features  # z of the logit 1
        self.low = -int(LIMIT * self.unit)
        z = torch.arange(self.low, 1 - self.low, dtype=torch.float64)
        levels = (torch.sigmoid(z / self.unit) * LEVELS).round().clamp(1, LEVELS - 1)
        self.register_buffer("table", levels.float(), persistent=False)  # 16·α for z = low, low + 1, …

    def whole(self) -> tuple[Tensor, Tensor]:
        """8·W and K, whole numbers, detached."""
        weight, bias = self.linear.weight.detach(), self.linear.bias.detach()
        return (weight * (1 << ROUTE_BITS)).round(), (bias * self.unit).round()

    def forward(self, y: Tensor) -> Tensor:
        """``[..., H, features]`` → α ``[..., H]``."""
        if not self.exact:
            return torch.sigmoid(self.linear(y.mean(-1)))
        total = y.sum(-1) * LEVELS  # whole
        weight = nearest(self.linear.weight, 1 << ROUTE_BITS) * (1 << ROUTE_BITS)
        bias = nearest(self.linear.bias, self.unit) * self.unit
        z = torch.nn.functional.linear(total, weight, bias)
        smooth = torch.sigmoid(z / self.unit)
        alpha = self.table[(z.detach() - self.low).clamp(0, len(self.table) - 1).long()] / LEVELS
        return alpha + (smooth - smooth.detach())
