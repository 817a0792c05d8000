"""Layers between synapses and neurons that keep something over time: delay, dropout mask, readout, recurrence."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from neuroaccel.errors import InputError, StateError
from neuroaccel.neurons import Neuron
from neuroaccel.program.language import INPUT
from neuroaccel.synapses.over_time import OverTime


def masked_reset(value: Tensor, done: Tensor, fresh: float, batch_axis: int = 0) -> Tensor:
    """``fresh`` for the samples where ``done`` ([N], bool) holds, ``value`` elsewhere."""
    if done.shape != value.shape[batch_axis : batch_axis + 1]:
        raise StateError(f"done has shape {tuple(done.shape)}, the state {value.shape[batch_axis]} samples")
    shape = [1] * value.dim()
    shape[batch_axis] = -1
    return torch.where(done.to(torch.bool).reshape(shape), fresh, value)


def same_batch(who: str, held: Tensor, x: Tensor) -> None:
    """Refuse a state ``[N, ...]`` of another shape than one tick of the input ``[T, N, ...]``: it would broadcast.

    Raises:
        StateError: naming both shapes.
    """
    if held.shape != x.shape[1:]:
        raise StateError(
            f"{who}: state has shape {tuple(held.shape)}, the input {tuple(x.shape[1:])}; "
            "reset the state before changing the batch size"
        )


class Dropout(nn.Module):
    """Dropout with one mask per sample for all T: y = x·mask/(1 − p) in training, x otherwise."""

    on_sequences: ClassVar[bool] = True

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"Dropout: p must be in [0, 1), not {p}")
        self.p = p

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        if not self.training or self.p == 0:
            return x, None
        mask = torch.empty_like(x[0]).bernoulli_(1 - self.p).div_(1 - self.p)
        return x * mask, None


class Add(nn.Module):
    """The sum of what enters (the network adds the edges up)."""

    on_sequences: ClassVar[bool] = True

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        return x, None


class Delay(nn.Module):
    """y[t] = x[t − d], zero before.

    Arguments:
        ticks: d, one whole number of at least 1, or one per element (tensor of the layer's shape).

    The state is the last max(d) inputs, ``[max(d), N, ...]``, oldest first.
    """

    on_sequences: ClassVar[bool] = True
    batch_axis: ClassVar[int] = 1  # of the state
    ticks: Tensor

    def __init__(self, ticks: int | Tensor) -> None:
        super().__init__()
        value = torch.as_tensor(ticks)
        if value.is_floating_point() or bool((value < 1).any()):
            raise InputError("Delay: ticks must be whole numbers of at least 1")
        self.register_buffer("ticks", value.to(torch.int64))
        self.depth = int(value.max())

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = x.new_zeros((self.depth, *x.shape[1:]))
        elif state.shape[1:] != x.shape[1:]:
            raise StateError(f"Delay: state has shape {tuple(state.shape[1:])}, the input {tuple(x.shape[1:])}")
        line = torch.cat([state, x])
        if self.ticks.dim() == 0:
            return line[: x.shape[0]], line[x.shape[0] :]
        when = torch.arange(x.shape[0], device=x.device).reshape(-1, *([1] * self.ticks.dim()))
        index = when + self.depth - self.ticks
        index = index.unsqueeze(1).expand(x.shape)
        return line.gather(0, index), line[x.shape[0] :]

    def peek(self, state: Tensor | None, zeros: Tensor) -> Tensor:
        """What it gives this tick, ``[1, N, ...]``, before it takes anything in; ``zeros`` where it is empty."""
        line = zeros.new_zeros((self.depth, *zeros.shape)) if state is None else state
        if self.ticks.dim() == 0:
            return line[:1]
        index = (self.depth - self.ticks).expand(zeros.shape).unsqueeze(0)
        return line.gather(0, index)

    def reset(self, state: Tensor, done: Tensor) -> Tensor:
        """An empty line for the samples where ``done`` ([N], bool) holds."""
        return masked_reset(state, done, 0.0, batch_axis=1)


Kind = Literal["spike_count", "mean_membrane", "max_membrane", "last_membrane"]


class Readout(nn.Module):
    """A decision with a running value at every tick, ``[T, N, ...]``; the last one is the answer.

    ``spike_count``: Σ s; ``mean_membrane``: (Σ v)/t; ``max_membrane``: max v; ``last_membrane``: v. Sums run over the
    ticks in order, so that every executor rounds alike; argmax ties go to the lower index.
    """

    on_sequences: ClassVar[bool] = True

    def __init__(self, how: Kind = "spike_count") -> None:
        super().__init__()
        if how not in ("spike_count", "mean_membrane", "max_membrane", "last_membrane"):
            raise InputError(f"Readout: unknown kind '{how}'")
        self.how = how

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        start = -math.inf if self.how == "max_membrane" else 0.0
        running, ticks = state if state is not None else (torch.full_like(x[0], start), x.new_zeros(x.shape[1]))
        same_batch("Readout", running, x)
        values = []
        for value in x.unbind(0):
            ticks = ticks + 1
            if self.how == "last_membrane":
                running = value
            elif self.how == "max_membrane":
                running = torch.maximum(running, value)
            else:
                running = running + value
            mean = self.how == "mean_membrane"
            values.append(running / ticks.reshape(-1, *([1] * (x.dim() - 2))) if mean else running)
        return torch.stack(values), (running, ticks)

    def reset(self, state: tuple[Tensor, Tensor], done: Tensor) -> tuple[Tensor, Tensor]:
        """No value yet for the samples where ``done`` ([N], bool) holds."""
        start = -math.inf if self.how == "max_membrane" else 0.0
        return masked_reset(state[0], done, start), masked_reset(state[1], done, 0.0)


class Recurrent(nn.Module):
    """A neuron layer whose output comes back one tick later: y[t] = neuron(x[t] + synapse(y[t − 1])).

    Arguments:
        neuron: the layer.
        synapse: a synapse of this package from the layer's output to its input.

    The state is the neuron's and y[t − 1].
    """

    on_sequences: ClassVar[bool] = True

    def __init__(self, neuron: Neuron, synapse: OverTime) -> None:
        super().__init__()
        self.neuron = neuron
        self.synapse = synapse

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, after, _ = self.trace(x, state)
        return y, after

    def trace(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """Like :meth:`forward`, and a history: state name → its value after every tick, ``i`` → the current."""
        inner, last = state if state is not None else (None, torch.zeros_like(x[0]))
        same_batch("Recurrent", last, x)
        emitted, kept = [], []
        for i in x.unbind(0):
            back, _ = self.synapse(last.unsqueeze(0))
            current = i + back.squeeze(0)
            last, inner = self.neuron.step(current, inner)
            emitted.append(last)
            kept.append({**inner, INPUT: current})
        return torch.stack(emitted), (inner, last), {n: torch.stack([k[n] for k in kept]) for n in kept[0]}

    def reset(self, state: Any, done: Tensor) -> Any:
        """Fresh state for the samples where ``done`` ([N], bool) holds."""
        return self.neuron.reset(state[0], done), masked_reset(state[1], done, 0.0)
