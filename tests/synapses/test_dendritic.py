"""Dendritic layers: the equation and its rounding, its gradients, every option of the plain layers, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from neuroaccel.errors import InputError
from neuroaccel.kernels import which
from neuroaccel.neurons import LIF
from neuroaccel.neurons.backend import REFERENCE, VARIABLE
from neuroaccel.synapses import (
    Conv1d,
    Conv2d,
    Dendritic,
    DendriticConv1d,
    DendriticConv2d,
    DendriticLinear,
    Linear,
)

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR = torch.tensor([0.0, 1.0, 1.0, 0.0])
# A pair of layers, the plain one and the dendritic, and the shape of one input.
PAIRS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "linear": (lambda **o: Linear(12, 7, **o), lambda **o: DendriticLinear(12, 7, **o), (12,)),
    "linear on more axes": (lambda **o: Linear(12, 7, **o), lambda **o: DendriticLinear(12, 7, **o), (3, 12)),
    "linear by events": (lambda **o: Linear(300, 200, **o), lambda **o: DendriticLinear(300, 200, **o), (300,)),
}
PAIRS |= {
    f"{plain.__name__} {options}": (
        lambda plain=plain, options=options, **o: plain(4, 6, 3, **options, **o),
        lambda gated=gated, options=options, **o: gated(4, 6, 3, **options, **o),
        (4, *size),
    )
    for plain, gated, size in ((Conv1d, DendriticConv1d, (11,)), (Conv2d, DendriticConv2d, (11, 9)))
    for options in (
        {},
        {"stride": 2, "padding": 1},
        {"padding": 2, "dilation": 2},
        {"groups": 2, "padding": 1},
        {"groups": 2, "stride": 2, "dilation": 2, "padding": 1},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "circular"},
    )
}
PAIRS["linear of many values"] = (
    lambda **o: Linear(16, 400, **o),
    lambda **o: DendriticLinear(16, 400, **o),
    (12, 16),
)
PAIRS["Conv2d by events"] = (
    lambda **o: Conv2d(4, 8, 3, padding=1, **o),
    lambda **o: DendriticConv2d(4, 8, 3, padding=1, **o),
    (4, 24, 24),
)
PAIRS["Conv2d of many channels"] = (  # whose products are run apart where x has a gradient
    lambda **o: Conv2d(16, 20, 3, padding=1, **o),
    lambda **o: DendriticConv2d(16, 20, 3, padding=1, **o),
    (16, 6, 6),
)
pairs = pytest.mark.parametrize("kind", PAIRS)


def filled(kind: str, seed: int = 0, **options: Any) -> tuple[nn.Module, Dendritic, tuple[int, ...]]:
    """Both layers with the same W and b."""
    plain, gated, shape = PAIRS[kind]
    torch.manual_seed(seed)
    layer: Dendritic = gated(**options)
    same = plain(**{k: v for k, v in options.items() if k == "bias"})
    same.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "gate"})
    return same, layer, shape


def spikes(*shape: int, seed: int = 0, rate: float = 0.1) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def parts(plain: nn.Module, layer: Dendritic, x: Tensor) -> tuple[Tensor, Tensor]:
    """y and z by the plain layer without bias."""
    none = layer.weight.new_zeros(layer.weight.shape[0])
    y, z = (torch.func.functional_call(plain, {"weight": w, "bias": none}, x)[0] for w in (layer.weight, layer.gate))
    return y, z


def along(bias: Tensor, y: Tensor, layer: Dendritic) -> Tensor:
    return bias if isinstance(layer, DendriticLinear) else bias.reshape(-1, *[1] * (y.dim() - 3))


def on_grid(layer: Dendritic) -> None:
    """Weights of a grid on which every sum is exact; the bias stays as it is."""
    with torch.no_grad():
        for p, q in ((layer.weight, 16), (layer.gate, 18)):
            p.copy_((p * 2**q).round() * 2.0**-q)


def test_one_neuron_without_training_solves_xor() -> None:
    layer = DendriticLinear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.gate.fill_(-0.5)
    i, state = layer(CORNERS.unsqueeze(0))
    assert state is None
    assert i.flatten().tolist() == [0.0, 0.5, 0.5, 0.0]
    assert torch.equal(LIF(threshold=0.25)(i)[0].flatten(), XOR)


@pytest.mark.parametrize("seed", range(3))
def test_a_dendritic_neuron_learns_xor_and_a_linear_one_cannot(seed: int) -> None:
    reached = {}
    for kind in (Linear, DendriticLinear):
        torch.manual_seed(seed)
        layer = kind(2, 1)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for _ in range(500):
            optimizer.zero_grad()
            i = layer(CORNERS.unsqueeze(0))[0].flatten()
            nn.functional.binary_cross_entropy_with_logits(i * 4, XOR).backward()
            optimizer.step()
        reached[kind] = ((layer(CORNERS.unsqueeze(0))[0].flatten() > 0).float() == XOR).float().mean().item()
    assert reached[DendriticLinear] == 1.0
    assert reached[Linear] <= 0.75


@pairs
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("learns", [True, False])
def test_a_closed_gate_gives_the_plain_layers_bits(kind: str, bias: bool, learns: bool) -> None:
    plain, layer, shape = filled(kind, bias=bias)
    with torch.no_grad():
        layer.gate.zero_()
    for x in (torch.randn(5, 3, *shape), spikes(5, 3, *shape)):
        with torch.set_grad_enabled(learns):
            assert torch.equal(layer(x)[0], plain(x)[0])


@pairs
def test_a_closed_gate_learns_like_any_other(kind: str) -> None:
    _, layer, shape = filled(kind, v_scale=0.0)
    x, found = spikes(5, 3, *shape), []
    for plain_at_zero in (True, False):
        layer.plain_at_zero = plain_at_zero
        layer.zero_grad()
        layer(x)[0].square().sum().backward()
        found.append([p.grad.clone() for p in layer.parameters()])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)
        assert a.any()


@pairs
@pytest.mark.parametrize("force", ["", REFERENCE])
def test_the_current_is_rounded_operation_by_operation(kind: str, force: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, force)
    plain, layer, shape = filled(kind, v_scale=1.0)
    on_grid(layer)
    x = spikes(20, 8, *shape, rate=0.3 if "events" not in kind else 0.1)
    y, z = parts(plain, layer, x)
    product = y * z
    expected = product + y
    expected = expected + along(layer.bias, y, layer)
    assert torch.equal(layer(x)[0], expected)
    fused = (y.double() * z.double() + y.double()).float() + along(layer.bias, y, layer)
    assert not torch.equal(fused, expected)  # else the test could not tell


@pairs
def test_gradients_are_those_of_the_equation(kind: str) -> None:
    plain, layer, shape = filled(kind)
    x = torch.randn(5, 3, *shape).requires_grad_()
    names = ("x", "weight", "gate", "bias")
    leaves = (x, layer.weight, layer.gate, layer.bias)
    g = torch.randn_like(layer(x)[0])
    found = torch.autograd.grad(layer(x)[0], leaves, g)
    y, z = parts(plain, layer, x)
    expected = torch.autograd.grad(y * z + y + along(layer.bias, y, layer), leaves, g)
    for name, a, b in zip(names, found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.detach().abs().max())), name


@pytest.mark.parametrize("kind", [k for k in PAIRS if "events" not in k])
def test_gradcheck_in_float64(kind: str) -> None:
    _, layer, shape = filled(kind)
    layer.double()
    x = torch.randn(2, 1, *shape, dtype=torch.float64, requires_grad=True)
    names = [n for n, _ in layer.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)[0]

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()), fast_mode=True)


def test_gradients_of_gradients_in_float64() -> None:
    torch.manual_seed(0)
    layer = DendriticLinear(3, 2).double()
    x = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, *_: layer(x)[0], (x, *layer.parameters()))


def test_the_derivatives_of_the_papers_equation() -> None:
    """dI/dW = x·(1 + V·x) and dI/dV = x·(W·x)."""
    torch.manual_seed(0)
    layer = DendriticLinear(5, 1).double()
    x = torch.randn(1, 1, 5, dtype=torch.float64)
    layer(x)[0].backward()
    y, z = (x @ w.T for w in (layer.weight, layer.gate))
    assert torch.allclose(layer.weight.grad, (x * (1 + z)).flatten(0, 1))
    assert torch.allclose(layer.gate.grad, (x * y).flatten(0, 1))


@pytest.mark.parametrize("kind", ["linear by events", "Conv2d by events", "Conv2d of many channels"])
def test_a_graph_that_is_kept_can_be_gone_through_again(kind: str) -> None:
    _, layer, shape = filled(kind)
    i = layer(spikes(5, 3, *shape).requires_grad_())[0]
    g = torch.randn_like(i)
    found = [torch.autograd.grad(i, layer.weight, g, retain_graph=again) for again in (True, True, False)]
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][0], found[2][0])


@pytest.mark.parametrize(
    ("gated", "dense", "shape", "options"),
    [
        (DendriticConv1d, 1, (4, 9), {"stride": 2, "padding": 1, "dilation": 2}),
        (DendriticConv2d, 2, (4, 8, 7), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    ],
)
def test_a_convolution_is_a_dense_layer_on_patches(gated: Any, dense: int, shape: Any, options: Any) -> None:
    torch.manual_seed(0)
    conv = gated(4, 6, 3, **options)
    line = DendriticLinear(4 * 3**dense, 6)
    with torch.no_grad():
        line.weight.copy_(conv.weight.flatten(1))
        line.gate.copy_(conv.gate.flatten(1))
        line.bias.copy_(conv.bias)
    x = torch.randn(2, 3, *shape)
    flat = x.flatten(0, 1)
    flat = flat if dense == 2 else flat.unsqueeze(2)
    settings = {k: conv.__dict__[k] if dense == 2 else ((0, 1)[k != "padding"], *conv.__dict__[k]) for k in options}
    patches = nn.functional.unfold(flat, (3, 3) if dense == 2 else (1, 3), **settings)
    expected = line(patches.transpose(1, 2).unsqueeze(0))[0][0].transpose(1, 2)
    i = conv(x)[0]
    assert (i.flatten(3).flatten(0, 1) - expected.reshape(6, 6, -1)).abs().max() < 1e-5


def test_w_and_b_are_drawn_as_the_plain_layers_and_v_to_its_scale() -> None:
    torch.manual_seed(3)
    plain = Conv2d(2, 4, 3)
    torch.manual_seed(3)
    layer = DendriticConv2d(2, 4, 3, v_scale=0.25)
    assert torch.equal(plain.weight, layer.weight)
    assert torch.equal(plain.bias, layer.bias)
    bound = 0.25 / (2 * 9) ** 0.5
    assert 0.5 * bound < float(layer.gate.detach().abs().max()) <= bound
    assert sorted(dict(layer.named_parameters())) == ["bias", "gate", "weight"]
    before = layer.gate.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.gate)
    assert "v_scale=0.25" in repr(layer)
    assert not DendriticLinear(3, 2, v_scale=0.0).gate.any()
    with pytest.raises(InputError, match="v_scale must be 0 or more"):
        DendriticLinear(3, 2, v_scale=-1.0)


@pytest.mark.parametrize("kind", ["linear", "Conv2d {'stride': 2, 'padding': 1}"])
def test_under_autocast_the_products_alone_are_of_low_precision(kind: str) -> None:
    plain, layer, shape = filled(kind)
    x = torch.randn(4, 3, *shape)
    with torch.autocast("cpu", torch.bfloat16):
        i = layer(x)[0]
        y, z = parts(plain, layer, x)
        assert y.dtype == torch.bfloat16
        i.sum().backward()
    assert i.dtype == torch.float32
    y, z = y.float(), z.float()
    assert torch.allclose(i, (y * z + y) + along(layer.bias, y, layer), atol=2e-2)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layer.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        layer.gate.zero_()
        assert layer(x)[0].dtype == torch.float32


@pytest.mark.parametrize("kind", ["linear", "Conv2d {'groups': 2, 'padding': 1}"])
def test_compiled_it_gives_the_same_currents_and_gradients(kind: str) -> None:
    _, layer, shape = filled(kind)
    on_grid(layer)
    x, found = spikes(4, 3, *shape), []
    for run in (layer, torch.compile(layer, backend="aot_eager", fullgraph=True)):
        i = run(x)[0]
        found.append((i.detach(), *torch.autograd.grad(i.square().sum(), list(layer.parameters()))))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*found, strict=True))


def test_a_parametrised_weight_is_read_as_it_is() -> None:
    class Masked(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight * (weight.abs() > 0.1)

    torch.manual_seed(0)
    layer = DendriticLinear(6, 4)
    x = torch.randn(2, 3, 6)
    for name in ("weight", "gate"):
        nn.utils.parametrize.register_parametrization(layer, name, Masked())
    y, z = (nn.functional.linear(x, w) for w in (layer.weight, layer.gate))
    assert torch.allclose(layer(x)[0], y * z + y + layer.bias, atol=1e-6)
    layer(x)[0].sum().backward()
    assert layer.parametrizations.weight.original.grad is not None


@pytest.mark.parametrize("frozen", ["weight", "gate", "bias"])
def test_what_is_frozen_stays_out_of_the_backward(frozen: str) -> None:
    _, layer, shape = filled("linear")
    getattr(layer, frozen).requires_grad_(False)
    layer(torch.randn(3, 2, *shape))[0].sum().backward()
    assert {n for n, p in layer.named_parameters() if p.grad is not None} == {"weight", "gate", "bias"} - {frozen}


def kept_bytes(layer: nn.Module, x: Tensor) -> int:
    """What the backward of a layer keeps, each storage once, beside x and parameters."""
    seen: dict[int, int] = {}
    known = {p.untyped_storage().data_ptr() for p in (x, *layer.parameters())}

    def pack(t: Tensor) -> Tensor:
        seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(x)
    return sum(size for where, size in seen.items() if where not in known)


def test_kept_for_the_backward_are_the_two_products_alone() -> None:
    x = torch.randn(20, 32, 64)
    layer = DendriticLinear(64, 128)
    products = 2 * 4 * 20 * 32 * 128
    weights = 2 * 4 * 64 * 128
    x.requires_grad_()
    assert kept_bytes(layer, x) <= products + weights
    assert kept_bytes(layer, x) >= products


def peak(run: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """The most that torch held at once during a step, beyond what it held before."""
    monkeypatch.setenv(VARIABLE, REFERENCE)  # its kernels take their memory from a pool that no profiler sees
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    now = most = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_forward_and_backward_need_no_more_memory_than_two_plain_layers(
    kind: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (16, 48, 128) if kind == "linear" else (4, 4, 8, 24, 24)
    x = torch.randn(*shape, requires_grad=not first)
    pair = [Linear(128, 128), Linear(128, 128)] if kind == "linear" else [Conv2d(8, 8, 3, padding=1) for _ in "WV"]
    layer = DendriticLinear(128, 128) if kind == "linear" else DendriticConv2d(8, 8, 3, padding=1)
    g = torch.randn_like(layer(x)[0])

    def plain() -> None:
        x.grad = None
        y, z = pair[0](x)[0], pair[1](x)[0]
        torch.autograd.backward([y, z], [g.clone(), g.clone()])  # each has a gradient of its own
        for each in pair:
            each.zero_grad()

    def gated() -> None:
        x.grad = None
        i = layer(x)[0]
        i.backward(g.clone())
        layer.zero_grad()

    # The two weights side by side are a copy that two layers do not have.
    weights = 2 * 4 * layer.weight.numel()
    assert peak(gated, monkeypatch) <= peak(plain, monkeypatch) + 2 * weights


def test_it_says_which_implementation_runs() -> None:
    layer = DendriticConv2d(4, 8, 3, padding=1)
    told = which(layer, spikes(8, 4, 4, 24, 24))[""]
    assert told.implementation == "numba"
    assert "of the input is not zero" in told.reason
    assert which(DendriticLinear(3, 2), torch.ones(2, 1, 3))[""].implementation == "torch"
    assert which(DendriticConv2d(4, 8, 3, stride=2), spikes(8, 4, 4, 24, 24))[""].implementation == "torch"


def test_no_rows_give_none() -> None:
    assert DendriticLinear(3, 2)(torch.zeros(0, 2, 3))[0].shape == (0, 2, 2)
    assert DendriticConv2d(1, 2, 3)(torch.zeros(4, 0, 1, 5, 5))[0].shape == (4, 0, 2, 3, 3)
