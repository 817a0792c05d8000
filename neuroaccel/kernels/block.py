"""Conv2d, batch normalisation in training, neurons and pool as one torch operator.

    y = pool(neurons(conv(x) · scale + shift)),  scale = weight / sqrt(var + eps),  shift = bias − mean · scale

Each layer of a large batch alone reads and writes memory far beyond the caches. Here only what conv gives is kept, some
samples with all their ticks after each other; once its statistics are known, those samples pass through neurons and
pool in a cache, and so do gradients on their way back. Values are those of the single layers' operators.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroaccel.kernels import codegen, conv, norm, op, pool
from neuroaccel.kernels.block_plan import CURRENT, NORM, Fields, Neurons, Plan, Sums, samples_of
from neuroaccel.kernels.buffers import empty
from neuroaccel.kernels.channels_last import Array, images, like, new, ranges
from neuroaccel.kernels.numba_backend import NumbaBackend
from neuroaccel.kernels.threads import share, threads_for
from neuroaccel.neurons import Neuron
from neuroaccel.neurons.backend import REFERENCE, forced
from neuroaccel.neurons.interpreter import State

SMALL = 1 << 16  # neurons and ticks below which single layers cost no more


@torch.library.custom_op("neuroaccel::block", mutates_args=(), device_types="cpu")
def block(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    state: Tensor,
    values: Sequence[Tensor],
    fields: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run a block in training.

    Arguments:
        x: ``[T, N, Cin, H, W]``.
        weight: ``[Cout, Cin, rows, columns]``.
        gamma, beta: the normalisation's weight and bias, ``[Cout]``.
        state: before the first tick, ``[S, N, neurons]``, a sample's neurons as they lie with channels last.
        values: parameters and derived values, ``[]`` or ``[neurons]``.
        fields: those of :class:`Fields`.
        keep: whether a gradient will be asked for.

    Returns:
        y ``[T · N, Cout, oh, ow]``, the state after, mean and variance (biased) of every channel in float64, what conv
        gave, and the states that the backward starts from.
    """
    told = Fields.of(fields)
    plan = Plan.of(x, weight, told)
    shape, channels, order = plan.shape, plan.shape.outputs, plan.order
    chunks = -(-plan.ticks // codegen.EVERY) if keep else 0
    drive, kept = empty(order.size * plan.neurons), empty(chunks * state.numel())
    currents: Array = drive.numpy()
    events = conv.rate(x.flatten(0, 1)) <= shape.most
    array, last = conv.flat(x.flatten(0, 1)) if events else (images(x.flatten(0, 1)), True)
    taps = weight.detach().flip(2, 3).permute(1, 2, 3, 0).numpy()
    here = np.arange(order.size)
    rows = currents.reshape(order.size, plan.neurons)
    work = conv.product(array, last, events, shape, taps, None, rows, np.stack([order, here]))
    threads = threads_for(currents.size, 1)
    share(work, ranges(order.size, threads), threads)
    mean, variance = norm.moments(currents, channels)
    scale = norm.numbers(gamma, channels, 1.0) / np.sqrt(variance + told.eps)
    neurons = Neurons(told.program, values, plan, norm.affine(mean, scale, beta))
    y = (empty if told.first else new)(order.size, channels, *plan.pooled)
    end = empty(*state.shape)
    out, ends, before, saved = (
        y.flatten(1).numpy() if told.first else images(y),
        end.numpy(),
        state.detach().numpy(),
        kept.numpy(),
    )
    kernel, pooling = op.forward_kernel(neurons.text, neurons.names), plan.pool("pool_forward", told)

    def pass_on(start: int, stop: int) -> None:
        scratch = plan.scratch()
        for group, way in zip(plan.groups[start:stop], plan.ways[start:stop], strict=True):
            first, behind = group
            begin = samples_of(before, group)
            after = np.empty_like(begin)
            spikes = scratch[: way.shape[1] * plan.neurons].reshape(plan.ticks, -1)
            held = plan.kept(saved, group, len(begin))
            kernel(
                plan.part(currents, group),
                begin,
                *neurons.given(behind - first),
                spikes,
                after,
                held,
                0,
                begin.shape[1],
            )
            ends[:, first:behind] = after.reshape(len(begin), behind - first, plan.neurons)
            pooling(spikes.reshape(-1, plan.neurons), out, *shape.size, told.factor, way, 0, way.shape[1])

    share(pass_on, ranges(len(plan.groups), threads), threads)
    return y, end, torch.from_numpy(np.stack([mean, variance])), drive, kept


@block.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    state: Tensor,
    values: Sequence[Tensor],
    fields: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    told, count = Fields.of(fields), x.shape[0] * x.shape[1]
    # Sizes may be symbols here, which no cache takes.
    plan = Plan(x.shape[0], x.shape[1], conv.Shape.of(x[0], weight, told.padding), *told.window)
    chunks = (x.shape[0] + codegen.EVERY - 1) // codegen.EVERY if keep else 0
    shape = (count, weight.shape[0], *plan.pooled)
    return (
        x.new_empty(shape) if told.first else like(x, *shape),
        state.new_empty(state.shape),
        x.new_empty((2, weight.shape[0]), dtype=torch.float64),
        x.new_empty(count * plan.neurons),
        x.new_empty(chunks * state.numel()),
    )


@torch.library.custom_op("neuroaccel::block_backward", mutates_args=(), device_types="cpu")
def block_backward(
    grad: Tensor,
    grad_end: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    values: Sequence[Tensor],
    statistics: Tensor,
    drive: Tensor,
    kept: Tensor,
    wanted: Sequence[int],
    fields: str,
    deep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """Gradients of x ``[T · N, ...]`` (nothing unless ``deep``), weight, gamma, beta, state, and ``wanted`` values."""
    told = Fields.of(fields)
    plan = Plan.of(x, weight, told)
    shape, channels, order = plan.shape, plan.shape.outputs, plan.order
    currents, saved, last = drive.numpy(), kept.numpy(), grad_end.numpy()
    given: Array = grad.contiguous().flatten(1).numpy() if told.first else images(grad)
    mean, variance = statistics.numpy()
    inverse = 1 / np.sqrt(variance + told.eps)
    scale = norm.numbers(gamma, channels, 1.0) * inverse
    neurons = Neurons(told.program, values, plan, norm.affine(mean, scale, beta))
    sums = Sums(plan, neurons, wanted)
    asked = frozenset(f"p{k}" for k in sums.places)
    kernel = op.backward_kernel(neurons.text, neurons.names, asked, told.surrogate, told.detach_reset)
    slopes, pooling = op.slopes(told.slope), plan.pool("pool_backward", told)
    here, threads = np.arange(order.size), threads_for(currents.size, 1)
    gradient: Array = empty(currents.size).numpy()
    grad_state = empty(*grad_end.shape)
    begins = grad_state.numpy()

    def pass_back(start: int, stop: int) -> None:
        scratch, found = plan.scratch(), np.empty(len(sums.places) * plan.most, np.float64)
        for number in range(start, stop):
            group, way = plan.groups[number], plan.ways[number]
            first, behind = group
            end = samples_of(last, group)
            begin, size = np.empty_like(end), end.shape[1]
            spikes = scratch[: plan.ticks * size].reshape(plan.ticks, size)
            pooling(
                given, spikes.reshape(-1, plan.neurons), *shape.size, told.factor, way[::-1].copy(), 0, way.shape[1]
            )
            added = found[: len(sums.places) * size].reshape(-1, size)
            part, held, into = (
                plan.part(currents, group),
                plan.kept(saved, group, len(end)),
                plan.part(gradient, group),
            )
            own = neurons.given(behind - first)
            kernel(spikes, end, part, held, *own, slopes, into, begin, added, 0, size)
            begins[:, first:behind] = begin.reshape(len(end), behind - first, plan.neurons)
            sums.add(number, added)

    share(pass_back, ranges(len(plan.groups), threads), threads)
    count, one = order.size * plan.neurons // channels, sums.total(neurons.shift)
    two = (sums.total(neurons.scale) - mean * one) * inverse
    less = np.stack([mean, -scale * inverse * two / count, -scale * one / count]).astype(np.float32)
    array, channels_last = conv.flat(x.flatten(0, 1))
    each = -(-order.size // conv.CHUNKS)
    rows = gradient.reshape(order.size, plan.neurons)
    further = (currents.reshape(rows.shape), less)
    summing, total = conv.weight_sums(array, channels_last, shape, rows, np.stack([order, here]), each, further)
    dx = new(order.size if deep else 0, shape.inputs, shape.high, shape.wide)
    taps = weight.detach().permute(0, 2, 3, 1).numpy()
    passing = conv.product(rows, True, False, shape.back, taps, None, images(dx), np.stack([here, order]))

    def pass_further(start: int, stop: int) -> None:
        for chunk in range(start, stop):
            summing(chunk, chunk + 1)
            if deep:
                passing(chunk * each, min((chunk + 1) * each, order.size))

    share(pass_further, ranges(len(total), threads), threads)
    found = [sums.total(neurons.place(k)) for k in wanted]
    tensors = [torch.from_numpy(np.asarray(a, np.float32)) for a in (two, one, *found)]
    return dx, conv.weights(total, shape), tensors[0], tensors[1], grad_state, tensors[2:]


@block_backward.register_fake
def _(
    grad: Tensor,
    grad_end: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    values: Sequence[Tensor],
    statistics: Tensor,
    drive: Tensor,
    kept: Tensor,
    wanted: Sequence[int],
    fields: str,
    deep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    return (
        like(x, x.shape[0] * x.shape[1] if deep else 0, *x.shape[2:]),
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape[0]),
        weight.new_empty(weight.shape[0]),
        grad_end.new_empty(grad_end.shape),
        [values[k].new_empty(values[k].shape) for k in wanted],
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, gamma, beta, state, values, ctx.fields, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.wanted = [k for k, value in enumerate(values) if value.requires_grad]
    ctx.deep, ctx.shape, ctx.state = x.requires_grad, output[0].shape, state.shape
    ctx.save_for_backward(x, weight, gamma, beta, *output[2:], *values)


def _zeros(shape: tuple[int, ...]) -> Tensor:
    zeros = empty(*shape)
    zeros.numpy().fill(0)
    return zeros


def _gradients(ctx: Any, grad: Tensor | None, grad_end: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    x, weight, gamma, beta, statistics, drive, kept, *values = ctx.saved_tensors
    if grad is None:
        grad = _zeros(ctx.shape)
    if grad_end is None:
        grad_end = _zeros(ctx.state)
    dx, dweight, dgamma, dbeta, dstate, totals = block_backward(
        grad, grad_end, x, weight, gamma, beta, values, statistics, drive, kept, ctx.wanted, ctx.fields, ctx.deep
    )
    by_value: list[Tensor | None] = [None] * len(values)
    for k, total in zip(ctx.wanted, totals, strict=True):
        by_value[k] = total
    given = (dx.view(x.shape) if ctx.deep else None, dweight, dgamma, dbeta, dstate)
    return (*(g if want else None for g, want in zip(given, ctx.needs_input_grad, strict=False)), by_value, None, None)


block.register_autograd(_gradients, setup_context=_setup)


@dataclasses.dataclass(frozen=True)
class Block:
    """Layers that one operator can run: the pool may be missing; ``first`` is that of :class:`Fields`."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    neuron: Neuron
    pool: nn.Module | None
    first: bool = False

    def refuses(self, x: Tensor) -> str:
        """Why they are run one by one, or an empty text."""
        if forced() == REFERENCE:
            return f"{REFERENCE} is forced"
        reason = conv.EventConv2d().refuses(self.conv, x) or (self.conv.bias is not None and "conv has a bias")
        if reason:
            return str(reason)
        shape = conv.Shape.of(x.flatten(0, 1), self.conv.weight, self._padding)
        size = (*x.shape[:2], shape.outputs, *shape.size)
        if not shape.small:
            return f"{shape.inputs} × {shape.outputs} channels are for torch's dense product"
        if math.prod(size) < SMALL or x.shape[0] < 2:
            return f"{math.prod(size)} neurons and ticks are too few"
        currents = x.new_empty(1).expand(size)
        reason = norm.BatchNorm().refuses(self.norm, currents)
        if self.pool is not None:
            reason = reason or pool.Pool2d().refuses(self.pool, currents)
        names = {*self.neuron.spec.program.state_names, *self.neuron.spec.program.parameter_names}
        reason = reason or ("the program takes our names" if names & {*NORM, CURRENT} else "")
        return reason or NumbaBackend().refuses(self.neuron.spec, currents, self.neuron.values())

    @property
    def _padding(self) -> tuple[int, int]:
        padding = conv.padding_of(self.conv)
        assert padding is not None
        return padding

    def _first(self, x: Tensor, inner: tuple[int, ...], values: Mapping[str, Tensor], state: State | None) -> Tensor:
        """The states before the first tick, ``[S, N, neurons]``."""
        states = self.neuron.spec.program.states
        if state is None and not any(isinstance(s.fresh, str) for s in states):
            first = empty(len(states), x.shape[1], math.prod(inner))
            for row, s in zip(first.numpy(), states, strict=True):
                row.fill(s.fresh)  # by numpy: torch's threads would wake for it, and spin where ours are to work
            return first
        before = self.neuron.begin(x.new_empty((x.shape[1], *inner)), values, state)
        return torch.stack([before[s.name].movedim(1, -1).flatten(1) for s in states])

    def run(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """y ``[T, N, Cout, oh, ow]`` of x ``[T, N, Cin, H, W]``, and the neurons' state after."""
        program, spec = self.neuron.spec.program, self.neuron.spec
        values = self.neuron.values()
        shape = conv.Shape.of(x[0], self.conv.weight, self._padding)
        inner = (shape.outputs, *shape.size)
        first = self._first(x, inner, values, state)
        flat = [v if v.dim() == 0 else v.expand(inner).movedim(0, -1).reshape(-1) for v in values.values()]
        window, factor = ((1, 1), 1.0) if self.pool is None else pool.window_of(self.pool)
        fields = Fields(
            self._padding,
            self.norm.eps,
            program.text,
            spec.surrogate,
            spec.slope,
            spec.detach_reset,
            window,
            factor,
            self.first,
        )
        weights = (self.conv.weight, self.norm.weight, self.norm.bias)
        keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *weights, first, *flat))
        y, end, statistics, drive, _ = block(x, *weights, first, flat, fields.text, keep)
        norm.track(self.norm, statistics, drive.numel() // shape.outputs)
        after = {
            name: end[k].view(-1, *shape.size, shape.outputs).movedim(-1, 1)
            for k, name in enumerate(program.state_names)
        }
        return y.view(*x.shape[:2], *y.shape[1:]), after
