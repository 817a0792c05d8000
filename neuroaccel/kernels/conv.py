"""Conv2d on spikes as a torch operator, channels last: what is not zero adds its taps to the pixels that it reaches.

    y[o] = bias + Σ x[i] · w[o, i, taps];  dw[·, i, taps] = Σ x[i] · g around i;  dx by the dense product

A term of a zero is left out, thus forward and weight gradient cost what the events do, for any x and every surrogate.
Where too few values are zero, small layers compute every product here and larger ones leave it to torch. Sums are in
float32, those of the weight gradient in float64 after every 256 events; none depends on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroaccel.kernels.channels_last import Array, as_they_are, images, like, load, new, ordered, ranges, refuses
from neuroaccel.kernels.threads import Work, share, threads_for

DENSE = 512  # products of channels up to which the dense kernel is no slower than torch
TAPS = 4096  # floats of one input channel's taps, which the kernels' registers take in turn
SAMPLE = 16  # images from which the rate is guessed
CHUNKS = 16  # of images, whose weight gradients are summed on their own
SMALL = 1 << 17  # products below which an operator's own cost shows


@dataclass(frozen=True)
class Shape:
    """A convolution of stride 1."""

    inputs: int
    outputs: int
    high: int
    wide: int
    rows: int
    columns: int
    above: int
    left: int

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Shape:
        outputs, inputs, rows, columns = weight.shape
        return cls(inputs, outputs, x.shape[2], x.shape[3], rows, columns, *padding)

    @property
    def size(self) -> tuple[int, int]:
        return self.high + 2 * self.above - self.rows + 1, self.wide + 2 * self.left - self.columns + 1

    @property
    def back(self) -> Shape:
        """The convolution that turns the gradient of what leaves into that of what enters."""
        above, left = self.rows - 1 - self.above, self.columns - 1 - self.left
        return Shape(self.outputs, self.inputs, *self.size, self.rows, self.columns, above, left)

    @property
    def constants(self) -> dict[str, int]:
        """What kernels are compiled for."""
        return {"INTO": self.inputs, "ONTO": self.outputs, "ROWS": self.rows, "LENGTH": self.columns * self.outputs}

    def form(self, last: bool) -> NDArray[np.int64]:
        """What kernels are told of a layer, given whether channels come last."""
        rows, columns = self.size
        steps = (1, self.inputs) if last else (self.high * self.wide, 1)
        above, left = self.rows - 1 - self.above, (self.columns - 1 - self.left) * self.outputs
        return np.array([self.high, self.wide, rows, columns * self.outputs, *steps, above, left], np.int64)

    @property
    def most(self) -> float:
        """The share of values other than zero up to which the events win."""
        return min(0.4, 0.1 + 0.0005 * self.inputs * self.outputs)

    @property
    def small(self) -> bool:
        """Whether the dense kernel does as well as torch."""
        return self.inputs * self.outputs <= DENSE


def rate(x: Tensor) -> float:
    """The share of x that is not zero, guessed from images at an odd distance."""
    some = x.detach()[:: (x.shape[0] // SAMPLE) | 1]
    return int(np.count_nonzero(some.numpy())) / max(1, some.numel())


def product(
    x: Array, last: bool, events: bool, shape: Shape, taps: Array, bias: Array | None, y: Array, order: NDArray[Any]
) -> Work:
    """What computes some images.

    Arguments:
        x: images ``[B, Cin · H · W]``, channels ``last`` or first.
        events: by those, else every product, for which channels come last.
        taps: ``[Cin, rows, columns, Cout]``, turned round.
        bias: ``[Cout]``.
        y: takes the result, channels last.
        order: rows of x, and rows of y.
    """
    weight = np.ascontiguousarray(taps).reshape(-1)
    blank = np.tile(np.zeros(shape.outputs, np.float32) if bias is None else bias, shape.wide + shape.columns - 1)
    if events:
        kernel = load("conv_events", "tap_events", **shape.constants)
    else:
        kernel = load("conv_values", "tap_values", VALUES=shape.inputs, **shape.constants)
    form = shape.form(last)
    return lambda first, stop: kernel(x, weight, blank, y, form, order, first, stop)


def weight_sums(
    x: Array,
    last: bool,
    shape: Shape,
    grad: Array,
    order: NDArray[Any],
    each: int,
    further: tuple[Array, Array] | None = None,
    dendrite: Array | None = None,
) -> tuple[Work, NDArray[np.float64]]:
    """What sums the weight gradients of some chunks of ``each`` images, and the sums, ``[chunks, ...]``.

    ``further`` is z (like ``grad``), and mean, slope and shift of every channel: the gradient is first changed in
    place by (z − mean) · slope + shift. ``dendrite`` is y and z of a dendritic layer, and ``grad`` that of its current.
    """
    own = grad if dendrite is None else dendrite
    z, less = (own, np.zeros((3, 1), np.float32)) if further is None else further
    total = np.empty((-(-x.shape[0] // each), shape.inputs * shape.rows * shape.columns * shape.outputs), np.float64)
    changes, form = 1 if further is not None else 2 if dendrite is not None else 0, shape.form(last)
    kernel = load("conv_weight_gradient", "tap_events", FURTHER=changes, **shape.constants)
    spread = np.tile(less, shape.size[1])
    return lambda first, stop: kernel(x, grad, z, spread, total, form, order, each, first, stop), total


def weights(total: NDArray[np.float64], shape: Shape) -> Tensor:
    """The chunks' sums as the gradient of the weights."""
    taps = total.sum(0).reshape(shape.inputs, shape.rows, shape.columns, shape.outputs)
    return torch.from_numpy(taps.transpose(3, 0, 1, 2)[:, :, ::-1, ::-1].astype(np.float32, order="C"))


