"""Experts are better than their worsened selves, and those than chance."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest

from neuroaccel.envs import CARTPOLE_NO_VELOCITY
from neuroaccel.envs.offline import EXPERTS, MEASURING_SEEDS, expert, measure, medium, random_policy
from neuroaccel.envs.offline.experts import MEDIUM_SHARES, Differences, pendulum_torque
from neuroaccel.errors import InputError, MissingExtra

SOME = MEASURING_SEEDS[:10]
# What ten episodes must reach; docs give the means over all hundred.
REACHED = {"CartPole-v1": 500.0, CARTPOLE_NO_VELOCITY: 500.0, "Acrobot-v1": -130.0, "Pendulum-v1": -250.0}


@pytest.mark.parametrize(("env_id", "least"), REACHED.items())
def test_expert_medium_and_chance_stand_in_this_order(env_id: str, least: float) -> None:
    best, middle = measure(env_id, expert(env_id), SOME), measure(env_id, medium(env_id), SOME)
    chance = measure(env_id, random_policy(env_id), SOME)
    assert best.mean >= least
    assert best.mean > middle.mean > chance.mean
    assert (best.policy, middle.policy, chance.policy) == ("expert", "medium", "random")


def test_every_expert_has_a_medium() -> None:
    assert set(MEDIUM_SHARES) == set(EXPERTS)


def test_the_pendulum_is_pushed_upright_near_the_top_and_pumped_below() -> None:
    def torque(angle: float, velocity: float) -> float:
        return float(pendulum_torque(np.array([math.cos(angle), math.sin(angle), velocity], dtype=np.float32))[0])

    assert torque(0.1, 0.0) == pytest.approx(-1.2, abs=1e-5)
    assert torque(-0.3, 0.0) == 2.0
    assert torque(math.pi, 0.5) == 2.0  # hanging: along the velocity
    assert torque(math.pi, -0.5) == -2.0
    assert torque(math.pi, 8.0) < 0.0  # too much energy: against it


def test_differences_forget_the_last_episode() -> None:
    policy, seen = Differences(), np.array([0.0, 0.01], dtype=np.float32)
    assert policy(seen) == 1
    assert policy(np.array([0.0, -0.01], dtype=np.float32)) == 0
    assert policy(seen) == 1  # the angle grows
    assert policy(seen * 0.9) == 0  # still to the right, but falling back: only memory tells
    policy.reset()
    assert policy(seen * 0.9) == 1


def test_an_environment_without_an_expert_is_named() -> None:
    with pytest.raises(InputError, match="'neuroaccel/Maze-v0' has no expert here; there is one for CartPole-v1"):
        expert("neuroaccel/Maze-v0")
    with pytest.raises(InputError, match="unknown"):
        medium("Nothing-v0")


@pytest.mark.parametrize(
    ("env_id", "module", "extra"), [("LunarLander-v3", "Box2D", "box2d"), ("InvertedPendulum-v5", "mujoco", "mujoco")]
)
def test_what_needs_an_extra_plays_or_names_it(env_id: str, module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        with pytest.raises(MissingExtra, match=rf"'{env_id}' needs .* pip install \"neuroaccel\[{extra}\]\""):
            measure(env_id, expert(env_id), SOME[:1])
        return
    best = measure(env_id, expert(env_id), SOME[:4])
    assert best.mean > measure(env_id, random_policy(env_id), SOME[:4]).mean
