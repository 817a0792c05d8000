"""Linear by events: sums against float64, gradients, threads, vectors against plain loops, and who is chosen when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neuroaccel import Network
from neuroaccel.kernels import sparse_linear, which
from neuroaccel.kernels.sparse_linear import BLOCK, Events, crossover, linear, linear_backward
from neuroaccel.neurons import LIF
from neuroaccel.neurons.backend import VARIABLE
from neuroaccel.synapses import Linear

# Rows, inputs and outputs around the sizes of blocks, panels, words and tiles.
SHAPES = [
    (1, 1, 1),
    (3, 64, 64),
    (5, 65, 63),
    (70, 130, 10),
    (BLOCK + 1, 33, 128),
    (40, BLOCK + 70, 65),
    (1100, 20, 17),
]


@pytest.fixture(autouse=True)
def nothing_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def draw(shape: tuple[int, int], rate: float, values: bool, seed: int = 0) -> Tensor:
    """Spikes, or sparse values of both signs and every kind of zero."""
    rng = np.random.default_rng(seed)
    x = (rng.random(shape) < rate).astype(np.float32)
    if values:
        x *= rng.integers(-3, 8, shape).astype(np.float32) * np.float32(0.3)
    return torch.from_numpy(x)


def parameters(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(outputs, inputs, generator=generator)
    return weight.requires_grad_(), torch.randn(outputs, generator=generator).requires_grad_()


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, of the largest value."""
    return float((found.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
def test_product_and_gradients_are_those_of_float64(shape: tuple[int, int, int], values: bool, rate: float) -> None:
    rows, inputs, outputs = shape
    x = draw((rows, inputs), rate, values).requires_grad_()
    weight, bias = parameters(inputs, outputs)
    grad = torch.randn(rows, outputs, generator=torch.Generator().manual_seed(2))
    near = 1e-6 if rate < 1 else 2e-6  # hundreds of terms in a row; torch takes over before
    y, _, kind = linear(x, weight, bias, True, True)
    assert int(kind) == (sparse_linear.VALUES if values and bool(x.any()) else sparse_linear.ONES)
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    expected = torch.nn.functional.linear(*wide)
    assert apart(y.detach(), expected.detach()) <= near
    found = torch.autograd.grad(y, (x, weight, bias), grad)
    for a, b in zip(found, torch.autograd.grad(expected, wide, grad.double()), strict=True):
        assert a.shape == b.shape
        assert apart(a, b) <= near


def test_sums_on_a_grid_are_torchs_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-100, 100, (70, 300), generator=generator) / 64
    bias = torch.randint(-100, 100, (70,), generator=generator) / 64
    x = torch.randint(0, 4, (50, 300), generator=generator).float()
    assert torch.equal(linear(x, weight, bias, True, False)[0], torch.nn.functional.linear(x, weight, bias))
    assert torch.equal(linear(x, weight, None, True, False)[0], torch.nn.functional.linear(x, weight))


@pytest.mark.parametrize("values", [False, True])
def test_vectors_give_what_the_plain_loop_gives(values: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    load = sparse_linear.load
    x = draw((BLOCK + 60, 150), 0.1, values)
    weight, bias = parameters(150, 100)
    grad = torch.randn(x.shape[0], 100, generator=torch.Generator().manual_seed(2))
    found = []
    for plain in (False, True):
        monkeypatch.setattr(sparse_linear, "load", lambda name, plain=plain: load(name, plain))
        y, mask, kind = linear(x, weight, bias, True, True)
        found.append([y.detach(), *linear_backward(grad, x, None, mask, kind, True)])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw((3 * BLOCK + 100, 200), 0.1, True)
    weight, bias = parameters(200, 150)
    grad = torch.randn(x.shape[0], 150, generator=torch.Generator().manual_seed(2))
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        y, mask, kind = linear(x, weight, bias, True, True)
        found.append([y.detach(), *linear_backward(grad, x, None, mask, kind, True)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("frozen", ["x", "weight", "bias", "no bias"])
@pytest.mark.parametrize("always", [False, True])
def test_the_operators_are_registered_correctly(frozen: str, always: bool) -> None:
    x = draw((80, 70), 0.9, False).requires_grad_(frozen != "x")
    weight, bias = parameters(70, 20)
    weight.requires_grad_(frozen != "weight")
    bias.requires_grad_(frozen != "bias")
    torch.library.opcheck(linear, (x, weight, None if frozen == "no bias" else bias, always, weight.requires_grad))
    y, mask, kind = linear(x.detach(), weight.detach(), None, always, True)
    torch.library.opcheck(linear_backward, (torch.ones_like(y), x.detach(), weight.detach(), mask, kind, True))


def test_what_no_gradient_needs_may_change_before_the_backward() -> None:
    x, (weight, bias) = draw((80, 70), 0.1, False), parameters(70, 20)
    y, _, _ = linear(x, weight, bias, True, True)
    with torch.no_grad():
        weight += 1
    y.sum().backward()
    assert torch.allclose(weight.grad, x.sum(0).expand(20, 70))
    y, _, _ = linear(x.requires_grad_(), weight, bias, True, True)
    with torch.no_grad():
        weight += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_zero_weighs_nothing_and_what_is_no_number_stays_none() -> None:
    weight = torch.ones(3, 5)
    weight[:, 0] = torch.inf
    x = torch.zeros(4, 5)
    x[1, 1], x[2, 2], x[3, 3] = torch.nan, torch.inf, -0.0
    y, _, _ = linear(x, weight, None, True, False)
    assert [row.isnan().all().item() for row in y] == [False, True, False, False]
    assert y[0].tolist() == y[3].tolist() == [0, 0, 0]
    assert y[2].tolist() == [torch.inf] * 3


@pytest.mark.parametrize("rate", [0.03, 0.9])
def test_the_layer_chooses_by_the_rate_and_the_result_is_torchs(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, plain = Linear(256, 256), torch.nn.Linear(256, 256)
    plain.load_state_dict(layer.state_dict())
    x = draw((160, 256), rate, False).reshape(16, 10, 256)
    choice = which(layer, x)[""]
    assert choice.implementation == ("numba" if rate < 0.1 else "torch")
    assert "of the input is not zero, events win up to" in choice.reason
    calls = []
    product = sparse_linear.product
    monkeypatch.setattr(sparse_linear, "product", lambda *args: calls.append(1) or product(*args))
    y, state = layer(x)
    assert (len(calls), state) == (int(rate < 0.1), None)
    expected = plain(x)
    assert torch.allclose(y, expected, rtol=1e-5, atol=1e-6)
    y.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(layer.parameters(), plain.parameters(), strict=True):
        assert apart(a.grad, b.grad.double()) < 1e-5


def test_the_choice_is_the_count_where_the_guess_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw((2000, 128), 0.9, False)
    x[::31] = 0  # the rows that the guess looks at
    assert sparse_linear.rate(x.numpy()) == 0
    weight, _ = parameters(128, 128)
    assert Events(x.numpy()).total > crossover(2000, 128) * x.numel()
    assert int(linear(x, weight, None, False, False)[2]) == sparse_linear.DENSE


@pytest.mark.parametrize(
    ("layer", "x", "reason"),
    [
        (Linear(8, 8), torch.zeros(2, 2, 8), "256 products are too few"),
        (Linear(2048, 2048), torch.zeros(5, 2, 2048), "as soon multiplied as the weights laid out"),
        (Linear(512, 512).double(), torch.zeros(20, 10, 512, dtype=torch.float64), "float64 on cpu"),
        (Linear(512, 512, device="meta"), torch.zeros(20, 10, 512, device="meta"), "on meta"),
    ],
)
def test_what_events_do_not_pay_for_torch_does(layer: Linear, x: Tensor, reason: str) -> None:
    choice = which(layer, x)[""]
    assert choice.implementation == "torch"
    assert reason in choice.reason
    assert layer(x)[0].shape == (*x.shape[:2], layer.out_features)


def test_autocast_is_left_to_torch() -> None:
    layer, x = Linear(512, 512), torch.zeros(20, 10, 512)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in which(layer, x)[""].reason
        assert layer(x)[0].dtype == torch.bfloat16
    assert layer(x)[0].dtype == torch.float32


def test_the_environment_forces_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Linear(5, 3), torch.ones(2, 2, 5)
    monkeypatch.setenv(VARIABLE, "numba")
    assert str(which(layer, x)[""]) == "numba (NEUROACCEL_KERNELS=numba)"
    forced = layer(x)[0]
    assert "float64" in which(layer.double(), x.double())[""].reason  # where it cannot, torch does
    layer.float()
    monkeypatch.setenv(VARIABLE, "torch")
    assert str(which(layer, x)[""]) == "torch (NEUROACCEL_KERNELS=torch)"
    assert torch.allclose(layer(x)[0], forced)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does that itself
def test_a_network_with_it_compiles_as_one_graph() -> None:
    torch.manual_seed(0)
    net = Network([Linear(200, 300), LIF(beta=0.9)])
    x = draw((150, 200), 0.05, False).reshape(15, 10, 200)
    assert which(net, x)["layers.layer_0"].implementation == "numba"
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    found = []
    for run in (net, compiled):
        net.zero_grad()
        y, _ = run(x)
        y.sum().backward()
        found.append([y.detach(), *(p.grad.clone() for p in net.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_empty_batches_and_layers_without_inputs_give_what_torch_gives() -> None:
    weight, bias = parameters(6, 4)
    y, _, _ = linear(torch.zeros(0, 6), weight, bias, True, True)
    y.sum().backward()
    assert y.shape == (0, 4)
    assert torch.equal(weight.grad, torch.zeros(4, 6))
    assert torch.equal(linear(torch.zeros(2, 0), torch.zeros(4, 0), bias, True, False)[0], bias.detach().expand(2, 4))
