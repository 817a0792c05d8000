"""Playing episodes: to measure a policy, and to log what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space, spaces

from neuroaccel.envs.offline.experts import expert, medium
from neuroaccel.envs.offline.making import make_env
from neuroaccel.envs.offline.policies import Policy, bounds, draw, random_policy
from neuroaccel.envs.offline.trajectories import Trajectory, TrajectorySet
from neuroaccel.errors import InputError

Progress = Callable[[int, int], None]
"""Called with (done, total)."""
Bar = Callable[[str], AbstractContextManager[Progress]]
"""Makes a progress report for a stage, by what it is called."""

MEASURING_SEEDS = tuple(range(2_000_000, 2_000_100))
"""Seeds of the 100 episodes that returns are measured over; no collected episode uses them."""


@dataclass(frozen=True)
class Measured:
    """Returns of a policy without noise.

    Arguments:
        env_id, policy: what was measured.
        seeds: of the episodes.
        returns: one for each of them.
    """

    env_id: str
    policy: str
    seeds: tuple[int, ...]
    returns: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def deviation(self) -> float:
        """Standard deviation of the returns."""
        return float(np.std(self.returns, ddof=1)) if len(self.returns) > 1 else 0.0

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        low, high = min(self.returns), max(self.returns)
        spread = {"mean": self.mean, "deviation": self.deviation, "lowest": low, "highest": high}
        return {"policy": self.policy, **spread, "episodes": len(self.returns), "seeds": list(self.seeds)}


def measure(
    env_id: str, policy: Policy, seeds: Sequence[int] = MEASURING_SEEDS, progress: Progress | None = None
) -> Measured:
    """Play one episode for each seed, without noise, and return the undiscounted returns.

    Raises:
        InputError: no such environment, or no seed.
        MissingExtra: what the environment needs is not installed.
    """
    if not len(seeds):
        raise InputError("measure: no seed; expected at least one")
    env = make_env(env_id)
    found = []
    for done, seed in enumerate(seeds, 1):
        found.append(_play(env, policy, int(seed), 0.0).total)
        if progress is not None:
            progress(done, len(seeds))
    env.close()
    return Measured(env_id, policy.name, tuple(map(int, seeds)), tuple(found))


def collect(
    env_id: str,
    policy: Policy,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    seed: int = 0,
    noise: float = 0.0,
    progress: Progress | None = None,
) -> list[Trajectory]:
    """Log whole episodes of a policy, with the actions that were executed.

    Noise is part of the executed action: with Discrete actions it is the share of decisions that are replaced by a
    random one; with a Box, the standard deviation of Gaussian noise as a share of half the range, clipped to the range.

    Arguments:
        env_id: the environment.
        policy: who acts.
        steps: as many episodes as reach this number of decisions; the last one is whole.
        episodes: so many; one of the two is given.
        seed: from which every episode's own seed follows.
        noise: 0 to 1.

    Raises:
        InputError: a bad number, no such environment, or noise on unbounded actions.
        MissingExtra: what the environment needs is not installed.
    """
    wanted, kind = (episodes, "episodes") if steps is None else (steps, "steps")
    if (steps is None) == (episodes is None) or wanted is None or wanted < 1:
        raise InputError(f"collect: steps={steps}, episodes={episodes}; expected one of them, at least 1")
    if not 0.0 <= noise <= 1.0:
        raise InputError(f"collect: noise is {noise}; expected 0 to 1")
    if seed < 0:
        raise InputError(f"collect: seed is {seed}; expected at least 0")
    env = make_env(env_id)
    seeds = np.random.default_rng(seed)
    logged: list[Trajectory] = []
    done = 0
    while done < wanted:
        own_seed = _fresh_seed(seeds)
        logged.append(_play(env, policy, own_seed, noise))
        done += len(logged[-1]) if kind == "steps" else 1
        if progress is not None:
            progress(min(done, wanted), wanted)
    env.close()
    return logged


def make_set(
    env_id: str,
    *,
    steps: int = 10_000,
    expert_share: float = 0.5,
    medium_share: float = 0.0,
    noise: float = 0.2,
    seed: int = 0,
    measure_seeds: Sequence[int] = MEASURING_SEEDS,
    bar: Bar | None = None,
) -> TrajectorySet:
    """Collect a mixture of expert, medium and random episodes, and measure the expert and chance.

    Arguments:
        env_id: the environment.
        steps: decisions in all; each part ends with a whole episode.
        expert_share, medium_share: of the decisions; the rest is random.
        noise: in the executed actions of the expert, as :func:`collect` defines it; medium and random act as they are.
        seed: of everything.
        measure_seeds: of the episodes that the returns of the expert and of chance are measured over.
        bar: makes a progress report for each stage.

    Raises:
        InputError: a bad number, no such environment, or no expert for it (a share of 0 needs none).
        MissingExtra: what the environment needs is not installed.
    """
    recipe = recipe_of(env_id, steps, expert_share, medium_share, noise, seed)
    bar = bar or (lambda what: nullcontext(lambda done, total: None))
    chance = random_policy(env_id, seed)
    # Without an expert's share the environment needs none: chance alone is measured then.
    best = expert(env_id) if expert_share or medium_share else _expert_if_any(env_id)
    parts: list[tuple[Policy, float, float]] = [(chance, 1.0 - expert_share - medium_share, 0.0)]
    if medium_share:
        parts.insert(0, (medium(env_id), medium_share, 0.0))
    if expert_share and best is not None:
        parts.insert(0, (best, expert_share, noise))
    trajectories: list[Trajectory] = []
    policies = []
    for index, (policy, share, own_noise) in enumerate(parts):
        wanted = round(share * steps)
        if not wanted:
            continue
        own_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        with bar(f"{policy.name} decisions") as report:
            logged = collect(env_id, policy, steps=wanted, seed=own_seed, noise=own_noise, progress=report)
        trajectories += logged
        policies.append(
            {"name": policy.name, "provenance": policy.provenance, "noise": own_noise, "seed": own_seed}
            | {"episodes": len(logged), "steps": sum(map(len, logged))}
        )
    measured: dict[str, Measured] = {}
    for one in (best, chance):
        if one is not None:
            with bar(f"measuring {one.name}") as report:
                measured[one.name] = measure(env_id, one, measure_seeds, report)
    env = make_env(env_id)
    env.close()
    return TrajectorySet(
        env_id,
        env.observation_space,
        env.action_space,
        tuple(trajectories),
        measured["expert"].mean if "expert" in measured else None,
        measured["random"].mean,
        {
            "recipe": recipe,
            "policies": policies,
            "measured": {name: one.record() for name, one in measured.items()},
            "gymnasium": gymnasium.__version__,
        },
    )


def recipe_of(
    env_id: str, steps: int, expert_share: float, medium_share: float, noise: float, seed: int
) -> dict[str, Any]:
    """Check the arguments of :func:`make_set` and return them as plain JSON values.

    Raises:
        InputError: one of them is out of its range.
    """
    if steps < 1:
        raise InputError(f"trajectories: steps is {steps}; expected at least 1")
    if seed < 0:
        raise InputError(f"trajectories: seed is {seed}; expected at least 0")
    for name, value in (("expert share", expert_share), ("medium share", medium_share), ("noise", noise)):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"trajectories: {name} is {value}; expected 0 to 1")
    if expert_share + medium_share > 1.0 + 1e-9:
        raise InputError(f"trajectories: the shares {expert_share} and {medium_share} exceed 1 together")
    shares = {"expert_share": expert_share, "medium_share": medium_share}
    return {"env_id": env_id, "steps": steps, **shares, "noise": noise, "seed": seed}


def _expert_if_any(env_id: str) -> Policy | None:
    from neuroaccel.envs.offline.experts import EXPERTS

    return expert(env_id) if env_id in EXPERTS else None


def _fresh_seed(seeds: np.random.Generator) -> int:
    while (seed := int(seeds.integers(2**31))) in MEASURING_SEEDS:
        pass
    return seed


def _play(env: gymnasium.Env[Any, Any], policy: Policy, seed: int, noise: float) -> Trajectory:
    """One episode; chance of the environment, the policy and the noise follows from the seed."""
    disturb = _disturber(env.action_space, noise, np.random.default_rng([seed, 1]))
    observations, actions, rewards = [], [], []
    observation, _ = env.reset(seed=seed)
    policy.reset(seed)
    over = terminated = truncated = False
    while not over:
        action = disturb(policy(observation))
        observations.append(np.array(observation, dtype=np.float32))
        actions.append(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        over = terminated or truncated
    discrete = isinstance(env.action_space, spaces.Discrete)
    return Trajectory(
        np.stack(observations),
        np.array(actions, dtype=np.int64) if discrete else np.stack(actions),
        np.array(rewards, dtype=np.float32),
        bool(terminated),
        bool(truncated),
        seed,
        policy.name,
        np.array(observation, dtype=np.float32),
    )


def _disturber(actions: Space[Any], noise: float, generator: np.random.Generator) -> Callable[[Any], Any]:
    """What turns a chosen action into the executed one."""
    if isinstance(actions, spaces.Discrete):
        return lambda action: draw(actions, generator) if noise and generator.random() < noise else int(action)
    if not noise:
        return lambda action: np.asarray(action, dtype=np.float32)
    low, high = bounds(actions)
    deviation = noise * (high - low) / 2.0
    return lambda action: np.clip(action + deviation * generator.standard_normal(len(low)), low, high).astype(
        np.float32
    )
