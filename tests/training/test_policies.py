"""Spiking policies in stable-baselines3: the encoder, PPO and DQN, saving, pruning, and the lowered actor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import VecMonitor

from neuroaccel import engine, lower
from neuroaccel.envs import MAZE
from neuroaccel.errors import InputError
from neuroaccel.graph.nodes import Dendrite
from neuroaccel.network import Network
from neuroaccel.training import policies
from neuroaccel.training.policies import (
    PopulationEncoder,
    PruningCallback,
    SpikingActorCriticPolicy,
    SpikingFeatures,
    VectorAdapter,
    spiking_network,
)
from neuroaccel.training.policy_evaluation import PolicyEvaluation, evaluate_policy
from tests.conftest import examples

SMALL: dict[str, Any] = {"hidden": (32,), "ticks": 3, "cells": 6, "critic": (16,)}


def mazes(count: int, layout: str = "open") -> VecMonitor:
    env = gymnasium.make_vec(MAZE, num_envs=count, layout=layout, autoreset_mode="SameStep")
    return VecMonitor(VectorAdapter(env))


def ppo(seed: int = 0, steps: int = 32, layout: str = "open", **policy: Any) -> PPO:
    options: dict[str, Any] = {"n_steps": steps, "batch_size": 128, "n_epochs": 4, "gamma": 0.98, "device": "cpu"}
    env = mazes(16, layout)
    return PPO(
        SpikingActorCriticPolicy, env, policy_kwargs={**SMALL, **policy}, learning_rate=2e-3, seed=seed, **options
    )


def played(model: PPO, episodes: int = 60, layout: str = "open") -> PolicyEvaluation:
    env = gymnasium.make_vec(MAZE, num_envs=episodes, layout=layout, max_steps=60)
    observation, _ = env.reset(seed=0)
    policy: Any = model.policy
    graph = lower(policy.actor, policy.encoder(torch.as_tensor(observation)))
    return evaluate_policy(graph, policy.encoder, env, range(500, 500 + episodes))


@settings(max_examples=examples(60, 600))
@given(
    value=st.floats(-0.2, 1.2),
    cells=st.integers(2, 12),
    ticks=st.integers(1, 9),
    width=st.sampled_from([1.0, 1.5, 2.0]),
)
def test_a_cell_spikes_as_often_as_its_rate_says(value: float, cells: int, ticks: int, width: float) -> None:
    encoder = PopulationEncoder([0.0, -3.0], [1.0, 5.0], cells=cells, ticks=ticks, width=width)
    x = torch.tensor([[value, 8.0 * value - 3.0]])
    spikes = encoder(x)
    assert spikes.shape == (ticks, 1, 2 * cells) == (ticks, 1, encoder.features)
    assert ((spikes == 0) | (spikes == 1)).all()
    rates = encoder.rates(x)
    assert ((spikes.sum(0) - ticks * rates).abs() <= 0.5 + 1e-5).all()
    place = min(max(value, 0.0), 1.0) * (cells - 1)
    expected = [max(0.0, 1.0 - abs(place - k) / width) for k in range(cells)]
    np.testing.assert_allclose(rates[0, :cells].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(rates[0, cells:].numpy(), expected, atol=1e-4)


def test_spikes_of_a_rate_are_spread_over_the_ticks() -> None:
    encoder = PopulationEncoder([0.0], [1.0], cells=2, ticks=8, width=2.0)
    assert encoder(torch.tensor([[1.0]]))[:, 0].tolist() == [[i % 2, 1.0] for i in range(1, 9)]


def test_the_encoder_refuses_ranges_without_bounds() -> None:
    with pytest.raises(InputError, match="finite range"):
        PopulationEncoder([0.0], [np.inf])
    with pytest.raises(InputError, match="finite range"):
        PopulationEncoder([0.0, 1.0], [1.0, 1.0])
    with pytest.raises(InputError, match="1 cells"):
        PopulationEncoder([0.0], [1.0], cells=1)
    with pytest.raises(InputError, match=r"sizes \[4, 0, 2\]"):
        spiking_network(4, (0,), 2)


def test_ppo_learns_and_the_engine_plays_what_it_learned() -> None:
    model = ppo(layout="open")
    before = played(model)
    model.learn(16 * 32 * 40)
    after = played(model)
    assert before.terminated.mean() < 0.7
    assert after.terminated.mean() > 0.9
    assert after.returns.mean() > before.returns.mean() + 0.3
    assert after.decisions == int(after.steps.sum()) == after.book.total("spikes").size
    assert after.per_decision("spikes") > 1
    np.testing.assert_allclose(after.returns, after.terminated - 0.01 * after.steps)


@pytest.mark.parametrize("ndi", [False, True])
def test_engine_torch_and_policy_decide_alike(ndi: bool) -> None:
    model = ppo(network={"ndi": ndi})
    model.learn(16 * 32)
    env = gymnasium.make_vec(MAZE, num_envs=64, layout="open")
    observation, _ = env.reset(seed=3)
    policy: Any = model.policy
    spikes = policy.encoder(torch.as_tensor(observation))
    graph = lower(policy.actor, spikes)
    assert any(isinstance(node, Dendrite) for node in graph.nodes.values()) == ndi
    by_engine = engine.run(graph, spikes.numpy()).trace.outputs[graph.outputs[0]][-1]
    with torch.no_grad():
        by_torch = Network.from_graph(graph)(spikes)[0][-1].numpy()
    assert (np.asarray(by_engine) == by_torch).all()
    actions, _ = model.predict(observation, deterministic=True)
    assert (actions == by_torch.argmax(1)).mean() > 0.95  # snapping may turn a tie


def test_equal_seeds_train_equal_policies_and_others_do_not() -> None:
    def trained(seed: int) -> torch.Tensor:
        model = ppo(seed)
        model.learn(16 * 32 * 2)
        return torch.cat([p.detach().flatten() for p in model.policy.parameters()])

    one, two, three = trained(1), trained(1), trained(2)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_a_saved_policy_decides_as_before(tmp_path: Path) -> None:
    model = ppo(network={"beta": 0.7})
    model.learn(16 * 32)
    model.save(tmp_path / "policy.zip")
    found = PPO.load(tmp_path / "policy.zip", device="cpu")
    observation = mazes(16).reset()
    assert (
        model.predict(observation, deterministic=True)[0] == found.predict(observation, deterministic=True)[0]
    ).all()
    one, two = model.policy.state_dict(), found.policy.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    alone = SpikingActorCriticPolicy(
        model.observation_space, model.action_space, lambda _: 1e-3, **SMALL, network={"beta": 0.7}
    )
    torch.save(model.policy.state_dict(), tmp_path / "weights.pt")
    alone.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(
        alone.predict_values(torch.as_tensor(observation)), model.policy.predict_values(torch.as_tensor(observation))
    )


def test_the_policys_own_checkpoint_holds_its_arguments(tmp_path: Path) -> None:
    model = ppo(hidden=(20, 24), ticks=2)
    model.policy.save(tmp_path / "policy.pt")
    made = model.policy._get_constructor_parameters()
    assert (made["hidden"], made["ticks"], made["cells"]) == ((20, 24), 2, 6)
    again = SpikingActorCriticPolicy(**made)
    again.load_state_dict(model.policy.state_dict())
    observation = mazes(4).reset()
    assert (
        again.predict(observation, deterministic=True)[0] == model.predict(observation, deterministic=True)[0]
    ).all()


def test_the_optimizer_holds_the_actor_and_the_critic() -> None:
    model = ppo()
    policy: Any = model.policy
    held = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in policy.parameters()}
    before = [p.detach().clone() for p in policy.parameters()]
    model.learn(16 * 32)
    assert all(not torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_a_box_of_actions_gets_means() -> None:
    env = gymnasium.make("MountainCarContinuous-v0")
    model = PPO(SpikingActorCriticPolicy, env, policy_kwargs=SMALL, n_steps=64, batch_size=64, n_epochs=1, device="cpu")
    model.learn(64)
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    assert action.shape == (1,)


def test_dqn_takes_the_features() -> None:
    env = gymnasium.make(MAZE, layout="open")
    features = {"features_dim": 8, "hidden": (16,), "ticks": 2, "cells": 5}
    model = DQN(
        "MlpPolicy",
        env,
        policy_kwargs={
            "features_extractor_class": SpikingFeatures,
            "features_extractor_kwargs": features,
            "net_arch": [],
        },
        learning_starts=32,
        buffer_size=500,
        seed=0,
        device="cpu",
    )
    extractor: Any = model.q_net.features_extractor
    before = extractor.network["synapse_1"].weight.detach().clone()
    model.learn(200)
    assert not torch.equal(before, extractor.network["synapse_1"].weight)
    assert int(model.predict(env.reset(seed=0)[0], deterministic=True)[0]) in range(8)
    assert extractor.features_dim == 8


def test_pruning_ends_at_its_target_in_an_ordinary_policy(tmp_path: Path) -> None:
    model = ppo(network={"ndi": True})
    callback = PruningCallback("nsp", 0.2)
    model.learn(16 * 32 * 12, callback=callback)
    policy: Any = model.policy
    matrices = [p for name, p in policy.actor.named_parameters() if name.endswith(("weight", "gate"))]
    assert len(matrices) == 4
    living = sum(int(torch.count_nonzero(p)) for p in matrices) / sum(p.numel() for p in matrices)
    assert 0.19 < living <= 0.2
    assert not any("parametrizations" in name for name, _ in policy.named_parameters())
    held = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in policy.parameters()}
    found = played(model, episodes=8)
    assert found.book.total("pruned").sum() > 0
    model.save(tmp_path / "pruned.zip")
    again = PPO.load(tmp_path / "pruned.zip", device="cpu")
    one, two = policy.state_dict(), again.policy.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_pruning_refuses_another_policy() -> None:
    model = PPO("MlpPolicy", gymnasium.make(MAZE), n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(InputError, match="not a ActorCriticPolicy"):
        model.learn(8, callback=PruningCallback())


def test_what_cannot_be_encoded_is_named() -> None:
    with pytest.raises(InputError, match="finite range"):
        PPO(SpikingActorCriticPolicy, gymnasium.make("CartPole-v1"), device="cpu")
    with pytest.raises(InputError, match="Box, not of Discrete"):
        PPO(SpikingActorCriticPolicy, gymnasium.make("FrozenLake-v1"), device="cpu")


def test_the_adapter_says_how_episodes_end() -> None:
    env = VectorAdapter(
        gymnasium.make_vec(MAZE, num_envs=4, layout="open", goal="fixed", max_steps=9, autoreset_mode="SameStep")
    )
    env.seed(5)
    first = env.reset()
    env.seed(5)
    assert (env.reset() == first).all()
    assert (env.reset() != first).any()
    ends = []
    for step in range(60):
        observation, _, done, infos = env.step(np.full(4, 4 if step % 2 else 1))
        for which in np.flatnonzero(done):
            info = infos[which]
            ends.append(info["TimeLimit.truncated"])
            assert info["is_success"] != info["TimeLimit.truncated"]
            assert (info["terminal_observation"] != observation[which]).any()
        assert all(("terminal_observation" in info) == bool(d) for info, d in zip(infos, done, strict=True))
    assert set(ends) == {False, True}
    assert env.get_attr("render_mode") == [None] * 4
    with pytest.raises(InputError, match="SAME_STEP"):
        VectorAdapter(gymnasium.make_vec(MAZE, num_envs=2))


def test_evaluation_refuses_what_does_not_fit() -> None:
    model = ppo()
    policy: Any = model.policy
    env = gymnasium.make_vec(MAZE, num_envs=3)
    spikes = policy.encoder(torch.as_tensor(env.reset(seed=0)[0]))
    graph = lower(policy.actor, spikes)
    with pytest.raises(InputError, match="2 seeds for 3"):
        evaluate_policy(graph, policy.encoder, env, [1, 2])
    with pytest.raises(InputError, match="mode is Disabled"):
        evaluate_policy(graph, policy.encoder, gymnasium.make_vec(MAZE, num_envs=1, autoreset_mode="Disabled"), [1])
    with pytest.raises(InputError, match=r"\[8\] values for 4 actions"):
        evaluate_policy(graph, policy.encoder, gymnasium.make_vec(MAZE, num_envs=1, actions=4), [1])


def test_without_stable_baselines_the_rest_works_and_its_classes_name_the_extra() -> None:
    code = (
        "import sys; sys.modules['stable_baselines3'] = None\n"
        "from neuroaccel.training import policies\n"
        "from neuroaccel.errors import MissingExtra\n"
        "assert policies.spiking_network(3, (4,), 2) is not None\n"
        "try:\n    policies.SpikingActorCriticPolicy\n"
        "except MissingExtra as error:\n    print('neuroaccel[gym]' in str(error), 'gymnasium' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("True False", 0), done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'Spiking'"):
        policies.Spiking  # noqa: B018