def _images(x: Array, last: bool, events: bool, shape: Shape, taps: Array, bias: Array | None) -> Tensor:
    y = new(x.shape[0], shape.outputs, *shape.size)
    work = product(x, last, events, shape, taps, bias, images(y), as_they_are(x.shape[0]))
    threads = threads_for(*x.shape)
    share(work, ranges(x.shape[0], threads), threads)
    return y


def flat(x: Tensor) -> tuple[Array, bool]:
    """Images as they lie, and whether their channels come last."""
    if x.is_contiguous() and not ordered(x):
        array: Array = x.detach().reshape(x.shape[0], -1).numpy()
        return array, False
    return images(x), True


@torch.library.custom_op("neuroaccel::conv2d", mutates_args=(), device_types="cpu")
def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, above: int, left: int) -> Tensor:
    """``[B, Cin, H, W]`` → ``[B, Cout, oh, ow]``, channels last, with ``above`` and ``left`` zeros around x."""
    shape = Shape.of(x, weight, (above, left))
    given, w = None if bias is None else bias.detach().contiguous().numpy(), weight.detach()
    turned = w.flip(2, 3).permute(1, 2, 3, 0).numpy()
    if not x.numel():
        return like(x, x.shape[0], shape.outputs, *shape.size)
    if rate(x) <= shape.most:
        return _images(*flat(x), True, shape, turned, given)
    if shape.small:
        return _images(images(x), True, False, shape, turned, given)
    y = torch.nn.functional.conv2d(x.detach(), w, None if bias is None else bias.detach(), padding=(above, left))
    return y.contiguous(memory_format=torch.channels_last)


@conv2d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, above: int, left: int) -> Tensor:
    return like(x, x.shape[0], weight.shape[0], *Shape.of(x, weight, (above, left)).size)


@torch.library.custom_op("neuroaccel::conv2d_input_gradient", mutates_args=(), device_types="cpu")
def conv2d_input_gradient(grad: Tensor, x: Tensor, weight: Tensor, above: int, left: int) -> Tensor:
    """The gradient of x, channels last."""
    shape = Shape.of(x, weight, (above, left))
    if grad.numel() and shape.small:
        return _images(images(grad), True, False, shape.back, weight.detach().permute(0, 2, 3, 1).numpy(), None)
    return _torch_backward(grad, x, weight, above, left, 0).contiguous(memory_format=torch.channels_last)


@conv2d_input_gradient.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, above: int, left: int) -> Tensor:
    return like(x, *x.shape)


