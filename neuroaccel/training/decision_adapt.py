"""Episode after episode in an environment that is not the one of the training: what a head that learns makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError
from neuroaccel.training.decision_episode import open_env
from neuroaccel.training.decision_evaluate import Acting, Progress


def changed(env_id: str, **physics: float) -> Any:
    """An environment by itself whose dynamics are changed: attributes that are numbers, set on the innermost one.

    What CartPole derives from others follows them, unless it is given: ``total_mass`` = masspole + masscart and
    ``polemass_length`` = masspole · length. Acrobot's gravity is no attribute and cannot be changed.

        changed("CartPole-v1", length=1.0, gravity=4.9)
        changed("MountainCar-v0", force=0.0008)

    Arguments:
        env_id: the environment.
        physics: attribute → value, in the environment's own unit.

    Raises:
        InputError: an environment that cannot be made, an attribute that it has not, a value that is not finite.
    """
    env = open_env(env_id)
    try:
        _change(env.unwrapped, env_id, physics)
    except InputError:
        env.close()
        raise
    return env


def _change(inner: Any, env_id: str, physics: dict[str, float]) -> None:
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    known = sorted(name for name in dir(inner) if _physical(inner, name))
    for name, value in physics.items():
        if name not in known:
            raise InputError(f"environment '{env_id}' has no number '{name}' to change; it has {', '.join(known)}")
        if not math.isfinite(value):
            raise InputError(f"environment '{env_id}': {name} {value}; expected a finite number")
        setattr(inner, name, float(value))
    if isinstance(inner, CartPoleEnv):
        if "total_mass" not in physics:
            inner.total_mass = inner.masspole + inner.masscart
        if "polemass_length" not in physics:
            inner.polemass_length = inner.masspole * inner.length


def _physical(inner: Any, name: str) -> bool:
    """Whether an attribute is a number, and not one of the drawing."""
    if name.startswith(("_", "np_random", "screen")) or isinstance(getattr(type(inner), name, None), property):
        return False
    value = getattr(inner, name, None)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def adapted(
    acting: Acting,
    make_env: Callable[[], Any],
    seeds: Sequence[int],
    episodes: int,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Returns of consecutive episodes, a slot for each seed: what a slot learns in one it takes into its next.

    Every slot has an environment to itself and begins anew as soon as it ends, whatever the others do; one that has
    played its episodes goes on playing, uncounted, until all have.

    Arguments:
        acting: decides for as many slots as there are seeds; a :class:`~neuroaccel.decision.deploy.Decider` with
            ``online`` learns, one without is what to compare with.
        make_env: makes an environment, such as :func:`changed`.
        seeds: E, one for each slot. Episode k of a slot has the seed that is drawn from (seed, k), so that it begins
            alike whatever was learnt before it.
        episodes: K of each slot.
        progress: called with (episodes that ended, all).

    Returns:
        float64 ``[E, K]``.

    Raises:
        InputError: no seed or no episode; an observation that ``acting`` refuses.
    """
    if not seeds or episodes < 1:
        raise InputError(f"{len(seeds)} seeds, {episodes} episodes each; expected at least one of both")
    count = len(seeds)
    envs: list[Any] = []
    returns, at = np.zeros((count, episodes)), np.zeros(count, np.int64)
    try:
        envs += [make_env() for _ in seeds]
        seen = [env.reset(seed=_drawn(seed, 0))[0] for env, seed in zip(envs, seeds, strict=True)]
        while True:
            actions = acting.act(np.array(seen))
            rewards, done = np.zeros(count), np.zeros(count, np.bool_)
            for e, env in enumerate(envs):
                seen[e], rewards[e], ends, late, _ = env.step(actions[e])
                done[e] = ends or late
                if at[e] < episodes:
                    returns[e, at[e]] += rewards[e]
            at += done
            if progress is not None and done.any():
                progress(int(np.minimum(at, episodes).sum()), count * episodes)
            if (at >= episodes).all():
                return returns
            acting.observe(rewards, done)
            for e in np.flatnonzero(done).tolist():
                seen[e] = envs[e].reset(seed=_drawn(seeds[e], int(at[e])))[0]
    finally:
        for env in envs:
            env.close()


def _drawn(seed: int, episode: int) -> int:
    """The seed of a slot's episode."""
    return int(np.random.SeedSequence((seed, episode)).generate_state(1)[0])
