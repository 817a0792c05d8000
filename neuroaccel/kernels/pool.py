"""Sums and means over windows side by side as a torch operator, channels last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neuroaccel.kernels.channels_last import as_they_are, images, like, load, new, ordered, ranges, refuses
from neuroaccel.kernels.threads import share, threads_for

WIDE = 512  # channels
SMALL = 1 << 14  # values below which an operator's own cost shows


@torch.library.custom_op("neuroaccel::pool2d", mutates_args=(), device_types="cpu")
def pool2d(x: Tensor, down: int, across: int, factor: float) -> Tensor:
    """``factor`` times the sums of ``[B, C, H, W]`` over windows of ``down`` × ``across`` pixels."""
    samples, channels, high, wide = x.shape
    y = new(samples, channels, high // down, wide // across)
    kernel = load("pool_forward", CHANNELS=channels, DOWN=down, ACROSS=across, FIRST=0)
    given, out, threads = images(x), images(y), threads_for(x.numel(), 1)
    order = as_they_are(samples)
    share(lambda a, b: kernel(given, out, high, wide, factor, order, a, b), ranges(samples, threads), threads)
    return y


@pool2d.register_fake
def _(x: Tensor, down: int, across: int, factor: float) -> Tensor:
    return like(x, *x.shape[:2], x.shape[2] // down, x.shape[3] // across)


@torch.library.custom_op("neuroaccel::pool2d_backward", mutates_args=(), device_types="cpu")
def pool2d_backward(grad: Tensor, high: int, wide: int, down: int, across: int, factor: float) -> Tensor:
    """The gradient of x."""
    samples, channels = grad.shape[:2]
    dx = new(samples, channels, high, wide)
    kernel = load("pool_backward", CHANNELS=channels, DOWN=down, ACROSS=across, FIRST=0)
    given, out, threads = images(grad), images(dx), threads_for(dx.numel(), 1)
    order = as_they_are(samples)
    share(lambda a, b: kernel(given, out, high, wide, factor, order, a, b), ranges(samples, threads), threads)
    return dx


@pool2d_backward.register_fake
def _(grad: Tensor, high: int, wide: int, down: int, across: int, factor: float) -> Tensor:
    return like(grad, *grad.shape[:2], high, wide)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *ctx.window = inputs
    ctx.size = x.shape[2:]


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return pool2d_backward(grad, *ctx.size, *ctx.window), None, None, None


pool2d.register_autograd(_gradients, setup_context=_setup)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def window_of(layer: Any) -> tuple[tuple[int, int], float]:
    """A pool's window, and what its sums are multiplied by."""
    down, across = _pair(layer.kernel_size)
    divisor = (layer.divisor_override or down * across) if isinstance(layer, nn.AvgPool2d) else 1
    return (down, across), 1 / divisor


class Pool2d:
    """SumPool2d and AvgPool2d of windows side by side, for float32 on the CPU with channels last."""

    name = "numba"

    def refuses(self, layer: Any, x: Tensor) -> str:
        """Why it cannot run this, or an empty text."""
        if reason := refuses(x):
            return reason
        if _pair(layer.stride) != _pair(layer.kernel_size) or _pair(layer.padding) != (0, 0):
            return "it takes windows side by side without padding"
        if getattr(layer, "ceil_mode", False):
            return "ceil_mode asks for windows that are not whole"
        window = _pair(layer.kernel_size)
        if x.dim() != 5 or any(size < k for size, k in zip(x.shape[3:], window, strict=True)):
            return f"the input has shape {tuple(x.shape)}, it takes [T, N, C, H, W] of at least a window"
        return "" if x.shape[2] <= WIDE else f"{x.shape[2]} channels are more than {WIDE}"

    def declines(self, layer: Any, x: Tensor) -> str:
        """Why torch does better, or an empty text."""
        if not ordered(x.flatten(0, 1)):
            return "the channels do not lie last"
        return f"{x.numel()} values are too few" if x.numel() < SMALL else ""

    def run(self, layer: Any, x: Tensor) -> Tensor:
        """y, ``[T, N, C, oh, ow]``."""
        window, factor = window_of(layer)
        y: Tensor = pool2d(x.flatten(0, 1), *window, factor)
        return y.view(*x.shape[:2], *y.shape[1:])

    def reason(self, layer: Any, x: Tensor) -> str:
        """Why it is taken."""
        return "channels last"
