"""The three-factor rule of the action head: the numbers of the paper's project, the closed form, no gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from neuroaccel.decision.plasticity import OnlineModulator, learn_head, modulator
from neuroaccel.synapses.plastic import ThreeFactor


def head(outputs: int = 1, inputs: int = 1) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    return layer


def test_the_two_unit_numbers() -> None:
    one, rule = torch.ones(1, 1), ThreeFactor(0.5, 0.1, 10.0)
    trace = learn_head(head(), torch.zeros(1, 1, 1), one, one, torch.zeros(1), rule)
    assert trace.item() == 1.0
    trace = learn_head(head(), trace, 0 * one, 0 * one, torch.zeros(1), rule)
    assert trace.item() == 0.5
    layer = head()
    learn_head(layer, torch.zeros(1, 1, 1), one, one, torch.full((1,), 2.0), rule)
    assert layer.weight.item() == pytest.approx(0.2)


def test_the_trace_is_the_sum_of_what_fades() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(8, 3, n, generator=generator) for n in (5, 2))
    trace, layer = torch.zeros(3, 2, 5), head(2, 5)
    for t in range(8):
        trace = learn_head(layer, trace, x[t], y[t], torch.zeros(3), ThreeFactor(0.7, 0.1, 1.0))
    expected = sum(0.7 ** (7 - t) * y[t][:, :, None] * x[t][:, None, :] for t in range(8))
    torch.testing.assert_close(trace, expected)
    assert (layer.weight == 0).all()


def test_samples_are_averaged_and_no_gradient_runs_through() -> None:
    layer, rule = head(), ThreeFactor(0.5, 1.0, 10.0)
    x = torch.tensor([[1.0], [3.0]], requires_grad=True)
    trace = learn_head(layer, torch.zeros(2, 1, 1), x, torch.ones(2, 1), torch.tensor([1.0, -1.0]), rule)
    assert layer.weight.item() == -1.0
    assert not trace.requires_grad
    assert layer.weight.is_leaf


def test_modulator_is_clipped() -> None:
    assert modulator(torch.tensor([0.0, 10, 15, 100]), 10.0, 10.0).tolist() == [-1, 0, 0.5, 1]


def test_the_head_learns_as_the_contract_says_on_the_grid_within_the_rounded_bound_and_flushed() -> None:
    one, rule = torch.ones(1, 1), ThreeFactor(0.5, 0.3, 1.3, grid=1)
    layer = head()
    trace = learn_head(layer, torch.zeros(1, 1, 1), one, one, torch.ones(1), rule)
    assert layer.weight.item() == 0.5  # 0.3 is nearest to a half
    for _ in range(9):
        trace = learn_head(layer, trace, one, one, torch.ones(1), rule)
    assert layer.weight.item() == 1.0  # 1.3, rounded down to halves
    tiny = torch.full((1, 1, 1), 2.0**-100)
    assert learn_head(layer, tiny, 0 * one, 0 * one, torch.zeros(1), rule).item() == 0.0
    assert learn_head(layer, 4 * tiny, 0 * one, 0 * one, torch.zeros(1), rule).item() == 2.0**-99


def test_online_the_third_factor_is_the_rewards_and_at_the_end_the_returns() -> None:
    rewards = np.random.default_rng(0).normal(size=(20, 2))
    rewards[:, 1] = 1.0
    found = OnlineModulator(2, -10.0, 30.0)
    for t in range(20):
        third = found(rewards[t], np.array([t == 19, t == 19]))
        if t == 19:
            break
        so_far = rewards[: t + 1, 0]
        expected = (so_far[-1] - so_far.mean()) / so_far.std() if t else 0.0
        assert third.tolist() == [pytest.approx(np.clip(expected, -1, 1), abs=1e-6), 0.0]
    assert third.tolist() == pytest.approx([np.clip((rewards[:, 0].sum() - 10) / 20, -1, 1), 0.5])
    # The next episode's return begins at 0; the rewards' mean and spread go on.
    assert found(np.array([0.0, 30.0]), np.array([True, True])).tolist() == [-0.5, 1.0]
