"""Surrogates: exact forwards, the stated derivative backwards."""

from __future__ import annotations

import math

import pytest
import torch

from neuroaccel.errors import ProgramError
from neuroaccel.neurons import LIF
from neuroaccel.neurons.surrogate import bounded, derivative, floor, spike


@pytest.mark.parametrize(
    ("name", "slope", "u", "expected"),
    [
        ("fast_sigmoid", 10.0, 0.0, 1.0),
        ("fast_sigmoid", 10.0, 0.1, 0.25),
        ("fast_sigmoid", 10.0, -0.1, 0.25),
        ("atan", 2.0, 0.0, 1.0),
        ("atan", 2.0, 1.0, 1 / (1 + math.pi**2)),
        ("triangle", 2.0, 0.25, 0.5),
        ("triangle", 2.0, 0.6, 0.0),
        ("straight_through", 2.0, 5.0, 1.0),
    ],
)
def test_derivative_values(name: str, slope: float, u: float, expected: float) -> None:
    assert derivative(torch.tensor(u), name, slope).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("op", ["gt", "ge"])
def test_forward_is_the_comparison_and_gradients_oppose(op: str) -> None:
    left = torch.tensor([0.9, 1.0, 1.1], requires_grad=True)
    right = torch.tensor(1.0, requires_grad=True)
    s = spike(left, right, op, "triangle", 1.0)
    assert s.tolist() == ([0.0, 0.0, 1.0] if op == "gt" else [0.0, 1.0, 1.0])
    s.sum().backward()
    assert torch.allclose(left.grad, torch.tensor([0.9, 1.0, 0.9]))
    assert right.grad.item() == pytest.approx(-2.8)


def test_floor_passes_its_gradient_and_bounded_stops_at_the_walls() -> None:
    x = torch.tensor([0.5, 1.5], requires_grad=True)
    floor(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    raw = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    assert bounded(raw, 0.0, 1.0).tolist() == [0.0, 0.5, 1.0]
    bounded(raw, 0.0, 1.0).sum().backward()
    assert raw.grad.tolist() == [0.0, 1.0, 1.0]


def test_unknown_surrogate_is_named() -> None:
    with pytest.raises(ProgramError, match=r"'sine'.*atan"):
        LIF(surrogate="sine")
