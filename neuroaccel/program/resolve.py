"""Parameter values of a program, checked, and its derived values, computed once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import ProgramError
from neuroaccel.program.evaluate import evaluate
from neuroaccel.program.language import Program


def check_parameters(program: Program, values: Mapping[str, NDArray[np.float32]], where: str) -> None:
    """Raise :class:`ProgramError` unless ``values`` are exactly the program's parameters, finite and inside bounds."""
    if set(values) != set(program.parameter_names):
        raise ProgramError(
            f"{where}: parameters {sorted(values)} given, "
            f"program '{program.name}' has {sorted(program.parameter_names)}"
        )
    for p in program.parameters:
        value = np.asarray(values[p.name])
        if not np.all(np.isfinite(value)):
            raise ProgramError(f"{where}: parameter '{p.name}' is not finite")
        if (p.low is not None and np.any(value < p.low)) or (p.high is not None and np.any(value > p.high)):
            raise ProgramError(
                f"{where}: parameter '{p.name}' spans [{value.min():g}, {value.max():g}], allowed is "
                f"[{'-inf' if p.low is None else p.low}, {'inf' if p.high is None else p.high}]"
            )


def resolve(program: Program, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """All parameters and derived values as float32 arrays, derived ones computed in float64 and rounded once.

    Arguments:
        program: the neuron program.
        values: its parameters, scalars or arrays of the layer's shape.

    Returns:
        name → float32 array (0-d for a scalar).
    """
    out = {name: np.asarray(values[name], dtype=np.float32) for name in program.parameter_names}
    wide: dict[str, NDArray[np.float64]] = {name: value.astype(np.float64) for name, value in out.items()}
    for a in program.derived:
        wide[a.target] = evaluate(a, wide)
        out[a.target] = wide[a.target].astype(np.float32)
    return out
