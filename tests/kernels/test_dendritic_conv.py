"""The current of a dendritic convolution at once is bit for bit that of its products, and so are its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuroaccel.kernels import conv, dendritic_conv, threads
from neuroaccel.kernels.channels_last import as_they_are, images, load, ordered
from neuroaccel.kernels.dendritic_conv import ROW, EventDendrites
from neuroaccel.neurons.backend import VARIABLE
from neuroaccel.synapses import DendriticConv2d, layer_backend
from neuroaccel.synapses.layer_backend import choose_layer
from tests.conftest import examples

# channels in and out, kernel, padding, height and width
SHAPES = [
    (2, 8, 5, 2, 20, 19),
    (3, 5, (3, 2), (1, 0), 17, 18),
    (8, 16, 3, 1, 9, 9),
    (4, 33, 3, 2, 8, 9),
    (1, 128, 3, "same", 16, 12),
    (6, 10, 1, 0, 24, 25),
    (1, 1, 4, 3, 60, 61),
]
Patch = pytest.MonkeyPatch


def spikes(rate: float, *shape: int, seed: int = 0) -> Tensor:
    """Counts, other than zero in a share of the places."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(((rng.random(shape) < rate) * rng.integers(1, 4, shape)).astype(np.float32))


def layer_of(shape: tuple[Any, ...], bias: bool = True, **options: Any) -> DendriticConv2d:
    torch.manual_seed(1)
    inputs, outputs, kernel, padding, _, _ = shape
    return DendriticConv2d(inputs, outputs, kernel, padding=padding, bias=bias, v_scale=1.0, **options)


def taken(layer: DendriticConv2d, x: Tensor) -> tuple[bool, str]:
    """Whether the current comes at once, or why not."""
    whole = layer.stacked()
    whole.bias = layer.bias
    backend, why = choose_layer(whole, x, type(layer))
    return isinstance(backend, EventDendrites), why


def results(layer: DendriticConv2d, x: Tensor) -> list[Tensor]:
    """The current, and the gradients of what learns for a fixed gradient of it."""
    layer.zero_grad()
    i, _ = layer(x)
    grad = torch.randn(i.shape, generator=torch.Generator().manual_seed(2))
    if i.requires_grad:
        i.backward(grad)
    assert ordered(i.flatten(0, 1))
    return [i.detach(), *(p.grad for p in layer.parameters() if p.requires_grad)]


