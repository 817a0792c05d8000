"""A block as one operator: the values of its layers one by one, gradients of a float64 replay, when it is not taken."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuroaccel import Network
from neuroaccel.kernels import block, block_plan, conv, norm, threads
from neuroaccel.kernels.block_plan import Fields
from neuroaccel.network import blocks
from neuroaccel.neurons import ALIF, LIF, CubaLIF
from neuroaccel.neurons.backend import VARIABLE
from neuroaccel.synapses import AvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, SumPool2d
from tests.kernels.neurons import Decisions

SHAPE = (12, 5, 2, 11, 10)  # T, N, C, H, W


@pytest.fixture(autouse=True)
def small_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "SMALL", 0)
    monkeypatch.setattr(block_plan, "GROUP", 16000)  # four groups of one or two samples
    block_plan._plan.cache_clear()
    monkeypatch.delenv(VARIABLE, raising=False)


def neurons(kind: str) -> nn.Module:
    make: dict[str, Any] = {
        "lif": lambda: LIF(beta=0.9, surrogate="fast_sigmoid", slope=10.0),
        "learnt": lambda: LIF(beta=0.8, reset="subtract", tie="ge", learnable={"beta", "threshold"}, shape=(6, 11, 10)),
        "cuba": lambda: CubaLIF(learnable={"beta"}, detach_reset=False),
        "alif": lambda: ALIF(learnable={"beta"}),
    }
    layer: nn.Module = make[kind]()
    return layer


def network(kind: str = "lif", pool: nn.Module | None = None) -> Network:
    torch.manual_seed(0)
    layers = [Conv2d(2, 6, 3, padding=1, bias=False), BatchNorm2d(6), neurons(kind)]
    with torch.no_grad():
        layers[1].weight.copy_(torch.linspace(0.5, 1.5, 6))
        layers[1].bias.copy_(torch.linspace(0, 0.5, 6))
    return Network([*layers, *([] if pool is None else [pool])])


def draw(shape: tuple[int, ...] = SHAPE, rate: float = 0.1) -> Tensor:
    return torch.from_numpy((np.random.default_rng(0).random(shape) < rate).astype(np.float32))


def results(net: Network, x: Tensor, state: Any = None) -> dict[str, Tensor]:
    """Output, last state, gradients and running statistics, for fixed gradients of output and state."""
    x = x.detach().clone().requires_grad_()
    net.zero_grad()
    y, after = net(x, state)
    generator = torch.Generator().manual_seed(1)
    loss = (y * torch.randn(y.shape, generator=generator).to(y.dtype)).sum()
    for value in after["2"].values():
        loss = loss + (value * torch.randn(value.shape, generator=generator).to(y.dtype)).sum()
    loss.backward()
    assert x.grad is not None
    found = {"y": y, "x": x.grad, **after["2"], **{n: p.grad for n, p in net.named_parameters() if p.grad is not None}}
    return {n: v.detach().double() for n, v in {**found, **dict(net.named_buffers())}.items()}


def taken(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Collects the inputs of the operator from here on."""
    calls: list[Tensor] = []
    plain = block.Block.run

    def run(self: block.Block, x: Tensor, state: Any) -> Any:
        calls.append(x)
        return plain(self, x, state)

    monkeypatch.setattr(block.Block, "run", run)
    return calls


@pytest.mark.parametrize("rate", [0.1, 0.8])
@pytest.mark.parametrize("pool", [None, SumPool2d(2), AvgPool2d((3, 2))])
@pytest.mark.parametrize("kind", ["lif", "learnt", "cuba", "alif"])
def test_it_is_its_layers_one_by_one_and_their_gradients_in_float64(
    monkeypatch: pytest.MonkeyPatch, kind: str, pool: nn.Module | None, rate: float
) -> None:
    x = draw(rate=rate)
    nets = [network(kind, pool) for _ in range(3)]
    calls = taken(monkeypatch)
    ours = results(nets[0], x)
    assert len(calls) == 1
    monkeypatch.setenv(VARIABLE, "torch")
    decisions = Decisions()
    with decisions(replay=False):
        plain = results(nets[1], x)
    with decisions(replay=True):
        exact = results(nets[2].double(), x.double())
    assert len(calls) == 1
    assert float(ours["y"].sum()) > 0
    assert list(ours) == list(plain)
    assert torch.allclose(ours["y"], plain["y"], rtol=1e-6, atol=0)
    for name, right in exact.items():
        largest = max(1e-2, float(right.abs().max()))
        error = float((ours[name] - right).abs().max()) / largest
        assert error <= max(5e-6, 2 * float((plain[name] - right).abs().max()) / largest), name


