"""Linear on spikes as a torch operator: products and weight gradients that cost what the events do.

Of x ``[M, in]``, M = T·N, only what is not zero counts: y[m] = b + Σ x[m, i]·W[:, i], and in the backward
dW[:, i] = Σ x[m, i]·g[m]. Both are exact for any x and every surrogate, a zero's term being left out (0·∞ is nothing
here). dx = g·W is dense. Terms add up in float32 in the order of i, or of m, within blocks of 512, then blocks in
their order: another order than a BLAS's, the same for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroaccel import compiling
from neuroaccel.compiling import Kernel
from neuroaccel.kernels.buffers import empty
from neuroaccel.kernels.threads import PARTS, share, threads_for
from neuroaccel.neurons.backend import forced

BLOCK = 512  # rows or inputs that are summed before the next ones; their sources stay in the second-level cache
WIDTH = 64  # outputs side by side, whose sums stay in registers
SMALL = 1 << 23  # products that are done before zeros are found
SAMPLE = 64  # rows from which the rate is guessed
DENSE, ONES, VALUES = range(3)


def load(name: str, plain: bool = False) -> Kernel:
    """The kernel of ``sources/{name}.py``; ``plain`` has its inner loop without vectors."""
    return compiling.load("neuroaccel.kernels.sources", name, inner="add_rows", plain=plain)


def crossover(rows: int, outputs: int) -> float:
    """The share of x that may be other than zero for the events to win; 0 where they never do.

    Fitted to times of one thread with AVX-512, from 64 to 4096 rows and inputs and 10 to 2048 outputs, the smaller of
    the two shares up to which the product and the weights' gradient win: events cost more than dense products do, and
    listing them costs as much as some outputs; laying out the weights costs as much as some rows.
    """
    return 0.5 * outputs / (outputs + 90) * max(0.0, 1 - 35 / max(1, rows))


def _blocks(count: int, size: int) -> int:
    return -(-count // size)


def _cut(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def _few(count: int, threads: int) -> list[tuple[int, int]]:
    """Ranges, some for every thread."""
    return _cut(count, max(1, _blocks(count, PARTS * threads)))


def _array(x: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = x.detach().contiguous().numpy()
    return array


def rate(x: NDArray[Any]) -> float:
    """The share of x ``[M, in]`` that is not zero, guessed from rows at an odd distance, of all samples and ticks."""
    rows = x[:: (x.shape[0] // SAMPLE) | 1]
    return int(np.count_nonzero(rows)) / max(1, rows.size)


class Events:
    """Where x ``[M, in]`` is not zero, as a bit for each element, and how many there are."""

    def __init__(self, x: NDArray[Any]) -> None:
        rows, inputs = x.shape
        self.x, self.threads = x, threads_for(rows, inputs)
        words = _blocks(inputs, 64)
        self.mask = torch.empty((rows, words), dtype=torch.int64)
        self.count = np.empty((_blocks(inputs, BLOCK), rows), np.int32)
        other = np.empty(rows, np.int32)
        mask = self.mask.numpy().view(np.uint64)
        kernel = load("mark")
        share(lambda a, b: kernel(x, mask, self.count, other, a, b), _few(rows, self.threads), self.threads)
        self.total = int(self.count.sum(dtype=np.int64))
        self.ones = not other.any()


def _listed(count: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[Any]]:
    """Where each list begins, and room for the events' indices and values."""
    place = np.cumsum(count, dtype=np.int64).reshape(count.shape)
    total = int(place.flat[-1]) if place.size else 0
    place -= count
    return place, np.empty(total, np.uint16), empty(total).numpy()


