"""Which neuron program is which: the ones that have a Lava LIF, or Loihi's integers, as their counterpart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from neuroaccel.program import Known, Program, match
from neuroaccel.program.match import known

Kind = Literal["IF", "LIF", "CubaLIF", "LI"]


@dataclass(frozen=True)
class Found:
    """A known program.

    Arguments:
        kind: which neuron.
        tie: its comparison.
        reset, delay: what a spike does to v, and how many ticks later.
        leak: whether a leak constant is added.
    """

    kind: Kind
    tie: Literal["gt", "ge"] = "gt"
    reset: Literal["zero", "to_value", "subtract"] = "zero"
    delay: int = 0
    leak: bool = False

    @property
    def stock(self) -> bool:
        """Whether Lava's own LIF resets as this one does."""
        return self.kind != "LI" and self.reset == "zero" and self.delay == 0


def _held(known: Known) -> Found | None:
    """A neuron of the field in Lava's terms, None where Lava and Loihi have nothing like it."""
    o = known.options
    if known.name not in get_args(Kind) or o.get("form", "decay") != "decay" or o.get("gain"):
        return None
    kind: Any = known.name
    return Found(kind, o.get("tie", "gt"), o.get("reset", "zero"), o.get("reset_delay", 0), o.get("v_leak", False))


def find(program: Program) -> Found | None:
    """The known neuron with exactly this arithmetic (names do not matter), or None."""
    known = match(program)
    return None if known is None else _held(known)


@cache
def _integer() -> dict[str, Found]:
    from neuroaccel.hardware.lava.loihi import program

    return {program(found).key: found for k in known() if (found := _held(k)) is not None}


def find_integer(program: Program) -> Found | None:
    """The same for a program in Loihi's integers, as :func:`neuroaccel.hardware.lava.loihi.quantise` writes it."""
    return _integer().get(program.key)
