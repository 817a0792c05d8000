"""Neurons for the tests of kernels: any known program with drawn parameters, inputs that tie, and a float64 replay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neuroaccel.kernels  # noqa: F401  # registers what is tested
from neuroaccel.neurons import Neuron, interpreter
from neuroaccel.program import NeuronSpec
from neuroaccel.program.match import known, program_of

PROGRAMS = [program_of(k.name, k.options) for k in known()]
NAMES = [f"{k.name}-{'-'.join(str(v) for v in k.options.values())}" for k in known()]
SURROGATES = ("atan", "fast_sigmoid", "triangle", "straight_through")
# Ranges to draw from, in eighths so that values meet the threshold exactly.
_RANGES = {
    **dict.fromkeys(("beta", "beta_syn", "rho", "rate"), (2, 8)),
    **dict.fromkeys(("threshold", "gain", "resistance"), (2, 12)),
    **dict.fromkeys(("kappa",), (1, 4)),
    **dict.fromkeys(("v_reset", "v_leak"), (-6, 4)),
    "tau": (9, 30),
}


def spread_of_programs(count: int) -> list[int]:
    """Positions of so many programs, evenly among all: every family, reset, delay and tie rule."""
    return sorted({round(k * (len(PROGRAMS) - 1) / max(1, count - 1)) for k in range(min(count, len(PROGRAMS)))})


def draw_spec(rng: np.random.Generator, at: int, shape: tuple[int, ...], coarse: bool = True) -> NeuronSpec:
    """Program number ``at`` with drawn parameters, scalar or per neuron, and drawn training fields."""
    program = PROGRAMS[at]
    values: dict[str, Any] = {}
    for name in program.parameter_names:
        low, high = _RANGES[name]
        size = shape if rng.random() < 0.5 else ()
        drawn = rng.integers(low, high, size) / 8 if coarse else rng.uniform(low / 8, high / 8, size)
        values[name] = np.asarray(drawn, np.float32)
    return NeuronSpec(
        program,
        values,
        surrogate=str(rng.choice(SURROGATES)),
        slope=float(rng.choice([0.5, 2.0, 5.0])),
        detach_reset=bool(rng.random() < 0.5),
    )


def draw_input(rng: np.random.Generator, shape: tuple[int, ...], coarse: bool = True) -> Tensor:
    """Currents; coarse ones are eighths."""
    x = rng.normal(0.4, 0.8, shape)
    return torch.from_numpy((np.rint(x * 8) / 8 if coarse else x).astype(np.float32))


def forced(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let neurons run this implementation."""
    monkeypatch.setenv("NEUROACCEL_KERNELS", name)


class Decisions:
    """Every comparison and floor of a run of the reference, to be taken again in another precision."""

    def __init__(self) -> None:
        self.taken: list[Tensor] = []
        self.again: Iterator[Tensor] | None = None

    @contextmanager
    def __call__(self, replay: bool) -> Iterator[None]:
        """Record the decisions of the runs inside, or impose those recorded."""
        self.again = iter(self.taken) if replay else None
        spike, floor = interpreter.spike, interpreter._UNARY["floor"]

        def decided(own: Tensor) -> Tensor:
            if self.again is None:
                self.taken.append(own.detach())
                return own
            # The recorded value with the gradient of this run's own.
            return next(self.again).to(own.dtype) + (own - own.detach())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(interpreter, "spike", lambda *args: decided(spike(*args)))
            patch.setitem(interpreter._UNARY, "floor", lambda x: decided(floor(x)))
            yield


def learnable(spec: NeuronSpec, shape: tuple[int, ...] | None) -> Neuron:
    """The layer with all its parameters learnable."""
    return Neuron(spec.training(learnable=set(spec.program.parameter_names)), shape)
