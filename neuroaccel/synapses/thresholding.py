"""The soft thresholds of pruning as functions that know their gradients, for one tensor or for W and V at once.

    w = sign(θ)·[a_c(|θ| − d1)]₊, and 0 where that is not above d2;  dL/dθ = a_c·dL/dw, straight through

An implementation that does it in one pass over memory may register; :func:`shrunk` says what it must give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neuroaccel.neurons.backend import REFERENCE, forced

_LENDERS: list[Callable[..., Tensor]] = []
_SHRINKS: list[Callable[..., bool]] = []


def register_lender(lend: Callable[..., Tensor]) -> None:
    """Have float32 results on the CPU put into what ``lend(*shape)`` gives, uninitialised memory that nobody holds."""
    _LENDERS.append(lend)


def register_shrink(shrink: Callable[..., bool]) -> None:
    """Add an implementation of :func:`shrunk`, with its arguments, that returns whether it did it."""
    _SHRINKS.append(shrink)


def room(like: Tensor) -> Tensor:
    """Uninitialised memory of this shape, lent if it can be: pages that are fresh cost more than filling them."""
    if (
        _LENDERS
        and not torch.compiler.is_compiling()
        and type(like) in (Tensor, nn.Parameter)  # no stand-in of a tracer's
        and like.device.type == "cpu"
        and like.dtype == torch.float32
        and (like.is_contiguous() or 0 in like.stride())
    ):
        return _LENDERS[0](*like.shape)
    return torch.empty_like(like)


class Levels(NamedTuple):
    """The thresholds of a tensor, and whether there is a cut at d2."""

    d1: Tensor
    d2: Tensor
    cut: bool

    @property
    def numbers(self) -> tuple[float, float, bool]:
        return float(self.d1), float(self.d2), self.cut


def shrunk(theta: Tensor, gain: Tensor | None, d1: float, d2: float, cut: bool, out: Tensor) -> Tensor:
    """On the CPU: θ moved towards 0 by d1, times its gain, and 0 where that is not above d2; each step rounded."""
    if forced() != REFERENCE and any(shrink(theta, gain, d1, d2, cut, out) for shrink in _SHRINKS):
        return out
    # By operators that take numbers, several times faster than by those that take tensors.
    torch.ops.aten.softshrink.out(theta, d1, out=out)
    if gain is not None:
        out.mul_(gain)
    return torch.hardshrink(out, d2, out=out) if cut else out


def _through(grad: Tensor, gain: Tensor | None, weight: Tensor | None) -> Tensor:
    """The gradient of θ; of living weights alone if they are given."""
    if gain is None:
        found = grad
    elif torch.is_grad_enabled():  # a gradient of this gradient will be asked for
        found = grad * gain
    else:
        found = torch.mul(grad, gain, out=room(grad))
    return found if weight is None else found * (weight != 0)


def _of_gain(grad: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the gains, from living weights."""
    others = [d for d in range(gain.dim()) if gain.shape[d] == 1 and weight.shape[d] != 1]
    return (grad * weight / gain).sum(others, keepdim=True)


class Threshold(torch.autograd.Function):
    """One tensor's; channel by channel if ``axis`` is one."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, gain: Tensor | None, levels: Levels, straight: bool, axis: int) -> Tensor:
        d1, d2, cut = levels
        if axis < 0 and theta.device.type == "cpu" and not torch.compiler.is_compiling():
            weight = shrunk(theta, gain, *levels.numbers, room(theta))
        elif axis < 0:
            weight = theta - theta.clamp(-d1, d1)  # the soft threshold, rounded once like sign(θ)·(|θ| − d1)
            weight = weight if gain is None else weight.mul_(gain)
            if cut:
                weight = weight.mul_(weight.abs() > d2)
        else:
            size = channel_size(theta, axis)
            left = (size - d1).clamp(min=0)
            strength = left if gain is None else left * gain
            alive = strength > d2 if cut else strength > 0
            weight = theta * torch.where(alive, strength / size, 0.0)
        ctx.straight = straight
        wanted = gain is not None and gain.requires_grad
        ctx.save_for_backward(gain, weight if wanted or not straight else None)
        return weight

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (grad,) = gradients
        gain, weight = ctx.saved_tensors
        theta_grad = _through(grad, gain, None if ctx.straight else weight)
        return theta_grad, _of_gain(grad, gain, weight) if ctx.needs_input_grad[1] else None, None, None, None


class Both(torch.autograd.Function):
    """W and V of a layer, as :class:`Threshold` gives them one by one: in one tensor (``stack``), or as two."""

    @staticmethod
    def forward(
        ctx: Any,
        theta: Tensor,
        further: Tensor,
        gain: Tensor | None,
        further_gain: Tensor | None,
        levels: tuple[Levels, Levels],
        straight: tuple[bool, bool],
        stack: bool,
    ) -> Any:
        if stack:
            whole = theta.new_empty((2 * theta.shape[0], *theta.shape[1:]))
            weights = whole.chunk(2)
        else:
            weights = (room(theta), room(further))
        shrunk(theta, gain, *levels[0].numbers, weights[0])
        shrunk(further, further_gain, *levels[1].numbers, weights[1])
        ctx.straight, ctx.stack = straight, stack
        gains = (gain, further_gain)
        wanted = any(own is not None and own.requires_grad for own in gains)
        kept = (whole,) if stack else weights
        ctx.save_for_backward(*gains, *(kept if wanted or not all(straight) else ()))
        return whole if stack else weights

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gain, further_gain, *kept = ctx.saved_tensors
        gains, wanted = (gain, further_gain), ctx.needs_input_grad
        if ctx.stack:
            gradients = gradients[0].chunk(2)
            kept = kept[0].chunk(2) if kept else ()
        weights: Any = kept or (None, None)
        of_gains = [_of_gain(gradients[k], gains[k], weights[k]) if wanted[2 + k] else None for k in (0, 1)]
        of_thetas = [
            _through(gradients[k], gains[k], None if ctx.straight[k] else weights[k]) if wanted[k] else None
            for k in (0, 1)
        ]
        return *of_thetas, *of_gains, None, None, None


def takes(theta: Tensor, further: Tensor) -> bool:
    """Whether :class:`Both` takes these, on the CPU alone and no stand-ins of a tracer's."""
    if torch.compiler.is_compiling() or forced() == REFERENCE or theta.shape != further.shape:
        return False
    return all(
        type(t) in (Tensor, nn.Parameter) and t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous()
        for t in (theta, further)
    )


def channel_size(theta: Tensor, axis: int) -> Tensor:
    """Root mean square of every output channel, shaped like the weight with 1 along the other axes."""
    return theta.pow(2).mean([d for d in range(theta.dim()) if d != axis], keepdim=True).sqrt()
