"""The phase code: hard, half on, different from step to step, learnable, and by table."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from neuroaccel.decision.phase import PhaseCode
from neuroaccel.errors import InputError
from tests.decision.made_up import model_and_tokens


def test_codes_are_binary_and_about_half_are_on() -> None:
    code = PhaseCode(heads=4, micro_steps=4, max_steps=500)
    values = code(torch.arange(500))
    assert values.shape == (500, 4, 4)
    assert set(values.unique().tolist()) == {0.0, 1.0}
    on = values.mean((0, 1))
    assert ((on > 0.4) & (on < 0.6)).all(), on


def test_quarter_turns() -> None:
    code = PhaseCode(heads=1, micro_steps=1, max_steps=500)
    code.set_(torch.tensor([math.pi / 2]), torch.tensor([math.pi / 4]))
    assert code(torch.arange(8)).flatten().tolist() == [1, 1, 0, 0, 1, 1, 0, 0]


def test_micro_steps_lie_between_timesteps() -> None:
    """s(n, τ) of T micro-steps is s(nT + τ, 0) of a code T times slower."""
    fine, slow = PhaseCode(1, 4, 50), PhaseCode(1, 1, 200)
    fine.set_(torch.tensor([0.9]), torch.tensor([0.3]))
    slow.set_(torch.tensor([0.9 / 4]), torch.tensor([0.3]))
    assert torch.equal(fine(torch.arange(50)).flatten(), slow(torch.arange(200)).flatten())


class OfMicroSteps(nn.Module):
    """What the paper's project runs: 1[sin(ω_h τ + φ_h) > 0], of the micro-step alone, with no timestep in it."""

    def __init__(self, like: PhaseCode) -> None:
        super().__init__()
        self.mask = like.table()[0].detach()

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return self.mask.expand(*steps.shape, *self.mask.shape)


def tells_timesteps_apart(code: nn.Module) -> bool:
    """Whether the codes of forty timesteps are of more than ten kinds, and two of them at a distance differ."""
    values = code(torch.arange(40)).flatten(1)
    return len(values.unique(dim=0)) > 10 and not torch.equal(values[0], values[20])


def test_timesteps_get_different_codes_and_a_code_of_the_micro_step_fails_this() -> None:
    code = PhaseCode(heads=4, micro_steps=4, max_steps=100)
    assert tells_timesteps_apart(code)
    literal = OfMicroSteps(code)
    assert set(literal(torch.arange(3)).unique().tolist()) == {0.0, 1.0}
    assert not tells_timesteps_apart(literal)


@pytest.mark.parametrize("attention", ["counts", "softmax"])
def test_the_code_alone_tells_the_model_when_it_is(attention: str) -> None:
    model, x, steps = model_and_tokens(length=6, attention=attention, max_steps=500)
    assert model.phase is not None

    def told() -> bool:
        with torch.no_grad():
            return not torch.equal(model(x, steps), model(x, steps + 37))

    assert told()
    code: PhaseCode = model.phase
    model.phase = OfMicroSteps(code)  # type: ignore[assignment]
    assert not told()
    model.phase = None
    assert not told()


def test_gradients_reach_frequency_and_phase() -> None:
    code = PhaseCode(heads=4, micro_steps=4, max_steps=500)
    weight = torch.randn(60, 4, 4, generator=torch.Generator().manual_seed(0))
    (code(torch.arange(400, 460)) * weight).sum().backward()
    for parameter in (code.turns, code.phi):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).all()
    # Turns in an episode: late timesteps do not make the gradient explode.
    assert code.turns.grad.norm() < 2 * math.pi * code.phi.grad.norm()


def test_gradient_is_that_of_the_sigmoid() -> None:
    code = PhaseCode(heads=1, micro_steps=1, max_steps=10)
    code.set_(torch.tensor([0.5]), torch.tensor([0.2]))
    code(torch.tensor([3])).sum().backward()
    angle = torch.tensor(0.5 * 3 + 0.2)
    s = torch.sigmoid(10 * angle.sin())
    expected = 10 * s * (1 - s) * angle.cos()
    torch.testing.assert_close(code.phi.grad, expected.reshape(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("step", [-1, 10])
def test_a_timestep_outside_the_table_is_an_error(step: int) -> None:
    with pytest.raises(InputError, match="knows 0 to 9"):
        PhaseCode(1, 1, 10)(torch.tensor([step]))
