"""Random, rule and worsened policies."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from neuroaccel.envs.offline import random_policy
from neuroaccel.envs.offline.policies import RandomPolicy, Rule, Worsened, draw
from neuroaccel.errors import InputError

SEEN = np.zeros(2, dtype=np.float32)


def actions(policy: RandomPolicy | Worsened, seed: int, n: int = 20) -> list[int]:
    policy.reset(seed)
    return [int(policy(SEEN)) for _ in range(n)]


def test_random_actions_follow_from_both_seeds() -> None:
    four = spaces.Discrete(4)
    assert actions(RandomPolicy(four, 1), 5) == actions(RandomPolicy(four, 1), 5)
    assert actions(RandomPolicy(four, 1), 5) != actions(RandomPolicy(four, 1), 6)
    assert actions(RandomPolicy(four, 1), 5) != actions(RandomPolicy(four, 2), 5)
    assert set(actions(RandomPolicy(four), 0, 200)) == {0, 1, 2, 3}


def test_continuous_draws_fill_their_bounds() -> None:
    box = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
    drawn = np.stack([draw(box, np.random.default_rng(i)) for i in range(300)])
    assert drawn.dtype == np.float32
    assert (drawn.min(0) >= [-2, 0]).all()
    assert (drawn.max(0) <= [2, 1]).all()
    assert (drawn.max(0) - drawn.min(0) > [3.8, 0.95]).all()


def test_unbounded_actions_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="finite bounds"):
        draw(spaces.Box(-np.inf, np.inf, (1,), np.float32), np.random.default_rng(0))


def test_a_worsened_policy_is_random_in_its_share() -> None:
    always = Rule("expert", {"rule": "3"}, lambda observation: 3)
    ten = spaces.Discrete(10)
    assert actions(Worsened(always, ten, 0.0), 0) == [3] * 20
    half = actions(Worsened(always, ten, 0.5), 0, 1000)
    assert 0.50 < half.count(3) / 1000 < 0.60  # a tenth of the random ones is 3 too
    assert Worsened(always, ten, 0.5).provenance["policy"] == {"rule": "3"}


def test_an_unknown_environment_is_named() -> None:
    with pytest.raises(InputError, match=r"'CartPoll-v1' is unknown \(did you mean 'CartPole-v1'\?\)"):
        random_policy("CartPoll-v1")
    with pytest.raises(InputError, match=r"'no_such_module:Thing-v0': its module cannot be imported"):
        random_policy("no_such_module:Thing-v0")
