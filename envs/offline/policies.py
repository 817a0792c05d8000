"""Policies that collect trajectories: what they share, the random one, and an expert made worse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from neuroaccel.envs.offline.making import space_of_actions
from neuroaccel.errors import InputError

Observation = NDArray[np.float32]


class Policy(ABC):
    """Chooses an action for an observation.

    Arguments:
        name: a word for tables.
        provenance: plain JSON values that say what the policy is: its rule, its constants, its source.
    """

    def __init__(self, name: str, provenance: Mapping[str, Any]) -> None:
        self.name = name
        self.provenance = dict(provenance)

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode; a policy that draws does it from this seed, so that each episode stands by itself."""
        del seed

    @abstractmethod
    def __call__(self, observation: Observation) -> Any:
        """Choose: from ``[S]`` to an int, or to a float32 ``[A]``."""


class Rule(Policy):
    """A policy without memory or chance: a function of the observation.

    Arguments:
        name, provenance: as for every policy.
        act: from ``[S]`` to an action.
    """

    def __init__(self, name: str, provenance: Mapping[str, Any], act: Callable[[Observation], Any]) -> None:
        super().__init__(name, provenance)
        self._act = act

    def __call__(self, observation: Observation) -> Any:
        """Apply the function."""
        return self._act(observation)


class RandomPolicy(Policy):
    """Every action with the same probability; a continuous one uniform between its bounds.

    Arguments:
        actions: the space to draw from.
        seed: of all its draws, together with that of the episode.
    """

    def __init__(self, actions: Space[Any], seed: int = 0) -> None:
        super().__init__("random", {"rule": "uniform over the action space", "seed": seed})
        self._actions, self._seed = actions, seed
        self._draws = np.random.default_rng(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode, whose actions follow from the two seeds."""
        if seed is not None:
            self._draws = np.random.default_rng([self._seed, seed])

    def __call__(self, observation: Observation) -> Any:
        """Draw an action; the observation is not looked at."""
        return draw(self._actions, self._draws)


class Worsened(Policy):
    """A policy that acts at random in a share of its decisions.

    Arguments:
        policy: the one that is made worse.
        actions: the space to draw from.
        share: of decisions that are random, 0 to 1.
        name: a word for tables.
        seed: of the draws, together with that of the episode.
    """

    def __init__(self, policy: Policy, actions: Space[Any], share: float, name: str = "medium", seed: int = 0) -> None:
        provenance = {"rule": "a random action in a share of decisions, else the policy's", "share": share}
        super().__init__(name, {**provenance, "seed": seed, "policy": policy.provenance})
        self._policy, self._actions, self._share, self._seed = policy, actions, share, seed
        self._draws = np.random.default_rng(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode."""
        self._policy.reset(seed)
        if seed is not None:
            self._draws = np.random.default_rng([self._seed, seed])

    def __call__(self, observation: Observation) -> Any:
        """Choose, or draw."""
        chosen = self._policy(observation)
        return draw(self._actions, self._draws) if self._draws.random() < self._share else chosen


def random_policy(env_id: str, seed: int = 0) -> Policy:
    """The random policy of an environment.

    Raises:
        InputError: no such environment, or one whose actions are unbounded.
        MissingExtra: what the environment needs is not installed.
    """
    return RandomPolicy(space_of_actions(env_id), seed)


def draw(actions: Space[Any], generator: np.random.Generator) -> Any:
    """Draw an action, each equally likely: an int, or a float32 ``[A]`` within the bounds."""
    if isinstance(actions, spaces.Discrete):
        return int(generator.integers(int(actions.n)))
    low, high = bounds(actions)
    return generator.uniform(low, high).astype(np.float32)


def bounds(actions: Space[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest continuous action ``[A]``.

    Raises:
        InputError: one of them is infinite.
    """
    low, high = (np.asarray(getattr(actions, end), dtype=np.float64) for end in ("low", "high"))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError(f"actions lie in {actions}; random actions and noise need finite bounds")
    return low, high
