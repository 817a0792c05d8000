"""Lazy cells against all neurons at every tick: equal bit for bit, states, emissions and counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from neuroaccel.engine import cache
from neuroaccel.program import NeuronSpec
from tests.conftest import examples
from tests.engine.populations import SPARSE, Lazy, drawn


@settings(max_examples=examples(30, 1000), phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**32 - 1))
def test_lazy_cells_equal_the_dense_population(seed: int) -> None:
    """Sparse, clustered and no input, gaps in between, whatever the neuron."""
    # Few populations, for the kernels of each are compiled, but many inputs.
    fixed, rng = np.random.default_rng(seed % examples(6, 100)), np.random.default_rng(seed)
    width = int(fixed.choice([1, 3, 8, 64]))
    size = width * 7 - int(fixed.integers(width))
    number = "float32" if fixed.random() < 0.8 else "float64"
    layout = fixed.permutation(size).astype(np.int32) if fixed.random() < 0.5 else None
    lazy = Lazy(drawn(fixed, size, leak=False, resets=("zero", "subtract")), size, width, number, layout)
    for _ in range(6):
        chance, strength = rng.choice([0.0, 0.02, 0.4]), 2.0 ** rng.choice([-110, -6, -3, 0])
        near = np.arange(size)[lazy.order.argsort()] // width == rng.integers(7) if rng.random() < 0.5 else True
        for _ in range(int(rng.choice([1, 3, 12]))):
            reached = (rng.random(size) < chance) & near
            # An event's sum may be 0.
            current = rng.integers(-20, 64, size) * strength * reached
            lazy.tick(current.astype(number), reached, int(rng.integers(1, 4)), bool(rng.random() < 0.5))
        if rng.random() < 0.3:
            lazy.compare()
    lazy.compare()


@pytest.mark.parametrize("spec", SPARSE, ids=lambda s: f"{s.program.name}-{s.program.key[:4]}")
def test_ten_thousand_ticks_of_silence_down_to_the_flush(spec: NeuronSpec) -> None:
    rng = np.random.default_rng(3)
    lazy = Lazy(spec, 5 * 8, 8, "float32")
    for gap in (1, 3, 700, 10_000):
        current = (rng.normal(size=40) * (np.arange(40) // 8 == rng.integers(5)) * 8).astype(np.float32)
        lazy.tick(current, current != 0, masks=True)
        for _ in range(gap):
            lazy.tick(np.zeros(40, np.float32), np.zeros(40, np.bool_))
        lazy.compare()
    assert lazy.awake == 0
    assert lazy.spikes > 0
    assert lazy.skipped > 5 * 10_000


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
