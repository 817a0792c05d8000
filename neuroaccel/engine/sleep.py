"""Which neurons may be left alone: a rule, safe under rounding, that says so from a neuron's states and parameters.

A neuron is asleep if, without any further input, it can neither fire nor be at or above its threshold at the beginning
of any later tick. Its silent ticks may then be made up for later: nobody misses a spike, and the ledger counts none of
them. The rules hold for neurons without a leak potential and without a bias (which would drive them).

**Leaky membranes** (IF, every form of LIF, ALIF, GradedLIF). A silent tick takes v to RN(β·v), v + RN(rate·(0 − v)) or
v + RN((0 − v)/τ) with 0 ≤ β, rate ≤ 1 ≤ τ: the exact value lies between 0 and v, and rounding is monotonic, so that the
rounded one does too; the flush takes it to 0. Hence max(v, 0) never grows, and max(v, 0) < θ suffices. ALIF's level
RN(κ·a + θ) is at least θ while a ≥ 0, which its decay keeps.

**Driven by a current** (CubaLIF). With ε the unit roundoff and b = β_syn·(1 + ε) the current after k silent ticks is at
most u·b^k, and each tick adds at most gain·u·b^k·(1 + ε) to max(v, 0) and rounds once more. After at most K ticks the
current is flushed (float32), or too small to change a membrane that is not tiny itself (float64), so that::

    v  ≤  (max(v, 0) + gain·u·b / (1 − b)) · (1 + ε)^(2K)  +  2^-80        where gain·u > 0, else as above

The last term covers all that happens among numbers below 2^-100. The factors are computed once, in float64, rounded up.
Where (1 + ε)^(2K) is not close to 1 the bound is given up: a neuron with a positive current is awake.

A NaN, an infinity, or a reset still to come (``reset_delay`` 1) keep a neuron awake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.program import Program, match

SLACK = 2.0**-80
# Binary orders of magnitude between the largest current and one that no longer matters, as an upper limit.
_ORDERS = {"float32": 128 + 100 + 25, "float64": 1024 + 200 + 54}


@dataclass(frozen=True)
class Rule:
    """When a neuron is asleep.

    Arguments:
        program: whose neurons.
        driven_by_current: whether a state ``u`` goes on lifting the membrane.
        adaptive: whether the level is a state that never falls below the threshold.
        delayed: whether a reset can be pending, in the state ``r``.
    """

    program: Program
    driven_by_current: bool
    adaptive: bool
    delayed: bool

    @property
    def bounds(self) -> tuple[str, ...]:
        """Names of the constants that the rule adds to the program's."""
        return ("lift", "margin") if self.driven_by_current else ()

    def constants(self, values: Mapping[str, NDArray[Any]], number: str) -> dict[str, NDArray[Any]]:
        """The bounds' values, from those of the parameters, in ``float32`` or ``float64``.

        Arguments:
            values: parameter → scalar or array.
            number: the arithmetic.
        """
        if not self.driven_by_current:
            return {}
        roundoff = float(np.finfo(number).eps) / 2
        beta_syn = np.asarray(values["beta_syn"], np.float64)
        gain = np.asarray(values.get("gain", 1.0), np.float64)
        beta_syn, gain = np.broadcast_arrays(beta_syn, gain)
        shrinks = beta_syn * (1 + 2 * roundoff)
        with np.errstate(divide="ignore", invalid="ignore"):
            ticks = _ORDERS[number] * np.log(2) / -np.log(shrinks) + 16
            margin = np.expm1(4 * roundoff * ticks)
            lift = gain * shrinks / (1 - shrinks) * (1 + 1e-6)
        known = (shrinks < 1) & (margin < 0.25) & (np.abs(gain) < 2.0**100)
        margin = np.where(known, margin + 2.0**-16, 0.25)
        # Infinity times a current above 0 is infinity; times 0 it is NaN, which the comparison takes for no lift.
        lift = np.where(gain == 0, 0.0, np.where(known, lift, np.copysign(np.inf, gain)))
        rounded, factor = lift.astype(number), (1 + margin).astype(number)
        away = np.copysign(np.inf, lift).astype(number)
        return {"lift": np.nextafter(rounded, away), "margin": np.nextafter(factor, np.asarray(np.inf, number))}

    def lines(self, names: Mapping[str, str], number: str) -> list[str]:
        """Source lines that set ``asleep`` from the states after a tick; ``zero`` is a global of the module.

        Arguments:
            names: the source's names of states, parameters and bounds.
            number: the arithmetic.
        """
        v, theta = names["v"], names["threshold"]
        least = f"(-np.{number}(np.inf))"
        lines = [f"asleep = ({v} < {theta}) & ({v} > {least}) & (zero < {theta})"]
        if self.adaptive:
            level, a = names["level"], names["a"]
            lines.append(f"asleep = asleep & ({v} < {level}) & (zero < {level}) & ({a} >= zero)")
        if self.driven_by_current:
            u = names["u"]
            lines += [
                f"lifted = {names['lift']} * {u}",
                "lifted = lifted if lifted > zero else zero",
                f"highest = ({v} if {v} > zero else zero) + lifted",
                f"highest = highest * {names['margin']} + np.{number}({SLACK!r})",
                f"asleep = asleep & (highest < {theta}) & (abs({u}) < -{least})",
            ]
        if self.delayed:
            lines.append(f"asleep = asleep & ({names['r']} == zero)")
        return lines


def sleep_rule(program: Program) -> Rule | None:
    """The rule of a program; ``None`` for one without: all its neurons are awake at every tick.

    Arguments:
        program: any neuron program. Those that the constructors of :mod:`neuroaccel.program` write have a rule, unless
            they emit a state.
    """
    known = match(program)
    if known is None or program.fire is None or program.emit.kind == "state":
        return None
    delayed = known.options.get("reset_delay", 0) == 1
    return Rule(program, known.name == "CubaLIF", known.name == "ALIF", delayed)
