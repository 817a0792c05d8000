"""Numbers as their bits, inside kernels."""

from __future__ import annotations

import numpy as np
import pytest

from neuroaccel.engine import cache


@pytest.mark.parametrize("number", ["float32", "float64"])
def test_numbers_differ_where_their_bits_do(number: str) -> None:
    source = (
        "from neuroaccel.engine.kernels.bits import differ\n"
        'SIGNATURE = "void(V[::1], V[::1], u1[::1])"\n'
        "def kernel(a, b, out):\n    for k in range(a.shape[0]):\n        out[k] = differ(a[k], b[k])\n"
    )
    kernel = cache.compile_source(f"differ_{number}", cache.stamped(source), number)
    special = np.array([0.0, -0.0, np.nan, np.inf, 1.0, np.nextafter(1.0, 2.0), 5e-324, 1e-45] * 4, number)
    a, b = special.repeat(len(special)), np.tile(special, len(special))
    out = np.empty(len(a), np.uint8)
    kernel(a, b, out)
    assert out.tolist() == [int(x.tobytes() != y.tobytes()) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.2, 0.9, 1.0])
def test_flags_are_listed_in_their_order(rate: float) -> None:
    source = (
        "from neuroaccel.engine.kernels.bits import listed\n"
        'SIGNATURE = "i8(u1[::1], i8, i8, i4[::1])"\n'
        "def kernel(flags, words, bit, near):\n    return listed(flags, words, bit, near)\n"
    )
    kernel = cache.compile_source("listed", cache.stamped(source), "float32")
    rng = np.random.default_rng(0)
    for words in (8, 16, 128):
        flags = rng.integers(0, 256, 8 * words, np.uint8)
        flags = np.where(rng.random(len(flags)) < rate, flags | 2, flags & ~np.uint8(2)).astype(np.uint8)
        near = np.full(len(flags) + 8, -1, np.int32)
        found = kernel(flags, words, 2, near)
        assert near[:found].tolist() == np.flatnonzero(flags & 2).tolist()
