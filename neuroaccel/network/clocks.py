"""Layers with clocks: windows over ticks, dropped ticks, memories; and how any layer runs on some ticks only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neuroaccel.errors import InputError, StateError
from neuroaccel.neurons import Neuron
from neuroaccel.program.language import INPUT
from neuroaccel.synapses import Add, Dropout, OverTime, Readout, Recurrent, over_time
from neuroaccel.synapses.over_state import masked_reset, same_batch

History = dict[str, Tensor]


@dataclass(frozen=True)
class Rows:
    """On which ticks of a call a clock runs; what runs on it holds R rows, ``[R, N, ...]``.

    Arguments:
        at: tick of every row, ``[R]``; ``None``: every tick of the call is a row.
        on: bool ``[R, N]``, samples that run; ``None``: all. The others have 0 there.
        passes: bool ``[R, N]``, samples for which time passes, those that run among them; ``None``: all. Where time
            passes and the sample does not run, neurons make a silent step.
    """

    at: Tensor | None = None
    on: Tensor | None = None
    passes: Tensor | None = None

    def spread(self, values: Tensor, ticks: int) -> Tensor:
        """Rows at their ticks, ``[T, N, ...]``, 0 at the others."""
        if self.at is None:
            return values
        return values.new_zeros((ticks, *values.shape[1:])).index_copy(0, self.at, values)

    def gather(self, values: Tensor) -> Tensor:
        """The rows of what holds a value for every tick."""
        return values if self.at is None else values.index_select(0, self.at)

    def runs(self, ticks: int, example: Tensor) -> Tensor | None:
        """bool ``[T, N]``: which samples run at every tick of the call; ``None``: all."""
        if self.at is None:
            return self.on
        on = self.on
        if on is None:
            on = torch.ones((len(self.at), example.shape[1]), dtype=torch.bool, device=example.device)
        return self.spread(on, ticks)

    def standing(self, values: Tensor, before: Tensor, ticks: int) -> Tensor:
        """States after every tick, ``[T, N, ...]``: at ticks without a row they are what they were.

        Arguments:
            values: after every row, ``[R, N, ...]``.
            before: ``[N, ...]``, before the first tick.
            ticks: T.
        """
        if self.at is None:
            return values
        last = torch.zeros(ticks, dtype=torch.int64, device=values.device)
        last[self.at] = torch.arange(1, len(self.at) + 1, device=values.device)
        return torch.cat([before.unsqueeze(0), values]).index_select(0, last.cummax(0).values)


def joined(parts: Sequence[Rows], example: Tensor) -> Rows:
    """The rows of a sequence of one-tick calls."""
    counts = [1 if p.at is None else len(p.at) for p in parts]
    at = torch.tensor([t for t, count in enumerate(counts) if count], dtype=torch.int64, device=example.device)

    def masks(found: list[Tensor | None]) -> Tensor | None:
        if all(mask is None for mask in found):
            return None
        full = torch.ones((1, example.shape[1]), dtype=torch.bool, device=example.device)
        return torch.cat([full if mask is None else mask for mask in found])

    kept = [p for p, count in zip(parts, counts, strict=True) if count]
    on, passes = masks([p.on for p in kept]), masks([p.passes for p in kept])
    return Rows(None if all(counts) else at, on, passes)


def like(mask: Tensor, value: Tensor) -> Tensor:
    """A mask with as many axes as ``value``."""
    return mask.reshape(*mask.shape, *[1] * (value.dim() - mask.dim()))


def gated(value: Tensor, on: Tensor | None) -> Tensor:
    """``value`` where ``on`` holds, 0 elsewhere."""
    return value if on is None else torch.where(like(on, value), value, 0.0)


def mixed(layer: nn.Module, on: Tensor, new: Any, old: Any) -> Any:
    """A layer's state with the samples where ``on`` ([N]) holds from ``new`` and the others from ``old``.

    ``old = None`` is the fresh state.
    """
    anything: Any = layer
    if old is None:
        if new is None:
            return None
        old = anything.reset(new, torch.ones_like(on))
    if hasattr(layer, "mix"):
        return anything.mix(on, new, old)
    return _mixed(on, new, old, getattr(layer, "batch_axis", 0))


def _mixed(on: Tensor, new: Any, old: Any, axis: int) -> Any:
    if isinstance(new, Tensor):
        shape = [1] * new.dim()
        shape[axis] = -1
        return torch.where(on.reshape(shape), new, old)
    if isinstance(new, dict):
        return {key: _mixed(on, value, old[key], axis) for key, value in new.items()}
    return tuple(_mixed(on, a, b, axis) for a, b in zip(new, old, strict=True))


class Line:
    """The last values of every sample: what :class:`Memory` and :class:`Window` are made of."""

    @staticmethod
    def latest(line: Tensor, x: Tensor, on: Tensor | None, chosen: Tensor | None, width: int) -> tuple[Tensor, Tensor]:
        """The last ``width`` values at rows.

        Arguments:
            line: ``[N, width − 1, ...]``, the values before, oldest first.
            x: ``[R, N, ...]``.
            on: bool ``[R, N]``, the rows that count; ``None``: all.
            chosen: numbers of the rows that are wanted; ``None``: all. Where such a row does not count, anything.
            width: how many.

        Returns:
            ``[rows, N, width, ...]``, oldest first, and the line after.
        """
        everything = torch.cat([line.transpose(0, 1), x])
        rows = torch.arange(len(x), device=x.device) if chosen is None else chosen
        taps = torch.arange(width, device=x.device)
        if on is None:
            index = rows.unsqueeze(1) + taps
            found = everything.index_select(0, index.flatten()).reshape(len(rows), width, *x.shape[1:])
            return found.transpose(1, 2), everything[len(x) :].transpose(0, 1)
        # Every sample's own values, without gaps between them.
        counts = torch.cat([on.new_ones((width - 1, on.shape[1])), on])
        order = torch.argsort((~counts).to(torch.int8), dim=0, stable=True)
        packed = everything.gather(0, like(order, everything).expand_as(everything))
        last = torch.cumsum(on, 0)
        index = (last.index_select(0, rows) - 1).clamp(min=0).unsqueeze(1) + taps.reshape(1, -1, 1)
        index = index.flatten(0, 1)
        found = packed.gather(0, like(index, packed).expand(-1, -1, *packed.shape[2:]))
        after = last[-1].unsqueeze(0) + torch.arange(width - 1, device=x.device).unsqueeze(1)
        line = packed.gather(0, like(after, packed).expand(-1, -1, *packed.shape[2:]))
        return found.reshape(len(rows), width, *x.shape[1:]).transpose(1, 2), line.transpose(0, 1)


class Memory(nn.Module):
    """The last ``capacity`` values, this tick's the last of them, zero where there were none.

    ``[T, N, ...]`` → ``[T, N, capacity, ...]``; the state is the last capacity − 1 inputs, ``[N, capacity − 1, ...]``,
    oldest first.
    """

    on_sequences: ClassVar[bool] = True

    def __init__(self, capacity: int) -> None:
        super().__init__()
        if capacity < 1:
            raise InputError(f"Memory: capacity must be at least 1, not {capacity}")
        self.capacity = capacity

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.run(x, state, None)

    def run(self, x: Tensor, state: Tensor | None, on: Tensor | None) -> tuple[Tensor, Tensor]:
        """Like :meth:`forward` with the rows where ``on`` ([T, N]) holds; the others give 0."""
        line = _line(self, x, state, self.capacity)
        y, line = Line.latest(line, x, on, None, self.capacity)
        return gated(y, on), line

    def reset(self, state: Tensor, done: Tensor) -> Tensor:
        """Nothing remembered for the samples where ``done`` ([N], bool) holds."""
        return masked_reset(state, done, 0.0)


def _line(layer: nn.Module, x: Tensor, line: Tensor | None, width: int) -> Tensor:
    shape = (x.shape[1], width - 1, *x.shape[2:])
    if line is None:
        return x.new_zeros(shape)
    if line.shape != shape:
        raise StateError(
            f"{type(layer).__name__}: state has shape {tuple(line.shape)}, the input asks for {shape}; "
            "reset the state before changing the batch size"
        )
    return line


class Window(nn.Module):
    """Turns ticks into one, once every ``stride`` ticks: the last ``width`` values, oldest first.

    In a :class:`~neuroaccel.network.Network` it runs at tick width − 1 for the first time and what stands behind it
    runs with it; at the other ticks there is 0. By itself it gives the last ``width`` values at every tick. The state
    is the last width − 1 inputs, ``[N, width − 1, ...]``, and the number of ticks that each sample has seen.
    """

    on_sequences: ClassVar[bool] = True

    def __init__(self, width: int, stride: int | None = None) -> None:
        super().__init__()
        stride = width if stride is None else stride
        if width < 1 or stride < 1:
            raise InputError(f"Window: width and stride must be at least 1, not {width} and {stride}")
        self.width, self.stride = width, stride

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        line, seen = self._ready(x, state)
        y, line = Line.latest(line, x, None, None, self.width)
        return y, (line, seen + len(x))

    def _ready(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        line, seen = (None, torch.zeros(x.shape[1], dtype=torch.int64, device=x.device)) if state is None else state
        return _line(self, x, line, self.width), seen

    def run(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None, rows: Rows
    ) -> tuple[Tensor, Rows, tuple[Tensor, Tensor]]:
        """What it gives in a network.

        Arguments:
            x: ``[R, N, ...]``.
            state: from before.
            rows: on which ticks x runs.

        Returns:
            ``[R', N, width, ...]``, on which ticks these rows run, and the state after.
        """
        line, seen = self._ready(x, state)
        on = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if rows.on is None else rows.on
        count = seen + torch.cumsum(on, 0)
        full = on & (count >= self.width) & ((count - self.width) % self.stride == 0)
        chosen = full.any(1).nonzero().squeeze(1)
        y, line = Line.latest(line, x, rows.on, chosen, self.width)
        at = chosen if rows.at is None else rows.at.index_select(0, chosen)
        some = full.index_select(0, chosen)
        mask = None if bool(some.all()) else some
        return gated(y, mask), Rows(at, mask, mask), (line, count[-1])

    def reset(self, state: tuple[Tensor, Tensor], done: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing seen for the samples where ``done`` ([N], bool) holds."""
        return masked_reset(state[0], done, 0.0), masked_reset(state[1], done, 0)


class Keep(nn.Module):
    """Drops ticks of samples: y = x·mask, and where the mask is 0 nothing behind it runs but silent steps of neurons.

    Ports: ``in`` and ``mask``, one value 0 or 1 per tick and sample.
    """

    on_sequences: ClassVar[bool] = True
    stateless: ClassVar[bool] = True
    ports: ClassVar[tuple[str, ...]] = ("in", "mask")

    def forward(self, x: Tensor, mask: Tensor, state: None = None) -> tuple[Tensor, None]:
        return x * mask.reshape(*mask.shape[:2], *[1] * (x.dim() - 2)), None

    @staticmethod
    def rows(mask: Tensor, rows: Rows) -> Rows:
        """On which ticks what stands behind it runs."""
        on = mask.reshape(*mask.shape[:2], -1)[..., 0] != 0
        if rows.on is not None:
            on = on & rows.on
        return Rows(rows.at, None if bool(on.all()) else on, rows.passes)


def run_on(
    layer: nn.Module, inputs: Sequence[Tensor], state: Any, rows: Rows, keep: bool
) -> tuple[Tensor, Any, History | None]:
    """Run a layer on the rows of its clock.

    Arguments:
        layer: no Window, Keep or Scope.
        inputs: ``[R, N, ...]`` of every port, R at least 1.
        state: from before, ``None`` is fresh.
        rows: where it runs.
        keep: whether a neuron layer's states after every row are wanted.

    Returns:
        ``[R, N, ...]``, the state after, and the history: state → ``[R, N, ...]``, ``i`` → the current.
    """
    anything: Any = layer
    x, on = inputs[0], rows.on
    if isinstance(layer, (Neuron, Recurrent)):
        return _neurons(layer, x, state, rows, keep)
    if on is None:
        if not getattr(layer, "on_sequences", False):
            return over_time(layer, x), None, None
        y, after = anything(*inputs, state)
        return y, after, None
    if isinstance(layer, OverTime) or not getattr(layer, "on_sequences", False):
        return _only_kept(layer, x, on), None, None
    if isinstance(layer, Memory):
        return *layer.run(x, state, on), None
    if isinstance(layer, (Add, Dropout)) or getattr(layer, "stateless", False):
        y, after = anything(*inputs, state)
        return gated(y, on), after, None
    values = []
    for r, runs in enumerate(on):
        y, after = anything(*(v[r : r + 1] for v in inputs), state)
        state = mixed(layer, runs, after, state)
        values.append(gated(y, runs.unsqueeze(0)))
    return torch.cat(values), state, None


def _only_kept(layer: nn.Module, x: Tensor, on: Tensor) -> Tensor:
    """A stateless layer on the pairs of row and sample that run; the others cost nothing."""
    if not bool(on.any()):
        return torch.zeros_like(_stateless(layer, x))
    y = _stateless(layer, x[on].unsqueeze(0)).squeeze(0)
    return y.new_zeros((*on.shape, *y.shape[1:])).index_put(on.nonzero(as_tuple=True), y)


def _stateless(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = layer(x)[0] if isinstance(layer, OverTime) else over_time(layer, x)
    return y


def _neurons(
    layer: Neuron | Recurrent, x: Tensor, state: Any, rows: Rows, keep: bool
) -> tuple[Tensor, Any, History | None]:
    """Neurons: where time passes and they do not run, a silent step."""
    if rows.on is None or (rows.passes is None and isinstance(layer, Neuron)):
        x = gated(x, rows.on)
        if keep:
            y, after, traced = layer.trace(x, state)
            return gated(y, rows.on), after, traced
        y, after = layer(x, state)
        return gated(y, rows.on), after, None
    emitted, kept = [], []
    always = torch.ones_like(rows.on[0])
    for r, on in enumerate(rows.on):
        passes = always if rows.passes is None else rows.passes[r]
        y, after, moment = _one(layer, x[r], state, on)
        state = mixed(layer, passes, after, state)
        emitted.append(y)
        kept.append({**(state[0] if isinstance(layer, Recurrent) else state), INPUT: moment})
    history = {n: torch.stack([k[n] for k in kept]) for n in kept[0]} if keep else None
    return torch.stack(emitted), state, history


def _one(layer: Neuron | Recurrent, i: Tensor, state: Any, on: Tensor) -> tuple[Tensor, Any, Tensor]:
    """One row: what is sent, the state after, the current."""
    if isinstance(layer, Neuron):
        current = gated(i, on)
        y, after = layer.step(current, state)
        return gated(y, on), after, current
    inner, last = state if state is not None else (None, torch.zeros_like(i))
    same_batch("Recurrent", last, i.unsqueeze(0))
    back, _ = layer.synapse(last.unsqueeze(0))
    current = gated(i + back.squeeze(0), on)
    y, inner = layer.neuron.step(current, inner)
    # What it sent when it last ran comes back at the tick at which it next runs.
    return gated(y, on), (inner, torch.where(like(on, y), y, last)), current


def run_readout(layer: Readout, x: Tensor, state: Any, on: Tensor | None) -> tuple[Tensor, Any]:
    """A Readout with a value at every tick, ``[T, N, ...]``: where ``on`` ([T, N]) does not hold its value stands, 0
    before the first."""
    if on is None:
        y, after = layer(x, state)
        return y, after
    values = []
    for t, runs in enumerate(on):
        y, after = layer(x[t : t + 1], state)
        if state is None:
            state = layer.reset(after, torch.ones_like(runs))
        running, ticks = state
        state = mixed(layer, runs, after, state)
        stood = running / ticks.reshape(-1, *[1] * (y.dim() - 2)) if layer.how == "mean_membrane" else running
        stood = torch.where(like(ticks > 0, stood), stood, 0.0)
        values.append(torch.where(like(runs, y[0]), y[0], stood))
    return torch.stack(values), state
