"""The multi-step kernels as torch operators, so that autograd and torch.compile know them.

``neuroaccel::neuron`` takes currents ``[T, N, K]``, states ``[S, N, K]``, and every parameter and derived value as a
scalar ``[]`` or per neuron ``[K]``; it returns emissions, states after the last tick, and the states that its backward
starts from (empty unless ``keep``).
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


@lru_cache(maxsize=512)
def _program(text: str) -> Program:
    return Program.from_json(json.loads(text))


@lru_cache(maxsize=1024)
def _forward(text: str, wide: Names) -> Kernel:
    program = _program(text)
    return compile_source(f"forward_{program.key}", codegen.forward(program, wide), "float32")


@lru_cache(maxsize=1024)
def _backward(text: str, wide: Names, wanted: Names, surrogate: str, detach_reset: bool) -> Kernel:
    program = _program(text)
    source = codegen.backward(program, wide, wanted, surrogate, detach_reset)
    return compile_source(f"backward_{program.key}", source, "float32")


def _flat(x: Tensor) -> NDArray[np.float32]:
    """``[..., N, K]`` as ``[..., N · K]``."""
    array: NDArray[np.float32] = x.detach().contiguous().flatten(-2).numpy()
    return array


def _values(values: Sequence[Tensor], samples: int) -> tuple[list[NDArray[np.float32]], Names]:
    """Values as the kernels take them, ``[1]`` or ``[N · K]``, and the names of the latter."""
    arrays = [np.ascontiguousarray(v.detach().numpy()).reshape(-1) for v in values]
    wide = frozenset(f"p{k}" for k, v in enumerate(values) if v.dim())
    return [np.tile(a, samples) if v.dim() else a for a, v in zip(arrays, values, strict=True)], wide


@torch.library.custom_op("neuroaccel::neuron", mutates_args=(), device_types="cpu")
def neuron(
    x: Tensor,
    state: Tensor,
    values: Sequence[Tensor],
    program: str,
    surrogate: str,
    slope: float,
    detach_reset: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron program over a sequence."""
    ticks, samples, size = x.shape
    flat, start = _flat(x), _flat(state)
    arrays, wide = _values(values, samples)
    chunks = -(-ticks // codegen.EVERY) if keep else 0
    y, end, kept = empty(*x.shape), empty(*state.shape), empty(chunks, *state.shape)
    out = [_flat(y), _flat(end), _flat(kept)]
    kernel = _forward(program, wide)
    spread(lambda first, last: kernel(flat, start, *arrays, *out, first, last), samples * size, ticks)
    return y, end, kept


@neuron.register_fake
def _(
    x: Tensor,
    state: Tensor,
    values: Sequence[Tensor],
    program: str,
    surrogate: str,
    slope: float,
    detach_reset: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    chunks = (x.shape[0] + codegen.EVERY - 1) // codegen.EVERY if keep else 0
    return x.new_empty(x.shape), state.new_empty(state.shape), state.new_empty((chunks, *state.shape))


@torch.library.custom_op("neuroaccel::neuron_backward", mutates_args=(), device_types="cpu")
def neuron_backward(
    grad_y: Tensor,
    grad_end: Tensor,
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
    given = [_flat(grad_y), _flat(grad_end), _flat(x), _flat(kept)]
    arrays, wide = _values(values, samples)
    slopes = np.array([slope, slope / 2, math.pi / 2 * slope], np.float32)
    grad_x, grad_state = empty(*x.shape), empty(*kept.shape[1:])
    sums = np.empty((len(wanted), samples * size), np.float64)
    out = [_flat(grad_x), _flat(grad_state), sums]
    kernel = _backward(program, wide, frozenset(f"p{k}" for k in wanted), surrogate, detach_reset)
    spread(lambda first, last: kernel(*given, *arrays, slopes, *out, first, last), samples * size, ticks)
    # In numpy, whose order of summation does not depend on the number of threads.
    totals = [
        row.reshape(samples, size).sum(0) if values[k].dim() else row.sum() for k, row in zip(wanted, sums, strict=True)
    ]
    return grad_x, grad_state, [torch.from_numpy(np.asarray(total, np.float32)) for total in totals]


@neuron_backward.register_fake
def _(
    grad_y: Tensor,
    grad_end: Tensor,
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
    ctx.wanted = [k for k, value in enumerate(values) if value.requires_grad]
    ctx.save_for_backward(x, output[2], *values)


def _gradients(ctx: Any, grad_y: Tensor, grad_end: Tensor, grad_kept: Tensor) -> tuple[Any, ...]:
    x, kept, *values = ctx.saved_tensors
    grad_x, grad_state, totals = neuron_backward(grad_y, grad_end, x, kept, values, ctx.wanted, *ctx.fields)
    by_value: list[Tensor | None] = [None] * len(values)
    for k, total in zip(ctx.wanted, totals, strict=True):
        by_value[k] = total
    return grad_x, grad_state, by_value, None, None, None, None, None


neuron.register_autograd(_gradients, setup_context=_setup)
