"""Dendritic gates: their size, their range, plain concatenation at 1, and the table of the exact ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroaccel.decision.routing import LEVELS, Router
from tests.decision.made_up import model_and_tokens


@pytest.fixture(autouse=True)
def seed() -> None:
    """Routers begin with drawn weights."""
    torch.manual_seed(0)


def sixteenths(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, LEVELS, shape, generator=torch.Generator().manual_seed(seed)) / LEVELS


@pytest.mark.parametrize("exact", [False, True])
def test_four_heads_have_twenty_numbers_and_gates_inside_0_and_1(exact: bool) -> None:
    router = Router(4, 16, exact)
    assert sum(p.numel() for p in router.parameters()) == 20
    with torch.no_grad():
        router.linear.weight.mul_(6)
    alpha = router(sixteenths(200, 4, 16))
    assert alpha.shape == (200, 4)
    assert alpha.min() > 0
    assert alpha.max() < 1
    assert alpha.std() > 0.1


@pytest.mark.parametrize("exact", [False, True])
def test_weights_of_0_give_one_half(exact: bool) -> None:
    router = Router(4, 16, exact)
    nn.init.zeros_(router.linear.weight)
    assert torch.equal(router(sixteenths(3, 4, 16)), torch.full((3, 4), 0.5))


def test_exact_gates_are_the_smooth_ones_to_the_nearest_sixteenth() -> None:
    exact, smooth = Router(4, 16, True), Router(4, 16, False)
    with torch.no_grad():
        exact.linear.weight.mul_(4).mul_(8).round_().div_(8)
    smooth.load_state_dict(exact.state_dict())
    y = sixteenths(500, 4, 16)
    found = exact(y)
    assert torch.equal(found * LEVELS, (found * LEVELS).round())
    assert (found - smooth(y).clamp(1 / LEVELS, 1 - 1 / LEVELS)).abs().max() <= 0.5 / LEVELS + 1e-6


def test_exact_gates_learn() -> None:
    router = Router(4, 16, True)
    y = sixteenths(50, 4, 16).requires_grad_()
    router(y).square().sum().backward()
    for gradient in (router.linear.weight.grad, router.linear.bias.grad, y.grad):
        assert gradient is not None
        assert (gradient != 0).any()


class Open(nn.Module):
    """Gates of 1."""

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return torch.ones(y.shape[:-1])


def test_gates_of_1_are_plain_concatenation() -> None:
    model, x, steps = model_and_tokens(routing=True)
    gated = model(x, steps)
    for block in model.blocks:
        block.router = Open()
    opened = model(x, steps)
    for block in model.blocks:
        block.router = None
    assert torch.equal(model(x, steps), opened)
    assert not torch.equal(gated, opened)
