"""Weights in memory: the narrowest exact form, panels, bits."""

from __future__ import annotations

import numpy as np
import pytest

from neuroaccel.engine.storage import bit_masks, common_step, csr, narrowest, panels, stored


@pytest.mark.parametrize("step", [2.0**-149, 2.0**-20, 1.0, 2.0**90])
def test_common_step_of_whole_multiples(step: float) -> None:
    weight = (np.array([[0, 3, -127], [12, 64, 2]]) * step).astype(np.float32)
    assert common_step(weight) == step
    assert narrowest(weight, whole=True) == ("i1", step)
    assert (stored(weight, "i1", step) == [[0, 3, -127], [12, 64, 2]]).all()


def test_narrowest_falls_back() -> None:
    assert narrowest(np.zeros((2, 2), np.float32), whole=True) == ("i1", 1.0)
    assert narrowest(np.array([[1, 128]], np.float32), whole=True) == ("bf16", 1.0)
    assert narrowest(np.array([[1, 0.1]], np.float32), whole=True) == ("f4", 1.0)
    assert narrowest(np.array([[1, 2.0**-20]], np.float32), whole=True) == ("bf16", 1.0)


def test_bfloat16_keeps_the_upper_half() -> None:
    weight = np.array([[1, -2.5, 2.0**100]], np.float32)
    bits = stored(weight, "bf16", 1.0).astype(np.uint32) << 16
    assert (bits.view(np.float32) == weight).all()


@pytest.mark.parametrize(("out", "widths"), [(300, [128, 128, 32, 16]), (100, [64, 32, 16]), (16, [16]), (1, [16])])
def test_panels_hold_every_column_once(out: int, widths: list[int]) -> None:
    rows = np.arange(1, 5 * out + 1, dtype=np.float32).reshape(5, out)
    flat, column = panels(rows), 0
    for width in widths:
        panel, flat = flat[: 5 * width].reshape(5, width), flat[5 * width :]
        part = rows[:, column : column + width]
        assert (panel[:, : part.shape[1]] == part).all()
        assert not panel[:, part.shape[1] :].any()
        column += width
    assert not flat.size
    assert column >= out


def test_bit_masks_and_csr_describe_the_same_weights() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((7, 600)) * (rng.random((7, 600)) < 0.1)).astype(np.float32)
    masks = bit_masks(rows != 0)
    assert masks.shape == (7, 16)
    bits = (masks[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (bits.reshape(7, -1)[:, :600] == (rows != 0)).all()
    assert not bits.reshape(7, -1)[:, 600:].any()
    starts, targets, weights = csr(rows)
    again = np.zeros_like(rows)
    for k in range(7):
        again[k, targets[starts[k] : starts[k + 1]]] = weights[starts[k] : starts[k + 1]]
    assert (again == rows).all()
