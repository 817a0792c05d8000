"""Collection: whole episodes, executed actions, seeds, mixtures."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from neuroaccel.envs.offline import (
    MEASURING_SEEDS,
    Trajectory,
    collect,
    expert,
    make_env,
    make_set,
    measure,
    random_policy,
)
from neuroaccel.envs.offline.policies import Rule
from neuroaccel.errors import InputError

FEW = MEASURING_SEEDS[:2]


def replayed(env_id: str, one: Trajectory) -> None:
    """The logged actions, executed anew from the logged seed, give the logged observations and rewards."""
    env = gymnasium.make(env_id)
    observation, _ = env.reset(seed=one.seed)
    over = False
    for i, action in enumerate(one.actions):
        assert not over
        np.testing.assert_array_equal(observation, one.observations[i])
        observation, reward, terminated, truncated, _ = env.step(action)
        assert np.float32(reward) == one.rewards[i]
        over = terminated or truncated
    assert (terminated, truncated) == (one.terminated, one.truncated)
    np.testing.assert_array_equal(observation, one.final_observation)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_executed_actions_are_logged(env_id: str, noise: float) -> None:
    logged = collect(env_id, expert(env_id), episodes=2, seed=3, noise=noise)
    for one in logged:
        replayed(env_id, one)
    rule = expert(env_id)
    pairs = [pair for one in logged for pair in zip(one.observations, one.actions, strict=True)]
    followed = np.mean([np.array_equal(rule(seen), action) for seen, action in pairs])
    # Half of CartPole's random actions are the expert's; Gaussian noise changes every real action that is not clipped.
    assert followed == 1.0 if noise == 0.0 else followed < 0.95


def test_noise_has_the_stated_size() -> None:
    still = Rule("still", {}, lambda observation: np.zeros(1, dtype=np.float32))
    (one, *_) = collect("Pendulum-v1", still, episodes=1, seed=0, noise=0.2)
    assert np.std(one.actions) == pytest.approx(0.4, rel=0.15)
    left = Rule("left", {}, lambda observation: 0)
    actions = np.concatenate([one.actions for one in collect("CartPole-v1", left, steps=2000, seed=0, noise=0.4)])
    assert actions.mean() == pytest.approx(0.2, abs=0.04)
    wide = np.concatenate([one.actions for one in collect("Pendulum-v1", still, episodes=2, seed=0, noise=1.0)])
    assert np.abs(wide).max() == 2.0


def test_the_number_of_steps_is_reached_by_whole_episodes() -> None:
    logged = collect("CartPole-v1", random_policy("CartPole-v1"), steps=300, seed=1)
    assert 300 <= sum(map(len, logged)) < 300 + 200
    assert sum(map(len, logged[:-1])) < 300
    assert all(one.terminated != one.truncated for one in logged)


def test_a_seed_gives_the_same_episodes_and_another_gives_others() -> None:
    def starts(seed: int) -> list[float]:
        return [float(one.observations[0, 0]) for one in collect("CartPole-v1", chance, episodes=3, seed=seed)]

    chance = random_policy("CartPole-v1")
    assert starts(0) == starts(0)
    assert not set(starts(0)) & set(starts(1))


def test_measuring_uses_the_listed_seeds_without_noise() -> None:
    found = measure("CartPole-v1", random_policy("CartPole-v1"), MEASURING_SEEDS[:3])
    assert found.seeds == MEASURING_SEEDS[:3]
    assert found == measure("CartPole-v1", random_policy("CartPole-v1"), MEASURING_SEEDS[:3])
    assert found.record()["mean"] == pytest.approx(np.mean(found.returns))
    assert found.deviation == pytest.approx(np.std(found.returns, ddof=1))
    assert len(set(MEASURING_SEEDS)) == 100


def test_a_mixture_has_its_shares_and_says_where_it_is_from() -> None:
    data = make_set(
        "CartPole-v1", steps=2000, expert_share=0.5, medium_share=0.25, noise=0.1, seed=4, measure_seeds=FEW
    )
    steps = {name: data.lengths[list(own)].sum() for name, own in data.policies.items()}
    assert list(steps) == ["expert", "medium", "random"]
    assert [steps[name] >= least for name, least in (("expert", 1000), ("medium", 500), ("random", 500))] == [True] * 3
    assert data.steps < 2000 + 3 * 500
    assert data.expert_return == 500.0
    assert data.random_return is not None
    assert data.random_return < 100.0
    assert [p["noise"] for p in data.metadata["policies"]] == [0.1, 0.0, 0.0]
    assert all(p["provenance"]["rule"] for p in data.metadata["policies"])
    assert data.metadata["measured"]["expert"]["seeds"] == list(FEW)
    assert len({one.seed for one in data.trajectories}) == len(data)


def test_without_an_expert_chance_alone_is_collected() -> None:
    data = make_set("neuroaccel/Maze-v0", steps=50, expert_share=0.0, measure_seeds=FEW)
    assert list(data.policies) == ["random"]
    assert data.expert_return is None
    with pytest.raises(InputError, match="no expert"):
        make_set("neuroaccel/Maze-v0", steps=50, measure_seeds=FEW)


def test_bad_numbers_are_refused() -> None:
    chance = random_policy("CartPole-v1")
    for more in ({}, {"steps": 5, "episodes": 5}, {"steps": 0}, {"episodes": -1}):
        with pytest.raises(InputError, match="expected one of them"):
            collect("CartPole-v1", chance, **more)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"noise is 1\.5"):
        collect("CartPole-v1", chance, episodes=1, noise=1.5)
    with pytest.raises(InputError, match="seed is -1"):
        collect("CartPole-v1", chance, episodes=1, seed=-1)
    with pytest.raises(InputError, match="no seed"):
        measure("CartPole-v1", chance, ())
    with pytest.raises(InputError, match="exceed 1"):
        make_set("CartPole-v1", expert_share=0.7, medium_share=0.7)
    with pytest.raises(InputError, match="noise is nan"):
        make_set("CartPole-v1", noise=float("nan"))
    with pytest.raises(InputError, match="steps is 0"):
        make_set("CartPole-v1", steps=0)


def test_environments_that_no_model_reads_are_refused() -> None:
    with pytest.raises(InputError, match="FrozenLake-v1: observations are a Discrete"):
        make_env("FrozenLake-v1")
    with pytest.raises(InputError, match="Blackjack-v1: observations are a Tuple"):
        make_env("Blackjack-v1")
