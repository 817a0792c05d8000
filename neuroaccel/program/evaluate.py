"""One assignment of a program in numpy's float64: for derived values, and for what a neuron does before any input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.program.language import Assign, Operand

_OPS: dict[str, np.ufunc] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "abs": np.abs,
    "floor": np.floor,
    "copy": np.positive,
    "flush": np.positive,  # flushing belongs to float32
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
}


def evaluate(a: Assign, names: Mapping[str, Any]) -> NDArray[np.float64]:
    """The value of ``a``, each operation rounded on its own; comparisons give 1 or 0.

    Arguments:
        a: the assignment.
        names: what its operands stand for, arrays that broadcast.

    >>> float(evaluate(Assign("c", "select", ("on", 0.5, "v")), {"on": 1.0, "v": 3.0}))
    0.5
    """

    def read(operand: Operand) -> NDArray[np.float64]:
        return np.asarray(names[operand] if isinstance(operand, str) else operand, dtype=np.float64)

    args = [read(x) for x in a.args]
    if a.op == "select":
        return np.where(args[0] != 0, args[1], args[2])
    if a.op == "shift":
        return np.asarray(np.ldexp(args[0], int(args[1])), dtype=np.float64)
    return np.asarray(_OPS[a.op](*args), dtype=np.float64)
