"""Exact conversions from floats to integers, and the bounds that keep integers inside 62 bits."""

from __future__ import annotations

import numpy as np
import pytest

from neuroaccel.engine import cache
from neuroaccel.engine.fixed import Format, conversion, format_after, in_format, table, whole
from neuroaccel.program import Fixed
from tests.engine.reference import Exact, convert


def test_whole_is_exact_with_the_fewest_fraction_bits() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(-(2**20), 2**20, 7) * 2.0 ** -int(rng.integers(0, 12))
        found = whole(values)
        assert (found.values * 2.0**-found.format.frac).tolist() == values.tolist()
        assert found.format.magnitude == np.abs(found.values).max()
        assert found.format.frac == 0 or bool(np.any(found.values % 2))
    assert whole(np.float32(0.9)).values.item() * 2.0 ** -whole(np.float32(0.9)).format.frac == np.float32(0.9)
    assert whole(np.zeros((0, 3))).format == Format(0, 0)
    with pytest.raises(OverflowError, match="62 bits"):
        whole([2.0**40, 2.0**-40])


def test_in_format_names_the_first_value_that_does_not_fit() -> None:
    assert in_format([[0.5, -1.0]], Fixed(4, 2)).values.tolist() == [[2, -4]]
    with pytest.raises(ValueError, match=r"0.125 at \[1\] is no whole multiple of 2\^-2 within \[-8, 7\]"):
        in_format([0.5, 0.125], Fixed(4, 2))
    with pytest.raises(ValueError, match=r"2 at \[0\]"):
        in_format([2.0], Fixed(4, 2))
    assert in_format([8.0], Fixed(4, -2)).values.tolist() == [2]


@pytest.mark.parametrize("rounding", ["floor", "toward_zero", "half_up", "half_even"])
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("signed", [True, False])
def test_the_kernel_converts_as_the_reference(rounding: str, overflow: str, signed: bool) -> None:
    values = np.arange(-300, 300, dtype=np.int64)[None]
    kernel = cache.load("convert", "int64")
    for frac, to_frac, bits in ((4, 1, 5), (3, 0, 9), (0, 3, 8), (2, 2, 4), (6, -1, 2)):
        fixed = Fixed(bits, to_frac, signed, rounding, overflow)  # type: ignore[arg-type]
        found = values.copy()
        assert kernel(found, table(frac, fixed)) == 0
        assert found[0].tolist() == [convert(Exact(int(x), frac), fixed).integer for x in values[0]]


def test_an_overflow_that_is_an_error_is_located() -> None:
    kernel = cache.load("convert", "int64")
    values = np.array([[1, 2], [3, 9]], np.int64)
    assert kernel(values, table(0, Fixed(4, 0, overflow="error"))) == 1 + 3
    assert table(0, None).size == 0


def test_formats_that_may_leave_62_bits_are_refused() -> None:
    assert format_after(Format(4, 100), Fixed(8, 2), "a sum") == Format(2, 128)
    assert format_after(Format(4, 100), None, "a sum") == Format(4, 100)
    with pytest.raises(OverflowError, match="a sum can reach"):
        format_after(Format(0, 2**50), Fixed(62, 20), "a sum")
    with pytest.raises(OverflowError, match="62 fraction bits fall off"):
        conversion(62, Fixed(8))
