"""Integer arithmetic as data: number formats, and what a node does with them.

One integer executor reads these; Loihi, generated hardware and compute-in-memory are presets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neuroaccel.errors import InputError

Rounding = Literal["floor", "toward_zero", "half_up", "half_even"]
Overflow = Literal["wrap", "saturate", "error"]


@dataclass(frozen=True)
class Fixed:
    """A fixed-point format: value = integer · 2^-frac, the integer having ``bits`` bits (sign included).

    Arguments:
        bits: width, 1 to 62.
        frac: fractional bits (may be negative).
        signed: two's complement, else unsigned.
        rounding: of bits that fall off: floor, toward_zero, half_up (add half, floor), half_even.
        overflow: wrap, saturate, or error.
    """

    bits: int
    frac: int = 0
    signed: bool = True
    rounding: Rounding = "floor"
    overflow: Overflow = "saturate"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 62:
            raise InputError(f"Fixed: bits must be 1 to 62, not {self.bits}")
        if self.rounding not in ("floor", "toward_zero", "half_up", "half_even"):
            raise InputError(f"Fixed: unknown rounding '{self.rounding}'")
        if self.overflow not in ("wrap", "saturate", "error"):
            raise InputError(f"Fixed: unknown overflow '{self.overflow}'")

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


@dataclass(frozen=True)
class Arithmetic:
    """The integer arithmetic of one node; a missing format means "exact".

    Arguments:
        weight, input, product, accumulator: of a synapse: stored weights, what arrives, each product, the sum.
        state: of a neuron: every assignment to a state is converted to it.
        parameters: of a neuron: parameter name → format.
        group: rows that one partial sum covers (a compute-in-memory array); 0 means all.
        group_convert: format that each partial sum is converted to (an ADC: bits and clipping).
        bit_serial: counts are applied bit by bit, each bit with its own partial sums and conversions.
        order: where saturation makes order matter: ``index`` adds inputs in C-order, group by group.
    """

    weight: Fixed | None = None
    input: Fixed | None = None
    product: Fixed | None = None
    accumulator: Fixed | None = None
    state: Fixed | None = None
    parameters: Mapping[str, Fixed] = field(default_factory=dict)
    group: int = 0
    group_convert: Fixed | None = None
    bit_serial: bool = False
    order: Literal["index"] = "index"

    def __post_init__(self) -> None:
        if self.group < 0:
            raise InputError(f"Arithmetic: group must be >= 0, not {self.group}")
        if self.group_convert is not None and self.group == 0:
            raise InputError("Arithmetic: group_convert needs group > 0")
