"""Attention of counts against sums by hand; its levels, their gradients, the shift from data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuroaccel.decision.attention import level, shift_for, softmax_attention, whole_attention
from neuroaccel.decision.tokens import band


def counts(*shape: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(seed)).float()


def test_whole_attention_is_the_sum_by_hand() -> None:
    q, k, v = (counts(1, 2, 7, 3, seed=i) for i in range(3))
    found = whole_attention(q, k, v, band(7, 4)[None, None])
    for h in range(2):
        for i in range(7):
            expected = np.zeros(3)
            for j in range(max(0, i - 3), i + 1):
                expected += float((q[0, h, i] * k[0, h, j]).sum()) * v[0, h, j].numpy()
            assert found[0, h, i].tolist() == expected.tolist()


def test_softmax_attention_weighs_counts_over_micro_steps() -> None:
    q, k, v = (counts(1, 1, 5, 4, seed=i) for i in range(3))
    found = softmax_attention(q, k, v, band(5, 5)[None, None], micro_steps=4)
    scores = (q[0, 0, 4] / 4) @ (k[0, 0] / 4).T / 2
    torch.testing.assert_close(found[0, 0, 4], scores.softmax(-1) @ (v[0, 0] / 4))


def test_levels_are_floored_clipped_and_pass_gradients_inside() -> None:
    x = torch.tensor([0.0, 3, 4, 7, 63, 64, 1000], requires_grad=True)
    y = level(x, 2)
    assert (y * 16).tolist() == [0, 0, 1, 1, 15, 15, 15]
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad * 64).tolist() == [1, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(("top", "shift"), [(15, 0), (16, 1), (31, 1), (32, 2), (500, 5), (511, 5), (512, 6)])
def test_shift_brings_the_upper_values_below_16(top: int, shift: int) -> None:
    values = torch.cat([torch.zeros(50), torch.ones(100) * top])
    assert shift_for(values) == shift
    assert (values * 2.0**-shift).floor().max() <= 15


def test_shift_of_silence_is_0() -> None:
    assert shift_for(torch.zeros(5)) == 0
