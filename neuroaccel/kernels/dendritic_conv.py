"""A dendritic convolution of spikes whose input has no gradient: its current while the products are in the cache.

    y = x ⋆ W; z = x ⋆ V; i = (y·z + y) + b;  dW from g·(1 + z), dV from g·y

The kernels of :mod:`neuroaccel.kernels.conv` and :mod:`neuroaccel.kernels.dendrite` on some images after the other, bit
for bit as one after the other on all. In the backward the gradients of y and z are never in memory as a whole. Behind a
layer that learns they have to be, for the gradient of x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroaccel.kernels.channels_last import as_they_are, images, load, new, ranges
from neuroaccel.kernels.conv import (
    CHUNKS,
    EventConv2d,
    Shape,
    conv2d,
    conv2d_weight_gradient,
    flat,
    padding_of,
    product,
    rate,
    weight_sums,
    weights,
)
from neuroaccel.kernels.threads import share, threads_for

CHUNK = 1 << 18  # values of the products that stay in a processor's cache
ROW = 128  # channels of a current, all of which the kernel writes out as vectors


class _Current(torch.autograd.Function):
    """i ``[B, C, oh, ow]``, channels last, of x ``[B, Cin, H, W]`` and W over V ``[2 · C, Cin, rows, columns]``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, above: int, left: int) -> Tensor:
        shape, samples = Shape.of(x, weight, (above, left)), x.shape[0]
        pixels, channels = shape.size[0] * shape.size[1], shape.outputs // 2
        array, last = flat(x)
        taps = weight.detach().flip(2, 3).permute(1, 2, 3, 0).numpy()
        products, i = new(samples, shape.outputs, *shape.size), new(samples, channels, *shape.size)
        both, out = images(products), images(i).reshape(-1)
        multiply = product(array, last, True, shape, taps, None, both, as_they_are(samples))
        y = both.reshape(-1)
        # -0 is what adds nothing to anything.
        row = np.full(channels, -0.0, np.float32) if bias is None else bias.detach().contiguous().numpy()
        integrate = load("dendrite_rows_forward", "dendrite_row", False, LENGTH=channels)
        some = max(1, CHUNK // both.shape[1])

        def work(start: int, stop: int) -> None:
            for first in range(start, stop, some):
                end = min(first + some, stop)
                multiply(first, end)
                integrate(y, y[channels:], row, out, shape.outputs, first * pixels, end * pixels)

        threads = threads_for(*array.shape)
        share(work, ranges(samples, threads), threads)
        ctx.padding = above, left
        ctx.save_for_backward(x, weight, products)
        return i

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight, products) = grads, ctx.saved_tensors
        bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        found = _weight_gradient(grad, x, weight, products, ctx.padding) if ctx.needs_input_grad[1] else None
        return None, found, bias, None, None


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, products: Tensor, padding: tuple[int, int]) -> Tensor:
    """The gradient of W over V."""
    if torch.is_grad_enabled():  # a gradient of this gradient will be asked for: what has none has to say so
        y, z = conv2d(x, weight, None, *padding).chunk(2, 1)
        gradient: Tensor = conv2d_weight_gradient(torch.cat([grad * (1 + z), grad * y], 1), x, weight, *padding)
        return gradient
    (array, last), shape = flat(x), Shape.of(x, weight, padding)
    each, threads = -(-x.shape[0] // CHUNKS), threads_for(*array.shape)
    order = as_they_are(x.shape[0])
    work, total = weight_sums(array, last, shape, images(grad), order, each, dendrite=images(products))
    share(work, ranges(total.shape[0], threads), threads)
    return weights(total, shape)


class EventDendrites(EventConv2d):
    """The current of DendriticConv2d by the events of what has no gradient, for a layer of W over V with their bias."""

    def refuses(self, layer: nn.Conv2d, x: Tensor) -> str:
        """Why it cannot run this, or an empty text."""
        if torch.compiler.is_compiling():
            return "a compiler asks for operators"
        if x.requires_grad and torch.is_grad_enabled():
            return "the gradient of the input is made of those of both products"
        if reason := super().refuses(layer, x):
            return reason
        if layer.out_channels > 2 * ROW:
            return f"{layer.out_channels} channels of both products are more than {2 * ROW}"
        padding, given = padding_of(layer), x.flatten(0, 1)
        assert padding is not None
        found, most = rate(given), Shape.of(given, layer.weight, padding).most
        return (
            "" if x.numel() and found <= most else f"{found:.0%} of the input is not zero, events win up to {most:.0%}"
        )

    def run(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        """i, ``[T, N, C, oh, ow]``."""
        padding = padding_of(layer)
        assert padding is not None
        i: Tensor = _Current.apply(x.flatten(0, 1), layer.weight, layer.bias, *padding)  # type: ignore[no-untyped-call]
        return i.view(*x.shape[:2], *i.shape[1:])
