"""The multi-step kernels as torch operators, so that autograd and torch.compile know them.

``neuroaccel::neuron`` takes currents ``[T, N, K]``, every state ``[N, K]``, and every parameter and derived value as a
scalar ``[]`` or per neuron ``[K]``; it returns emissions, states after the last tick ``[S, N, K]``, and the states that
its backward starts from (empty unless ``keep``). Small things are done without torch's own threads, which wait for one
another longer than a kernel runs where other processes run too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuroaccel.compiling import Kernel, compile_source
from neuroaccel.kernels import codegen
from neuroaccel.kernels.buffers import empty
from neuroaccel.kernels.threads import spread
from neuroaccel.program import Program

Names = frozenset[str]
LARGE = 1 << 20  # elements that are worth torch's threads to copy


@lru_cache(maxsize=512)
def program_of(text: str) -> Program:
    return Program.from_json(json.loads(text))


@lru_cache(maxsize=1024)
def forward_kernel(text: str, wide: Names) -> Kernel:
    program = program_of(text)
    return compile_source(f"forward_{program.key}", codegen.forward(program, wide), "float32")


@lru_cache(maxsize=1024)
def backward_kernel(text: str, wide: Names, wanted: Names, surrogate: str, detach_reset: bool) -> Kernel:
    program = program_of(text)
    source = codegen.backward(program, wide, wanted, surrogate, detach_reset)
    return compile_source(f"backward_{program.key}", source, "float32")


def slopes(slope: float) -> NDArray[np.float32]:
    """The slope as the surrogates of the kernels take it."""
    return np.array([slope, slope / 2, math.pi / 2 * slope], np.float32)


def _flat(x: Tensor) -> NDArray[np.float32]:
    """``[..., N, K]`` as ``[..., N · K]``."""
    x = x.detach()
    if not x.is_contiguous() and x.numel() < LARGE:
        return np.ascontiguousarray(x.numpy()).reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
    array: NDArray[np.float32] = x.contiguous().flatten(-2).numpy()
    return array


def _states(states: Sequence[Tensor], samples: int, size: int) -> NDArray[np.float32]:
    """``[S, N · K]``, filled from views too."""
    flat = np.empty((len(states), samples, size), np.float32)
    for row, state in zip(flat, states, strict=True):
        row[:] = state.detach().numpy()
    return flat.reshape(len(states), samples * size)


def _values(values: Sequence[Tensor], samples: int) -> tuple[list[NDArray[np.float32]], Names]:
    """Values as the kernels take them, ``[1]`` or ``[N · K]``, and the names of the latter."""
    arrays = [np.ascontiguousarray(v.detach().numpy()).reshape(-1) for v in values]
    wide = frozenset(f"p{k}" for k, v in enumerate(values) if v.dim())
    return [np.tile(a, samples) if v.dim() else a for a, v in zip(arrays, values, strict=True)], wide


@torch.library.custom_op("neuroaccel::neuron", mutates_args=(), device_types="cpu")
def neuron(
    x: Tensor,
    state: Sequence[Tensor],
    values: Sequence[Tensor],
    program: str,
    surrogate: str,
    slope: float,
    detach_reset: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron program over a sequence."""
    ticks, samples, size = x.shape
    flat, start = _flat(x), _states(state, samples, size)
    arrays, wide = _values(values, samples)
    chunks = -(-ticks // codegen.EVERY) if keep else 0
    y, end, kept = empty(*x.shape), empty(len(state), samples, size), empty(chunks, len(state), samples, size)
    out = [_flat(y), _flat(end), _flat(kept)]
    kernel = forward_kernel(program, wide)
    spread(lambda first, last: kernel(flat, start, *arrays, *out, first, last), samples * size, ticks)
    return y, end, kept


@neuron.register_fake
def _(
    x: Tensor,
    state: Sequence[Tensor],
    values: Sequence[Tensor],
    program: str,
    surrogate: str,
    slope: float,
    detach_reset: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    chunks = (x.shape[0] + codegen.EVERY - 1) // codegen.EVERY if keep else 0
    shape = (len(state), *x.shape[1:])
    return x.new_empty(x.shape), x.new_empty(shape), x.new_empty((chunks, *shape))


@torch.library.custom_op("neuroaccel::neuron_backward", mutates_args=(), device_types="cpu")
def neuron_backward(
    grad_y: Tensor | None,
    grad_end: Tensor | None,
    x: Tensor,
    kept: Tensor,
    values: Sequence[Tensor],
    wanted: Sequence[int],
    program: str,
    surrogate: str,
    slope: float,
    detach_reset: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients of currents, of the first states, and of the values whose positions are ``wanted``."""
    ticks, samples, size = x.shape
    grads = [
        np.zeros((n, samples * size), np.float32) if grad is None else _flat(grad)
        for n, grad in ((ticks, grad_y), (kept.shape[1], grad_end))
    ]
    given = [*grads, _flat(x), _flat(kept)]
    arrays, wide = _values(values, samples)
    grad_x, grad_state = empty(*x.shape), empty(*kept.shape[1:])
    sums = np.empty((len(wanted), samples * size), np.float64)
    out = [_flat(grad_x), _flat(grad_state), sums]
    kernel = backward_kernel(program, wide, frozenset(f"p{k}" for k in wanted), surrogate, detach_reset)
    spread(lambda first, last: kernel(*given, *arrays, slopes(slope), *out, first, last), samples * size, ticks)
    # In numpy, whose order of summation does not depend on the number of threads.
    totals = [
        row.reshape(samples, size).sum(0) if values[k].dim() else row.sum() for k, row in zip(wanted, sums, strict=True)
    ]
    return grad_x, grad_state, [torch.from_numpy(np.asarray(total, np.float32)) for total in totals]


@neuron_backward.register_fake
def _(
    grad_y: Tensor | None,
    grad_end: Tensor | None,
    x: Tensor,
    kept: Tensor,
    values: Sequence[Tensor],
    wanted: Sequence[int],
    program: str,
    surrogate: str,
    slope: float,
    detach_reset: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    return x.new_empty(x.shape), x.new_empty(kept.shape[1:]), [values[k].new_empty(values[k].shape) for k in wanted]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, _, values, *ctx.fields, _ = inputs
    ctx.set_materialize_grads(False)  # nobody asks for one of what is kept, and zeros of its size take their time
    ctx.wanted = [k for k, value in enumerate(values) if value.requires_grad]
    ctx.save_for_backward(x, output[2], *values)


def _gradients(ctx: Any, grad_y: Tensor | None, grad_end: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    x, kept, *values = ctx.saved_tensors
    grad_x, grad_state, totals = neuron_backward(grad_y, grad_end, x, kept, values, ctx.wanted, *ctx.fields)
    by_value: list[Tensor | None] = [None] * len(values)
    for k, total in zip(ctx.wanted, totals, strict=True):
        by_value[k] = total
    return grad_x, list(grad_state.unbind(0)), by_value, None, None, None, None, None


neuron.register_autograd(_gradients, setup_context=_setup)