def by_parts(layer: DendriticConv2d, x: Tensor) -> list[Tensor]:
    """The same by both products, and then what is made of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(layer_backend._LAYERS, DendriticConv2d, [])
        return results(layer, x)


def same_bits(a: list[Tensor], b: list[Tensor]) -> bool:
    pairs = [(x.contiguous().view(torch.int32), y.contiguous().view(torch.int32)) for x, y in zip(a, b, strict=True)]
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_currents_and_gradients_are_those_of_both_products_bit_for_bit(
    shape: tuple[Any, ...], last: bool, bias: bool, monkeypatch: Patch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    x = spikes(0.08, 5, 7, shape[0], *shape[4:])
    if last:
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    layer = layer_of(shape, bias)
    assert taken(layer, x) == (True, "")
    found = results(layer, x)
    assert same_bits(found, by_parts(layer, x))
    assert all(t.any() for t in found)


@given(
    st.integers(0, 1000),
    st.sampled_from(SHAPES),
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(5, 11), st.integers(5, 11)),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.01, 0.09]),
    st.sampled_from([1, 3000, dendritic_conv.CHUNK]),
    st.sampled_from(["none", "bias", "weight", "gate", "all"]),
)
@settings(max_examples=examples(40, 1000))
def test_any_geometry_in_pieces_of_any_size(
    seed: int,
    shape: tuple[Any, ...],
    size: tuple[int, int, int, int],
    samples: int,
    rate: float,
    chunk: int,
    frozen: str,
) -> None:
    inputs, outputs, kernel = shape[:3]
    rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    above, left, high, wide = size
    layer = layer_of((inputs, outputs, kernel, (min(above, rows - 1), min(left, columns - 1)), high, wide))
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(frozen not in ("all", name))
    x = spikes(rate, 1, samples, inputs, high, wide, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "numba")  # however few the products are
        patch.setattr(dendritic_conv, "CHUNK", chunk)
        here, why = taken(layer, x)
        assert here or "of the input is not zero" in why  # by chance, of a few values
        assert same_bits(results(layer, x), by_parts(layer, x))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, of the infinite gradients' sum
def test_infinite_and_undefined_weights_and_signs_of_zeros_pass_as_through_both_products() -> None:
    layer, x = layer_of(SHAPES[0]), spikes(0.05, 5, 7, 2, 20, 19)
    x[0, 0] = 0.0
    with torch.no_grad():
        for weight, at in ((layer.weight, 0), (layer.gate, 1)):
            weight[at, 0, 0, 0], weight[at + 2, 1, 2, 2] = float("inf"), float("nan")
            weight[6] = -0.0
        layer.bias[6:] = torch.tensor([-0.0, 1e-45])
    for bias in (layer.bias, None):
        layer.bias = bias
        assert taken(layer, x)[0]
        found = results(layer, x)
        assert same_bits(found, by_parts(layer, x))
        assert bool(found[0].isnan().any())
        assert bool(found[0].isinf().any())


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: Patch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(threads, "GRAIN", 1)
    monkeypatch.setattr(dendritic_conv, "CHUNK", 20_000)
    layer, x, before = layer_of(SHAPES[2]), spikes(0.1, 5, 7, 8, 9, 9), torch.get_num_threads()
    try:
        found = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(results(layer, x)[:3])
    finally:
        torch.set_num_threads(before)
    assert all(same_bits(found[0], other) for other in found[1:])


@pytest.mark.parametrize("length", [*range(1, 20), 31, 33, 64, 127, ROW])
def test_vectors_of_a_row_equal_the_plain_loop(length: int) -> None:
    rng = np.random.default_rng(length)
    rows, step, first = 9, 2 * length + 3, 2
    values = rng.normal(size=rows * step + length).astype(np.float32)
    values[::7], values[3::11] = -0.0, 1e-38
    bias = rng.normal(size=length).astype(np.float32)
    expected = np.full(rows * length, 7, np.float32)
    for r in range(first, rows):
        y, z = (values[at : at + length] for at in (r * step, length + r * step))
        expected[r * length : (r + 1) * length] = (y * z + y) + bias
    for plain in (False, True):
        out = np.full(rows * length, 7, np.float32)
        kernel = load("dendrite_rows_forward", "dendrite_row", plain, LENGTH=length)
        kernel(values, values[length:], bias, out, step, first, rows)
        assert np.array_equal(out.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_of_the_weight_gradient_equal_plain_loops_and_that_of_made_gradients(shape: tuple[Any, ...]) -> None:
    x, layer = spikes(0.3, 4, shape[0], *shape[4:]), layer_of(shape).stacked()
    geometry = conv.Shape.of(x, layer.weight, conv.padding_of(layer))  # type: ignore[arg-type]
    (rows, columns), channels, constants = geometry.size, geometry.outputs // 2, geometry.constants
    rng, less, order = np.random.default_rng(1), np.zeros((3, 1), np.float32), as_they_are(4)
    grad = rng.normal(size=(4, rows * columns, channels)).astype(np.float32)
    both = rng.normal(size=(4, rows * columns, 2, channels)).astype(np.float32)
    made = np.stack([grad * (np.float32(1) + both[:, :, 1]), grad * both[:, :, 0]], 2)
    totals = np.empty((3, 2, geometry.inputs * geometry.rows * constants["LENGTH"]))
    given, form = [a.reshape(4, -1) for a in (grad, both, made)], geometry.form(True)
    for total, plain in zip(totals, (False, True), strict=False):
        kernel = load("conv_weight_gradient", "tap_events", plain, FURTHER=2, **constants)
        kernel(images(x), given[0], given[1], less, total, form, order, 2, 0, 2)
    kernel = load("conv_weight_gradient", "tap_events", False, FURTHER=0, **constants)
    kernel(images(x), given[2], given[2], less, totals[2], form, order, 2, 0, 2)
    assert np.array_equal(totals[0], totals[1])
    assert np.array_equal(totals[0], totals[2])
    assert totals[0].any()


def test_a_graph_that_is_kept_can_be_gone_through_again_and_gradients_add_up() -> None:
    layer, x = layer_of(SHAPES[0]), spikes(0.05, 5, 7, 2, 20, 19)
    first, _ = layer(x)
    second, _ = layer(x.flip(0))  # whose memory must be its own
    grad = torch.randn(first.shape)
    found = [torch.autograd.grad(first, list(layer.parameters()), grad, retain_graph=k < 2) for k in range(3)]
    assert all(same_bits(list(found[0]), list(other)) for other in found[1:])
    second.backward(grad)
    alone = [p.grad.clone() for p in layer.parameters()]
    layer(x)[0].backward(grad)
    for p, one, other in zip(layer.parameters(), alone, found[0], strict=True):
        assert torch.equal(p.grad, one + other)


def test_gradients_of_gradients_are_those_of_both_products_or_refused_like_theirs() -> None:
    layer, x = layer_of(SHAPES[0]), spikes(0.05, 5, 7, 2, 20, 19)
    found = []
    for backends in ([EventDendrites()], []):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(layer_backend._LAYERS, DendriticConv2d, backends)
            i, _ = layer(x)
            grad = torch.linspace(-1, 1, i.numel()).reshape(i.shape).requires_grad_()
            first = torch.autograd.grad(i, list(layer.parameters()), grad, create_graph=True)
            (second,) = torch.autograd.grad(first[1].square().sum(), grad, retain_graph=True)  # that of the bias
            found.append([*(g.detach() for g in first), second])
            for of in (first[0], torch.autograd.grad(layer(x)[0].sum(), layer.gate, create_graph=True)[0]):
                assert of.requires_grad
                with pytest.raises(RuntimeError, match="no autograd formula"):
                    of.sum().backward()
    assert found[0][3].any()
    assert same_bits(*found)


def test_a_network_without_gradients_runs_the_same() -> None:
    layer, x = layer_of(SHAPES[0]), spikes(0.05, 5, 7, 2, 20, 19)
    expected = results(layer, x)[0]
    with torch.no_grad():
        assert taken(layer, x.clone().requires_grad_())[0]  # none is asked for
        assert torch.equal(layer(x)[0], expected)
    with torch.inference_mode():
        assert torch.equal(layer(x)[0], expected)


@pytest.mark.parametrize(
    ("options", "shape", "reason"),
    [
        ({"stride": 2}, (4, 4, 3, 20, 20), "stride 1"),
        ({"dilation": 2}, (4, 4, 3, 20, 20), "dilation 1"),
        ({"groups": 3}, (4, 4, 3, 20, 20), "one group"),
        ({"padding": 1, "padding_mode": "circular"}, (4, 4, 3, 20, 20), "zeros around"),
        ({"padding": 3}, (4, 4, 3, 20, 20), "below its kernel's size"),
        ({"out_channels": ROW + 1}, (4, 4, 3, 9, 9), "258 channels of both products are more than 256"),
        ({}, (4, 4, 3, 3, 3), "too few"),
        ({}, (0, 4, 3, 9, 9), "of the input is not zero"),
    ],
)
def test_what_it_does_not_take_is_made_of_both_products(
    options: dict[str, Any], shape: tuple[int, ...], reason: str, monkeypatch: Patch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    layer = DendriticConv2d(**{"in_channels": 3, "out_channels": 6, "kernel_size": 3, **options})
    x = spikes(0.05, *shape)
    here, why = taken(layer, x)
    assert not here
    assert reason in why
    y, z = (layer._conv_forward(x.flatten(0, 1), w, None) for w in (layer.weight, layer.gate))
    expected = (y * z + y) + layer.bias.reshape(-1, 1, 1)
    assert torch.allclose(layer(x)[0].flatten(0, 1), expected, atol=1e-5)


def test_other_inputs_and_numbers_are_made_of_both_products(monkeypatch: Patch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    layer, x = layer_of(SHAPES[0]), spikes(0.05, 5, 7, 2, 20, 19)
    assert "gradient of the input" in taken(layer, x.clone().requires_grad_())[1]
    assert "100% of the input is not zero" in taken(layer, torch.rand_like(x) + 1)[1]
    assert "float64" in taken(layer, x.double())[1]
    assert "on meta" in taken(layer, x.to("meta"))[1]
    layer.bias.data = layer.bias.data.double()
    assert "float64" in taken(layer, x)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in taken(layer_of(SHAPES[0]), x)[1]
    monkeypatch.setenv(VARIABLE, "torch")
    assert taken(layer_of(SHAPES[0]), x) == (False, f"{VARIABLE}=torch")


def test_the_forced_reference_runs_no_kernel(monkeypatch: Patch) -> None:
    layer, x = layer_of(SHAPES[0]), spikes(0.05, 5, 7, 2, 20, 19)
    monkeypatch.setattr(EventDendrites, "run", None)
    with pytest.raises(TypeError):
        layer(x)
    monkeypatch.setenv(VARIABLE, "torch")
    assert layer(x)[0].any()
