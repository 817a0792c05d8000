"""The three-factor rule, and the layer that learns by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neuroaccel.errors import InputError, StateError
from neuroaccel.synapses import PlasticLinear, ThreeFactor

ONE = torch.ones(1, 1)


def bits(t: Tensor) -> bytes:
    return t.detach().numpy().tobytes()


def layer(rule: ThreeFactor, inputs: int = 5, outputs: int = 3, seed: int = 0) -> PlasticLinear:
    torch.manual_seed(seed)
    return PlasticLinear(inputs, outputs, rule)


def drive(ticks: int, samples: int, seed: int = 0, places: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor]:
    """What enters, the third factor, the post-synaptic values."""
    g = torch.Generator().manual_seed(seed)
    x = (torch.rand(ticks, samples, *places, 5, generator=g) < 0.4).float()
    y = (torch.rand(ticks, samples, *places, 3, generator=g) < 0.4).float()
    return x, torch.randn(ticks, samples, 1, generator=g), y


def test_a_trace_takes_in_a_coincidence_and_halves() -> None:
    """Source: the unit numbers of the public code's tests: λ 0.5, E 0 → 1 with pre = post = 1 → 0.5 without."""
    rule = ThreeFactor(0.5, 0.1, 1.0)
    first = rule.traced(torch.zeros(1, 1, 1), ONE, ONE)
    assert first.item() == 1.0
    assert rule.traced(first, 0 * ONE, 0 * ONE).item() == 0.5


def test_a_change_is_rate_times_third_factor_times_trace() -> None:
    """Source: as above: rate 0.1, third factor 2, E 1 → Δw 0.2."""
    rule = ThreeFactor(0.5, 0.1, 1.0)
    moved = rule.moved(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), 2 * ONE)
    assert moved.item() == float(np.float32(0.1) * np.float32(2))
    on_a_grid = ThreeFactor(0.5, 0.1, 1.0, grid=4)
    assert on_a_grid.moved(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), 2 * ONE).item() == 3 / 16


def test_halves_go_to_the_even_step_and_the_bound_is_rounded_down_to_the_grid() -> None:
    rule = ThreeFactor(0.0, 1.0, 0.8, grid=2)
    change = torch.tensor([[[0.125, 0.375, -0.125, 0.625]]])
    assert rule.moved(torch.zeros(1, 1, 4), change, ONE).tolist() == [[[0.0, 0.5, 0.0, 0.5]]]
    assert rule.limit == 0.75
    far = rule.moved(torch.zeros(1, 1, 2), torch.tensor([[[9.0, -9.0]]]), ONE)
    assert far.tolist() == [[[0.75, -0.75]]]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95, 1.0])
def test_the_trace_has_its_closed_form(decay: float) -> None:
    """E(t) = Σ λ^(t−s)·x(s)·y(s)."""
    net = layer(ThreeFactor(decay, 0.1, 1.0))
    x, m, y = drive(30, 2)
    _, state = net(x, m, y)
    assert state is not None
    pairs = torch.einsum("tno,tni->tnoi", y.double(), x.double())
    fades = torch.tensor([float(np.float32(decay)) ** (29 - s) for s in range(30)], dtype=torch.float64)
    expected = torch.einsum("t,tnoi->noi", fades, pairs)
    assert expected.any()
    torch.testing.assert_close(state["trace"].double(), expected, rtol=1e-5, atol=1e-6)


def test_places_add_up_in_their_order() -> None:
    net = layer(ThreeFactor(0.5, 0.1, 1.0, grid=12))
    x, m, y = drive(4, 2, places=(3,))
    out, state = net(x, m, y)
    assert out.shape == (4, 2, 3, 3)
    assert state is not None
    pairs = torch.einsum("tnpo,tnpi->tnoi", y, x)
    expected = sum(0.5 ** (3 - s) * pairs[s] for s in range(4))
    assert torch.equal(state["trace"], torch.as_tensor(expected))


def test_a_forgotten_trace_is_0_and_not_denormal() -> None:
    rule = ThreeFactor(0.5, 0.1, 1.0)
    trace = torch.full((1, 1, 1), 2.0**-99)
    last = rule.traced(trace, 0 * ONE, ONE)
    assert last.item() == 2.0**-100
    assert bits(rule.traced(-last, 0 * ONE, ONE)) == bits(torch.zeros(1))


