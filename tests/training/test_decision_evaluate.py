"""Episodes: one for each seed, whatever the autoreset mode, and not a step more."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from neuroaccel.errors import InputError
from neuroaccel.training.decision_evaluate import episode_seeds, make_env, play


class Counting(gymnasium.Env[Any, Any]):
    """Ends after as many steps as its seed says; each is worth 1 in its first episode, 1000 in any later one."""

    observation_space = spaces.Box(0, 10_000, (1,), np.float32)
    action_space = spaces.Discrete(2)
    length = 0
    episodes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.length = seed if seed is not None else self.length
        self.episodes += 1
        self.at = 0
        return self._seen(), {}

    def _seen(self) -> Any:
        return np.array([self.at if self.episodes == 1 else 5000], np.float32)

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += 1
        ends = self.at == self.length
        return self._seen(), 1.0 if self.episodes == 1 else 1000.0, ends and self.length % 2 == 0, ends, {}


class Watching:
    """Keeps what it is shown and told."""

    def __init__(self, episodes: int) -> None:
        self.seen: list[list[float]] = []
        self.done: list[list[bool]] = []
        self.earned = np.zeros(episodes)

    def act(self, observations: Any) -> Any:
        self.seen.append(np.asarray(observations)[:, 0].tolist())
        return np.zeros(len(observations), np.int64)

    def observe(self, rewards: Any, done: Any = None) -> None:
        self.done.append(np.asarray(done).tolist())
        self.earned += rewards


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_no_step_after_an_episodes_end_is_counted_or_shown(mode: AutoresetMode) -> None:
    env = SyncVectorEnv([Counting] * 3, autoreset_mode=mode)
    watching, told = Watching(3), []
    found = play(watching, env, [2, 7, 3], ended=lambda which: told.append(which.tolist()))
    assert found.returns.tolist() == [2, 7, 3]
    assert found.lengths.tolist() == [2, 7, 3]
    assert found.terminated.tolist() == [True, False, False]
    assert told == [[True, False, False], [False, False, True], [False, True, False]]
    seen = np.array(watching.seen).T
    assert seen.tolist() == [[0, 1, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 0, 0, 0, 0]]
    assert watching.done[2] == [True, False, True]
    assert watching.earned.tolist() == [2, 6, 3]  # an ended episode's last reward is told, none after it
    env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_cartpole_gives_what_one_environment_gives(mode: AutoresetMode) -> None:
    env = gymnasium.make_vec(
        "CartPole-v1", num_envs=5, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )
    found = play(Watching(5), env, range(5))
    env.close()
    alone = gymnasium.make("CartPole-v1")
    for seed in range(5):
        alone.reset(seed=seed)
        steps, ends = 0, False
        while not ends:
            _, _, ends, _, _ = alone.step(0)
            steps += 1
        assert found.returns[seed] == found.lengths[seed] == steps
    alone.close()


def test_a_wrong_number_of_environments_and_an_unknown_one_are_refused() -> None:
    env = SyncVectorEnv([Counting] * 2)
    with pytest.raises(InputError, match="3 seeds for 2"):
        play(Watching(2), env, [1, 2, 3])
    env.close()
    with pytest.raises(InputError, match="'NoSuchThing-v0' cannot be made"):
        make_env("NoSuchThing-v0", 2)


def test_seeds_of_episodes_do_not_overlap() -> None:
    many = episode_seeds(1000, (0, 1, 2))
    assert len(set(many)) == 3000
    with pytest.raises(InputError, match="0 episodes"):
        episode_seeds(0)
