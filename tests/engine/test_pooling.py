"""Pools of counts, event by event, against windows cut out of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.engine.operation import Static
from neuroaccel.engine.pooling import EventPool
from neuroaccel.graph import AvgPool2d, MaxPool2d, SumPool2d
from tests.conftest import examples
from tests.engine.convolutions import fill, listed, work


@settings(max_examples=examples(60, 1000))
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([SumPool2d, AvgPool2d, MaxPool2d]), st.sampled_from(["float32", "int64"])
)
def test_windows(seed: int, kind: Any, number: str) -> None:
    rng = np.random.default_rng(seed)
    kernel = tuple(int(k) for k in (rng.integers(1, 5, 2) if kind is not AvgPool2d else 2 ** rng.integers(0, 3, 2)))
    stride, padding = tuple(map(int, rng.integers(1, 4, 2))), tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = tuple(int(rng.integers(k, k + 7)) for k in kernel)
    out = tuple((n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, padding, kernel, stride, strict=True))
    channels = int(rng.integers(1, 4))
    pool = EventPool("p", kind(kernel, stride, padding), Static.plain((channels, *size)), (channels, *out), number)
    w = work(pool, listed(np.zeros((2, channels * size[0] * size[1])), number))
    for rate in (0.3, 0.02, 0.0, 1.0):
        x = (rng.random((2, channels, *size)) < rate) * (1 if kind is MaxPool2d else rng.integers(1, 4, size))
        fill(w.ports[0], x.reshape(2, -1))
        pool.run(w)
        padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
        want = np.zeros((2, channels, *out))
        for y, z in np.ndindex(*out):
            window = padded[..., y * stride[0] :, z * stride[1] :][..., : kernel[0], : kernel[1]]
            want[..., y, z] = window.max(axis=(2, 3)) if kind is MaxPool2d else window.sum(axis=(2, 3))
        if kind is AvgPool2d and number == "float32":
            want /= kernel[0] * kernel[1]
        assert np.array_equal(w.out.value, want.reshape(2, -1))
        for row, found in enumerate(w.out.found):
            assert sorted(w.out.index[row, :found]) == list(np.flatnonzero(want[row]))


def test_explains() -> None:
    pool = EventPool("p", MaxPool2d((2, 2), (1, 1)), Static.plain((1, 4, 4)), (1, 3, 3), "float32")
    assert "4 windows" in pool.explain()
