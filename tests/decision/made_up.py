"""Small decision batches and models for the tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.spiking import SpikingDT
from neuroaccel.decision.to_graph import snapped
from neuroaccel.decision.tokens import Batch, tokens


def config(**options: Any) -> DecisionConfig:
    """A small model of four observations and two actions."""
    small = {"state_size": 4, "actions": 2, "width": 16, "heads": 4, "layers": 2, "context": 4, "max_steps": 200}
    return DecisionConfig(**{**small, **options})


def pole_batch(size: int, length: int, seed: int = 0, first: int = 40) -> Batch:
    """Like CartPole: states that drift, the action a linear rule of them, the return still to come falling by 1."""
    generator = torch.Generator().manual_seed(seed)
    drift = torch.randn(size, length, 4, generator=generator) * 0.6
    states = drift.cumsum(1) / (1 + torch.arange(length)[:, None]).sqrt()
    actions = (states @ torch.tensor([0.2, 0.4, 1.5, 1.0]) > 0).long()
    steps = torch.randint(0, first, (size, 1), generator=generator) + torch.arange(length)
    returns = (200 - steps)[..., None] / 200
    return Batch(returns, states, actions, steps, torch.ones(size, length, dtype=torch.bool))


def model_and_tokens(
    size: int = 2, length: int = 12, seed: int = 0, snap: bool = True, **options: Any
) -> tuple[SpikingDT, Tensor, Tensor]:
    """A calibrated model, snapped, and token vectors with their timesteps."""
    settings = config(**options)
    torch.manual_seed(seed)
    model = SpikingDT(settings)
    batch = pole_batch(size, length, seed)
    if settings.continuous:
        batch = replace(batch, actions=batch.states[..., : settings.actions].tanh())
    x, steps = tokens(batch, settings)
    model.calibrate(x, steps)
    return (snapped(model) if snap else model), x, steps
