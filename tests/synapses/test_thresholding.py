"""Thresholds of W and V at once are bit for bit those of each by itself: values, every gradient, and whose they are."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neuroaccel.kernels  # noqa: F401
from neuroaccel.neurons.backend import VARIABLE
from neuroaccel.synapses import DendriticConv2d, DendriticLinear, thresholding
from neuroaccel.synapses.dendritic import Dendritic
from neuroaccel.synapses.pruning import prune
from neuroaccel.synapses.pruning_maps import NSP, STDS, ChannelGain, PruningMap, attach, both
from neuroaccel.synapses.thresholding import Both, Levels, Threshold, takes

MADE = {
    "fixed": lambda: (NSP(300), NSP(300)),
    "shared": lambda: (NSP(300, kept := ChannelGain(300)), NSP(300, kept)),
    "learned": lambda: (NSP(300, "learned"), NSP(300, "learned")),
    "learned and shared": lambda: (NSP(300, kept := ChannelGain(300, "learned"), "st"), NSP(300, kept)),
    "no gains": lambda: (NSP(300, "one"), NSP(300, "one")),
    "one with gains": lambda: (NSP(300, "one"), NSP(300, "learned")),
    "no cut": lambda: (NSP(300, cut=False), NSP(300)),
    "st": lambda: (NSP(300, gradient="st"), NSP(300, gradient="st")),
    "st and straight through": lambda: (NSP(300, gradient="stmod"), NSP(300, gradient="st", cut=False)),
    "stds": lambda: (STDS(300), STDS(300, "st")),
    "other axes": lambda: (NSP(300, kept := ChannelGain(300), axis=0), NSP(300, kept, axis=1)),
}


def same_bits(a: Any, b: Any) -> bool:
    return all(
        (x is None) is (y is None) and (x is None or torch.equal(x.view(torch.int32), y.view(torch.int32)))
        for x, y in zip(a, b, strict=True)
    )


def pair(kind: str, seed: int = 0) -> tuple[NSP, NSP, Tensor, Tensor]:
    """Two maps with thresholds, and two θ that are large enough for every way of computing them."""
    torch.manual_seed(seed)
    maps: tuple[NSP, NSP] = MADE[kind]()
    for made, d1, d2 in zip(maps, (0.5, 0.25), (0.125, 0.0625), strict=True):
        made.d1.fill_(d1)
        made.d2.fill_(d2 if made.cut else 0.0)
        if made.gain.kind == "learned":
            made.gain.alpha.data.uniform_(-0.5, 1.5)
    return *maps, torch.randn(300, 300, requires_grad=True), torch.randn(300, 300, requires_grad=True)


def leaves(*given: Any) -> list[Tensor]:
    """Both θ, and every gain that learns, once."""
    maps, thetas = given[:2], list(given[2:])
    return thetas + list({id(p): p for made in maps for p in made.parameters()}.values())


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("kind", MADE)
def test_values_and_gradients_are_those_of_each_by_itself(kind: str, stack: bool) -> None:
    one, two, theta, further = pair(kind)
    grads = torch.randn(2, 300, 300)
    wanted = leaves(one, two, theta, further)
    apart = torch.cat([one.held(theta), two.held(further)])
    expected = torch.autograd.grad(apart, wanted, grads.flatten(0, 1))
    made = one.held_with(two, theta, further, stack)
    whole = made if stack else torch.cat(made)
    assert same_bits([whole], [apart])
    dead = int((whole == 0).sum())
    assert 20_000 < dead < 170_000
    found = torch.autograd.grad(whole, wanted, grads.flatten(0, 1), retain_graph=True)
    assert same_bits(found, expected)
    assert all(g.any() for g in found)
    assert same_bits(torch.autograd.grad(whole, wanted, grads.flatten(0, 1)), expected)  # nothing was changed in place


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_frozen_has_no_gradient(frozen: int, stack: bool) -> None:
    one, two, *thetas = pair("learned")
    thetas[frozen].requires_grad_(False)
    (one, two)[frozen].gain.requires_grad_(False)
    made = one.held_with(two, *thetas, stack)
    (made if stack else torch.cat(made)).square().sum().backward()
    for k, (theta, part) in enumerate(zip(thetas, (one, two), strict=True)):
        assert (theta.grad is None) is (part.gain.alpha.grad is None) is (k == frozen)


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("kind", ["learned", "learned and shared", "st and straight through", "no gains"])
def test_gradients_of_gradients_are_those_of_each_by_itself(kind: str, stack: bool) -> None:
    one, two, theta, further = pair(kind)
    wanted, seconds = leaves(one, two, theta, further), []
    for at_once in (True, False):
        upstream = torch.linspace(-1, 1, 180_000).reshape(600, 300).requires_grad_()
        made = one.held_with(two, theta, further, stack) if at_once else (one.held(theta), two.held(further))
        whole = made if at_once and stack else torch.cat(made)
        first = torch.autograd.grad((whole.square() * upstream).sum(), wanted, create_graph=True)
        total = sum(g.square().sum() for g in first)
        seconds.append([*first, *torch.autograd.grad(total, [*wanted, upstream])])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-4) for a, b in zip(*seconds, strict=True))
    assert all(g.any() for g in seconds[0])


def test_the_gradient_that_is_handed_over_stays_as_it_is() -> None:
    """Whoever kept it, and of whatever memory it is a view."""
    one, two, theta, further = pair("fixed")
    kept: list[Tensor] = []
    whole = one.held_with(two, theta, further, True)
    whole.register_hook(lambda g: kept.append(g))
    x = torch.randn(2, 300)
    nn.functional.linear(x, whole).square().sum().backward()
    (expected,) = torch.autograd.grad(nn.functional.linear(x, w := whole.detach().requires_grad_()).square().sum(), w)
    assert torch.equal(kept[0], expected)
    gain = one.gain.value[:, None]
    assert torch.equal(theta.grad, kept[0][:300] * gain)
    theta.grad = None
    one.held_with(two, theta, further, True).sum().backward()  # one number, seen in every place
    assert torch.equal(theta.grad, gain.expand(300, 300))


def test_accumulated_gradients_do_not_share_what_is_written() -> None:
    one, two, theta, further = pair("no gains")
    for _ in range(2):
        whole = one.held_with(two, theta, further, True)
        (whole * torch.linspace(1, 2, 600)[:, None]).sum().backward()
    expected = [2 * torch.linspace(1, 2, 600)[k : k + 300, None].expand(300, 300) for k in (0, 300)]
    assert same_bits([g.contiguous() for g in expected], [theta.grad, further.grad])
    theta.grad.zero_()
    assert torch.equal(further.grad, expected[1])


def test_memory_that_is_lent_is_not_lent_again_while_weights_and_gradients_live() -> None:
    one, two, theta, further = pair("fixed")
    made = [one.held_with(two, theta, further, stack) for stack in (True, False, False)]
    found = [made[0][:300], made[0][300:], *made[1], *made[2]]
    copies = [w.clone() for w in found]
    grads = [torch.autograd.grad(m if k == 0 else torch.cat(m), (theta, further), made[0]) for k, m in enumerate(made)]
    assert same_bits([g.clone() for g in grads[0]], grads[1])
    for _ in range(4):
        for stack in (True, False):
            other = one.held_with(two, theta.detach() * 3, further.detach() * 3, stack)
            assert other is not None
    assert same_bits(found, copies)
    places = {t.data_ptr() for t in (*found, *grads[0], *grads[1], *grads[2])}
    assert len(places) == len(found) + 6


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.double(), "float64"),
        (lambda t: t.bfloat16(), "bfloat16"),
        (lambda t: t.t(), "not contiguous"),
        (lambda t: t.to("meta"), "elsewhere"),
        (lambda t: t[:5], "another shape"),
        (lambda t: t.detach().as_subclass(type("Other", (Tensor,), {})), "someone's own"),
    ],
    ids=lambda c: c if isinstance(c, str) else "",
)
def test_other_tensors_are_made_one_by_one(change: Any, reason: str) -> None:
    theta = torch.randn(300, 300)
    assert takes(theta, theta.clone()), reason
    assert not takes(theta, change(theta))
    assert not takes(change(theta), theta)


def test_the_forced_reference_makes_them_one_by_one_by_torchs_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, theta, further = pair("fixed")
    found = one.held_with(two, theta, further, False)
    monkeypatch.setenv(VARIABLE, "torch")
    monkeypatch.setattr(thresholding, "_SHRINKS", [None])  # which cannot be called
    assert one.held_with(two, theta, further, False) is None
    assert all(torch.equal(a, b) for a, b in zip(found, (one.held(theta), two.held(further)), strict=True))
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(TypeError):
        one.held(theta)


@pytest.mark.parametrize("level", [float("nan"), float("inf"), -1.0])
def test_what_torch_thinks_of_other_thresholds_holds(level: float) -> None:
    theta, room = torch.randn(300, 300), torch.empty(300, 300)
    try:
        expected: Any = nn.functional.softshrink(theta, level)
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match=str(error)[:20]):
            thresholding.shrunk(theta, None, level, 0.0, False, room)
    else:
        assert torch.equal(
            thresholding.shrunk(theta, None, level, 0.0, False, room).nan_to_num(), expected.nan_to_num()
        )


LAYERS: dict[str, Any] = {
    "few": lambda: (DendriticLinear(60, 20), torch.randn(4, 3, 60)),
    "many": lambda: (DendriticLinear(300, 400), torch.randn(10, 30, 300)),
    "events": lambda: (DendriticLinear(300, 400), (torch.rand(10, 30, 300) < 0.05).float()),
    "conv": lambda: (DendriticConv2d(3, 60, 3, padding=1), (torch.rand(4, 3, 3, 9, 8) < 0.1).float()),
    "conv with a gradient": lambda: (DendriticConv2d(3, 60, 3), torch.rand(4, 3, 3, 9, 8).requires_grad_()),
    "wide conv": lambda: (DendriticConv2d(40, 60, 3), torch.rand(4, 3, 40, 9, 8).requires_grad_()),
    "grouped conv": lambda: (DendriticConv2d(4, 60, 3, groups=2), torch.rand(4, 3, 4, 9, 8)),
}


def trained(layer: Dendritic, x: Tensor) -> list[Tensor]:
    layer.zero_grad()
    x.grad = None
    i, _ = layer(x)
    (i * torch.linspace(-1, 1, i.numel()).reshape(i.shape)).sum().backward()
    return [i.detach(), *(t.grad for t in (x, *layer.parameters()) if t.grad is not None)]


@pytest.mark.parametrize("gain", ["fixed", "learned"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_pruned_layer_learns_as_if_its_weights_were_made_one_by_one(
    kind: str, gain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, x = LAYERS[kind]()
    prune(nn.Sequential(layer), "nsp", 0.3, gain=gain).step(100, 100)
    calls: list[bool] = []
    real = NSP.held_with
    monkeypatch.setattr(NSP, "held_with", lambda self, *given: calls.append(given[-1]) or real(self, *given))
    found = trained(layer, x)
    assert calls == {"grouped conv": []}.get(kind, [kind not in ("few", "wide conv")])
    assert len(found) == 4 + x.requires_grad + (gain == "learned")
    monkeypatch.setattr(NSP, "held_with", lambda *_: None)
    assert same_bits(found, trained(layer, x))
    twin = copy.deepcopy(layer)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    monkeypatch.setattr(NSP, "held_with", real)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert same_bits(found, trained(twin, x))


def test_a_gate_that_thresholds_have_closed_gives_the_plain_layer_and_learns_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    layer, x = LAYERS["events"]()
    maps: dict[str, PruningMap] = {"weight": NSP(400), "gate": NSP(400)}
    attach(layer, maps)
    maps["gate"].d1.fill_(10.0)
    found = trained(layer, x)
    assert not layer.gate.any()
    plain = nn.functional.linear(x, layer.weight, layer.bias)
    assert torch.allclose(found[0], plain, atol=1e-5)
    assert layer.parametrizations.gate.original.grad.any()
    monkeypatch.setattr(NSP, "held_with", lambda *_: None)
    assert same_bits(found, trained(layer, x))


class Own(NSP):
    def held(self, theta: Tensor) -> Tensor:
        return super().held(theta) * 2


class Forwarded(NSP):
    def forward(self, theta: Tensor) -> Tensor:
        return super().forward(theta) * 2


@pytest.mark.parametrize("stack", [True, False])
def test_maps_of_someones_own_hooks_chains_and_channels_are_asked_themselves(stack: bool) -> None:
    def layer(*maps: PruningMap) -> DendriticLinear:
        made = DendriticLinear(300, 400)
        attach(made, dict(zip(("weight", "gate"), maps, strict=False)))
        return made

    assert both(DendriticLinear(300, 400), stack) is None
    assert both(layer(NSP(400)), stack) is None
    assert both(layer(NSP(400), STDS(400)), stack) is not None
    for other in (Own(400), Forwarded(400), NSP(400, structured=True)):
        assert both(layer(NSP(400), other), stack) is None
        assert both(layer(other, NSP(400)), stack) is None
    hooked = layer(NSP(400), NSP(400))
    hook = hooked.parametrizations.gate[0].register_forward_hook(lambda module, args, weight: weight * 0)
    assert both(hooked, stack) is None
    hook.remove()
    assert both(hooked, stack) is not None
    nn.utils.parametrize.register_parametrization(hooked, "gate", nn.Identity())
    assert both(hooked, stack) is None


def test_every_parametrisation_is_asked_once_a_call() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, weight: Tensor) -> Tensor:
            self.calls += 1
            return weight

    for kind in ("few", "many", "conv", "wide conv", "grouped conv"):
        layer, x = LAYERS[kind]()
        maps = {name: Counting() for name in ("weight", "gate")}
        for name, part in maps.items():
            nn.utils.parametrize.register_parametrization(layer, name, part)
            part.calls = 0
        layer(x)
        assert [part.calls for part in maps.values()] == [1, 1], kind


def test_in_float64_both_functions_give_the_equations_values() -> None:
    theta, gain = torch.randn(40, 30).double(), torch.rand(40, 1).double() + 0.5
    levels = Levels(torch.tensor(0.5).double(), torch.tensor(0.1).double(), True)
    weight = (theta - theta.clamp(-0.5, 0.5)) * gain
    expected = weight * (weight.abs() > levels.d2)
    assert torch.equal(Threshold.apply(theta, gain, levels, True, -1), expected)
    stacked = Both.apply(theta, -theta, gain, gain, (levels, levels), (True, True), True)
    assert torch.equal(stacked, torch.cat([expected, -expected]))
