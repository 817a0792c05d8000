"""A Linear whose weights go on learning while it runs, by a three-factor rule with eligibility traces.

The order of the float32 operations is that of docs/contracts.md, so that every executor learns the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from neuroaccel.errors import InputError, StateError
from neuroaccel.program.language import FLUSH_BELOW
from neuroaccel.synapses.over_state import masked_reset

# What every sample has of its own: "weight" and "trace", [N, out, in] each.
PlasticState = dict[str, Tensor]


@dataclass(frozen=True)
class ThreeFactor:
    """The rule E = λ·E + x·y;  Δw = rate·m·E, rounded to a grid and clipped to ±bound.

    Arguments:
        trace_decay: λ, from 0 to 1.
        rate: of any sign; 0 learns nothing.
        bound: the largest weight that learning reaches; a weight beyond it stays where it is until it moves.
        grid: q of the grid 2^-q that changes are rounded to, halves to even; None: they are not.

    Raises:
        InputError: values out of these ranges, or a bound below one step of the grid.

    Source: SNN-DT's documentation (arXiv 2508.21505), the rule of its action head; grid and bound are ours.

    >>> import torch
    >>> rule, one = ThreeFactor(0.5, 0.1, 1.0), torch.ones(1, 1)
    >>> trace = rule.traced(torch.zeros(1, 1, 1), one, one)
    >>> rule.traced(trace, 0 * one, 0 * one).item()
    0.5
    """

    trace_decay: float
    rate: float
    bound: float
    grid: int | None = None

    def __post_init__(self) -> None:
        finite = math.isfinite(self.rate) and math.isfinite(self.bound)
        if not (0 <= self.trace_decay <= 1 and finite):
            raise InputError(f"{self}: trace_decay is from 0 to 1, rate and bound are finite")
        if self.limit <= 0:
            raise InputError(f"{self}: the bound is below a step of the grid, or not above 0")

    @property
    def limit(self) -> float:
        """The bound, rounded down to the grid."""
        return (
            self.bound if self.grid is None else math.ldexp(math.floor(math.ldexp(self.bound, self.grid)), -self.grid)
        )

    @torch.no_grad()
    def traced(self, trace: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """E after a tick: λ·E, 0 where its size is below 2^-100, plus x·y of every place.

        Arguments:
            trace: E, ``[N, out, in]``.
            x: ``[N, ..., in]``, what entered.
            y: ``[N, ..., out]``, the post-synaptic values.
        """
        faded = trace * float(np.float32(self.trace_decay))
        if faded.dtype == torch.float32:
            faded = torch.where(faded.abs() < FLUSH_BELOW, 0.0, faded)
        places = x.reshape(len(x), -1, x.shape[-1]), y.reshape(len(y), -1, y.shape[-1])
        for pre, post in zip(*(v.unbind(1) for v in places), strict=True):
            faded = faded + post.unsqueeze(2) * pre.unsqueeze(1)
        return faded

    @torch.no_grad()
    def moved(self, weight: Tensor, trace: Tensor, third: Tensor) -> Tensor:
        """Weights after a tick.

        Arguments:
            weight, trace: ``[N, out, in]``, the trace with this tick in it.
            third: m, one value per sample, ``[N, ...]``.
        """
        gain = float(np.float32(self.rate)) * third.reshape(-1, 1, 1)
        change = gain * trace
        if self.grid is not None:
            change = (change * 2.0**self.grid).round() * 2.0**-self.grid
        # Where nothing moves not a bit changes: neither a weight beyond the bound nor the sign of a 0.
        moves = (change != 0) & (gain != 0)
        return torch.where(moves, (weight + change).clamp(-self.limit, self.limit), weight)


class PlasticLinear(nn.Linear):
    """y = W·x + b on ``[T, N, ..., in]`` with W of every sample its own; W learns at the end of every tick.

    E = λ·E + x·y_post;  W = clip(W + round(rate·m·E)). W begins as the parameter ``weight``. Gradients run through the
    product alone: what was learnt while running counts as a constant that was added to the parameter, traces and
    changes carry none. Without a third factor it is a Linear that does not learn.

    Arguments:
        in_features, out_features: as of torch.nn.Linear.
        rule: how it learns. With a grid, :func:`~neuroaccel.graph.lower.lower` snaps to it or to a coarser one.
        bias: whether it has one; it does not learn.

    In a :class:`~neuroaccel.network.Network` two more edges enter it: ``third`` (one value) and ``post`` (in the shape
    of its output), both read at the end of the tick, so that ``post`` may come from neurons that it drives. The state
    holds ``weight`` and ``trace``, ``[N, out, in]`` each.

    >>> import torch
    >>> layer = PlasticLinear(1, 1, ThreeFactor(0.5, 0.1, 1.0), bias=False)
    >>> _ = torch.nn.init.zeros_(layer.weight)
    >>> one = torch.ones(1, 1, 1)
    >>> _, state = layer(one, 2 * one, one)
    >>> round(state["weight"].item(), 6)
    0.2
    """

    on_sequences: ClassVar[bool] = True
    ports: ClassVar[tuple[str, ...]] = ("in", "third", "post")

    def __init__(self, in_features: int, out_features: int, rule: ThreeFactor, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.rule = rule

    def fresh(self, samples: int) -> PlasticState:
        """The state of samples that have learnt nothing."""
        weight = self.weight.detach().expand(samples, *self.weight.shape)
        return {"weight": weight, "trace": torch.zeros_like(weight)}

    def forward(  # type: ignore[override]
        self, x: Tensor, third: Tensor | None = None, post: Tensor | None = None, state: PlasticState | None = None
    ) -> tuple[Tensor, PlasticState | None]:
        """A sequence of ticks.

        Arguments:
            x: ``[T, N, ..., in]``.
            third: the third factor, ``[T, N, 1]``; None: nothing is learnt.
            post: ``[T, N, ..., out]``.
            state: from before, None is fresh.

        Returns:
            ``[T, N, ..., out]``, and the state after.

        Raises:
            StateError: a state of another number of samples.
            InputError: values of other shapes.
        """
        if third is None or post is None:
            return (super().forward(x) if state is None else torch.stack([self.react(v, state) for v in x])), state
        rows = []
        for pre, m, y in zip(x, third, post, strict=True):
            rows.append(self.react(pre, state))
            state = self.learn(pre, m, y, state)
        return torch.stack(rows), state

    def react(self, x: Tensor, state: PlasticState | None) -> Tensor:
        """One tick's product, ``[N, ..., in]`` → ``[N, ..., out]``."""
        if state is None:
            return super().forward(x)
        self._check(x, state)
        weight = state["weight"]
        if self.weight.requires_grad and torch.is_grad_enabled():
            weight = weight + (self.weight - self.weight.detach())  # adds 0, and the way back to the parameter
        y = torch.matmul(x.reshape(len(x), -1, x.shape[-1]), weight.transpose(1, 2))
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    @torch.no_grad()
    def learn(self, x: Tensor, third: Tensor, post: Tensor, state: PlasticState | None) -> PlasticState:
        """The end of a tick: the state from which the next one starts.

        Arguments:
            x, third, post: ``[N, ..., in]``, ``[N, 1]``, ``[N, ..., out]`` of this tick.
            state: None is fresh.
        """
        if third[:1].numel() != 1 or post.shape != (*x.shape[:-1], self.out_features):
            raise InputError(
                f"PlasticLinear: third factor {tuple(third.shape)} and post {tuple(post.shape)}, expected "
                f"{(len(x), 1)} and {(*x.shape[:-1], self.out_features)}"
            )
        state = self.fresh(len(x)) if state is None else state
        self._check(x, state)
        trace = self.rule.traced(state["trace"], x, post)
        return {"weight": self.rule.moved(state["weight"], trace, third), "trace": trace}

    def _check(self, x: Tensor, state: PlasticState) -> None:
        expected = (len(x), *self.weight.shape)
        if any(tuple(v.shape) != expected for v in state.values()):
            shapes = ", ".join(str(tuple(v.shape)) for v in state.values())
            raise StateError(
                f"PlasticLinear: state has shapes {shapes}, expected {expected}; "
                "reset the state before changing the batch size"
            )

    def reset(self, state: PlasticState, done: Tensor) -> PlasticState:
        """The parameter's weights and no traces for the samples where ``done`` ([N], bool) holds."""
        trace = masked_reset(state["trace"], done, 0.0)
        chosen = done.to(torch.bool).reshape(-1, 1, 1)
        return {"weight": torch.where(chosen, self.weight.detach(), state["weight"]), "trace": trace}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rule={self.rule}"
