"""What a prediction depends on, from windows to logits: never on the action that it predicts, nor on anything later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.file import make
from neuroaccel.decision.tokens import Batch, tokens
from tests.decision.made_up import config, pole_batch

DECISIONS = 6
REAL = {"continuous": True, "low": (-1.0, -1.0), "high": (1.0, 1.0)}
MODELS: list[dict[str, Any]] = [
    {"model": "dt"},
    {"model": "dt", **REAL},
    {},
    {"attention": "softmax"},
    {"stream": "analog"},
    {"phase": False, "routing": False},
    REAL,
]


def model_and_batch(options: dict[str, Any]) -> tuple[nn.Module, DecisionConfig, Batch]:
    settings = config(context=DECISIONS, **options)
    batch = pole_batch(8, DECISIONS)
    if settings.continuous:
        batch = replace(batch, actions=batch.states[..., :2].tanh())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(settings).eval()
    if settings.model == "snn-dt":
        model.calibrate(*tokens(batch, settings))
    return model, settings, batch


def decided(model: nn.Module, batch: Batch, settings: DecisionConfig) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(*tokens(batch, settings))[:, 1::3]
    return found


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_the_action_of_a_decision_reaches_later_ones_only(options: dict[str, Any]) -> None:
    model, settings, batch = model_and_batch(options)
    before = decided(model, batch, settings)
    for t in range(DECISIONS):
        actions = batch.actions.clone()
        actions[:, t] = -actions[:, t] if settings.continuous else 1 - actions[:, t]
        after = decided(model, replace(batch, actions=actions), settings)
        assert torch.equal(after[:, : t + 1], before[:, : t + 1]), t
        assert t == DECISIONS - 1 or not torch.equal(after[:, t + 1 :], before[:, t + 1 :]), t


@pytest.mark.parametrize("options", MODELS, ids=str)
@pytest.mark.parametrize("field", ["returns", "states"])
def test_the_return_and_the_state_of_a_decision_reach_it_and_later_ones_only(
    field: str, options: dict[str, Any]
) -> None:
    model, settings, batch = model_and_batch(options)
    before, reached = decided(model, batch, settings), []
    for t in range(DECISIONS):
        values = getattr(batch, field).clone()
        values[:, t] = 3.0 - values[:, t]
        after = decided(model, replace(batch, **{field: values}), settings)
        assert torch.equal(after[:, :t], before[:, :t]), t
        reached.append(not torch.equal(after[:, t], before[:, t]))
    # Attention in whole numbers rounds some of what the token before the state tells.
    assert any(reached) if field == "returns" else all(reached)
