"""Return, state and action tokens: (G₁, s₁, a₁, …, G_N, s_N, a_N)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from neuroaccel.decision.config import DecisionConfig

RETURN, STATE, ACTION = 0, 1, 2


@dataclass(frozen=True)
class Batch:
    """Windows of trajectories.

    Arguments:
        returns: ``[B, N, 1]``, divided by the config's scale.
        states: ``[B, N, S]``, standardised.
        actions: ``[B, N]`` int64, or ``[B, N, A]`` real, inside −1 to 1.
        steps: ``[B, N]`` int64, timesteps of the environment.
        mask: ``[B, N]`` bool, False where the window is padding; padding stands behind the steps.
    """

    returns: Tensor
    states: Tensor
    actions: Tensor
    steps: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same windows on a device."""
        return Batch(*(getattr(self, part.name).to(device) for part in fields(self)))


def tokens(batch: Batch, config: DecisionConfig) -> tuple[Tensor, Tensor]:
    """Interleave the three kinds of token into one sequence of vectors.

    A token's vector has a place for a return, for a state, for an action (one-hot where discrete) and for its kind;
    places of other kinds are 0, so that one matrix embeds all three.

    Returns:
        ``[B, 3N, 1 + S + A + 3]`` and each token's timestep, int64 ``[B, 3N]``.
    """
    size, steps = batch.states.shape[:2]
    x = batch.states.new_zeros(size, steps, 3, config.token_size)
    x[:, :, RETURN, 0] = batch.returns[..., 0]
    x[:, :, STATE, 1 : 1 + config.state_size] = batch.states
    at = 1 + config.state_size
    if config.continuous:
        x[:, :, ACTION, at : at + config.actions] = batch.actions
    else:
        x[:, :, ACTION, at : at + config.actions] = torch.nn.functional.one_hot(batch.actions, config.actions).to(x)
    for kind in (RETURN, STATE, ACTION):
        x[:, :, kind, at + config.actions + kind] = 1.0
    return x.flatten(1, 2), batch.steps.repeat_interleave(3, dim=1)


def band(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Bool ``[length, length]``: token i attends to the last ``width`` tokens, itself included: i − width < j ≤ i."""
    at = torch.arange(length, device=device)
    gap = at[:, None] - at[None, :]
    return (gap >= 0) & (gap < width)