@torch.library.custom_op("neuroaccel::conv2d_weight_gradient", mutates_args=(), device_types="cpu")
def conv2d_weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, above: int, left: int) -> Tensor:
    """The gradient of the weights."""
    shape = Shape.of(x, weight, (above, left))
    if not (grad.numel() and (shape.small or rate(x) <= shape.most)):
        return _torch_backward(grad, x, weight, above, left, 1).contiguous()
    array, last = flat(x)
    each, threads = -(-x.shape[0] // CHUNKS), threads_for(*array.shape)
    work, total = weight_sums(array, last, shape, images(grad), as_they_are(x.shape[0]), each)
    share(work, ranges(total.shape[0], threads), threads)
    return weights(total, shape)


@conv2d_weight_gradient.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, above: int, left: int) -> Tensor:
    return weight.new_empty(weight.shape)


def _torch_backward(grad: Tensor, x: Tensor, weight: Tensor, above: int, left: int, at: int) -> Tensor:
    """torch's gradient of x (``at`` 0) or of the weights (1)."""
    wanted = [at == 0, at == 1, False]
    padding, ones = [above, left], [1, 1]
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad, x.detach(), weight.detach(), None, ones, padding, ones, False, [0, 0], 1, wanted
    )
    return found[at]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, *ctx.padding = inputs
    ctx.save_for_backward(x, weight)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (
        conv2d_input_gradient(grad, x, weight, *ctx.padding) if wanted[0] else None,
        conv2d_weight_gradient(grad, x, weight, *ctx.padding) if wanted[1] else None,
        grad.sum((0, 2, 3)) if wanted[2] else None,
        None,
        None,
    )


conv2d.register_autograd(_gradients, setup_context=_setup)


def padding_of(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Zeros above and left, where there are as many below and right."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        high, wide = layer.kernel_size
        return ((high - 1) // 2, (wide - 1) // 2) if high % 2 and wide % 2 else None
    return layer.padding  # type: ignore[return-value]  # torch keeps a pair


class EventConv2d:
    """Conv2d of stride 1 by its events, for float32 on the CPU."""

    name = "numba"

    def refuses(self, layer: nn.Conv2d, x: Tensor) -> str:
        """Why it cannot run this, or an empty text."""
        if reason := refuses(x, layer.weight, layer.bias):
            return reason
        if (layer.stride, layer.dilation, layer.groups, layer.padding_mode) != ((1, 1), (1, 1), 1, "zeros"):
            return "it takes stride 1, dilation 1, one group and zeros around"
        padding = padding_of(layer)
        if padding is None or any(p >= k for p, k in zip(padding, layer.kernel_size, strict=True)):
            return f"it takes a padding below its kernel's size {layer.kernel_size}, alike on both sides"
        if x.dim() != 5 or x.shape[2] != layer.in_channels:
            return f"the input has shape {tuple(x.shape)}, it takes [T, N, {layer.in_channels}, H, W]"
        shape = Shape.of(x.flatten(0, 1), layer.weight, padding)
        if min(shape.size) < 1:
            return "the kernel is larger than the input"
        most = max(layer.in_channels, layer.out_channels) * layer.weight[0, 0].numel()
        return "" if most <= TAPS else f"{most} taps are more than {TAPS}"

    def declines(self, layer: nn.Conv2d, x: Tensor) -> str:
        """Why torch does better, or an empty text."""
        padding = padding_of(layer)
        assert padding is not None
        shape = Shape.of(x.flatten(0, 1), layer.weight, padding)
        products = x.shape[:2].numel() * shape.size[0] * shape.size[1] * layer.weight.numel()
        if products < SMALL:
            return f"{products} products are too few"
        # The values may not decide what is traced; there the operator leaves to torch what torch does better.
        if shape.small or torch.compiler.is_compiling():
            return ""
        found = rate(x.flatten(0, 1))
        return "" if found <= shape.most else f"{found:.0%} of the input is not zero, events win up to {shape.most:.0%}"

    def run(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        """y, ``[T, N, Cout, oh, ow]``."""
        padding = padding_of(layer)
        assert padding is not None
        y: Tensor = conv2d(x.flatten(0, 1), layer.weight, layer.bias, *padding)
        return y.view(*x.shape[:2], *y.shape[1:])

    def reason(self, layer: nn.Conv2d, x: Tensor) -> str:
        """Why it is taken."""
        padding = padding_of(layer)
        assert padding is not None
        shape, found = Shape.of(x.flatten(0, 1), layer.weight, padding), rate(x.flatten(0, 1))
        events = f"{found:.1%} of the input is not zero"
        return f"{events}: by its events" if found <= shape.most else f"{events}: every product, channels last"
