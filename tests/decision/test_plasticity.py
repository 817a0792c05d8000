"""The three-factor rule of the action head: the numbers of the paper's project, the closed form, no gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroaccel.decision.plasticity import learn_head, modulator
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
