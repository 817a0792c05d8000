"""Batch normalisation in training: torch's values, gradients and running statistics, registration, choice."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from neuroaccel.kernels import norm, threads
from neuroaccel.neurons.backend import VARIABLE
from neuroaccel.synapses import BatchNorm1d, BatchNorm2d
from neuroaccel.synapses.layer_backend import choose_layer

Norm = BatchNorm1d | BatchNorm2d


def draw(channels: int, *size: int, mean: float = 0.3, scale: float = 2.0) -> Tensor:
    """``[T, N, C, ...]`` with channels last in memory."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((7, 3, *size, channels), generator=generator) * scale + mean
    return x.movedim(-1, 2)


def results(layer: Norm, x: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients of input and parameters, for a fixed gradient of the output."""
    layer = layer.to(dtype)
    x = x.detach().to(dtype).clone().requires_grad_()
    y, _ = layer(x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(4)).to(dtype))
    assert x.grad is not None
    return [t.detach().double() for t in (y, x.grad, *(p.grad for p in layer.parameters()))]


def layer_of(kind: type[Norm], channels: int, **options: Any) -> Norm:
    layer = kind(channels, **options)
    if layer.affine:
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 1.5, channels))
            layer.bias.copy_(torch.linspace(-1, 1, channels))
    return layer


@pytest.mark.parametrize(
    ("kind", "channels", "size"),
    [(BatchNorm2d, 8, (9, 5)), (BatchNorm2d, 1, (4, 4)), (BatchNorm2d, 300, (3, 2)), (BatchNorm1d, 37, ())],
)
@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"momentum": None, "eps": 0.1}, {"track_running_stats": False}]
)
def test_values_gradients_and_statistics_are_those_of_float64(
    monkeypatch: pytest.MonkeyPatch, kind: type[Norm], channels: int, size: tuple[int, ...], options: dict[str, Any]
) -> None:
    ours, x = layer_of(kind, channels, **options), draw(channels, *size)
    exact = copy.deepcopy(ours)
    for _ in range(3):  # running statistics move thrice
        ours.zero_grad()
        exact.zero_grad()
        monkeypatch.setenv(VARIABLE, "numba")
        assert choose_layer(ours, x)[0] is not None
        found = results(ours, x, torch.float32)
        monkeypatch.setenv(VARIABLE, "torch")
        for one, right in zip(found, results(exact, x, torch.float64), strict=True):
            assert float((one - right).abs().max()) <= 1e-6 * float(right.abs().max())
    right_state = exact.state_dict()
    assert list(ours.state_dict()) == list(right_state)
    for name, value in ours.state_dict().items():
        assert torch.allclose(value.double(), right_state[name].double(), rtol=1e-6, atol=1e-7), name


def test_a_mean_far_from_zero_costs_no_more_than_the_input_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "numba")
    x = draw(4, 8, 8, mean=1000.0, scale=1.0)
    ours = results(BatchNorm2d(4), x, torch.float32)
    monkeypatch.setenv(VARIABLE, "torch")
    exact = results(BatchNorm2d(4), x, torch.float64)
    plain = results(BatchNorm2d(4), x, torch.float32)
    for one, other, right in zip(ours, plain, exact, strict=True):
        assert float((one - right).abs().max()) <= max(1e-4, float((other - right).abs().max()))


def test_in_evaluation_it_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    layer, x = layer_of(BatchNorm2d, 8).eval(), draw(8, 16, 16)
    backend, why = choose_layer(layer, x)
    assert backend is None
    assert "in evaluation" in why
    assert choose_layer(layer.train(), x)[0] is not None
    assert "do not lie last" in choose_layer(layer, x.contiguous())[1]
    assert "too few" in choose_layer(layer, draw(8, 2, 2))[1]


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GRAIN", 1)
    monkeypatch.setattr(norm, "CHUNK", 1)
    monkeypatch.setenv(VARIABLE, "numba")
    x, found, before = draw(8, 11, 13), [], torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(results(layer_of(BatchNorm2d, 8), x, torch.float32))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_the_operators_are_registered_correctly() -> None:
    x = draw(5, 4, 3).flatten(0, 1)
    weight, bias = torch.rand(5), torch.rand(5)
    arguments = (x.clone().requires_grad_(), weight.clone().requires_grad_(), bias.clone().requires_grad_(), 1e-5)
    torch.library.opcheck(norm.batch_norm, arguments)
    y, statistics = norm.batch_norm(x, weight, bias, 1e-5)
    torch.library.opcheck(norm.batch_norm_backward, (y, x, weight, statistics, 1e-5))
