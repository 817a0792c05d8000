"""Pools of windows side by side: torch's values and gradients, registration, choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuroaccel.kernels import pool
from neuroaccel.neurons.backend import VARIABLE
from neuroaccel.synapses import AvgPool2d, SumPool2d
from neuroaccel.synapses.layer_backend import choose_layer


def draw(channels: int, high: int, wide: int) -> Tensor:
    x = np.random.default_rng(0).integers(0, 4, (3, 4, high, wide, channels)).astype(np.float32)
    return torch.from_numpy(x).permute(0, 1, 4, 2, 3)


def results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y, _ = layer(x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(4)))
    assert x.grad is not None
    return [y.detach(), x.grad]


@pytest.mark.parametrize("channels", [1, 8, 21])
@pytest.mark.parametrize(
    ("make", "exact"),
    [
        (lambda: SumPool2d(2), True),
        (lambda: SumPool2d((3, 1)), True),
        (lambda: AvgPool2d(2), True),
        (lambda: AvgPool2d((2, 3)), False),
        (lambda: AvgPool2d(2, divisor_override=3), False),
    ],
)
def test_values_and_gradients_are_torchs(
    monkeypatch: pytest.MonkeyPatch, make: Any, exact: bool, channels: int
) -> None:
    layer, x = make(), draw(channels, 9, 7)
    monkeypatch.setenv(VARIABLE, "numba")
    assert choose_layer(layer, x)[0] is not None
    ours = results(layer, x)
    monkeypatch.setenv(VARIABLE, "torch")
    for one, right in zip(ours, results(layer, x), strict=True):
        assert torch.equal(one, right) if exact else torch.allclose(one, right, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("layer", "x", "reason"),
    [
        (SumPool2d(2, stride=1), draw(8, 20, 20), "side by side"),
        (AvgPool2d(2, padding=1), draw(8, 20, 20), "side by side"),
        (AvgPool2d(3, ceil_mode=True), draw(8, 20, 20), "ceil_mode"),
        (SumPool2d(2), draw(8, 20, 20).contiguous(), "do not lie last"),
        (SumPool2d(2), draw(8, 4, 4), "too few"),
        (SumPool2d(2), draw(8, 20, 20).double(), "float64"),
    ],
)
def test_what_it_does_not_take_torch_does(
    monkeypatch: pytest.MonkeyPatch, layer: nn.Module, x: Tensor, reason: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    backend, why = choose_layer(layer, x)
    assert backend is None
    assert reason in why
    assert layer(x)[0].shape[:3] == x.shape[:3]


def test_the_operators_are_registered_correctly() -> None:
    x = draw(3, 7, 6).flatten(0, 1)
    torch.library.opcheck(pool.pool2d, (x.clone().requires_grad_(), 2, 3, 0.5))
    torch.library.opcheck(pool.pool2d_backward, (pool.pool2d(x, 2, 3, 0.5), 7, 6, 2, 3, 0.5))
