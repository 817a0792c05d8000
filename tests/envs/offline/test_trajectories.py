"""Trajectories and sets of them: their numbers, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from neuroaccel.envs.offline import Trajectory, TrajectorySet, combine, normalised_return
from neuroaccel.errors import InputError

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
TWO = spaces.Discrete(2)


def episode(n: int = 4, size: int = 3, **changes: Any) -> Trajectory:
    given: dict[str, Any] = {
        "observations": np.zeros((n, size)),
        "actions": np.arange(n) % 2,
        "rewards": np.ones(n),
        "terminated": True,
        "truncated": False,
        "seed": 7,
        **changes,
    }
    return Trajectory(**given)


def some(*episodes: Trajectory, env_id: str = "Some-v0", **changes: Any) -> TrajectorySet:
    return replace(TrajectorySet(env_id, BOX, TWO, episodes or (episode(),)), **changes)


def test_a_trajectory_has_the_declared_types_and_its_return() -> None:
    one = episode(rewards=[1, 2, 3, 0.5], final_observation=np.zeros(3))
    assert (one.observations.dtype, one.actions.dtype, one.rewards.dtype) == (np.float32, np.int64, np.float32)
    assert (len(one), one.total) == (4, 6.5)
    assert one.final_observation is not None
    assert one.final_observation.dtype == np.float32
    assert episode(actions=np.zeros((4, 2))).actions.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observations": [[0.0, 0.0, 0.0], [0.0, np.nan, 0.0], [0.0] * 3, [0.0] * 3]}, "observations hold nan at 1"),
        ({"rewards": [1.0, np.inf, 0.0, 0.0]}, "rewards hold inf at 1"),
        ({"rewards": np.ones(3)}, "4 observations, 4 actions and 3 rewards"),
        ({"rewards": None}, "rewards"),
        ({"observations": np.zeros(4)}, "observations have 1 axes"),
        ({"actions": np.zeros((4, 1), dtype=int)}, "discrete actions have shape"),
        ({"actions": np.zeros(4)}, "actions have 1 axes"),
        ({"observations": {"a": 1}}, "observations are dict"),
        ({"n": 0}, "at least one decision"),
    ],
)
def test_a_bad_trajectory_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        episode(**changes)


def test_a_set_adds_up() -> None:
    data = some(episode(2, policy="expert"), episode(5, policy="random"), episode(3, policy="expert"))
    assert data.returns.tolist() == [2.0, 5.0, 3.0]
    assert data.lengths.tolist() == [2, 5, 3]
    assert (data.steps, len(data)) == (10, 3)
    assert data.policies == {"expert": (0, 2), "random": (1,)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trajectories": ()}, "Some-v0: the set is empty"),
        ({"trajectories": (episode(), episode(size=2))}, "episode 1: observations of 2 numbers.*one environment"),
        ({"trajectories": (episode(), episode(actions=np.zeros((4, 1))))}, "episode 1: real actions"),
        ({"trajectories": (episode(actions=[0, 1, 2, 0]),)}, "actions 0 to 2; expected 0 to 1"),
        ({"action_space": BOX}, "discrete actions in the space Box"),
        ({"action_space": spaces.Discrete(2, start=1)}, "begin at 1; expected 0"),
        ({"action_space": spaces.MultiDiscrete([2, 2])}, "MultiDiscrete"),
        ({"observation_space": spaces.Dict({"seen": BOX})}, "Dict of 'seen'; expected a Box of one axis"),
        ({"observation_space": spaces.Box(0, 255, (8, 8, 3), np.uint8)}, r"Box of shape \(8, 8, 3\)"),
        ({"observation_space": spaces.Discrete(4)}, "Discrete"),
    ],
)
def test_a_bad_set_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        some(**changes)


def test_real_actions_must_have_the_length_of_their_space() -> None:
    long = episode(actions=np.zeros((4, 2)))
    with pytest.raises(InputError, match="actions of 2 numbers"):
        TrajectorySet("Some-v0", BOX, spaces.Box(-1, 1, (1,), np.float32), (long,))
    assert TrajectorySet("Some-v0", BOX, spaces.Box(-1, 1, (2,), np.float32), (long,)).steps == 4


def test_sets_of_one_environment_combine() -> None:
    both = combine([some(episode(2)), some(episode(3), expert_return=9.0, metadata={"a": 1})])
    assert both.lengths.tolist() == [2, 3]
    assert (both.expert_return, both.random_return, dict(both.metadata)) == (9.0, None, {"a": 1})


def test_mixed_environments_are_refused() -> None:
    with pytest.raises(InputError, match="'Some-v0' and 'Other-v0'"):
        combine([some(), some(env_id="Other-v0")])
    with pytest.raises(InputError, match="expected the same"):
        combine([some(), some(action_space=spaces.Discrete(3))])
    with pytest.raises(InputError, match="no set"):
        combine([])


def test_normalised_return() -> None:
    assert normalised_return(475.0, 22.0, 500.0) == pytest.approx((475 - 22) / (500 - 22))
    assert [normalised_return(value, -200.0, -98.0) for value in (-200.0, -98.0)] == [0.0, 1.0]
    with pytest.raises(InputError, match="None"):
        normalised_return(1.0, None, 2.0)
    with pytest.raises(InputError, match="does not exceed"):
        normalised_return(1.0, 2.0, 2.0)
