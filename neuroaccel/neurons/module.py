"""Neurons as torch modules: ``y, state = layer(x, state)``, state a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neuroaccel.errors import ProgramError, StateError
from neuroaccel.neurons.backend import choose
from neuroaccel.neurons.interpreter import State, derive, fresh, tick
from neuroaccel.neurons.surrogate import bounded
from neuroaccel.program import NeuronSpec, zoo
from neuroaccel.program.language import INPUT


class Neuron(nn.Module):
    """A population that runs a neuron program: whole sequences by the fastest implementation that is registered
    (:mod:`neuroaccel.neurons.backend`), everything else by the torch reference, bit for bit the same.

    Arguments:
        spec: the program, the values of its parameters, what is learnable, the surrogate.
        shape: the layer's shape, needed where a learnable parameter is to have a value per neuron; scalars are then
            expanded to it.

    Parameters and buffers carry the program's parameter names, so checkpoints hold them. State and arithmetic stay in
    the parameters' dtype (float32 by default) under autocast.

    >>> import torch
    >>> from neuroaccel.neurons import LIF
    >>> spikes, state = LIF(beta=0.5)(torch.tensor([[[0.8]], [[0.8]], [[0.1]]]))
    >>> spikes.flatten().tolist(), round(state["v"].item(), 3)
    ([0.0, 1.0, 0.0], 0.1)
    """

    on_sequences: ClassVar[bool] = True

    def __init__(self, spec: NeuronSpec, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.spec = spec
        for p in spec.program.parameters:
            if hasattr(self, p.name):
                raise ProgramError(f"program '{spec.program.name}': a torch module cannot have a parameter '{p.name}'")
            value = torch.as_tensor(spec.values[p.name], dtype=torch.float32).clone()
            if p.name in spec.learnable:
                if shape is not None:
                    value = value.expand(shape).clone()
                self.register_parameter(p.name, nn.Parameter(value))
            else:
                self.register_buffer(p.name, value)

    def values(self) -> dict[str, Tensor]:
        """Effective parameters (inside their bounds) and derived values."""
        given: dict[str, Tensor] = {}
        for p in self.spec.program.parameters:
            raw = getattr(self, p.name)
            given[p.name] = bounded(raw, p.low, p.high) if p.name in self.spec.learnable else raw
        return derive(self.spec.program, given)

    def effective_spec(self) -> NeuronSpec:
        """The neuron as it stands after training, as data."""
        values = {n: v.detach().cpu().numpy() for n, v in self.values().items() if n in self.spec.values}
        return NeuronSpec(
            self.spec.program,
            values,
            self.spec.learnable,
            self.spec.surrogate,
            self.spec.slope,
            self.spec.detach_reset,
        )

    def fresh(self, like: Tensor) -> State:
        """The state before the first tick for inputs like ``like`` ([N, ...])."""
        return {name: value.clone() for name, value in fresh(self.spec.program, self.values(), like).items()}

    def begin(self, i: Tensor, values: Mapping[str, Tensor], state: State | None) -> State:
        """The state, a fresh one for ``None``, that a tick with currents like ``i`` ([N, ...]) begins with."""
        if state is None:
            return fresh(self.spec.program, values, i)
        for name in self.spec.program.state_names:
            if name not in state:
                raise StateError(f"{self.spec.program.name}: the state has no '{name}'; it holds {sorted(state)}")
            if state[name].shape != i.shape:
                raise StateError(
                    f"{self.spec.program.name}: state '{name}' has shape {tuple(state[name].shape)}, "
                    f"the input {tuple(i.shape)}; reset the state before changing the batch size"
                )
        return state

    def _tick(self, i: Tensor, values: Mapping[str, Tensor], state: State) -> tuple[Tensor, State]:
        spec = self.spec
        return tick(spec.program, values, i, state, spec.surrogate, spec.slope, spec.detach_reset)

    @property
    def dtype(self) -> torch.dtype:
        """Of state and arithmetic."""
        for p in self.spec.program.parameter_names:
            dtype: torch.dtype = getattr(self, p).dtype
            return dtype
        return torch.float32

    def step(self, i: Tensor, state: State | None = None, gap: int = 1) -> tuple[Tensor, State]:
        """One tick, after ``gap − 1`` ticks without input.

        Arguments:
            i: current, ``[N, ...]``.
            state: from the tick before; ``None`` is fresh.
            gap: ticks since the last call; the silent ones get i = 0 (no bias), their spikes reset but are not sent.

        Returns:
            What the last tick emits, ``[N, ...]``, and the state after it.

        Raises:
            StateError: the state has another shape than the input.
        """
        if gap < 1:
            raise StateError(f"gap counts ticks and must be at least 1, not {gap}")
        with torch.autocast(device_type=i.device.type, enabled=False):
            i = i.to(self.dtype)
            values = self.values()
            state = self.begin(i, values, state)
            for _ in range(gap - 1):
                _, state = self._tick(torch.zeros_like(i), values, state)
            backend, _ = choose(self.spec, i.unsqueeze(0), values)
            if backend is None:
                return self._tick(i, values, state)
            y, state = backend.run(self.spec, i.unsqueeze(0), values, state)
            return y.squeeze(0), state

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """A sequence of ticks.

        Arguments:
            x: currents, ``[T, N, ...]``.
            state: from the sequence before; ``None`` is fresh.

        Returns:
            What is emitted, ``[T, N, ...]``, and the state after the last tick.
        """
        with torch.autocast(device_type=x.device.type, enabled=False):
            x, values, state = self._begin(x, state)
            backend, _ = choose(self.spec, x, values)
            if backend is not None:
                return backend.run(self.spec, x, values, state)
            y, state, _ = self._reference(x, values, state, keep=False)
            return y, state

    def trace(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State, State]:
        """Like :meth:`forward`, and a history: state name → its value after every tick, ``i`` → the current."""
        with torch.autocast(device_type=x.device.type, enabled=False):
            y, after, history = self._reference(*self._begin(x, state), keep=True)
        return y, after, {**history, INPUT: x}

    def _begin(self, x: Tensor, state: State | None) -> tuple[Tensor, dict[str, Tensor], State]:
        if x.shape[0] < 1:
            raise StateError("a sequence needs at least one tick")
        x = x.to(self.dtype)
        values = self.values()
        return x, values, self.begin(x[0], values, state)

    def _reference(
        self, x: Tensor, values: Mapping[str, Tensor], state: State, keep: bool
    ) -> tuple[Tensor, State, State]:
        emitted, kept = [], []
        for i in x.unbind(0):
            y, state = self._tick(i, values, state)
            emitted.append(y)
            if keep:
                kept.append(state)
        history = {n: torch.stack([s[n] for s in kept]) for n in state} if keep else {}
        return torch.stack(emitted), state, history

    def reset(self, state: State, done: Tensor) -> State:
        """Fresh state for the samples where ``done`` ([N], bool) holds, the others as they are."""
        first = next(iter(state.values()))
        if done.shape != first.shape[:1]:
            raise StateError(f"done has shape {tuple(done.shape)}, the state {first.shape[0]} samples")
        clean = self.fresh(first)
        mask = done.to(torch.bool).reshape(-1, *([1] * (first.dim() - 1)))
        return {n: torch.where(mask, clean[n], v) for n, v in state.items()}

    def extra_repr(self) -> str:
        return f"{self.spec.program.name}, learnable={sorted(self.spec.learnable)}, surrogate={self.spec.surrogate}"


def _module(constructor: str, options: dict[str, Any]) -> Neuron:
    shape = options.pop("shape", None)
    training = {k: options.pop(k) for k in ("surrogate", "slope", "detach_reset", "learnable") if k in options}
    spec: NeuronSpec = getattr(zoo, constructor)(**options)
    if "learnable" in training:
        training["learnable"] = frozenset(training["learnable"])
    return Neuron(spec.training(**training), shape)


def IF(**options: Any) -> Neuron:  # noqa: N802
    """Integrate-and-fire layer; options of :func:`neuroaccel.program.IF`, ``shape``, and the training fields
    ``surrogate``, ``slope``, ``detach_reset``, ``learnable``."""
    return _module("IF", options)


def LIF(**options: Any) -> Neuron:  # noqa: N802
    """Leaky integrate-and-fire layer; options of :func:`neuroaccel.program.LIF` and those of :func:`IF`."""
    return _module("LIF", options)


def CubaLIF(**options: Any) -> Neuron:  # noqa: N802
    """Current-based LIF layer; options of :func:`neuroaccel.program.CubaLIF` and those of :func:`IF`."""
    return _module("CubaLIF", options)


def LI(**options: Any) -> Neuron:  # noqa: N802
    """Leaky integrator layer; options of :func:`neuroaccel.program.LI` and those of :func:`IF`."""
    return _module("LI", options)


def ALIF(**options: Any) -> Neuron:  # noqa: N802
    """Adaptive LIF layer; options of :func:`neuroaccel.program.ALIF` and those of :func:`IF`."""
    return _module("ALIF", options)


def GradedLIF(**options: Any) -> Neuron:  # noqa: N802
    """LIF with integer spikes; options of :func:`neuroaccel.program.GradedLIF` and those of :func:`IF`."""
    return _module("GradedLIF", options)
