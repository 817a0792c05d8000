"""Static formats of integer arithmetic: how many fraction bits a value has, and how large it can get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.program import Fixed

LIMIT = 1 << 62  # magnitudes stay below, so that one more addition cannot leave int64
ROUNDINGS = ("floor", "toward_zero", "half_up", "half_even")
OVERFLOWS = ("wrap", "saturate", "error")


@dataclass(frozen=True)
class Format:
    """value = integer · 2^-frac with \\|integer\\| <= magnitude."""

    frac: int
    magnitude: int

    @staticmethod
    def of(fixed: Fixed) -> Format:
        return Format(fixed.frac, max(-fixed.low, fixed.high))

    def at(self, frac: int) -> Format:
        """The same value with at least as many fraction bits."""
        return Format(frac, self.magnitude << (frac - self.frac))

    def check(self, what: str) -> Format:
        """Raise OverflowError unless the integers fit."""
        if self.magnitude >= LIMIT:
            raise OverflowError(f"{what} can reach {self.magnitude.bit_length()} bits, 62 is the most")
        return self


@dataclass(frozen=True, eq=False)
class Whole:
    """Integers with their format."""

    values: NDArray[np.int64]
    format: Format


def whole(values: Any) -> Whole:
    """The given floats, exactly, with as few fraction bits as they need.

    Raises:
        OverflowError: they need more than 62 bits.
    """
    wide = np.asarray(values, np.float64)
    mantissa, exponent = np.frexp(wide)
    digits = (mantissa * 2.0**53).astype(np.int64)
    # The lowest set bit of the 53 digits says how many of them are fraction.
    lowest = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    needed = np.where(digits == 0, 0, 53 - exponent - lowest)
    frac = max(0, int(needed.max(initial=0)))
    top = np.abs(wide).max(initial=0.0)
    if top * 2.0**frac >= LIMIT:
        raise OverflowError(f"values up to {top:g} with {frac} fraction bits need more than 62 bits")
    integers = np.ldexp(wide, frac).astype(np.int64)
    return Whole(integers, Format(frac, int(np.abs(integers).max(initial=0))))


def in_format(values: Any, fixed: Fixed) -> Whole:
    """The given floats as integers of a format that must hold them exactly.

    Raises:
        ValueError: a value does not lie on the format's grid or leaves its range; the message names the first.
    """
    wide = np.asarray(values, np.float64)
    scaled = np.ldexp(wide, fixed.frac)
    wrong = np.argwhere((scaled != np.floor(scaled)) | (scaled < fixed.low) | (scaled > fixed.high))
    if len(wrong):
        at = tuple(int(k) for k in wrong[0])
        raise ValueError(
            f"{wide[at]:g} at {list(at)} is no whole multiple of 2^{-fixed.frac} within "
            f"[{fixed.low}, {fixed.high}] of them"
        )
    integers = scaled.astype(np.int64)
    return Whole(integers, Format(fixed.frac, int(np.abs(integers).max(initial=0))))


def conversion(frac: int, fixed: Fixed) -> tuple[int, int, int, int, int, int]:
    """From ``frac`` fraction bits into a format: excess bits, rounding, overflow, low, high, bits.

    Raises:
        OverflowError: more than 61 bits fall off.
    """
    excess = frac - fixed.frac
    if excess > 61:
        raise OverflowError(f"{excess} fraction bits fall off at once, 61 is the most")
    rounding, overflow = ROUNDINGS.index(fixed.rounding), OVERFLOWS.index(fixed.overflow)
    return excess, rounding, overflow, fixed.low, fixed.high, fixed.bits


def table(frac: int, fixed: Fixed | None) -> NDArray[np.int64]:
    """:func:`conversion` as kernels take it; empty for a missing format, which means exact."""
    return np.array([] if fixed is None else conversion(frac, fixed), np.int64)


def format_after(source: Format, fixed: Fixed | None, what: str) -> Format:
    """The format after a conversion into ``fixed`` (unchanged without one), checked on the way."""
    if fixed is None:
        return source.check(what)
    source.at(max(source.frac, fixed.frac)).check(what)
    return Format.of(fixed)
