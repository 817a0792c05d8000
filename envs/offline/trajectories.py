"""Episodes of some policy in an environment, as offline learning reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from neuroaccel.errors import InputError


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One episode of n decisions.

    Arguments:
        observations: ``[n, S]`` float32, the observation that each action was taken on.
        actions: ``[n]`` int64, or ``[n, A]`` float32; the actions that were executed, noise included.
        rewards: ``[n]`` float32, what each action brought.
        terminated, truncated: how the episode ended.
        seed: of the environment's reset, where it is known.
        policy: name of the policy that acted, where it is known.
        final_observation: ``[S]`` float32, what the last action led to, where it is known.

    Raises:
        InputError: no decision, lengths that differ, missing rewards, NaN or infinite numbers.
    """

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: bool
    truncated: bool
    seed: int | None
    policy: str = ""
    final_observation: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        actions = np.asarray(self.actions)
        whole = np.issubdtype(actions.dtype, np.integer)
        as_needed: dict[str, Any] = {
            "observations": _floats("observations", self.observations, 2),
            "rewards": _floats("rewards", self.rewards, 1),
            "actions": actions.astype(np.int64) if whole else _floats("actions", actions, 2),
        }
        if whole and actions.ndim != 1:
            raise InputError(f"trajectory: discrete actions have shape {actions.shape}; expected [n]")
        lengths = {name: len(values) for name, values in as_needed.items()}
        if len(set(lengths.values())) != 1 or not lengths["actions"]:
            raise InputError(
                f"trajectory: {lengths['observations']} observations, {lengths['actions']} actions and "
                f"{lengths['rewards']} rewards; expected one of each for every decision, and at least one decision"
            )
        if self.final_observation is not None:
            as_needed["final_observation"] = _floats("final_observation", self.final_observation, 1)
        for name, values in as_needed.items():
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        """How many decisions there are."""
        return len(self.rewards)

    @property
    def total(self) -> float:
        """Return: the sum of the rewards, undiscounted, added in float64."""
        return float(self.rewards.sum(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class TrajectorySet:
    """Episodes in one environment.

    Arguments:
        env_id: the environment's registered name; empty where a data set does not say it.
        observation_space: a ``Box`` of one axis.
        action_space: ``Discrete`` from 0, or a ``Box`` of one axis.
        trajectories: at least one.
        expert_return, random_return: mean returns that were measured for this environment, None where they were not.
        metadata: the policies' provenance, seeds and noise.

    Raises:
        InputError: an empty set; a space, or a trajectory, that does not fit.
    """

    env_id: str
    observation_space: Space[Any]
    action_space: Space[Any]
    trajectories: tuple[Trajectory, ...]
    expert_return: float | None = None
    random_return: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        object.__setattr__(self, "trajectories", tuple(self.trajectories))
        named = self.env_id or "trajectories"
        check_spaces(self.observation_space, self.action_space, named)
        if not self.trajectories:
            raise InputError(f"{named}: the set is empty; expected at least one episode")
        size = self.observation_space.shape
        for index, one in enumerate(self.trajectories):
            where = f"{named}, episode {index}"
            if one.observations.shape[1:] != size:
                raise InputError(
                    f"{where}: observations of {one.observations.shape[1]} numbers in a set of {size}; "
                    "a set holds one environment"
                )
            _check_actions(one.actions, self.action_space, where)

    def __len__(self) -> int:
        """How many episodes there are."""
        return len(self.trajectories)

    @property
    def returns(self) -> NDArray[np.float64]:
        """Undiscounted returns ``[episodes]``."""
        return np.array([one.total for one in self.trajectories])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Decisions in each episode ``[episodes]``."""
        return np.array([len(one) for one in self.trajectories], dtype=np.int64)

    @property
    def steps(self) -> int:
        """Decisions in all episodes."""
        return int(self.lengths.sum())

    @property
    def policies(self) -> dict[str, tuple[int, ...]]:
        """Indices of the episodes by the name of their policy, in the order of their first appearance."""
        found: dict[str, list[int]] = {}
        for index, one in enumerate(self.trajectories):
            found.setdefault(one.policy, []).append(index)
        return {name: tuple(indices) for name, indices in found.items()}


def combine(sets: Sequence[TrajectorySet]) -> TrajectorySet:
    """Put the episodes of several sets of one environment into one, in their order.

    The measured returns and the metadata are those of the first set that has them.

    Raises:
        InputError: no set, or sets of different environments or spaces.
    """
    if not sets:
        raise InputError("combine: no set of trajectories; expected at least one")
    first = sets[0]
    for other in sets[1:]:
        if other.env_id != first.env_id:
            raise InputError(f"combine: sets of {first.env_id!r} and {other.env_id!r}; expected one environment")
        if (other.observation_space, other.action_space) != (first.observation_space, first.action_space):
            raise InputError(
                f"combine: {first.env_id!r} with spaces {first.observation_space}, {first.action_space} and "
                f"{other.observation_space}, {other.action_space}; expected the same"
            )
    return replace(
        first,
        trajectories=tuple(one for each in sets for one in each.trajectories),
        expert_return=next((s.expert_return for s in sets if s.expert_return is not None), None),
        random_return=next((s.random_return for s in sets if s.random_return is not None), None),
        metadata=next((s.metadata for s in sets if s.metadata), first.metadata),
    )


def normalised_return(value: float, random: float | None, expert: float | None) -> float:
    """Where a return stands between a random policy (0) and an expert (1).

    (R − random) / (expert − random)

    Raises:
        InputError: one of the two was not measured, or the expert is no better than chance.
    """
    if random is None or expert is None:
        raise InputError(
            f"normalised return: the random policy's return is {random}, the expert's {expert}; both must be measured"
        )
    if not expert > random:
        raise InputError(
            f"normalised return: the expert's return {expert} does not exceed the random policy's {random}"
        )
    return (value - random) / (expert - random)


def check_spaces(observation: Space[Any], action: Space[Any], where: str) -> None:
    """Refuse spaces that a decision model cannot read.

    Arguments:
        where: what the message begins with: an environment or a data set.

    Raises:
        InputError: observations other than a ``Box`` of one axis, or actions other than ``Discrete`` or such a ``Box``.
    """
    if not isinstance(observation, spaces.Box) or len(observation.shape) != 1:
        raise InputError(
            f"{where}: observations are a {_described(observation)}; expected a Box of one axis "
            "(gymnasium.wrappers.FlattenObservation makes one of a Dict)"
        )
    if isinstance(action, spaces.Discrete):
        if int(action.start) != 0:
            raise InputError(f"{where}: discrete actions begin at {action.start}; expected 0")
    elif not isinstance(action, spaces.Box) or len(action.shape) != 1:
        raise InputError(f"{where}: actions are a {_described(action)}; expected Discrete or a Box of one axis")


def _described(space: Space[Any]) -> str:
    name = type(space).__name__
    if isinstance(space, spaces.Dict):
        return f"{name} of {', '.join(map(repr, space.spaces))}"
    return f"{name} of shape {space.shape}" if space.shape is not None else name


def _floats(name: str, values: Any, axes: int) -> NDArray[np.float32]:
    try:
        given = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"trajectory: {name} are {type(values).__name__}; expected numbers") from error
    if given.ndim != axes:
        raise InputError(f"trajectory: {name} have {given.ndim} axes {given.shape}; expected {axes}")
    bad = ~np.isfinite(given)
    if bad.any():
        step = int(np.argwhere(bad)[0][0])
        raise InputError(f"trajectory: {name} hold {given[bad][0]} at {step}; expected finite numbers")
    return given.astype(np.float32)


def _check_actions(actions: NDArray[Any], space: Space[Any], where: str) -> None:
    discrete = isinstance(space, spaces.Discrete)
    if discrete != (actions.ndim == 1):
        kind = "discrete" if actions.ndim == 1 else "real"
        raise InputError(f"{where}: {kind} actions in the space {space}; a set holds one environment")
    if isinstance(space, spaces.Discrete):
        low, high = int(actions.min()), int(actions.max())
        if low < 0 or high >= int(space.n):
            raise InputError(f"{where}: actions {low} to {high}; expected 0 to {int(space.n) - 1}")
    elif actions.shape[1:] != space.shape:
        raise InputError(f"{where}: actions of {actions.shape[1]} numbers; expected {space.shape}")
