"""Dendritic integration in one pass over memory: i = (y·z + y) + b, and the gradients of y and z in their own room.

Plain numba contracts no product with a sum, so that every operation is rounded as torch rounds it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neuroaccel.kernels.buffers import empty
from neuroaccel.kernels.channels_last import Array, load, ordered, ranges
from neuroaccel.kernels.threads import share, threads_for
from neuroaccel.synapses.integrate import Products


class Dendrite:
    """Both passes for float32 on the CPU."""

    name = "numba"

    def takes(self, products: Products, axis: int) -> bool:
        """Whether y and z ``[R, ..]`` lie so that the kernels can read them."""
        return all(p.device.type == "cpu" and p.dtype == torch.float32 and p.numel() > 0 for p in products) and (
            all(p.is_contiguous() for p in products) or (axis == 1 and all(ordered(p) for p in products))
        )

    def forward(self, products: Products, bias: Tensor | None, axis: int) -> Tensor:
        """i."""
        y, z, step, last = _flat(products, axis)
        _, *shape = products[0].shape
        shape[axis - 1] //= 3 - len(products)
        channels = shape.pop(axis - 1)
        shape.insert(len(shape) if last else axis - 1, channels)
        i = empty(products[0].shape[0], *shape)
        length = step // (3 - len(products))
        row = np.empty(0, np.float32)
        if bias is not None:
            row = np.repeat(bias.detach().contiguous().numpy(), length // bias.numel())
        out, kernel, threads = i.view(-1).numpy(), load("dendrite_forward"), threads_for(i.numel(), 1)

        def work(a: int, b: int) -> None:
            kernel(y, z, row, out, length, step, a, b)

        share(work, ranges(out.size // length, threads), threads)
        return i.movedim(-1, 1) if last else i

    def backward(self, grad: Tensor, products: Products, axis: int) -> None:
        """Put the gradients of y and z where these are."""
        y, z, step, last = _flat(products, axis)
        g = (grad.movedim(1, -1) if last else grad).detach().contiguous().view(-1).numpy()
        length = step // (3 - len(products))
        kernel, threads = load("dendrite_backward"), threads_for(g.size, 1)

        def work(a: int, b: int) -> None:
            kernel(g, y, z, length, step, a, b)

        share(work, ranges(g.size // length, threads), threads)


def _flat(products: Products, axis: int) -> tuple[Array, Array, int, bool]:
    """Where y and z begin, how far their rows lie apart, and whether their channels come last."""
    last = not all(p.is_contiguous() for p in products)
    lies = [p.detach().movedim(1, -1) if last else p.detach() for p in products]
    step = lies[0].shape[-1] if last else lies[0].shape[axis:].numel()
    arrays = [p.view(-1).numpy() for p in lies]
    return arrays[0], arrays[1] if len(arrays) == 2 else arrays[0][step // 2 :], step, last