def test_channels_come_first_where_they_are_flattened(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = taken(monkeypatch)
    head = Linear(150, 3)
    nets = [Network([*[network("lif", SumPool2d(2))[str(k)] for k in range(4)], Flatten(), head]) for _ in range(2)]
    x = draw()
    ours = results(nets[0], x)
    assert len(calls) == 1
    nets[1]["0"].register_forward_hook(lambda *_: None)
    plain = results(nets[1], x)
    assert len(calls) == 1
    for name, right in plain.items():
        assert float((ours[name] - right).abs().max()) <= 1e-5 * max(1e-2, float(right.abs().max())), name


def test_states_go_in_and_come_out() -> None:
    net, x = network("cuba", SumPool2d(2)), draw()
    with torch.no_grad():
        _, state = net(x[:5])
    assert {n: v.shape for n, v in state["2"].items()} == {n: (5, 6, 11, 10) for n in ("u", "v")}
    one, other = copy.deepcopy(net), copy.deepcopy(net)
    held = {"2": {n: v.detach().requires_grad_() for n, v in state["2"].items()}}
    ours = results(one, x[5:], held)
    grads = {n: v.grad for n, v in held["2"].items()}
    listened = {"2": {n: v.detach().requires_grad_() for n, v in state["2"].items()}}
    other["1"].register_forward_hook(lambda *_: None)  # layer by layer
    plain = results(other, x[5:], listened)
    assert torch.equal(ours["y"], plain["y"])
    for name, value in listened["2"].items():
        assert float((grads[name] - value.grad).abs().max()) <= 2e-6 * float(value.grad.abs().max())


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GRAIN", 1)
    monkeypatch.setattr(norm, "CHUNK", 1)
    x, found, before = draw(), [], torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(results(network("learnt", SumPool2d(2)), x))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(value, other[name]) for name, value in found[0].items())


@pytest.mark.parametrize("deep", [False, True])
def test_the_operators_are_registered_correctly(deep: bool) -> None:
    net, x = network("learnt"), draw((4, 3, 2, 11, 10))
    layers: list[Any] = [net[str(k)] for k in range(3)]
    values = [v.flatten().detach().requires_grad_() if v.dim() else v for v in layers[2].values().values()]
    spec = layers[2].spec
    fields = Fields((1, 1), 1e-5, spec.program.text, spec.surrogate, spec.slope, spec.detach_reset, (2, 2), 1.0).text
    weights = [layers[0].weight, layers[1].weight, layers[1].bias]
    state = torch.zeros(1, 3, 660)
    torch.library.opcheck(block.block, (x.clone().requires_grad_(deep), *weights, state, values, fields, True))
    constant = [t.detach() for t in (*weights, *values)]
    y, end, statistics, drive, kept = block.block(x, *constant[:3], state, constant[3:], fields, True)
    arguments = (x, *constant[:3], constant[3:], statistics, drive, kept, [0, 1], fields, deep)
    torch.library.opcheck(block.block_backward, (y, end, *arguments))


@pytest.mark.parametrize(
    "change",
    [
        lambda net, x: (net.eval(), x),
        lambda net, x: (net.eval(), x[:0]),
        lambda net, x: (net.double(), x.double()),
        lambda net, x: (net, x[:1]),
        lambda net, x: (Network([Conv2d(2, 6, 3, padding=1), *[net[str(k)] for k in (1, 2, 3)]]), x),
        lambda net, x: (Network([Conv2d(2, 6, 3, stride=2, bias=False), *[net[str(k)] for k in (1, 2, 3)]]), x),
    ],
)
def test_what_it_does_not_take_runs_layer_by_layer(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    calls = taken(monkeypatch)
    net, x = change(network("lif", SumPool2d(2)), draw())
    y, _ = net(x)
    assert not calls
    assert y.shape[:3] == (*x.shape[:2], 6)


def test_what_is_listened_to_or_traced_runs_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, heard = taken(monkeypatch), []
    net, x = network("lif", SumPool2d(2)), draw()
    y, _, trace = net.trace(x)
    assert set(trace.spikes) == {"2"}
    handle = net["1"].register_forward_hook(lambda _, args, result: heard.append(result[0].shape))
    listened, _ = net(x)
    handle.remove()
    assert heard == [(12, 5, 6, 11, 10)]
    assert not calls
    assert torch.equal(y, listened)
    assert torch.equal(y, net(x)[0])
    assert len(calls) == 1


def test_spans_end_where_a_value_is_read_twice() -> None:
    layers = {
        "conv": Conv2d(2, 6, 3, padding=1, bias=False),
        "norm": BatchNorm2d(6),
        "lif": LIF(),
        "pool": SumPool2d(2),
        "flat": Flatten(),
        "out": Linear(150, 3),
    }
    row = [("input", "conv"), ("conv", "norm"), ("norm", "lif"), ("lif", "pool"), ("pool", "flat"), ("flat", "out")]
    ends: list[Any] = [("out", "output")]
    ports = {**Network([nn.Identity()]).layers}
    named = {"input": ports["layer_input"], **layers, "output": ports["layer_output"]}
    assert blocks.spans(Network(named, [*row, *ends])) == {"conv": ("conv", "norm", "lif", "pool")}
    twice = Network({**named, "more": Flatten(), "side": Linear(660, 3)}, [
        *row, *ends, ("lif", "more"), ("more", "side"), ("side", "output"),
    ])  # fmt: skip
    assert blocks.spans(twice) == {"conv": ("conv", "norm", "lif")}
    early = Network({**named, "more": Flatten(), "side": Linear(660, 3)}, [
        *row, *ends, ("norm", "more"), ("more", "side"), ("side", "output"),
    ])  # fmt: skip
    assert blocks.spans(early) == {}


def test_large_layers_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = taken(monkeypatch)
    monkeypatch.setattr(conv, "DENSE", 11)
    y, _ = network()(draw())
    assert not calls
    assert y.requires_grad
