"""What the comparison of one neuron saw: its states before it fired, which no trace holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray

from neuroaccel.neurons.interpreter import tick
from neuroaccel.program.language import Emit, Program


def before_firing(
    program: Program, values: Mapping[str, NDArray[Any]], state: Mapping[str, Any], current: Any, wide: bool
) -> dict[str, float]:
    """States of one neuron after the body of its program, by the reference interpreter.

    Arguments:
        program: the arithmetic.
        values: parameters and derived values of this neuron.
        state: state name → value at the end of the tick before.
        current: its input i.
        wide: float64 instead of float32.
    """
    number = torch.float64 if wide else torch.float32
    silent = replace(program, fire=None, on_fire=(), emit=Emit("state", program.membrane))

    def one(value: Any) -> torch.Tensor:
        return torch.tensor(float(value), dtype=number)

    with torch.no_grad():
        given = {name: one(value) for name, value in values.items()}
        states = {name: one(value) for name, value in state.items()}
        _, after = tick(silent, given, one(current), states, "atan", 1.0, True)
    return {name: float(value) for name, value in after.items()}
