"""Batch normalisation in training as a torch operator: one pass for the statistics, one for the result, the same back.

    y = x · scale + shift,  scale = weight / sqrt(var + eps),  shift = bias − mean · scale
    dx = scale · (g − mean(g) − (x − mean) · mean(g · (x − mean)) / (var + eps))

Statistics are summed in float64, in an order that no number of threads changes. Channels lie last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroaccel.kernels.channels_last import Array, images, like, load, new, ordered, ranges, refuses
from neuroaccel.kernels.threads import share, threads_for

ROW = 256  # floats that the kernels take as one vector, about
CHUNK = 1 << 17  # floats, at least, that are summed on their own
CHUNKS = 32
SMALL = 1 << 14  # values below which an operator's own cost shows


def _length(channels: int) -> int:
    return channels * max(1, ROW // channels)


def sums_of(x: Array, z: Array, p: NDArray[Any], q: NDArray[Any]) -> NDArray[np.float64]:
    """Σ (x − p) and Σ (x − p) · (z − q) of every channel, ``[2, C]``."""
    channels = p.size
    length = _length(channels)
    rows = -(-x.size // length)
    each = max(CHUNK // length, -(-rows // CHUNKS), 1)
    sums = np.empty((-(-rows // each), 2, length), np.float64)
    kernel, threads, less = load("norm_sums"), threads_for(x.size, 1), rows_of(p, q)
    share(lambda a, b: kernel(x, z, less, sums, each, a, b), ranges(sums.shape[0], threads), threads)
    total: NDArray[np.float64] = sums.sum(0).reshape(2, -1, channels).sum(1)
    return total


def by_channel(values: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """The sum of every channel of values, channels last."""
    length = _length(channels)
    whole = values.size // length * length
    most: NDArray[np.float64] = values[:whole].reshape(-1, length).sum(0).reshape(-1, channels).sum(0)
    rest: NDArray[np.float64] = values[whole:].reshape(-1, channels).sum(0)
    return most + rest


def rows_of(*values: NDArray[Any]) -> Array:
    """Values of channels for a row of the kernels."""
    return np.stack([np.tile(np.asarray(v, np.float32), _length(v.size) // v.size) for v in values])


def _spread(kernel: Any, size: int, channels: int, *arguments: Any) -> None:
    rows, threads = -(-size // _length(channels)), threads_for(size, 1)
    share(lambda a, b: kernel(*arguments, a, b), ranges(rows, threads), threads)


def numbers(tensor: Tensor | None, channels: int, default: float) -> NDArray[np.float64]:
    return np.full(channels, default) if tensor is None else tensor.detach().double().numpy()


def moments(x: Array, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and (biased) variance of every channel."""
    near = x[: x.size // channels // 2 * channels][-channels:]  # a value of each, so that no sum is large
    one, two = sums_of(x, x, near, near) / (x.size // channels)
    return near + one, np.maximum(two - one * one, 0.0)


def affine(
    mean: NDArray[np.float64], scale: NDArray[np.float64], bias: Tensor | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and term of the normalisation, as torch applies it."""
    return scale, numbers(bias, mean.size, 0.0) - mean * scale


@torch.library.custom_op("neuroaccel::batch_norm", mutates_args=(), device_types="cpu")
def batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """``[B, C, ...]`` normalised by its own statistics, and the latter in float64: mean and (biased) variance."""
    channels = x.shape[1]
    flat, y = images(x).reshape(-1), new(x.shape[0], channels, *x.shape[2:])
    mean, variance = moments(flat, channels)
    scale = numbers(weight, channels, 1.0) / np.sqrt(variance + eps)
    given = rows_of(*affine(mean, scale, bias))
    _spread(load("norm_forward"), flat.size, channels, flat, given, images(y).reshape(-1))
    return y, torch.from_numpy(np.stack([mean, variance]))


@batch_norm.register_fake
def _(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    return like(x, *x.shape), x.new_empty((2, x.shape[1]), dtype=torch.float64)


@torch.library.custom_op("neuroaccel::batch_norm_backward", mutates_args=(), device_types="cpu")
def batch_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, statistics: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    channels = x.shape[1]
    flat, back, dx = images(x).reshape(-1), images(grad).reshape(-1), new(x.shape[0], channels, *x.shape[2:])
    mean, variance = statistics.numpy()
    count, inverse = flat.size // channels, 1 / np.sqrt(variance + eps)
    zero, near = np.zeros(channels, np.float32), mean.astype(np.float32)
    one, two = sums_of(back, flat, zero, near)
    two = (two - (mean - near) * one) * inverse  # Σ g · (x − mean) / sqrt(var + eps)
    scale = numbers(weight, channels, 1.0) * inverse
    given = rows_of(mean, scale, -scale * inverse * two / count, -scale * one / count)
    _spread(load("norm_backward"), flat.size, channels, back, flat, given, images(dx).reshape(-1))
    return dx, torch.from_numpy(two.astype(np.float32)), torch.from_numpy(one.astype(np.float32))


@batch_norm_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor | None, statistics: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return like(x, *x.shape), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, ctx.eps = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight, output[1])


def _gradients(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None
    x, weight, statistics = ctx.saved_tensors
    found = batch_norm_backward(grad, x, weight, statistics, ctx.eps)
    return (*(g if want else None for g, want in zip(found, ctx.needs_input_grad, strict=False)), None)


batch_norm.register_autograd(_gradients, setup_context=_setup)

Norm = nn.BatchNorm1d | nn.BatchNorm2d


def track(layer: Norm, statistics: Tensor, count: int) -> None:
    """Move a layer's running statistics as torch does, given those of ``count`` values of every channel."""
    if not layer.track_running_stats or layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    with torch.no_grad():
        layer.num_batches_tracked.add_(1)
        share_of = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
        mean, variance = statistics.to(layer.running_mean.dtype).unbind()
        layer.running_mean.lerp_(mean, share_of)
        layer.running_var.lerp_(variance * (count / (count - 1)), share_of)


class BatchNorm:
    """Batch normalisation in training, for float32 on the CPU with channels last."""

    name = "numba"

    def refuses(self, layer: Norm, x: Tensor) -> str:
        """Why it cannot run this, or an empty text."""
        if reason := refuses(x, layer.weight, layer.bias, layer.running_mean):
            return reason
        if not layer.training:
            return "in evaluation it is a product and a sum"
        axes = 5 if isinstance(layer, nn.BatchNorm2d) else 3
        if x.dim() != axes or x.shape[2] != layer.num_features or x.numel() // layer.num_features < 2:
            return f"the input has shape {tuple(x.shape)}, it takes {axes} axes with {layer.num_features} channels"
        return ""

    def declines(self, layer: Norm, x: Tensor) -> str:
        """Why torch does better, or an empty text."""
        if not ordered(x.flatten(0, 1)):
            return "the channels do not lie last"
        return f"{x.numel()} values are too few" if x.numel() < SMALL else ""

    def run(self, layer: Norm, x: Tensor) -> Tensor:
        """y, ``[T, N, C, ...]``; the running statistics move as torch's do."""
        y: Tensor
        y, statistics = batch_norm(x.flatten(0, 1), layer.weight, layer.bias, layer.eps)
        track(layer, statistics, x.numel() // layer.num_features)
        return y.view(x.shape)

    def reason(self, layer: Norm, x: Tensor) -> str:
        """Why it is taken."""
        return "in training, channels last"
