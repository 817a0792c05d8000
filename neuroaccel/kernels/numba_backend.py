"""The numba kernels as an implementation that neurons can choose."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from neuroaccel.kernels.op import neuron
from neuroaccel.neurons.interpreter import State
from neuroaccel.program import NeuronSpec


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
        return "one tick is no sequence" if x.shape[0] < 2 else ""

    def run(self, spec: NeuronSpec, x: Tensor, values: Mapping[str, Tensor], state: State) -> tuple[Tensor, State]:
        """What is emitted, ``[T, N, ...]``, and the state after the last tick."""
        program, shape = spec.program, x.shape
        flat = x.reshape(shape[0], shape[1], math.prod(shape[2:]))
        first = torch.stack([state[name].reshape(flat.shape[1:]) for name in program.state_names])
        given = [v if v.dim() == 0 else v.expand(shape[2:]).reshape(flat.shape[2]) for v in values.values()]
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in (flat, first, *given))
        y, end, _ = neuron(flat, first, given, program.text, spec.surrogate, spec.slope, spec.detach_reset, keep)
        after = {name: end[k].reshape(shape[1:]) for k, name in enumerate(program.state_names)}
        return y.reshape(shape), after
