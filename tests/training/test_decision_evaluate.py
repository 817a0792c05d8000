"""Episodes: one for each seed, whatever the autoreset mode, and not a step more."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from neuroaccel.errors import InputError
from neuroaccel.training.decision_evaluate import check_fits, episode_seeds, make_env, play, played, sweep
from tests.decision.runs import untrained


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
    with pytest.raises(InputError, match=r"\[-1\]; expected 0 to 999"):
        episode_seeds(1, (-1,))
    with pytest.raises(InputError, match=r"\[0, 1000\]; expected 0 to 999"):  # validation's episodes begin there
        episode_seeds(1, (0, 1000))
    with pytest.raises(InputError, match="given twice"):
        episode_seeds(1, (3, 3))


BOX, TWO = spaces.Box(-1, 1, (4,), np.float32), spaces.Discrete(2)


@pytest.mark.parametrize(
    ("observation", "action", "words"),
    [
        (spaces.Box(-1, 1, (3,), np.float32), TWO, r"observed in Box.*reads 4 numbers.*another environment"),
        (spaces.Discrete(4), TWO, r"observed in Discrete\(4\)"),
        (BOX, spaces.Discrete(3), r"actions in Discrete\(3\), the model gives 0 to 1"),
        (BOX, spaces.Discrete(2, start=1), "the model gives 0 to 1"),
        (BOX, spaces.Box(-1, 1, (1,), np.float32), "actions in Box"),
    ],
)
def test_spaces_that_are_not_the_models_are_refused(observation: Any, action: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_fits(untrained("dt").config, observation, action)


def test_spaces_of_the_models_sizes_fit() -> None:
    check_fits(untrained("dt").config, BOX, TWO)
    check_fits(untrained("dt").config, spaces.Box(-1, 1, (2, 2), np.float32), TWO)
    real = untrained("dt", continuous=True, actions=1, low=(-1.0,), high=(1.0,)).config
    check_fits(real, BOX, spaces.Box(-2, 2, (1,), np.float32))
    with pytest.raises(InputError, match="real ones of 1 numbers"):
        check_fits(real, BOX, spaces.Box(-2, 2, (2,), np.float32))
    with pytest.raises(InputError, match="real ones of 1 numbers"):
        check_fits(real, BOX, TWO)


@pytest.mark.parametrize(
    ("env_id", "sizes"),
    [
        ("Pendulum-v1", {"state_size": 3}),
        ("CartPole-v1", {"actions": 3}),
        ("CartPole-v1", {"continuous": True, "actions": 1, "low": (-1.0,), "high": (1.0,)}),
        ("Pendulum-v1", {"state_size": 3, "continuous": True, "low": (-1.0, -1.0), "high": (1.0, 1.0)}),
    ],
    ids=str,
)
def test_a_sweep_refuses_another_environments_model_before_it_acts(env_id: str, sizes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="takes actions in"):
        sweep(untrained("dt", env_id, **sizes), env_id, [30.0], episodes=2)


def test_a_target_out_of_the_data_is_warned_about_once_with_its_range(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "neuroaccel"):
        sweep(untrained("dt"), "CartPole-v1", [900.0, 50.0, 901.0], episodes=201)  # 200 are played at once
    assert [text.split(":")[0] for text in caplog.messages] == [
        f"target return {target} is out of the data's range, 0 to 100" for target in (900, 901)
    ]


def test_chance_and_a_constant_action_reach_what_is_known_of_cartpole() -> None:
    class Chance(Watching):
        draws = np.random.default_rng(0)

        def act(self, observations: Any) -> Any:
            return self.draws.integers(2, size=len(observations))

    assert played(Chance, "CartPole-v1", range(200)).returns.mean() == pytest.approx(22, abs=3)
    assert played(Watching, "CartPole-v1", range(200)).returns.mean() == pytest.approx(9.3, abs=0.3)
