"""The numba kernels as an implementation that neurons can choose."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from neuroaccel.kernels.op import neuron
from neuroaccel.neurons.interpreter import State
from neuroaccel.program import NeuronSpec

# Neurons from which one tick by the kernel takes less time than the reference does, measured; calling an operator costs
# about what the reference's operations cost, and twice that with a gradient.
ONE_TICK, ONE_TICK_WITH_GRADIENT = 1 << 14, 1 << 17


class NumbaBackend:
    """Multi-step forward and backward generated from the program, for float32 on the CPU."""

    name = "numba"

    def refuses(self, spec: NeuronSpec, x: Tensor, values: Mapping[str, Tensor]) -> str:
        """Why it cannot run this, or an empty text."""
        if x.device.type != "cpu":
            return f"the input is on {x.device.type}, it runs on the CPU"
        if x.dtype != torch.float32:
            return f"the arithmetic is {x.dtype}, it computes in float32"
        if x.dim() < 2:
            return "the input has no axis of samples"
        for name, value in values.items():
            if value.device != x.device or value.dtype != x.dtype:
                return f"'{name}' is {value.dtype} on {value.device}, the input {x.dtype} on {x.device}"
            if value.dim() > x.dim() - 2:
                return f"'{name}' has a value per sample"
        return ""

    def declines(self, spec: NeuronSpec, x: Tensor) -> str:
        """Why it could run this but the reference does better, or an empty text."""
        if x.shape[0] > 1:
            return ""
        grad = torch.is_grad_enabled() and (x.requires_grad or bool(spec.learnable))
        worth = ONE_TICK_WITH_GRADIENT if grad else ONE_TICK
        return f"one tick of {x.numel()} neurons, it pays from {worth} on" if x.numel() < worth else ""

    def run(self, spec: NeuronSpec, x: Tensor, values: Mapping[str, Tensor], state: State) -> tuple[Tensor, State]:
        """What is emitted, ``[T, N, ...]``, and the state after the last tick."""
        if x.dim() > 3 and not x.is_contiguous() and x.movedim(2, -1).is_contiguous():
            return self._channels_last(spec, x, values, state)
        program, shape = spec.program, x.shape
        flat = x.reshape(shape[0], shape[1], math.prod(shape[2:]))
        first = [state[name].reshape(flat.shape[1:]) for name in program.state_names]
        given = [v if v.dim() == 0 else v.expand(shape[2:]).reshape(flat.shape[2]) for v in values.values()]
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in (flat, *first, *given))
        y, end, _ = neuron(flat, first, given, program.text, spec.surrogate, spec.slope, spec.detach_reset, keep)
        after = {name: end[k].reshape(shape[1:]) for k, name in enumerate(program.state_names)}
        return y.reshape(shape), after

    def _channels_last(
        self, spec: NeuronSpec, x: Tensor, values: Mapping[str, Tensor], state: State
    ) -> tuple[Tensor, State]:
        """The same in the order in which the neurons lie, so that nothing is copied."""
        whole = x.shape[2:]
        turned = {n: v.expand(whole).movedim(0, -1) if v.dim() else v for n, v in values.items()}
        y, after = self.run(spec, x.movedim(2, -1), turned, {n: s.movedim(1, -1) for n, s in state.items()})
        return y.movedim(-1, 2), {n: s.movedim(-1, 1) for n, s in after.items()}
