"""The neurons of the field as programs: IF, LIF in three forms, CubaLIF, LI, ALIF, and a graded-spike LIF.

Each constructor returns a :class:`NeuronSpec`: a program with values for its parameters and its training fields. A
neuron of one's own is a function that builds a :class:`~neuroaccel.program.language.Program` the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import ProgramError
from neuroaccel.program.language import Assign, Emit, Fire, Operand, Parameter, Program, State

Value = float | NDArray[np.float32]
Form = Literal["decay", "euler", "decay_input"]
Tie = Literal["gt", "ge"]
Reset = Literal["zero", "to_value", "subtract"]
SURROGATES = ("atan", "fast_sigmoid", "triangle", "straight_through")

BETA = Parameter("beta", 0.0, 1.0)
THRESHOLD = Parameter("threshold", 0.0, None)


@dataclass(frozen=True, eq=False)
class NeuronSpec:
    """A program with its values.

    Arguments:
        program: the arithmetic.
        values: parameter name → scalar, or array of the layer's shape.
        learnable: names of the parameters that training moves, inside the program's bounds.
        surrogate: shape of the surrogate gradient at the comparison: atan, fast_sigmoid, triangle, straight_through.
        slope: its steepness.
        detach_reset: whether the gradient stops at the reset.
    """

    program: Program
    values: Mapping[str, Value]
    learnable: frozenset[str] = frozenset()
    surrogate: str = "atan"
    slope: float = 2.0
    detach_reset: bool = True

    def __post_init__(self) -> None:
        if self.surrogate not in SURROGATES:
            raise ProgramError(f"unknown surrogate '{self.surrogate}'; known: {', '.join(SURROGATES)}")
        if set(self.values) != set(self.program.parameter_names):
            raise ProgramError(
                f"neuron '{self.program.name}': values for {sorted(self.values)} given, "
                f"needed {sorted(self.program.parameter_names)}"
            )
        if unknown := set(self.learnable) - set(self.program.parameter_names):
            raise ProgramError(f"neuron '{self.program.name}': cannot learn {sorted(unknown)}: no such parameter")
        if not (np.isfinite(self.slope) and self.slope > 0):
            raise ProgramError(f"neuron '{self.program.name}': slope is {self.slope}, expected a positive number")
        for p in self.program.parameters:
            self._check(p)

    def _check(self, p: Parameter) -> None:
        """Refuse a value now, and not after a training, when the graph would."""
        given = self.values[p.name]
        value = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
        if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise ProgramError(f"neuron '{self.program.name}': {p.name} is {self.values[p.name]!r}, expected numbers")
        low, high = -np.inf if p.low is None else p.low, np.inf if p.high is None else p.high
        if value.size and not (low <= value.min() and value.max() <= high):
            raise ProgramError(
                f"neuron '{self.program.name}': {p.name} spans [{value.min():g}, {value.max():g}], "
                f"allowed is [{low:g}, {high:g}]"
            )

    def training(
        self,
        surrogate: str | None = None,
        slope: float | None = None,
        detach_reset: bool | None = None,
        learnable: frozenset[str] | set[str] | None = None,
    ) -> NeuronSpec:
        """The same neuron with other training fields."""
        return replace(
            self,
            surrogate=self.surrogate if surrogate is None else surrogate,
            slope=self.slope if slope is None else slope,
            detach_reset=self.detach_reset if detach_reset is None else detach_reset,
            learnable=self.learnable if learnable is None else frozenset(learnable),
        )


@dataclass
class _Builder:
    """Collects a program while a constructor writes it down in the order of the contract."""

    states: list[State] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    derived: list[Assign] = field(default_factory=list)
    body: list[Assign] = field(default_factory=list)
    on_fire: list[Assign] = field(default_factory=list)
    leak: tuple[str, ...] = ()

    def parameter(self, p: Parameter, value: Value) -> None:
        self.parameters.append(p)
        self.values[p.name] = value

    def do(self, target: str, op: str, *args: Operand) -> None:
        self.body.append(Assign(target, op, args))

    def reset(self, how: Reset, delay: int, level: str) -> None:
        """Reset of ``v``: at the spike (delay 0) or, before the next comparison, one tick later (delay 1)."""
        if how not in ("zero", "to_value", "subtract") or delay not in (0, 1):
            raise ProgramError(f"reset '{how}' with delay {delay}: expected zero, to_value or subtract, and 0 or 1")
        goal: Operand = "v_reset" if how == "to_value" else 0.0
        if delay == 0:
            self.on_fire.append(Assign("v", "sub", ("v", level)) if how == "subtract" else Assign("v", "copy", (goal,)))
            return
        self.states.append(State("r"))
        if how == "subtract":
            self.do("m", "mul", level, "r")
            self.do("v", "sub", "v", "m")
        else:
            self.do("v", "select", "r", goal, "v")
        self.do("r", "copy", 0.0)
        self.on_fire.append(Assign("r", "copy", (1.0,)))

    def spec(self, name: str, fire: Fire | None, emit: Emit) -> NeuronSpec:
        program = Program(
            name=name,
            states=tuple(self.states),
            parameters=tuple(self.parameters),
            derived=tuple(self.derived),
            body=tuple(self.body),
            fire=fire,
            on_fire=tuple(self.on_fire),
            emit=emit,
            leak=self.leak,
        )
        return NeuronSpec(program, self.values)


def _nonzero(value: Value) -> bool:
    return bool(np.any(np.asarray(value) != 0))


def _decay(b: _Builder, beta: Value | None, gain: Value, v_leak: Value) -> None:
    """v = β·v, flushed; v = v + gain·i; v = v + c with c = float32((1 − β)·v_leak)."""
    b.states.append(State("v"))
    if beta is not None:
        b.parameter(BETA, beta)
        b.do("v", "mul", "beta", "v")
        b.do("v", "flush", "v")
    drive = "i"
    if np.any(np.asarray(gain) != 1):
        b.parameter(Parameter("gain"), gain)
        b.do("g", "mul", "gain", "i")
        drive = "g"
    b.do("v", "add", "v", drive)
    if _nonzero(v_leak):
        if beta is None:
            raise ProgramError("a neuron without decay has no leak potential")
        b.parameter(Parameter("v_leak"), v_leak)
        b.derived += [Assign("one_minus_beta", "sub", (1.0, "beta")), Assign("c", "mul", ("one_minus_beta", "v_leak"))]
        b.do("v", "add", "v", "c")
        b.leak = ("c",)


def _spiking(
    b: _Builder, name: str, threshold: Value, tie: Tie, reset: Reset, delay: int, v_reset: Value
) -> NeuronSpec:
    b.parameter(THRESHOLD, threshold)
    if reset == "to_value":
        b.parameter(Parameter("v_reset"), v_reset)
    b.reset(reset, delay, "threshold")
    return b.spec(name, Fire("v", tie, "threshold"), Emit("spike"))


def IF(  # noqa: N802
    threshold: Value = 1.0,
    *,
    tie: Tie = "gt",
    reset: Reset = "zero",
    reset_delay: int = 0,
    v_reset: Value = 0.0,
    gain: Value = 1.0,
) -> NeuronSpec:
    """Integrate-and-fire: v = v + gain·i; s = v > θ; reset."""
    b = _Builder()
    _decay(b, None, gain, 0.0)
    return _spiking(b, "IF", threshold, tie, reset, reset_delay, v_reset)


def _refuse_strange(form: str, options: Mapping[str, Value | None]) -> None:
    """Refuse options of another form: nothing would come of them, and nobody would notice."""
    defaults: dict[str, Value | None] = {"v_leak": 0.0, "gain": 1.0, "rate": None, "resistance": 1.0, "tau": None}
    own = {"decay": ("v_leak", "gain"), "euler": ("v_leak", "rate", "resistance"), "decay_input": ("tau",)}
    if form not in own:
        raise ProgramError(f"unknown LIF form '{form}'; known: {', '.join(own)}")
    strange = [
        key
        for key, value in options.items()
        if key not in own[form] and value is not None and np.any(np.asarray(value) != defaults[key])
    ]
    if strange:
        raise ProgramError(f"LIF(form='{form}') has no {', '.join(strange)}; it takes {', '.join(own[form])}")


def LIF(  # noqa: N802
    beta: Value = 0.9,
    threshold: Value = 1.0,
    *,
    form: Form = "decay",
    tie: Tie = "gt",
    reset: Reset = "zero",
    reset_delay: int = 0,
    v_reset: Value = 0.0,
    v_leak: Value = 0.0,
    gain: Value = 1.0,
    rate: Value | None = None,
    resistance: Value = 1.0,
    tau: Value | None = None,
) -> NeuronSpec:
    """Leaky integrate-and-fire.

    ``decay``:        v = β·v; v = v + gain·i; v = v + c, c = (1 − β)·v_leak
    ``euler``:        d = v_leak − v; d = d + R·i; d = (dt/τ)·d; v = v + d       (NIR's equation, forward Euler)
    ``decay_input``:  d = v − v_reset; d = i − d; d = d/τ; v = v + d             (τ in ticks)

    then s = v > θ (``tie='ge'``: v ≥ θ) and the reset.

    Arguments:
        beta: decay per tick, in [0, 1] (form ``decay``).
        threshold: θ.
        form: which discretisation.
        tie: ``gt`` or ``ge``.
        reset: ``zero``, ``to_value`` (v_reset) or ``subtract`` (θ).
        reset_delay: 0, or 1 to reset before the next tick's comparison.
        v_leak: the potential that v leaks to (forms ``decay``, ``euler``).
        gain: factor on the current (form ``decay``).
        rate: dt/τ (form ``euler``).
        resistance: R (form ``euler``).
        tau: time constant in ticks (form ``decay_input``).

    Raises:
        ProgramError: an unknown form, a constant that the form needs is missing, or one of another form is given.
    """
    _refuse_strange(form, {"v_leak": v_leak, "gain": gain, "rate": rate, "resistance": resistance, "tau": tau})
    b = _Builder()
    if form == "decay":
        _decay(b, beta, gain, v_leak)
    elif form == "euler":
        if rate is None:
            raise ProgramError("LIF(form='euler') needs rate = dt/tau")
        b.states.append(State("v"))
        b.parameter(Parameter("rate", 0.0, 1.0), rate)
        if _nonzero(v_leak):
            b.parameter(Parameter("v_leak"), v_leak)
            b.do("d", "sub", "v_leak", "v")
            b.leak = ("v_leak",)
        else:
            b.do("d", "sub", 0.0, "v")
        drive = "i"
        if np.any(np.asarray(resistance) != 1):
            b.parameter(Parameter("resistance"), resistance)
            b.do("g", "mul", "resistance", "i")
            drive = "g"
        b.do("d", "add", "d", drive)
        b.do("d", "mul", "rate", "d")
        b.do("v", "add", "v", "d")
    else:
        if tau is None:
            raise ProgramError("LIF(form='decay_input') needs tau in ticks")
        b.states.append(State("v"))
        b.parameter(Parameter("tau", 1.0, None), tau)
        if reset == "to_value":
            b.do("d", "sub", "v", "v_reset")
            b.do("d", "sub", "i", "d")
            b.leak = ("v_reset",)
        else:
            b.do("d", "sub", "i", "v")
        b.do("d", "div", "d", "tau")
        b.do("v", "add", "v", "d")
    return _spiking(b, "LIF", threshold, tie, reset, reset_delay, v_reset)


def CubaLIF(  # noqa: N802
    beta_syn: Value = 0.8,
    beta: Value = 0.9,
    threshold: Value = 1.0,
    *,
    tie: Tie = "gt",
    reset: Reset = "zero",
    reset_delay: int = 0,
    v_reset: Value = 0.0,
    v_leak: Value = 0.0,
    gain: Value = 1.0,
) -> NeuronSpec:
    """Current-based LIF: u = β_syn·u; u = u + i; then :func:`LIF` (``decay``) driven by the new u."""
    b = _Builder()
    b.states.append(State("u"))
    b.parameter(Parameter("beta_syn", 0.0, 1.0), beta_syn)
    b.do("u", "mul", "beta_syn", "u")
    b.do("u", "flush", "u")
    b.do("u", "add", "u", "i")
    _decay(b, beta, gain, v_leak)
    b.body = [replace(a, args=tuple("u" if x == "i" and a.target != "u" else x for x in a.args)) for a in b.body]
    return _spiking(b, "CubaLIF", threshold, tie, reset, reset_delay, v_reset)


def LI(beta: Value = 0.9, *, v_leak: Value = 0.0, gain: Value = 1.0) -> NeuronSpec:  # noqa: N802
    """Leaky integrator: v = β·v; v = v + gain·i; no spike, the output is v."""
    b = _Builder()
    _decay(b, beta, gain, v_leak)
    return b.spec("LI", None, Emit("state", "v"))


def ALIF(  # noqa: N802
    beta: Value = 0.9,
    threshold: Value = 1.0,
    *,
    rho: Value = 0.97,
    kappa: Value = 0.1,
    tie: Tie = "gt",
    reset: Reset = "zero",
    reset_delay: int = 0,
    v_reset: Value = 0.0,
    gain: Value = 1.0,
) -> NeuronSpec:
    """Adaptive LIF: a = ρ·a; level = κ·a + θ; LIF's v; s = v > level; a = a + 1 and reset where s.

    Source: Bellec et al., NeurIPS 2018 (arXiv 1803.09574), eq. 1; the order within a tick is ours.
    """
    b = _Builder()
    b.states += [State("a"), State("level", "threshold")]
    b.parameter(Parameter("rho", 0.0, 1.0), rho)
    b.parameter(Parameter("kappa", 0.0, None), kappa)
    b.parameter(THRESHOLD, threshold)
    b.do("a", "mul", "rho", "a")
    b.do("a", "flush", "a")
    b.do("k", "mul", "kappa", "a")
    b.do("level", "add", "k", "threshold")
    _decay(b, beta, gain, 0.0)
    if reset == "to_value":
        b.parameter(Parameter("v_reset"), v_reset)
    b.reset(reset, reset_delay, "level")
    b.on_fire.append(Assign("a", "add", ("a", 1.0)))
    return b.spec("ALIF", Fire("v", tie, "level"), Emit("spike"))


def GradedLIF(beta: Value = 0.9, threshold: Value = 1.0, *, bits: int = 2) -> NeuronSpec:  # noqa: N802
    """LIF with integer spikes: n = min(⌊v/θ⌋, 2^bits − 1) where v ≥ θ; v = v − n·θ."""
    if not 1 <= bits <= 16:
        raise ProgramError(f"GradedLIF: bits must be 1 to 16, not {bits}")
    b = _Builder()
    maximum = 2**bits - 1
    _decay(b, beta, 1.0, 0.0)
    b.parameter(THRESHOLD, threshold)
    b.do("n", "div", "v", "threshold")
    b.do("n", "floor", "n")
    b.do("n", "min", "n", float(maximum))
    b.do("m", "mul", "n", "threshold")
    b.on_fire.append(Assign("v", "sub", ("v", "m")))
    return b.spec("GradedLIF", Fire("v", "ge", "threshold"), Emit("count", "n", maximum))
