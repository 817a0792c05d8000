"""What an executor computed, in the one form that all executors return and the comparison reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trace:
    """Time-major recordings of a run: T ticks, N samples.

    Arguments:
        outputs: Output name → values at every tick, ``[T, N, *shape]``; a Readout's are running values.
        spikes: Neuron name → what it emitted, ``[T, N, *shape]`` (uint8 spikes, int32 counts, float state).
        states: Neuron name → state name → its value after the tick, ``[T, N, *shape]``.
        currents: Neuron name → its input i, ``[T, N, *shape]``.
    """

    outputs: Mapping[str, NDArray[Any]]
    spikes: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    currents: Mapping[str, NDArray[Any]] = field(default_factory=dict)
