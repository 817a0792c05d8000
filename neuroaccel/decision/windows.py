"""Training windows of offline trajectories: returns, standardised states, actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.tokens import Batch
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.envs.offline import Trajectory, TrajectorySet


@dataclass(frozen=True)
class Normaliser:
    """What a model must know of its data to act: how states were standardised, and which returns it has seen.

    Arguments:
        mean, std: float32 ``[S]``; a state enters as (s − mean) / std. A feature that never changes has the std 1.
        lowest, highest: returns of the data's episodes.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    lowest: float
    highest: float

    def states(self, observations: NDArray[Any]) -> Tensor:
        """Standardise ``[..., S]``."""
        values = (np.asarray(observations, np.float32) - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def returns_to_go(rewards: Sequence[float] | NDArray[Any]) -> NDArray[np.float32]:
    """G_t = Σ_{k ≥ t} r_k, undiscounted, of one episode.

    >>> returns_to_go([1, 1, 1]).tolist()
    [3.0, 2.0, 1.0]
    """
    values = np.asarray(rewards, np.float64)
    return np.asarray(np.cumsum(values[::-1])[::-1], np.float32)


def config_for(data: TrajectorySet, **settings: Any) -> DecisionConfig:
    """A config whose sizes fit a data set; ``settings`` are any other fields, and win.

    The return scale is the largest absolute return of the data, ``max_steps`` the environment's limit or the longest
    episode.

    Raises:
        InputError: a space that is no Box of one axis to observe, or neither Discrete nor a bounded Box to act in.
    """
    from gymnasium import registry, spaces

    seen, act = data.observation_space, data.action_space
    if not isinstance(seen, spaces.Box) or len(seen.shape) != 1:
        raise InputError(f"{data.env_id}: observations in {seen}; a decision transformer reads a Box of one axis")
    sizes: dict[str, Any] = {"state_size": seen.shape[0]}
    if isinstance(act, spaces.Discrete):
        if act.start != 0:
            raise InputError(f"{data.env_id}: actions count from {act.start}; expected from 0")
        sizes |= {"actions": int(act.n), "continuous": False}
    elif isinstance(act, spaces.Box) and len(act.shape) == 1 and act.is_bounded():
        sizes |= {"actions": act.shape[0], "continuous": True}
        sizes |= {"low": tuple(map(float, act.low)), "high": tuple(map(float, act.high))}
    else:
        raise InputError(f"{data.env_id}: actions in {act}; expected Discrete, or a bounded Box of one axis")
    spec = registry.get(data.env_id)
    limit = 0 if spec is None or spec.max_episode_steps is None else spec.max_episode_steps
    largest = float(np.abs(data.returns).max())
    sizes |= {"max_steps": max(limit, int(data.lengths.max()))}
    return DecisionConfig(**(sizes | {"return_scale": largest if largest > 0 else 1.0} | settings))


class Windows:
    """Draws windows of N decisions, each episode with a probability in proportion to its length.

    A window starts at any step of its episode with equal probability; what stands behind the episode's end is padding,
    where ``mask`` is False.

    Arguments:
        data: the trajectories.
        config: of the model.
        length: decisions in a window; None: ``config.context``.

    Raises:
        InputError: another environment's sizes, actions out of their space, or an episode longer than
            ``config.max_steps``.
    """

    def __init__(self, data: TrajectorySet, config: DecisionConfig, length: int | None = None) -> None:
        self.config, self.length = config, config.context if length is None else length
        if self.length < 1:
            raise InputError(f"windows of {self.length} decisions; expected at least 1")
        every = data.trajectories
        for at, t in enumerate(every):
            _check_one(t, config, f"{data.env_id}, episode {at}")
        states = np.concatenate([t.observations for t in every]).astype(np.float64)
        std = states.std(axis=0)
        self.normaliser = Normaliser(
            states.mean(axis=0).astype(np.float32),
            np.where(std > 1e-6, std, 1.0).astype(np.float32),
            float(data.returns.min()),
            float(data.returns.max()),
        )
        self.states = self.normaliser.states(states)
        self.actions = torch.from_numpy(np.concatenate([_actions(t.actions, config) for t in every]))
        told = [returns_to_go(t.rewards) for t in every]
        if config.return_token == "total":
            told = [np.full(len(g), g[0], np.float32) for g in told]
        self.returns = torch.from_numpy(np.concatenate(told))[:, None] / config.return_scale
        lengths = torch.from_numpy(data.lengths)
        self._ends = lengths.cumsum(0).repeat_interleave(lengths)  # of each step's episode
        self.steps = torch.arange(len(self.returns)) - (self._ends - lengths.repeat_interleave(lengths))

    def __len__(self) -> int:
        """How many windows there are: one from each step."""
        return len(self.steps)

    def at(self, starts: Tensor) -> Batch:
        """The windows that begin at these steps, int64 ``[B]``, counted over all episodes one after the other."""
        places = starts[:, None] + torch.arange(self.length)
        mask = places < self._ends[starts][:, None]
        places = torch.where(mask, places, starts[:, None])
        keep = mask[..., None]
        actions = self.actions[places]
        return Batch(
            self.returns[places] * keep,
            self.states[places] * keep,
            actions * (keep if actions.dim() == 3 else mask),
            self.steps[places] * mask,
            mask,
        )

    def sample(self, generator: torch.Generator, size: int) -> Batch:
        """Draw ``size`` windows."""
        return self.at(torch.randint(len(self), (size,), generator=generator))


def _check_one(t: Trajectory, config: DecisionConfig, where: str) -> None:
    """Refuse what the config does not hold; lengths and finite numbers a Trajectory has seen to itself."""
    if t.observations.shape[1:] != (config.state_size,):
        found = t.observations.shape[1]
        raise InputError(f"{where}: observations of {found} numbers; the model's config has {config.state_size}")
    if len(t) > config.max_steps:
        raise InputError(f"{where}: {len(t)} steps; the table of timesteps has {config.max_steps} (max_steps)")
    if config.continuous:
        if t.actions.shape[1:] != (config.actions,):
            raise InputError(f"{where}: actions of shape {t.actions.shape[1:]}; expected {config.actions} numbers")
    elif t.actions.ndim != 1 or not 0 <= t.actions.min() <= t.actions.max() < config.actions:
        raise InputError(f"{where}: expected actions from 0 to {config.actions - 1}, found {t.actions.dtype} beyond")


def _actions(found: NDArray[Any], config: DecisionConfig) -> NDArray[Any]:
    """Whole numbers as they are; real ones from their bounds to −1 … 1, clipped."""
    if not config.continuous:
        return np.asarray(found, np.int64)
    low, high = np.asarray(config.low), np.asarray(config.high)
    span = np.where(high > low, high - low, 1.0)
    return np.asarray(np.clip(2 * (np.asarray(found, np.float64) - low) / span - 1, -1, 1), np.float32)