def product(events: Events, weight: NDArray[Any], bias: NDArray[Any]) -> Tensor:
    """y ``[M, out]``; no bias is one of no elements."""
    x, (rows, inputs) = events.x, events.x.shape
    outputs, threads = weight.shape[0], events.threads
    mask = events.mask.numpy().view(np.uint64)
    place, index, value = _listed(events.count)
    number = _blocks(outputs, WIDTH)
    panels = empty(number * inputs * WIDTH).numpy()
    listing, packing, ones = load("list_rows"), load("linear_pack"), events.ones

    def prepare(p: int, first: int) -> None:
        if p < number:
            packing(weight, panels, p, p + 1)
        else:
            listing(x, mask, place, index, value, ones, first, min(first + size, rows))

    size = max(1, _blocks(rows, PARTS * threads))
    lists = [(number, first) for first in range(0, rows, size)]
    share(prepare, [*((p, 0) for p in range(number)), *lists], threads)
    y = empty(rows, outputs)
    out, kernel = y.numpy(), load("linear_forward")

    def part(p: int, first: int) -> None:
        kernel(panels, index, value, place, bias, out, inputs, p, first, min(first + BLOCK, rows))

    share(part, [(p, first) for p in range(number) for first in range(0, rows, BLOCK)], threads)
    return y


def weight_gradient(grad: NDArray[Any], x: NDArray[Any], mask: NDArray[Any], ones: bool) -> tuple[Tensor, Tensor]:
    """dW ``[out, in]`` and Σ g ``[out]``."""
    rows, inputs = x.shape
    outputs, threads = grad.shape[1], threads_for(*x.shape)
    blocks = _blocks(rows, BLOCK)
    count = np.empty(blocks, np.int64)
    load("count_blocks")(mask, count)
    begin, index, value = _listed(count)
    place = np.empty((blocks, inputs), np.int64)
    listing = load("list_columns")
    share(lambda a, b: listing(x, mask, begin, place, index, value, ones, a, b), _cut(blocks, 1), threads)
    result, bias = empty(outputs, inputs), empty(outputs)
    out, sums, kernel = result.numpy(), bias.numpy(), load("linear_weight_gradient")

    def part(p: int, b: int) -> None:
        source, tile = empty(BLOCK * WIDTH).numpy(), empty(BLOCK * WIDTH).numpy()
        kernel(grad, index, value, place, source, tile, out, sums, p, b)

    share(part, [(p, b) for p in range(_blocks(outputs, WIDTH)) for b in range(_blocks(inputs, BLOCK))], threads)
    return result, bias


@torch.library.custom_op("neuroaccel::linear", mutates_args=(), device_types="cpu")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None, always: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """y = x·Wᵀ + b by its events where they are few enough for that to be faster, else by torch.

    Arguments:
        x: ``[M, in]``.
        weight: ``[out, in]``.
        bias: ``[out]``.
        always: never leave it to torch.
        keep: whether the backward will want the events.

    Returns:
        y ``[M, out]``, a bit for every element of x that is not zero ``[M, words]`` (no rows unless they are kept), and
        what the backward has to deal with: ``DENSE``, ``ONES`` (no x but 0 and 1) or ``VALUES``.
    """
    x, weight = x.detach().contiguous(), weight.detach()
    limit = 1.0 if always else crossover(x.shape[0], weight.shape[0])
    events = Events(x.numpy()) if x.numel() and weight.numel() and limit > 0 else None
    if events is None or events.total > limit * x.numel():
        y = empty(x.shape[0], weight.shape[0])
        if bias is None:
            torch.mm(x, weight.t(), out=y)
        else:
            torch.addmm(bias.detach(), x, weight.t(), out=y)
        # By numpy: torch would wake its threads to fill it.
        mask = torch.from_numpy(np.zeros((x.shape[0] if keep else 0, _blocks(x.shape[1], 64)), np.int64))
        return y, mask, torch.tensor([DENSE])
    y = product(events, _array(weight), np.empty(0, np.float32) if bias is None else _array(bias))
    return (
        y,
        events.mask if keep else events.mask.new_empty((0, events.mask.shape[1])),
        torch.tensor([ONES if events.ones else VALUES]),
    )


@linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, always: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    mask = x.new_empty((x.shape[0] if keep else 0, (x.shape[1] + 63) // 64), dtype=torch.int64)
    return x.new_empty((x.shape[0], weight.shape[0])), mask, x.new_empty(1, dtype=torch.int64)


@torch.library.custom_op("neuroaccel::linear_backward", mutates_args=(), device_types="cpu")
def linear_backward(
    grad: Tensor, x: Tensor | None, weight: Tensor | None, mask: Tensor, kind: Tensor, with_bias: bool
) -> list[Tensor]:
    """Gradients of x (where there is a weight), of the weight (where there is x) and of the bias, in this order."""
    grad, found = grad.contiguous(), []
    bias = None
    if weight is not None:
        found.append(torch.mm(grad, weight, out=empty(grad.shape[0], weight.shape[1])))
    if x is not None and int(kind) != DENSE:
        total, bias = weight_gradient(grad.numpy(), _array(x), mask.numpy().view(np.uint64), int(kind) == ONES)
        found.append(total)
    elif x is not None:
        found.append(torch.mm(grad.t(), x, out=empty(grad.shape[1], x.shape[1])))
    if with_bias:
        found.append(grad.sum(0) if bias is None else bias)
    return found


@linear_backward.register_fake
def _(
    grad: Tensor, x: Tensor | None, weight: Tensor | None, mask: Tensor, kind: Tensor, with_bias: bool
) -> list[Tensor]:
    shapes = [(grad.shape[0], weight.shape[1])] if weight is not None else []
    shapes += [(grad.shape[1], x.shape[1])] if x is not None else []
    return [grad.new_empty(shape) for shape in (*shapes, *([(grad.shape[1],)] if with_bias else []))]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, bias, _, _ = inputs
    ctx.set_materialize_grads(False)  # none is asked for of the events, and torch would wake its threads for zeros
    ctx.wanted = [x.requires_grad, weight.requires_grad, bias is not None and bias.requires_grad]
    # What no gradient needs may be changed before the backward, as torch allows.
    ctx.save_for_backward(x if ctx.wanted[1] else None, weight if ctx.wanted[0] else None, *output[1:])


def _gradients(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None, None
    x, weight, mask, kind = ctx.saved_tensors
    found = iter(linear_backward(grad, x, weight, mask, kind, ctx.wanted[2]))
    return (*(next(found) if want else None for want in ctx.wanted), None, None)


linear.register_autograd(_gradients, setup_context=_setup)


class EventLinear:
    """Linear by its events, for float32 on the CPU."""

    name = "numba"

    def refuses(self, layer: nn.Linear, x: Tensor) -> str:
        """Why it cannot run this, or an empty text."""
        for what, tensor in (("input", x), ("weight", layer.weight), ("bias", layer.bias)):
            if tensor is not None and (tensor.device.type != "cpu" or tensor.dtype != torch.float32):
                return f"the {what} is {tensor.dtype} on {tensor.device.type}, it computes in float32 on the CPU"
        if x.dim() < 3 or x.shape[-1] != layer.in_features:
            return f"the input has shape {tuple(x.shape)}, it takes [T, N, ..., {layer.in_features}]"
        if torch.is_autocast_enabled("cpu"):
            return "autocast asks for a lower precision"
        return ""

    def declines(self, layer: nn.Linear, x: Tensor) -> str:
        """Why torch does better, or an empty text."""
        rows, inputs, outputs = x.shape[:-1].numel(), layer.in_features, layer.out_features
        if rows * inputs * outputs < SMALL:
            return f"{rows * inputs * outputs} products are too few to look for zeros"
        limit = crossover(rows, outputs)
        if limit <= 0:
            return f"{rows} × {inputs} values are as soon multiplied as the weights laid out"
        if torch.compiler.is_compiling():  # what is traced must not depend on values; the operator looks at them
            return ""
        found = rate(_array(x).reshape(-1, inputs))
        return "" if found <= limit else f"{found:.0%} of the input is not zero, events win up to {limit:.0%}"

    def reason(self, layer: nn.Linear, x: Tensor) -> str:
        """Why it is taken."""
        limit = crossover(x.shape[:-1].numel(), layer.out_features)
        return f"{rate(_array(x).reshape(-1, x.shape[-1])):.1%} of the input is not zero, events win up to {limit:.0%}"

    def run(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """y, ``[T, N, ..., out]``."""
        keep = torch.is_grad_enabled() and layer.weight.requires_grad
        flat = x.reshape(-1, layer.in_features)
        y: Tensor = linear(flat, layer.weight, layer.bias, forced() == self.name, keep)[0]
        return y.reshape(*x.shape[:-1], layer.out_features)
