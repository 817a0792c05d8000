"""Small sets of trajectories, played here: CartPole by a rule that balances, or by chance."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.envs.offline import Trajectory, TrajectorySet


def rewarded(rewards: list[float], actions: list[int], seed: int = 0) -> Trajectory:
    """An episode with these rewards; its observations are drawn."""
    seen = np.random.default_rng(seed).normal(size=(len(rewards), 2)).astype(np.float32)
    return Trajectory(seen, np.array(actions), np.array(rewards, np.float32), True, False, seed)


def of(*trajectories: Trajectory, env_id: str = "Nothing-v0", actions: int = 2) -> TrajectorySet:
    """A set of such episodes."""
    box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    return TrajectorySet(env_id, box, spaces.Discrete(actions), trajectories)


def cartpole(episodes: int = 8, longest: int = 200, noise: float = 0.1, seed: int = 0) -> TrajectorySet:
    """Half balanced, with some actions by chance, half by chance alone."""
    rng = np.random.default_rng(seed)
    env = gymnasium.make("CartPole-v1", max_episode_steps=longest)
    found = []
    for episode in range(episodes):
        state, _ = env.reset(seed=seed * 1000 + episode)
        seen, acted, earned = [], [], []
        ends = late = False
        while not (ends or late):
            by_rule = state[2] * 3 + state[3] + 0.1 * state[0] + 0.3 * state[1] > 0
            by_chance = episode % 2 == 1 or rng.random() < noise
            action = int(rng.integers(2)) if by_chance else int(by_rule)
            seen.append(state)
            acted.append(action)
            state, reward, ends, late, _ = env.step(action)
            earned.append(float(reward))
        found.append(
            Trajectory(np.array(seen, np.float32), np.array(acted), np.array(earned, np.float32), ends, late, episode)
        )
    spaces_of = env.observation_space, env.action_space
    env.close()
    return TrajectorySet("CartPole-v1", *spaces_of, tuple(found), expert_return=500.0, random_return=20.0)


def small(**changes: object) -> DecisionConfig:
    """A small dense config for CartPole."""
    sizes = {"model": "dt", "state_size": 4, "actions": 2, "width": 16, "heads": 2, "context": 4, "max_steps": 500}
    return DecisionConfig.model_validate(sizes | changes)
