"""Neurons between ticks and seconds: NIR's τ, R and v_leak against β and gain, bit for bit in both directions.

Forward Euler of τ·dv/dt = (v_leak − v) + R·I gives β = 1 − dt/τ and gain = R·dt/τ; an integrator (IF, I) has
gain = R·dt; CubaLIF's current has β_syn = 1 − dt/τ_syn and the factor w_in·dt/τ_syn, which is 1.
All arrays that NIR stores are float64: in float32 the way there and back changes 2 to 4 % of all β.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import ProgramError, UnsupportedNode
from neuroaccel.graph import Neuron
from neuroaccel.hardware.nir.record import WHERE
from neuroaccel.program import IF, LI, LIF, CubaLIF, Known, match, program_of

logger = logging.getLogger("neuroaccel")
Wide = NDArray[np.float64]
Values = dict[str, NDArray[np.float32]]

# β = 1 beside smaller ones in a layer: 1 − 2^-60 rounds to 1 in float32 and in float64.
NO_DECAY = 2.0**60
FIELDS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
}
# Which constructor a NIR node may come from.
HOLDS = {"IF": ("IF", "LIF"), "I": ("LI",), "LI": ("LI",), "LIF": ("LIF",), "CubaLIF": ("CubaLIF",)}
DEFAULTS = {"gain": 1.0, "resistance": 1.0, "v_leak": 0.0, "v_reset": 0.0, "beta": 1.0}


def held(name: str, node: Neuron, allow_approximate: bool) -> tuple[Known, list[str]]:
    """The constructor that NIR has a node for, and what had to be approximated to get there.

    Raises:
        UnsupportedNode: NIR has no such neuron.
    """
    if node.arithmetic is not None:
        raise UnsupportedNode(name, WHERE, "it has integer arithmetic, NIR is real-valued; export the float graph")
    known = match(node.program)
    if known is None:
        raise UnsupportedNode(name, WHERE, f"'{node.program.name}' is a neuron of its own; use IF, LIF, CubaLIF or LI")
    if known.name not in ("IF", "LIF", "CubaLIF", "LI"):
        raise UnsupportedNode(name, WHERE, f"NIR has no {known.name}; use IF, LIF, CubaLIF or LI")
    options, lost = dict(known.options), []
    if options.get("reset") == "subtract":
        lost.append("reset by subtraction became a reset to 0")
        options["reset"] = "zero"
    if options.get("reset_delay") == 1:
        lost.append("a reset one tick late became a reset at the spike")
        options["reset_delay"] = 0
    if lost and not allow_approximate:
        would = "; ".join(lost).replace("became", "would become")
        cure = "train with reset='zero', or allow it with allow_approximate=True (the spikes will differ)"
        raise UnsupportedNode(name, WHERE, f"NIR resets to a value, at the spike ({would}); {cure}")
    return Known(known.name, options), lost


def _tau(beta: Wide, dt: float) -> Wide:
    with np.errstate(divide="ignore"):
        return np.where(beta == 1, dt * NO_DECAY, dt / (1 - beta))


def encode(name: str, node: Neuron, known: Known, dt: float) -> tuple[str, dict[str, Wide]]:
    """NIR's type and its fields as float64 arrays of the layer's shape.

    Raises:
        UnsupportedNode: a rate of 0, which no finite τ has.
    """

    def wide(key: str, default: float = 0.0) -> Wide:
        value = np.asarray(node.parameters.get(key, np.float32(default)), dtype=np.float64)
        return np.array(np.broadcast_to(value, node.shape))

    options, kind = known.options, known.name
    out: dict[str, Wide] = {}
    if kind != "LI":
        # NIR fires at v > θ; v ≥ θ is the same as v > the float32 below θ.
        level = np.asarray(node.parameters["threshold"], np.float32)
        level = np.nextafter(level, np.float32(-np.inf)) if options["tie"] == "ge" else level
        out["v_threshold"] = np.array(np.broadcast_to(level.astype(np.float64), node.shape))
        out["v_reset"] = wide("v_reset") if options["reset"] == "to_value" else np.zeros(node.shape)
    if options.get("form") == "euler":
        rate = wide("rate")
        if np.any(rate == 0):
            raise UnsupportedNode(name, WHERE, "its rate is 0 somewhere, which no finite τ has; remove those neurons")
        return kind, out | {"tau": dt / rate, "r": wide("resistance", 1.0), "v_leak": wide("v_leak")}
    if options.get("form") == "decay_input":
        return kind, out | {"tau": wide("tau") * dt, "r": np.ones(node.shape), "v_leak": out["v_reset"].copy()}
    beta, gain, v_leak = wide("beta", 1.0), wide("gain", 1.0), wide("v_leak")
    if kind in ("IF", "LIF", "LI") and np.all(beta == 1) and not np.any(v_leak):
        return "I" if kind == "LI" else "IF", out | {"r": gain / dt}
    tau = _tau(beta, dt)
    out |= {"tau_mem" if kind == "CubaLIF" else "tau": tau, "r": gain * tau / dt, "v_leak": v_leak}
    if kind == "CubaLIF":
        out["tau_syn"] = _tau(wide("beta_syn"), dt)
        out["w_in"] = out["tau_syn"] / dt
    return kind, out


def decode(kind: str, fields: Mapping[str, Wide], dt: float, form: str) -> Values:
    """Every parameter that a constructor of this kind may need, as float32 arrays."""
    out: dict[str, Any] = {"v_leak": fields.get("v_leak", np.zeros_like(fields["r"]))}
    if "v_threshold" in fields:
        out |= {"threshold": fields["v_threshold"], "v_reset": fields["v_reset"]}
    r = fields["r"]
    if kind in ("IF", "I"):
        out |= {"beta": np.ones_like(r), "gain": r * dt}
    elif kind == "LIF" and form == "euler":
        out |= {"rate": dt / fields["tau"], "resistance": r}
    elif kind == "LIF" and form == "decay_input":
        out |= {"tau": fields["tau"] / dt, "resistance": r}
        out["v_leak"] = out["v_leak"] - out["v_reset"]
    else:
        tau = fields["tau_mem" if kind == "CubaLIF" else "tau"]
        out |= {"beta": 1 - dt / tau, "gain": r * dt / tau}
        if kind == "CubaLIF":
            out["beta_syn"] = 1 - dt / fields["tau_syn"]
            # u is linear in its input, so a factor on what enters it may as well stand where u drives v.
            out["gain"] = out["gain"] * (fields["w_in"] * dt / fields["tau_syn"])
    return {key: np.asarray(value, np.float32) for key, value in out.items()}


def _up(values: Values, options: Mapping[str, Any]) -> Values:
    """Undo the shift of a threshold that stands for v ≥ θ."""
    if options.get("tie") == "ge":
        values["threshold"] = np.nextafter(values["threshold"], np.float32(np.inf))
    return values


def _same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    bits = [np.ascontiguousarray(x, np.float32).reshape(-1).view(np.uint32) for x in (a, b)]
    return np.asarray(bits[0] == bits[1])


def note_of(node: Neuron, known: Known, kind: str, fields: Mapping[str, Wide], dt: float) -> dict[str, Any]:
    """What NIR has no field for: form, tie, scalars, training fields, and values that its fields cannot carry.

    ``exact`` lists those values (a β below 2^-53, a negative zero) as [index, value, what the fields give].
    """
    back = _up(decode(kind, fields, dt, known.options.get("form", "decay")), known.options)
    exact: dict[str, list[list[float]]] = {}
    for key, value in node.parameters.items():
        if key not in back:
            continue
        full = np.broadcast_to(np.asarray(value, np.float32), node.shape).reshape(-1)
        read = back[key].reshape(-1)
        if len(wrong := np.flatnonzero(~_same_bits(full, read))):
            exact[key] = [[int(i), float(full[i]), float(read[i])] for i in wrong]
    return {
        "neuron": known.name,
        "options": dict(known.options),
        "label": node.program.name,
        "scalar": sorted(key for key, value in node.parameters.items() if np.ndim(value) == 0),
        "exact": exact,
        "learnable": list(node.learnable),
        "surrogate": node.surrogate,
        "slope": node.slope,
        "detach_reset": node.detach_reset,
    }


def _restored(name: str, values: Values, shape: tuple[int, ...], note: Mapping[str, Any]) -> Neuron | None:
    """The neuron as it was exported, or ``None`` where the fields no longer fit the note."""
    options = note["options"]
    program = replace(program_of(note["neuron"], options), name=note["label"])
    parameters: Values = {}
    for key, value in values.items():
        if key not in program.parameter_names:
            if key not in DEFAULTS or np.any(value != DEFAULTS[key]):
                return None
            continue
        flat = value.reshape(-1).copy()
        for index, exact, read in note["exact"].get(key, ()):
            if index < flat.size and _same_bits(flat[index : index + 1], np.array([read], np.float32)).all():
                flat[index] = exact
        scalar = key in note["scalar"] and flat.size and bool(_same_bits(flat, np.full_like(flat, flat[0])).all())
        parameters[key] = np.asarray(flat[0]) if scalar else flat.reshape(shape)
    if set(parameters) != set(program.parameter_names):
        return None
    return Neuron(
        program,
        parameters,
        shape,
        learnable=tuple(key for key in note["learnable"] if key in parameters),
        surrogate=note["surrogate"],
        slope=note["slope"],
        detach_reset=note["detach_reset"],
    )


def _inside(name: str, values: Values, dt: float) -> Values:
    """Refuse a time constant shorter than a tick; one that rounding put just below it becomes a tick."""
    for key, low, high in (("beta", 0.0, 1.0), ("beta_syn", 0.0, 1.0), ("rate", 0.0, 1.0)):
        if key not in values:
            continue
        value = values[key]
        if not np.all((value >= low - 1e-6) & (value <= high + 1e-6)):
            span = f"{key} = {value.min():g} to {value.max():g}"
            raise UnsupportedNode(
                name, WHERE, f"a time constant is shorter than dt = {dt:g} s ({span}); use a dt below it"
            )
        values[key] = np.where(value < low, np.float32(low), np.where(value > high, np.float32(high), value))
    return values


def rebuild(
    name: str,
    kind: str,
    fields: Mapping[str, Wide],
    shape: tuple[int, ...],
    dt: float,
    form: str,
    note: Mapping[str, Any] | None,
) -> Neuron:
    """The Neuron that a NIR node describes.

    Arguments:
        name: its name in the graph, for messages.
        kind, fields: NIR's type and fields, of the layer's shape.
        dt: seconds per tick.
        form: ``decay`` or ``euler``, for a LIF whose file does not say.
        note: what :func:`note_of` wrote, if the file is ours.

    Raises:
        UnsupportedNode: τ < dt, a threshold below 0.
    """
    if note is not None and note["neuron"] in HOLDS[kind]:
        own = note["options"].get("form", "decay")
        if kind == "LIF" or own == "decay":
            values = _up(_inside(name, decode(kind, fields, dt, own), dt), note["options"])
            neuron = _restored(name, values, shape, note)
            if neuron is not None:
                return neuron
        logger.warning("NIR node '%s' was changed after its export; its own fields are read, its note is not", name)
    tie = "gt" if note is None else note["options"].get("tie", "gt")
    form = form if kind == "LIF" else "decay"
    values = _up(_inside(name, decode(kind, fields, dt, form), dt), {"tie": tie})
    options: dict[str, Any] = {"form": "euler"} if "rate" in values else {}
    if "threshold" in values:
        if np.any(values["threshold"] < 0):
            raise UnsupportedNode(name, WHERE, f"its threshold is {values['threshold'].min():g}; here it is at least 0")
        # By its bits: a reset to -0 leaves another membrane than a reset to 0.
        options |= {"tie": tie, "reset": "to_value" if np.any(values["v_reset"].view(np.uint32)) else "zero"}
    if kind == "IF":
        del values["v_leak"], values["beta"]
    build: Any = {"IF": IF, "I": LI, "LI": LI, "LIF": LIF, "CubaLIF": CubaLIF}[kind]
    try:
        spec = build(**values, **options)
    except ProgramError as error:
        raise UnsupportedNode(name, WHERE, str(error)) from error
    return Neuron(spec.program, {key: np.asarray(value, np.float32) for key, value in spec.values.items()}, shape)
