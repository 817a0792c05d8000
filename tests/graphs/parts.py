"""What the hand-written graphs share: neurons with arrays for parameters, and weights that lie on a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import Neuron
from neuroaccel.program import Arithmetic, NeuronSpec


def neuron(spec: NeuronSpec, *shape: int, arithmetic: Arithmetic | None = None) -> Neuron:
    """A population of the given shape."""
    parameters = {name: np.asarray(value, dtype=np.float32) for name, value in spec.values.items()}
    return Neuron(
        spec.program,
        parameters,
        shape,
        arithmetic=arithmetic,
        learnable=tuple(sorted(spec.learnable)),
        surrogate=spec.surrogate,
        slope=spec.slope,
        detach_reset=spec.detach_reset,
    )


def weights(seed: int, *shape: int, q: int = 5, largest: int = 16, living: float = 0.7) -> NDArray[np.float32]:
    """Whole multiples of 2^-q up to ``largest`` of them, a share of them 0."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-largest, largest, shape, endpoint=True) * (rng.random(shape) < living)
    return np.ldexp(whole.astype(np.float32), -q)
