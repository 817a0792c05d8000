"""The kernels as torch operators: registered correctly, compiled, under autocast, with state and without gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neuroaccel import Network
from neuroaccel.kernels import codegen, op
from neuroaccel.neurons import ALIF, LIF, CubaLIF, Neuron
from neuroaccel.synapses import Linear
from tests.kernels.neurons import draw_input, forced


def arguments(layer: Neuron, x: torch.Tensor, grad: bool) -> tuple[Any, ...]:
    """What the backend hands to the operator."""
    spec = layer.spec
    state = [v.detach().requires_grad_(grad) for v in layer.fresh(x[0]).values()]
    values = [v.detach().requires_grad_(grad) for v in layer.values().values()]
    x = x.detach().requires_grad_(grad)
    return x, state, values, spec.program.text, spec.surrogate, spec.slope, spec.detach_reset, grad


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("per_neuron", [False, True])
def test_the_operator_is_registered_correctly(grad: bool, per_neuron: bool) -> None:
    beta = np.full(5, 0.9, np.float32) if per_neuron else 0.9
    layer = CubaLIF(beta=beta, reset="subtract")
    x = draw_input(np.random.default_rng(0), (20, 3, 5))
    torch.library.opcheck(op.neuron, arguments(layer, x, grad))


def test_the_backward_operator_is_registered_correctly() -> None:
    x = draw_input(np.random.default_rng(0), (20, 3, 5))
    x, state, values, text, surrogate, slope, detach, _ = arguments(ALIF(), x, False)
    y, end, kept = op.neuron(x, state, values, text, surrogate, slope, detach, True)
    wanted = list(range(len(values)))
    args = (torch.ones_like(y), torch.ones_like(end), x, kept, values, wanted, text, surrogate, slope, detach)
    torch.library.opcheck(op.neuron_backward, args)


def network(learnable: set[str]) -> Network:
    torch.manual_seed(1)
    lif = LIF(beta=0.9, learnable=learnable, shape=(8,))
    return Network([Linear(6, 8), lif, Linear(8, 3), CubaLIF(reset="subtract")])


def losses(net: Any, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y, state = net(x)
    loss = y.sum() + state["3"]["u"].square().sum()
    return [y.detach(), x.grad if x.grad is not None else torch.autograd.grad(loss, x)[0]]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does that itself
def test_a_network_compiles_as_one_graph() -> None:
    net = network({"beta"})
    x = draw_input(np.random.default_rng(1), (20, 2, 6))
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for a, b in zip(losses(net, x), losses(compiled, x), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        assert torch.equal(net(x)[0], compiled(x)[0])


def test_a_network_trains_the_same_with_both() -> None:
    x = draw_input(np.random.default_rng(2), (25, 4, 6), coarse=False)
    found = []
    for name in ("torch", "numba"):
        with pytest.MonkeyPatch.context() as patch:
            forced(patch, name)
            net = network({"beta", "threshold"})
            optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
            for _ in range(3):
                optimizer.zero_grad()
                y, _ = net(x)
                (y.mean() - 0.3).square().backward()
                optimizer.step()
            found.append({n: p.detach() for n, p in net.named_parameters()})
    start = dict(network({"beta", "threshold"}).named_parameters())
    for name, value in found[0].items():
        assert torch.allclose(found[1][name], value, rtol=1e-5, atol=1e-7), name
        assert name.startswith("layers.layer_2") or not torch.equal(value, start[name]), name


def test_nothing_is_kept_without_gradient_and_little_with_it() -> None:
    x = draw_input(np.random.default_rng(0), (100, 3, 5))
    args = arguments(LIF(), x, False)
    assert op.neuron(*args)[2].numel() == 0
    kept = op.neuron(*args[:-1], True)[2]
    assert kept.numel() * codegen.EVERY < x.numel() * 1.2


def test_inputs_are_not_changed_and_need_not_be_contiguous() -> None:
    layer = LIF(beta=0.9)
    x = draw_input(np.random.default_rng(0), (5, 3, 40)).permute(2, 1, 0)
    state = {"v": torch.ones(5, 3).T}
    before = x.clone(), state["v"].clone()
    y, _ = layer(x, state)
    assert torch.equal(y, layer(x.contiguous(), state)[0])
    assert torch.equal(x, before[0])
    assert torch.equal(state["v"], before[1])


def test_arithmetic_stays_float32_under_autocast() -> None:
    layer, x = LIF(beta=0.9), draw_input(np.random.default_rng(0), (30, 3, 5), coarse=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x)
        low, _ = layer(x.bfloat16())
    assert torch.equal(y, layer(x)[0])
    assert torch.equal(low, layer(x.bfloat16().float())[0])
    assert (y.dtype, state["v"].dtype) == (torch.float32, torch.float32)


def test_an_empty_batch_gives_an_empty_result() -> None:
    x = torch.zeros(4, 0, 3, requires_grad=True)
    y, _ = LIF()(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == (4, 0, 3)


def test_gradients_flow_through_the_last_state_into_the_next_sequence() -> None:
    layer = LIF(beta=0.9)
    x = draw_input(np.random.default_rng(0), (30, 2, 5), coarse=False)
    whole, parts = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(whole)[0][20:].sum().backward()
    _, state = layer(parts[:20])
    layer(parts[20:], state)[0].sum().backward()
    assert torch.allclose(whole.grad, parts.grad, rtol=1e-6, atol=1e-9)
    assert float(parts.grad[:20].abs().max()) > 0
