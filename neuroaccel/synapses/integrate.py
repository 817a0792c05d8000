"""The current of dendritic integration from its two products, i = (y·z + y) + b, and their gradients.

    dy = g·(1 + z);  dz = g·y;  db = Σ g

Each operation is rounded on its own. Kept for the backward are y and z, and their gradients take their room where
nobody will ask for them again. The two are in one tensor (:class:`Layout` says how) or in one each.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from neuroaccel.neurons.backend import REFERENCE, forced

CHUNK = 1 << 15  # values that stay in a processor's cache between two passes over them
Products = tuple[Tensor] | tuple[Tensor, Tensor]


class Layout(NamedTuple):
    """Where outputs are: on ``axis``, in groups, each of which holds y's and then z's if both share a tensor."""

    axis: int
    groups: int = 1


class Integration(Protocol):
    """An implementation in fewer passes over memory, bit for bit the same, for outputs in one group."""

    name: str

    def takes(self, products: Products, axis: int) -> bool:
        """Whether it can read y and z ``[R, ..]``."""

    def forward(self, products: Products, bias: Tensor | None, axis: int) -> Tensor:
        """i."""

    def backward(self, grad: Tensor, products: Products, axis: int) -> None:
        """Put the gradients of y and z where these are."""


_REGISTERED: list[Integration] = []


def register_integration(implementation: Integration) -> None:
    """Add an implementation; those added first are asked first."""
    _REGISTERED.append(implementation)


def _taken(products: Products, layout: Layout) -> Integration | None:
    if layout.groups > 1 or torch.compiler.is_compiling() or forced() == REFERENCE:
        return None
    return next((each for each in _REGISTERED if each.takes(products, layout.axis)), None)


def _halves(products: Products, layout: Layout) -> tuple[Tensor, Tensor]:
    """y and z as views, their ``axis`` in two: groups, and outputs of a group."""
    axis, groups = layout
    if len(products) == 2:
        y, z = (torch.unflatten(p, axis, (1, p.shape[axis])) for p in products)
        return y, z
    parts = torch.unflatten(products[0], axis, (groups, 2, products[0].shape[axis] // (2 * groups)))
    return parts.select(axis + 1, 0), parts.select(axis + 1, 1)


def _chunks(x: Tensor) -> list[slice]:
    """Ranges of rows that a processor's cache holds; all at once elsewhere."""
    rows = x.shape[0]
    size = max(1, CHUNK * rows // max(1, x.numel())) if x.device.type == "cpu" else max(1, rows)
    return [slice(at, at + size) for at in range(0, rows, size)]


def _current(products: Products, bias: Tensor | None, layout: Layout) -> Tensor:
    axis = layout.axis
    implementation = _taken(products, layout)
    if implementation is not None:
        return implementation.forward(products, bias, axis)
    y, z = _halves(products, layout)
    i = torch.empty_like(y)
    b = None if bias is None else bias.reshape(y.shape[axis], y.shape[axis + 1], *[1] * (y.dim() - axis - 2))
    for rows in _chunks(i):
        torch.mul(y[rows], z[rows], out=i[rows])
        i[rows].add_(y[rows])
        if b is not None:
            i[rows].add_(b)
    return i.flatten(axis, axis + 1)


def _last() -> bool:
    """Whether this backward frees what was kept for it, so that its room may be taken; no where torch cannot tell."""
    keeps = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return keeps is not None and not torch.compiler.is_compiling() and not keeps()


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    one, two, bias, axis, groups = inputs
    ctx.layout, ctx.biased = Layout(axis, groups), bias is not None
    ctx.save_for_backward(*((one,) if two is None else (one, two)))


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    products, layout = ctx.saved_tensors, ctx.layout
    axis, wanted = layout.axis, ctx.needs_input_grad
    others = [at for at in range(grad.dim()) if at != axis]
    bias = grad.sum(others) if ctx.biased and wanted[2] else None
    if not any(wanted[:2]):
        return None, None, bias, None, None
    if torch.is_grad_enabled():  # a gradient of this gradient will be asked for
        y, z = _halves(products, layout)
        g = torch.unflatten(grad, axis, y.shape[axis : axis + 2])
        dy, dz = g * (1 + z), g * y
        if len(products) == 2:
            return dy.flatten(axis, axis + 1), dz.flatten(axis, axis + 1), bias, None, None
        return torch.stack([dy, dz], axis + 1).flatten(axis, axis + 2), None, bias, None, None
    room: Any = products if _last() else tuple(p.clone() for p in products)
    implementation = _taken(room, layout)
    if implementation is not None:
        implementation.backward(grad, room, axis)
    else:
        dy, dz = _halves(room, layout)
        g = torch.unflatten(grad, axis, dy.shape[axis : axis + 2])
        for rows in _chunks(dy):
            product = g[rows] * dy[rows]
            torch.add(dz[rows], 1, out=dy[rows])
            dy[rows].mul_(g[rows])
            dz[rows].copy_(product)
    return room[0], room[1] if len(room) == 2 else None, bias, None, None


class _Integrate(torch.autograd.Function):
    """What runs without a compiler, at less cost a call than an operator's."""

    @staticmethod
    def forward(one: Tensor, two: Tensor | None, bias: Tensor | None, axis: int, groups: int) -> Tensor:
        return _current((one,) if two is None else (one, two), bias, Layout(axis, groups))

    setup_context = staticmethod(_setup)
    backward = staticmethod(_gradients)


@torch.library.custom_op("neuroaccel::dendrite", mutates_args=())
def dendrite(one: Tensor, two: Tensor | None, bias: Tensor | None, axis: int, groups: int) -> Tensor:
    """:func:`integrate` as an operator, in which no compiler contracts a product and a sum."""
    return _current((one,) if two is None else (one, two), bias, Layout(axis, groups))


@dendrite.register_fake
def _(one: Tensor, two: Tensor | None, bias: Tensor | None, axis: int, groups: int) -> Tensor:
    y, _ = _halves((one,) if two is None else (one, two), Layout(axis, groups))
    return torch.empty_like(y).flatten(axis, axis + 1)


dendrite.register_autograd(_gradients, setup_context=_setup)


def integrate(products: Products, bias: Tensor | None, layout: Layout) -> Tensor:
    """i = (y·z + y) + b.

    Arguments:
        products: y and z ``[R, ..]``, in one tensor or two. Their room may be taken in the backward: nobody else may
            read them.
        bias: one per output.
        layout: where the outputs are.

    Returns:
        i, of y's shape.
    """
    one, two = (products[0], None) if len(products) == 1 else products
    if torch.compiler.is_compiling():
        found: Tensor = dendrite(one, two, bias, *layout)
        return found
    current: Tensor = _Integrate.apply(one, two, bias, *layout)  # type: ignore[no-untyped-call]
    return current
