"""Conv2d by its events: torch's values and gradients, vectors equal to plain loops, threads, registration, choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neuroaccel.kernels import conv, threads
from neuroaccel.kernels.channels_last import as_they_are, images, load, ordered
from neuroaccel.neurons.backend import VARIABLE
from neuroaccel.synapses import Conv2d
from neuroaccel.synapses.layer_backend import choose_layer

# channels in and out, kernel, padding, height and width
SHAPES = [
    (2, 8, 5, 2, 12, 9),
    (3, 5, (3, 2), (1, 0), 7, 8),
    (8, 16, 3, 1, 6, 6),
    (4, 33, 3, 2, 5, 5),
    (16, 64, 1, 0, 4, 5),
    (1, 1, 4, 3, 4, 4),
]


def spikes(rate: float, *shape: int, seed: int = 0) -> Tensor:
    """Counts, other than zero in a share of the places."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(((rng.random(shape) < rate) * rng.integers(1, 4, shape)).astype(np.float32))


def layer_of(shape: tuple[Any, ...], bias: bool = True) -> Conv2d:
    torch.manual_seed(1)
    inputs, outputs, kernel, padding, _, _ = shape
    return Conv2d(inputs, outputs, kernel, padding=padding, bias=bias)


def results(layer: Any, x: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients of input and parameters, for a fixed gradient of the output."""
    layer = layer.to(dtype)
    layer.zero_grad()
    x = x.detach().to(dtype).clone().requires_grad_()
    y, _ = layer(x)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float32).to(dtype)
    y.backward(grad)
    assert x.grad is not None
    return [t.detach().double() for t in (y, x.grad, *(p.grad for p in layer.parameters()))]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.6])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_float64(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[Any, ...], rate: float, last: bool
) -> None:
    x = spikes(rate, 3, 5, shape[0], *shape[4:])
    if last:
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    monkeypatch.setenv(VARIABLE, "numba")
    layer = layer_of(shape)
    assert choose_layer(layer, x)[0] is not None
    found = results(layer, x, torch.float32)
    monkeypatch.setenv(VARIABLE, "torch")
    for one, exact in zip(found, results(layer, x, torch.float64), strict=True):
        assert one.shape == exact.shape
        assert float((one - exact).abs().max()) <= 1e-6 * max(1e-3, float(exact.abs().max()))


def test_large_layers_leave_dense_input_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (32, 32, 3, 1, 8, 8)
    layer, few, many = layer_of(shape, bias=False), spikes(0.05, 4, 4, 32, 8, 8), spikes(0.9, 4, 4, 32, 8, 8)
    monkeypatch.delenv(VARIABLE, raising=False)
    backend, _ = choose_layer(layer, few)
    assert backend is not None
    assert "by its events" in backend.reason(layer, few)
    backend, why = choose_layer(layer, many)
    assert backend is None
    assert "of the input is not zero" in why
    # Traced, it is torch's product inside the operator.
    monkeypatch.setenv(VARIABLE, "numba")
    forced = results(layer, many, torch.float32)
    monkeypatch.setenv(VARIABLE, "torch")
    for one, exact in zip(forced, results(layer, many, torch.float64), strict=True):
        assert float((one - exact).abs().max()) <= 1e-5 * float(exact.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_equal_plain_loops(shape: tuple[Any, ...]) -> None:
    x = spikes(0.3, 4, shape[0], *shape[4:])
    layer = layer_of(shape)
    geometry = conv.Shape.of(x, layer.weight, conv.padding_of(layer))
    taps = np.ascontiguousarray(layer.weight.detach().permute(1, 2, 3, 0).numpy()).reshape(-1)
    blank = np.zeros((geometry.wide + geometry.columns - 1) * geometry.outputs, np.float32)
    rows, columns = geometry.size
    form, constants = geometry.form(True), geometry.constants
    grad = np.random.default_rng(1).normal(size=(4, rows * columns * geometry.outputs)).astype(np.float32)
    for name, inner, more in (("conv_events", "tap_events", {}), ("conv_values", "tap_values", {"VALUES": shape[0]})):
        found = [np.empty_like(grad) for _ in range(2)]
        for out, plain in zip(found, (False, True), strict=True):
            load(name, inner, plain, **more, **constants)(images(x), taps, blank, out, form, as_they_are(4), 0, 4)
        assert np.array_equal(*found)
        assert np.any(found[0])
    totals = [np.empty((2, taps.size)) for _ in range(2)]
    for total, plain in zip(totals, (False, True), strict=True):
        load("conv_weight_gradient", "tap_events", plain, FURTHER=0, **constants)(
            images(x), grad, grad, blank.reshape(1, -1), total, form, as_they_are(4), 2, 0, 2
        )
    assert np.array_equal(*totals)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GRAIN", 1)
    monkeypatch.setenv(VARIABLE, "numba")
    x, found = spikes(0.1, 5, 7, 8, 10, 10), []
    layer, before = layer_of((8, 16, 3, 1, 10, 10)), torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(results(layer, x, torch.float32)[:3])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_the_operators_are_registered_correctly() -> None:
    layer, x = layer_of((2, 4, 3, 1, 6, 5)), spikes(0.3, 6, 2, 6, 5)
    torch.library.opcheck(conv.conv2d, (x.requires_grad_(), layer.weight, layer.bias, 1, 1))
    grad = conv.conv2d(x, layer.weight, None, 1, 1).detach()
    for operator in (conv.conv2d_input_gradient, conv.conv2d_weight_gradient):
        torch.library.opcheck(operator, (grad, x.detach(), layer.weight.detach(), 1, 1))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does that itself
def test_it_compiles_as_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    layer, x = layer_of((8, 16, 3, 1, 10, 10)), spikes(0.1, 4, 8, 8, 10, 10)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x)[0], layer(x)[0])


def test_only_what_is_asked_for_gets_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "numba")
    layer, x = layer_of((2, 4, 3, 1, 6, 6)), spikes(0.3, 2, 3, 2, 6, 6)
    y, _ = layer(x)
    assert ordered(y.flatten(0, 1))
    monkeypatch.setattr(conv, "conv2d_input_gradient", None)  # the first layer must not compute it
    y.sum().backward()
    layer.weight.requires_grad_(False)
    monkeypatch.setattr(conv, "conv2d_weight_gradient", None)
    layer(x)[0].sum().backward()
    layer.bias.requires_grad_(False)
    assert not layer(x)[0].requires_grad


@pytest.mark.parametrize(
    ("options", "shape", "reason"),
    [
        ({"stride": 2}, (4, 4, 3, 20, 20), "stride 1"),
        ({"dilation": 2}, (4, 4, 3, 20, 20), "dilation 1"),
        ({"groups": 3}, (4, 4, 3, 20, 20), "one group"),
        ({"padding": 1, "padding_mode": "circular"}, (4, 4, 3, 20, 20), "zeros around"),
        ({"padding": 3}, (4, 4, 3, 20, 20), "below its kernel's size"),
        ({}, (4, 4, 3, 3, 3), "too few"),
    ],
)
def test_what_it_does_not_take_torch_does(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], shape: tuple[int, ...], reason: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    layer, x = Conv2d(3, 6, 3, **options), spikes(0.1, *shape)
    backend, why = choose_layer(layer, x)
    assert backend is None
    assert reason in why
    assert torch.equal(layer(x)[0].flatten(0, 1), torch.nn.Conv2d.forward(layer, x.flatten(0, 1)))


def test_other_numbers_and_devices_are_torchs() -> None:
    layer, x = layer_of((2, 4, 3, 1, 20, 20)), spikes(0.1, 4, 4, 2, 20, 20)
    assert "float64" in choose_layer(layer, x.double())[1]
    assert "on meta" in choose_layer(layer, x.to("meta"))[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in choose_layer(layer, x)[1]
        assert layer(x)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("size", [(0, 2), (2, 0)])
def test_no_ticks_and_no_samples_give_none(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    layer = layer_of(SHAPES[2])
    for who in ("", "numba", "torch"):
        monkeypatch.setenv(VARIABLE, who)
        x = torch.zeros(*size, 8, 6, 6, requires_grad=True)
        layer.zero_grad()
        y, state = layer(x)
        assert (y.shape, state) == ((*size, 16, 6, 6), None)
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape
        assert layer.weight.grad is not None
        assert not layer.weight.grad.any()
    assert "numba: 0 products" in choose_layer(layer, x)[1] or who == "torch"
    assert "0.0%" in conv.EventConv2d().reason(layer, x)
