"""Experts: for each environment the simplest rule that plays it well, and the same made worse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.envs.offline.making import make_env, space_of_actions
from neuroaccel.envs.offline.mountain_car import mountain_car
from neuroaccel.envs.offline.policies import Observation, Policy, Rule, Worsened
from neuroaccel.errors import InputError

CARTPOLE = (0.1, 0.2, 1.0, 0.3)
"""Weights of position, velocity, angle and angular velocity."""
TICK_S = 0.02
"""Seconds between two observations of CartPole."""


class Differences(Policy):
    """CartPole from positions alone: velocities are differences of two observations.

    (x, θ) ↦ right if 0.1·x + 0.2·Δx/τ + θ + 0.3·Δθ/τ > 0,  τ = 0.02 s; Δ is 0 in an episode's first decision
    """

    def __init__(self) -> None:
        super().__init__("expert", {"rule": "linear in (x, Δx/τ, θ, Δθ/τ)", "weights": list(CARTPOLE), "tau_s": TICK_S})
        self._last: Observation | None = None

    def reset(self, seed: int | None = None) -> None:
        """Forget the last observation."""
        self._last = None

    def __call__(self, observation: Observation) -> int:
        """Choose, and remember the observation."""
        last = observation if self._last is None else self._last
        self._last = np.array(observation)
        (x, angle), (dx, dangle) = observation, (observation - last) / TICK_S
        return int(float(np.dot(CARTPOLE, (x, dx, angle, dangle))) > 0)


def _cartpole() -> Policy:
    """Right if 0.1·x + 0.2·ẋ + θ + 0.3·θ̇ > 0."""
    rule = {"rule": "linear in (x, ẋ, θ, θ̇): right if above 0", "weights": list(CARTPOLE)}
    return Rule("expert", rule, lambda observation: int(float(np.dot(CARTPOLE, observation)) > 0))


def _acrobot() -> Policy:
    """Torque against the first joint's velocity: −sign(θ̇₁)."""
    rule = {"rule": "torque −sign(θ̇₁) of the first joint's velocity"}
    return Rule("expert", rule, lambda observation: 0 if observation[4] > 0 else 2)


PENDULUM = {"pump": 5.0, "angle_gain": 12.0, "velocity_gain": 3.0, "catch_rad": 0.4}


def pendulum_torque(observation: Observation) -> NDArray[np.float32]:
    """Torque that swings a pendulum up and holds it.

    E = θ̇²/6 + 5·(cos θ − 1), 0 at rest on top;  u = −12·θ − 3·θ̇ within 0.4 rad of it, else −5·E·sign(θ̇);  |u| ≤ 2

    Source: energy pumping after Åström and Furuta, "Swinging up a pendulum by energy control", Automatica 2000; the
    gains are ours.
    """
    cosine, sine, velocity = (float(value) for value in observation)
    if cosine > math.cos(PENDULUM["catch_rad"]):
        torque = -PENDULUM["angle_gain"] * math.atan2(sine, cosine) - PENDULUM["velocity_gain"] * velocity
    else:
        energy = velocity * velocity / 6.0 + 5.0 * (cosine - 1.0)
        torque = -PENDULUM["pump"] * energy * (1.0 if velocity >= 0 else -1.0)
    return np.array([min(max(torque, -2.0), 2.0)], dtype=np.float32)


def _pendulum() -> Policy:
    rule = {"rule": "pump energy by −5·E·sign(θ̇), catch by −12·θ − 3·θ̇ within 0.4 rad", **PENDULUM}
    return Rule("expert", rule, pendulum_torque)


def _lunar_lander() -> Policy:
    """Gymnasium's own heuristic, which looks at the environment only for whether its actions are continuous."""
    env = make_env("LunarLander-v3")  # first: it says which extra is missing
    from gymnasium.envs.box2d.lunar_lander import heuristic

    rule = {"rule": "gymnasium.envs.box2d.lunar_lander.heuristic"}
    act: Any = heuristic  # it has no types
    return Rule("expert", rule, lambda observation: int(act(env, observation)))


INVERTED_PENDULUM = (1.0, 20.0, 2.0, 4.0)
"""Weights of position, angle, velocity and angular velocity."""


def _inverted_pendulum() -> Policy:
    """Force x + 20·θ + 2·ẋ + 4·θ̇, at most 3: the cart runs under the falling pole and drifts back."""
    rule = {"rule": "linear in (x, θ, ẋ, θ̇)", "weights": list(INVERTED_PENDULUM)}

    def act(observation: Observation) -> Any:
        return np.clip([np.dot(INVERTED_PENDULUM, observation)], -3.0, 3.0).astype(np.float32)

    return Rule("expert", rule, act)


EXPERTS: dict[str, Callable[[], Policy]] = {
    "CartPole-v1": _cartpole,
    "MountainCar-v0": mountain_car,
    "Acrobot-v1": _acrobot,
    "Pendulum-v1": _pendulum,
    "neuroaccel/CartPoleNoVelocity-v0": Differences,
    "LunarLander-v3": _lunar_lander,
    "InvertedPendulum-v5": _inverted_pendulum,
}
MEDIUM_SHARES = {
    "CartPole-v1": 0.4,
    "MountainCar-v0": 0.15,
    "Acrobot-v1": 0.7,
    "Pendulum-v1": 0.5,
    "neuroaccel/CartPoleNoVelocity-v0": 0.4,
    "LunarLander-v3": 0.3,
    "InvertedPendulum-v5": 0.15,
}
"""Share of random decisions that puts an expert's return well between its own and chance."""


def expert(env_id: str) -> Policy:
    """The expert of an environment.

    Raises:
        InputError: there is none.
        MissingExtra: what the environment needs is not installed.
    """
    if env_id not in EXPERTS:
        make_env(env_id).close()  # an unknown environment is the better message
        raise InputError(f"environment {env_id!r} has no expert here; there is one for {', '.join(EXPERTS)}")
    return EXPERTS[env_id]()


def medium(env_id: str) -> Policy:
    """The expert with a share of random decisions, ``MEDIUM_SHARES``; raises as :func:`expert`."""
    return Worsened(expert(env_id), space_of_actions(env_id), MEDIUM_SHARES[env_id])