@pytest.mark.parametrize(("rate", "third"), [(0.0, 1.0), (0.1, 0.0)])
def test_nothing_moves_without_a_rate_or_a_third_factor(rate: float, third: float) -> None:
    net = layer(ThreeFactor(0.9, rate, 0.25, grid=8))
    with torch.no_grad():
        net.weight[0, 0], net.weight[0, 1], net.weight[1, 0] = -0.0, 7.0, 0.1  # beyond the bound, and off the grid
    x, m, y = drive(20, 2)
    _, state = net(x, third * m, y)
    assert state is not None
    assert bits(state["weight"]) == bits(net.weight.expand(2, 3, 5).contiguous())
    assert state["trace"].any(), "what could be learnt is there all the same"


def test_every_sample_learns_by_itself() -> None:
    net = layer(ThreeFactor(0.9, 0.1, 1.0, grid=10))
    x, m, y = drive(15, 3)
    out, state = net(x, m, y)
    assert state is not None
    for k in range(3):
        one, alone = net(x[:, k : k + 1], m[:, k : k + 1], y[:, k : k + 1])
        assert alone is not None
        assert torch.equal(alone["weight"][0], state["weight"][k])
        torch.testing.assert_close(one[:, 0], out[:, k])
    assert not torch.equal(state["weight"][0], state["weight"][1])


def test_gradients_run_through_the_product_alone() -> None:
    net = layer(ThreeFactor(0.9, 0.1, 1.0, grid=10))
    x, m, y = drive(6, 2)
    x, m, y = (v.requires_grad_() for v in (x, m, y))
    out, state = net(x, m, y)
    assert state is not None
    assert not any(v.requires_grad for v in state.values())
    out.sum().backward()
    assert net.weight.grad is not None
    expected = x.detach().sum(dim=(0, 1)).expand(3, 5)
    torch.testing.assert_close(net.weight.grad, expected)
    assert x.grad is not None, "and to what entered, through the weights of the tick"
    assert m.grad is None
    assert y.grad is None


def test_the_parameter_can_be_trained_while_it_learns() -> None:
    net = layer(ThreeFactor(0.9, 0.01, 1.0))
    x, m, y = drive(8, 4)
    target = torch.randn(8, 4, 3, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    losses = []
    for _ in range(30):
        loss = ((net(x, m, y)[0] - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_without_a_third_factor_it_is_a_linear() -> None:
    net = layer(ThreeFactor(0.9, 0.1, 1.0))
    x, m, y = drive(4, 2)
    out, state = net(x)
    assert state is None
    assert torch.equal(out, torch.nn.functional.linear(x, net.weight, net.bias))
    _, learnt = net(x, m, y)
    frozen, same = net(x, None, None, learnt)
    assert same is learnt
    torch.testing.assert_close(frozen[0], net.react(x[0], learnt))


def test_a_masked_reset_brings_back_the_parameter() -> None:
    net = layer(ThreeFactor(0.9, 0.1, 1.0, grid=10))
    _, state = net(*drive(9, 3))
    assert state is not None
    after = net.reset(state, torch.tensor([True, False, True]))
    fresh = net.fresh(3)
    for key in ("weight", "trace"):
        assert torch.equal(after[key][0], fresh[key][0])
        assert torch.equal(after[key][2], fresh[key][2])
        assert torch.equal(after[key][1], state[key][1])
    assert not torch.equal(after["weight"][0], state["weight"][0])


@pytest.mark.parametrize(
    "values",
    [(1.5, 0.1, 1.0), (-0.1, 0.1, 1.0), (0.9, float("nan"), 1.0), (0.9, 0.1, float("inf")), (0.9, 0.1, 0.0)],
)
def test_rules_out_of_range_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="ThreeFactor"):
        ThreeFactor(*values)


def test_a_bound_below_a_step_of_the_grid_is_refused() -> None:
    with pytest.raises(InputError, match="below a step"):
        ThreeFactor(0.9, 0.1, 0.2, grid=2)


def test_values_and_states_that_do_not_fit_are_refused() -> None:
    net = layer(ThreeFactor(0.9, 0.1, 1.0))
    x, m, y = drive(2, 3)
    with pytest.raises(InputError, match="third factor"):
        net(x, m.expand(2, 3, 4), y)
    with pytest.raises(InputError, match="post"):
        net(x, m, y[..., :2])
    _, state = net(x, m, y)
    with pytest.raises(StateError, match="batch size"):
        net(x[:, :2], m[:, :2], y[:, :2], state)
