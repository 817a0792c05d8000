"""CartPole without velocities: the contract, the same episodes as CartPole-v1, vectorised too."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from neuroaccel.envs import CARTPOLE_NO_VELOCITY

SEEN = [0, 2]


def test_check_env_finds_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(CARTPOLE_NO_VELOCITY).unwrapped, skip_render_check=True)


def test_it_is_cartpole_with_half_the_observation() -> None:
    whole, half = gymnasium.make("CartPole-v1"), gymnasium.make(CARTPOLE_NO_VELOCITY)
    assert half.observation_space.shape == (2,)
    assert half.spec is not None
    assert half.spec.max_episode_steps == 500
    rng = np.random.default_rng(0)
    for seed in range(5):
        seen, part = whole.reset(seed=seed)[0], half.reset(seed=seed)[0]
        over = False
        while not over:
            np.testing.assert_array_equal(seen[SEEN], part)
            assert part.dtype == np.float32
            action = int(rng.integers(2))
            seen, *rest, _ = whole.step(action)
            part, *others, _ = half.step(action)
            assert rest == others
            over = rest[1] or rest[2]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_make_vec_makes_it(mode: AutoresetMode) -> None:
    together = gymnasium.make_vec(CARTPOLE_NO_VELOCITY, num_envs=3, vector_kwargs={"autoreset_mode": mode})
    single = gymnasium.make(CARTPOLE_NO_VELOCITY)
    seen, _ = together.reset(seed=11)
    assert seen.shape == (3, 2)
    np.testing.assert_array_equal(seen[1], single.reset(seed=12)[0])
    for action in (0, 1, 1, 0):
        seen = together.step(np.full(3, action))[0]
        np.testing.assert_array_equal(seen[1], single.step(action)[0])
    together.close()
