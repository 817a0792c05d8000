"""Number formats: their ranges, and what they refuse."""

from __future__ import annotations

import pytest

from neuroaccel.errors import InputError
from neuroaccel.program import Arithmetic, Fixed


@pytest.mark.parametrize(
    ("fixed", "low", "high"),
    [
        (Fixed(8), -128, 127),
        (Fixed(8, signed=False), 0, 255),
        (Fixed(1), -1, 0),
        (Fixed(1, signed=False), 0, 1),
        (Fixed(62), -(2**61), 2**61 - 1),
    ],
)
def test_range(fixed: Fixed, low: int, high: int) -> None:
    assert (fixed.low, fixed.high) == (low, high)


@pytest.mark.parametrize("bits", [0, -3, 63])
def test_width_is_1_to_62(bits: int) -> None:
    with pytest.raises(InputError, match=rf"bits must be 1 to 62, not {bits}"):
        Fixed(bits)


def test_unknown_rounding_and_overflow() -> None:
    with pytest.raises(InputError, match="unknown rounding 'up'"):
        Fixed(8, rounding="up")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown overflow 'clip'"):
        Fixed(8, overflow="clip")  # type: ignore[arg-type]


def test_arithmetic_refuses_conversion_without_groups() -> None:
    with pytest.raises(InputError, match="group must be >= 0, not -1"):
        Arithmetic(group=-1)
    with pytest.raises(InputError, match="group_convert needs group > 0"):
        Arithmetic(group_convert=Fixed(5))
    assert Arithmetic(group=16, group_convert=Fixed(5)).group == 16
