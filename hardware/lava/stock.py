"""The settings of Lava's own LIF for a population, where it computes exactly what the population's program says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import Neuron
from neuroaccel.hardware.lava.loihi import arithmetic, mantissas
from neuroaccel.hardware.lava.match import find, find_integer
from neuroaccel.program import resolve

Settings = tuple[dict[str, Any], dict[str, Any]]  # scalars, and arrays per neuron


def stock_float(node: Neuron) -> Settings | None:
    """Lava's own LIF in float64, where it computes exactly what the program says."""
    found = find(node.program)
    if found is None or not found.stock:
        return None
    values = {k: v.astype(np.float64) for k, v in resolve(node.program, node.parameters).items()}
    scalar = {k: _uniform(values[k]) for k in ("beta", "beta_syn", "threshold") if k in values}
    if None in scalar.values():
        return None
    dv = 1.0 - float(scalar.get("beta") or 0.0) if found.kind != "IF" else 0.0
    du = 1.0 - float(scalar["beta_syn"] or 0.0) if found.kind == "CubaLIF" else 1.0
    kept = ((dv, float(scalar.get("beta", 1.0) or 0.0)), (du, float(scalar.get("beta_syn", 0.0) or 0.0)))
    if any(1.0 - lost != beta for lost, beta in kept):
        return None  # a beta below 2^-29 does not survive 1 − (1 − β)
    threshold = float(scalar["threshold"] or 0.0)
    vth = float(np.nextafter(threshold, -np.inf)) if found.tie == "ge" else threshold
    out = {"du": du, "dv": dv, "vth": vth, "bias_exp": 0, "tie": found.tie, "threshold": threshold}
    arrays = {}
    if found.leak:
        arrays["bias_mant"] = np.broadcast_to(values["c"], node.shape).reshape(-1)
    return out, arrays


def stock_fixed(node: Neuron) -> Settings | None:
    """Lava's bit-accurate LIF, where the program is Loihi's with one decay and one threshold per layer."""
    found = find_integer(node.program)
    if found is None or not found.stock or found.tie != "gt" or node.arithmetic != arithmetic(node.program):
        return None
    values = {k: np.asarray(v, np.float64) for k, v in node.parameters.items()}
    scalar = {k: _uniform(v) for k, v in values.items() if k != "bias"}
    if None in scalar.values() or float(scalar["threshold"] or 0.0) % 64:
        return None
    dv = 4096 - round(4096 * float(scalar["decay_v"] or 0.0))
    du = 4095 - round(4096 * float(scalar["decay_u"] or 0.0)) if found.kind == "CubaLIF" else 4095
    if not (0 <= dv <= 4095 and 0 <= du <= 4095):
        return None
    vth = round(float(scalar["threshold"] or 0.0)) // 64
    out: dict[str, Any] = {"du": du, "dv": dv, "vth": vth, "bias_exp": 0, "tie": "gt", "threshold": vth * 64}
    arrays = {}
    if found.leak:
        mantissa, out["bias_exp"], value = mantissas(values["bias"])
        if np.any(value != values["bias"]):
            return None
        arrays["bias_mant"] = np.broadcast_to(mantissa, node.shape).reshape(-1).astype(np.int32)
    return out, arrays


def _uniform(value: NDArray[Any]) -> float | None:
    """The one value of an array, None if it holds several."""
    first = value.reshape(-1)[0]
    return float(first) if np.all(value == first) else None
