"""Which neuron program is which: the ones that have a Lava LIF, or Loihi's integers, as their counterpart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import Literal

from neuroaccel.program import IF, LI, LIF, CubaLIF, Program

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


@cache
def _known() -> dict[str, Found]:
    known = {LI().program.key: Found("LI"), LI(v_leak=1.0).program.key: Found("LI", leak=True)}
    ties: tuple[Literal["gt", "ge"], ...] = ("gt", "ge")
    resets: tuple[Literal["zero", "to_value", "subtract"], ...] = ("zero", "to_value", "subtract")
    for tie, reset, delay in itertools.product(ties, resets, (0, 1)):
        known[IF(tie=tie, reset=reset, reset_delay=delay).program.key] = Found("IF", tie, reset, delay)
        for leak in (False, True):
            v_leak = 1.0 if leak else 0.0
            lif = LIF(tie=tie, reset=reset, reset_delay=delay, v_leak=v_leak)
            cuba = CubaLIF(tie=tie, reset=reset, reset_delay=delay, v_leak=v_leak)
            known[lif.program.key] = Found("LIF", tie, reset, delay, leak)
            known[cuba.program.key] = Found("CubaLIF", tie, reset, delay, leak)
    return known


def find(program: Program) -> Found | None:
    """The known neuron with exactly this arithmetic (names do not matter), or None."""
    return _known().get(program.key)


@cache
def _integer() -> dict[str, Found]:
    from neuroaccel.hardware.lava.loihi import program

    return {program(found).key: found for found in _known().values()}


def find_integer(program: Program) -> Found | None:
    """The same for a program in Loihi's integers, as :func:`neuroaccel.hardware.lava.loihi.quantise` writes it."""
    return _integer().get(program.key)
