"""The soft threshold in one pass gives torch's values, operation by operation, and leaves to torch what it must."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuroaccel.kernels import shrink, threads
from neuroaccel.kernels.shrink import SMALL, soft_threshold
from neuroaccel.synapses import thresholding
from tests.conftest import examples

LIMITS = [0.0, -0.0, 1e-45, -1e-45, 1e-38, -1.2e-38, 0.5, -0.5, 0.75, -3.0, 3e38, -3e38]
LIMITS += [float("inf"), -float("inf"), float("nan")]


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrink, "SMALL", 0)


def by_torch(theta: Tensor, gain: Tensor | None, d1: float, d2: float, cut: bool) -> Tensor:
    """By torch's operators. Of +0 and -0 they take either, which adding +0 makes one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thresholding, "_SHRINKS", [])
        return thresholding.shrunk(theta, gain, d1, d2, cut, torch.empty_like(theta)) + 0.0


def by_kernel(theta: Tensor, gain: Tensor | None, d1: float, d2: float, cut: bool) -> Tensor:
    out = torch.full_like(theta, 7.0)
    assert soft_threshold(theta, gain, d1, d2, cut, out)
    return out


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.view(torch.int32), b.view(torch.int32)) if a.numel() else a.shape == b.shape


def values(seed: int, *shape: int) -> Tensor:
    """Of a normal distribution, and some of those where rounding, signs and comparisons are particular."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=generator)
    special = torch.tensor(LIMITS)[torch.randint(0, len(LIMITS), shape, generator=generator)]
    return torch.where(torch.rand(shape, generator=generator) < 0.3, special, found)


@given(
    st.integers(0, 1000),
    st.tuples(st.integers(1, 9), st.integers(1, 70)),
    st.sampled_from([0.0, 1e-45, 1e-38, 0.5, 0.75, 3e38]),
    st.sampled_from([0.0, 1e-45, 0.125, 2.0]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=examples(150, 3000))
def test_values_are_torchs_bit_for_bit(
    seed: int, shape: tuple[int, int], d1: float, d2: float, cut: bool, gained: bool
) -> None:
    theta = values(seed, *shape)
    gain = values(seed + 1, shape[0], 1).abs() if gained else None
    with pytest.MonkeyPatch.context() as patch:  # which hypothesis does not undo between examples
        patch.setattr(shrink, "SMALL", 0)
        found = by_kernel(theta, gain, d1, d2, cut)
    assert same_bits(found + 0.0, by_torch(theta, gain, d1, d2, cut))
    finite = torch.ones_like(theta, dtype=torch.bool) if gain is None else gain.isfinite().expand_as(theta)
    assert not found.view(torch.int32)[finite & (theta.abs() <= d1)].any()


@pytest.mark.parametrize("length", [1, 3, 15, 16, 17, 33])
def test_what_is_pruned_is_a_positive_zero_in_every_place_of_a_row(length: int) -> None:
    theta = torch.cat([torch.full((2, length), v) for v in (-0.0, 0.0, -0.25, 0.25, -0.5)])
    for cut in (False, True):
        assert not by_kernel(theta, torch.ones(10, 1), 0.5, 0.0, cut).view(torch.int32).any()
    assert not by_kernel(theta[:2], None, 0.0, 0.0, False).view(torch.int32).any()


@pytest.mark.parametrize("shape", [(12,), (5, 4, 3, 3), (1, 100), (7, 0)])
def test_weights_of_any_number_of_axes(shape: tuple[int, ...]) -> None:
    theta, gain = values(3, *shape), values(4, shape[0], *[1] * (len(shape) - 1)).abs()
    assert same_bits(by_kernel(theta, gain, 0.5, 0.1, True), by_torch(theta, gain, 0.5, 0.1, True))


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GRAIN", 1)
    theta, gain, before = values(0, 37, 41), torch.rand(37, 1), torch.get_num_threads()
    expected = by_torch(theta, gain, 0.5, 0.1, True)
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            assert same_bits(by_kernel(theta, gain, 0.5, 0.1, True), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [SMALL - 1, SMALL, SMALL + 1])
def test_few_weights_are_torchs(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrink, "SMALL", SMALL)
    theta = values(0, rows)
    out = torch.full_like(theta, 7.0)
    assert soft_threshold(theta, None, 0.5, 0.0, False, out) is (rows >= SMALL)
    assert same_bits(out, by_torch(theta, None, 0.5, 0.0, False) if rows >= SMALL else torch.full_like(theta, 7.0))


@pytest.mark.parametrize(
    "change",
    [
        {"theta": torch.randn(8, 8).double(), "out": torch.empty(8, 8).double()},
        {"theta": torch.randn(8, 8).t()},
        {"out": torch.full((8, 16), 7.0)[:, ::2]},
        {"gain": torch.rand(1, 8)},  # of the other axis, of as many
        {"gain": torch.rand(8)},
        {"gain": torch.rand(1, 1)},
        {"gain": torch.rand(8, 1).double()},
        {"gain": torch.rand(1, 1).expand(8, 1)},
        {"d1": float("nan")},
        {"d1": float("inf")},
        {"d1": -0.1},
        {"d1": 1e39},
        {"d2": float("nan")},
        {"d2": float("inf")},
    ],
    ids=lambda c: "-".join(f"{k}" for k in c),
)
def test_what_it_does_not_take_is_left_untouched(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"theta": torch.randn(8, 8), "gain": torch.rand(8, 1), "d1": 0.5, "d2": 0.1, "cut": True}
    given |= {"out": torch.empty(8, 8), **change}
    given["out"].fill_(7.0)
    assert not soft_threshold(**given)
    assert bool((given["out"] == 7.0).all())
