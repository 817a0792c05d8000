"""Batches of packed events that tests draw."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from neuroaccel.datasets.packed import PackedEvents

SIZES = [(5, 3, 2), (4, 4, 1), (7, 1, 1)]
BINNINGS = ["binary", "count", "first"]


def batch(seed, size, counts, span_us=1000):
    """Random samples in which pixels and moments meet often."""
    rng = np.random.default_rng(seed)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    times = [np.sort(rng.integers(0, span_us, count)) for count in counts]
    address = rng.integers(0, math.prod(size), start[-1])
    return PackedEvents(start, np.concatenate([[], *times]).astype(np.int32), address.astype(np.int32), size)


BATCHES = st.builds(
    batch,
    st.integers(0, 2**32),
    st.sampled_from(SIZES),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.sampled_from([1, 50, 1000, 3000]),
)
