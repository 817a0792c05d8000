"""Spiking policies on classic control: unbounded observations, spikes as observations, continuous actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO

from neuroaccel import lower
from neuroaccel.envs.encoders import RANGES, SpikeObservation, VectorSpikeObservation
from neuroaccel.errors import InputError
from neuroaccel.network import Network
from neuroaccel.training.policies import (
    PopulationEncoder,
    SpikeInput,
    SpikingActorCriticPolicy,
    SpikingFeatures,
    VectorAdapter,
)
from neuroaccel.training.policy_evaluation import evaluate_policy

SMALL: dict[str, Any] = {"hidden": (24,), "ticks": 3, "cells": 6, "critic": (16,)}
TASKS = ["CartPole-v1", "Acrobot-v1", "Pendulum-v1"]
CODES: list[tuple[str, dict[str, Any]] | None] = [
    None,
    ("population", {"ticks": 4, "cells": 5}),
    ("latency", {"ticks": 5}),
    ("phase", {"ticks": 6}),
    ("delta", {"ticks": 2}),
]


def ppo(env: Any, steps: int = 64, **policy: Any) -> PPO:
    return PPO(
        SpikingActorCriticPolicy,
        env,
        policy_kwargs={**SMALL, **policy},
        n_steps=steps,
        batch_size=64,
        n_epochs=2,
        seed=0,
        device="cpu",
    )


def made(task: str, code: tuple[str, dict[str, Any]] | None) -> tuple[Any, dict[str, Any]]:
    """One environment, and what the policy has to know about it."""
    env, ranges = gymnasium.make(task), RANGES.get(task)
    if code is None:
        return env, {"ranges": ranges} if ranges else {}
    return SpikeObservation(env, code[0], ranges=ranges, **code[1]), {}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("code", CODES, ids=lambda code: code[0] if code else "numbers")
def test_ppo_trains_and_the_engine_plays(task: str, code: tuple[str, dict[str, Any]] | None) -> None:
    env, known = made(task, code)
    model = ppo(env, **known)
    policy: Any = model.policy
    before = [p.detach().clone() for p in policy.actor.parameters()]
    model.learn(256)
    assert all(not torch.equal(a, b) for a, b in zip(before, policy.actor.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for p in policy.parameters())
    assert isinstance(policy.encoder, PopulationEncoder if code is None else SpikeInput)

    plain = gymnasium.make_vec(task, num_envs=3, vectorization_mode="sync")
    many: Any = plain
    if code is not None:
        many = VectorSpikeObservation(plain, code[0], ranges=RANGES.get(task), **code[1])
    observation, _ = many.reset(seed=1)
    graph = lower(policy.actor, policy.encoder(torch.as_tensor(observation)))
    with torch.no_grad():
        numbers = Network.from_graph(graph)(policy.encoder(torch.as_tensor(observation)))[0][-1].numpy()
    actions, _ = model.predict(observation, deterministic=True)
    if isinstance(many.single_action_space, spaces.Discrete):
        assert (actions == numbers.argmax(1)).all()
    else:
        np.testing.assert_allclose(actions, np.clip(numbers, -2.0, 2.0), atol=1e-3)
    if task == "CartPole-v1" or code is None:  # the other two play 200 to 500 steps an episode
        found = evaluate_policy(graph, policy.encoder, many, range(20, 23))
        assert found.decisions == found.book.total("spikes").size
        assert (found.returns == found.steps).all() == (task == "CartPole-v1")
        assert found.per_decision("synaptic_events") > 0


def test_the_engine_takes_the_actions_that_the_policy_takes() -> None:
    model = ppo(gymnasium.make("Pendulum-v1"))
    model.learn(64)
    policy: Any = model.policy
    env = gymnasium.make_vec("Pendulum-v1", num_envs=2, vectorization_mode="sync")
    observation, _ = env.reset(seed=[5, 6])
    graph = lower(policy.actor, policy.encoder(torch.as_tensor(observation)))
    found = evaluate_policy(graph, policy.encoder, env, [5, 6])
    observation, _ = env.reset(seed=[5, 6])
    executor, returns = Network.from_graph(graph), np.zeros(2)
    for _ in range(200):
        with torch.no_grad():
            action = executor(policy.encoder(torch.as_tensor(observation)))[0][-1].numpy()
        observation, rewards, *_ = env.step(np.clip(action, -2.0, 2.0))
        returns += rewards
    np.testing.assert_array_equal(found.returns, returns)
    assert found.steps.tolist() == [200, 200]


def test_a_vector_of_spikes_trains_through_the_adapter() -> None:
    env = gymnasium.make_vec(
        "CartPole-v1", num_envs=4, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"}
    )
    spikes = VectorSpikeObservation(env, "delta", ranges=RANGES["CartPole-v1"], ticks=2)
    model = ppo(VectorAdapter(spikes), steps=32)
    model.learn(4 * 32 * 3)
    assert model.num_timesteps == 384
    policy: Any = model.policy
    assert (policy.encoder.ticks, policy.encoder.features) == (2, 8)


def test_spikes_reach_the_actor_tick_by_tick() -> None:
    encoder = SpikeInput((3, 2, 2))
    x = torch.tensor(np.random.default_rng(0).integers(2, size=(5, 3, 2, 2)), dtype=torch.uint8)
    expected = x.transpose(0, 1).flatten(2).float()
    assert torch.equal(encoder(x), expected)
    assert torch.equal(encoder(x.flatten(1).float()), expected)
    torch.testing.assert_close(encoder.rates(x), expected.mean(0))
    with pytest.raises(InputError, match=r"shape \[4\], expected \[T"):
        SpikeInput((4,))


@pytest.mark.parametrize("space", [spaces.MultiBinary((3, 4)), spaces.Box(0, 1, (3, 4), np.uint8)])
def test_binary_observations_are_spikes(space: Any) -> None:
    policy = SpikingActorCriticPolicy(space, spaces.Discrete(2), lambda _: 1e-3, **SMALL)
    assert isinstance(policy.encoder, SpikeInput)
    action, _ = policy.predict(space.sample(), deterministic=True)
    assert int(action) in (0, 1)
    with pytest.raises(InputError, match="spikes already"):
        SpikingActorCriticPolicy(space, spaces.Discrete(2), lambda _: 1e-3, ranges=(0, 1))


def test_ranges_are_needed_saved_and_checked(tmp_path: Path) -> None:
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(InputError, match=r"finite range.*ranges=\(low, high\)"):
        ppo(env)
    with pytest.raises(InputError, match=r"ranges of shapes \(3,\) and \(4,\) for observations of \(4,\)"):
        ppo(env, ranges=([0, 0, 0], [1, 1, 1, 1]))
    model = ppo(env, ranges=RANGES["CartPole-v1"])
    model.save(tmp_path / "policy.zip")
    again: Any = PPO.load(tmp_path / "policy.zip", device="cpu")
    observation, _ = env.reset(seed=0)
    spikes = again.policy.encoder(torch.as_tensor(observation)[None])
    policy: Any = model.policy
    assert torch.equal(spikes, policy.encoder(torch.as_tensor(observation)[None]))
    assert again.policy.encoder.low.tolist() == pytest.approx(list(RANGES["CartPole-v1"][0]))


def test_other_algorithms_take_them_too() -> None:
    ranges = RANGES["CartPole-v1"]
    a2c = A2C(
        SpikingActorCriticPolicy,
        gymnasium.make("CartPole-v1"),
        policy_kwargs={**SMALL, "ranges": ranges},
        seed=0,
        device="cpu",
    )
    a2c.learn(50)
    spikes = SpikeObservation(gymnasium.make("CartPole-v1"), "phase", ranges=ranges, ticks=4)
    for env, more in ((gymnasium.make("CartPole-v1"), {"ranges": ranges}), (spikes, {})):
        features = {"features_dim": 8, "hidden": (16,), "ticks": 2, "cells": 5, **more}
        dqn = DQN(
            "MlpPolicy",
            env,
            policy_kwargs={
                "features_extractor_class": SpikingFeatures,
                "features_extractor_kwargs": features,
                "net_arch": [],
            },
            learning_starts=32,
            buffer_size=200,
            seed=0,
            device="cpu",
        )
        extractor: Any = dqn.q_net.features_extractor
        before = extractor.network["synapse_1"].weight.detach().clone()
        dqn.learn(100)
        assert not torch.equal(before, extractor.network["synapse_1"].weight)


def test_an_evaluation_in_an_unknown_action_space_is_refused() -> None:
    model = ppo(gymnasium.make("Pendulum-v1"))
    policy: Any = model.policy
    env: Any = gymnasium.make_vec("MountainCarContinuous-v0", num_envs=1, vectorization_mode="sync")
    spikes = policy.encoder(torch.zeros(1, 3))
    graph = lower(policy.actor, spikes)
    env.single_action_space = spaces.Box(-1, 1, (2,))
    with pytest.raises(InputError, match=r"\[1\] values for an action of shape \[2\]"):
        evaluate_policy(graph, lambda _: spikes, env, [0])
    env.single_action_space = spaces.MultiBinary(2)
    with pytest.raises(InputError, match="Discrete or Box"):
        evaluate_policy(graph, lambda _: spikes, env, [0])
