"""Observations as spikes: gymnasium's contract, vectors bit for bit as single environments, ranges, seeds, resets."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from neuroaccel.envs import MAZE
from neuroaccel.envs.encoders import (
    CODES,
    RANGES,
    DeltaCode,
    PhaseCode,
    SpikeObservation,
    VectorSpikeObservation,
    measured_ranges,
    observation_ranges,
)
from neuroaccel.errors import InputError

CARTPOLE = RANGES["CartPole-v1"]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "population": ("population", {"ticks": 4, "cells": 5}),
    "bernoulli": ("population", {"ticks": 4, "cells": 5, "mode": "bernoulli"}),
    "latency": ("latency", {"ticks": 4}),
    "phase": ("phase", {"ticks": 4}),
    "delta": ("delta", {"ticks": 2, "threshold": 1 / 32}),
}


def single(kind: str, env: str = "CartPole-v1", **more: Any) -> SpikeObservation:
    code, options = KINDS[kind]
    ranges = RANGES.get(env)
    return SpikeObservation(gymnasium.make(env, **more), code, ranges=ranges, **options)


def vector(kind: str, count: int, mode: AutoresetMode, env: str = "CartPole-v1") -> VectorSpikeObservation:
    code, options = KINDS[kind]
    inner = SyncVectorEnv([lambda: gymnasium.make(env)] * count, autoreset_mode=mode)
    return VectorSpikeObservation(inner, code, ranges=RANGES.get(env), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", MAZE])
def test_check_env_finds_nothing(kind: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of any wrapper; and Pendulum's own torque goes to ±2.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        warnings.filterwarnings("ignore", message=".*we recommend using a symmetric and normalized space.*")
        check_env(single(kind, name), skip_render_check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_spikes_are_those_of_the_observation(kind: str) -> None:
    plain, env = gymnasium.make("CartPole-v1"), single(kind)
    observation, _ = plain.reset(seed=3)
    spikes, _ = env.reset(seed=3)
    state = None
    for step in range(12):
        assert spikes.dtype == np.uint8
        assert spikes in env.observation_space
        assert env.observation_space.shape == env.code.shape
        if kind != "bernoulli":
            expected, state = env.code(observation, state)
            assert (spikes == expected).all()
        observation, spikes = plain.step(step % 2)[0], env.step(step % 2)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_observe_equal_spikes(kind: str) -> None:
    def played(seed: int) -> np.ndarray[Any, Any]:
        env = single(kind)
        return np.stack([env.reset(seed=seed)[0], *[env.step(1)[0] for _ in range(5)], env.reset()[0]])

    assert (played(5) == played(5)).all()
    # Only a code that draws shows the seed at once: the starts of episodes lie close together.
    assert (played(5) != played(6)).any() or kind == "latency"


def test_a_reset_begins_the_state_anew() -> None:
    env = single("delta")
    first, _ = env.reset(seed=1)
    for _ in range(8):
        env.step(1)
    again, _ = env.reset(seed=1)
    assert (first == again).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_vector_observes_what_single_environments_do(kind: str, mode: AutoresetMode) -> None:
    one = SyncVectorEnv([lambda: single(kind)] * 3, autoreset_mode=mode)
    two = vector(kind, 3, mode)
    assert two.single_observation_space == one.single_observation_space
    assert two.observation_space.shape == one.observation_space.shape
    draw, ended = np.random.default_rng(0), 0
    (a, _), (b, _) = one.reset(seed=7), two.reset(seed=7)
    for _ in range(90):
        assert a.dtype == b.dtype == np.uint8
        assert (a == b).all()
        actions = draw.integers(2, size=3)
        a, rewards, terminated, truncated, infos = one.step(actions)
        b, *rest, found = two.step(actions)
        assert all((x == y).all() for x, y in zip((rewards, terminated, truncated), rest, strict=True))
        done = terminated | truncated
        ended += int(done.sum())
        for which in np.flatnonzero(done) if mode == AutoresetMode.SAME_STEP else ():
            assert (found["final_obs"][which] == infos["final_obs"][which]).all()
    assert ended > 3


def test_a_masked_reset_leaves_the_others_as_they_were() -> None:
    env, twin = (vector("delta", 3, AutoresetMode.DISABLED) for _ in range(2))
    env.reset(seed=2)
    twin.reset(seed=2)
    for _ in range(4):
        before = env.step(np.array([1, 1, 1]))[0]
        twin.step(np.array([1, 1, 1]))
    mask = np.array([False, True, False])
    after, _ = env.reset(seed=[None, 9, None], options={"reset_mask": mask})
    fresh, _ = single("delta").reset(seed=9)
    assert (after[~mask] == before[~mask]).all()
    assert (after[1] == fresh).all()
    assert (env.step(np.ones(3, int))[0][~mask] == twin.step(np.ones(3, int))[0][~mask]).all()


def test_arrays_that_were_handed_out_stay_as_they_were() -> None:
    env = vector("delta", 2, AutoresetMode.DISABLED)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(np.ones(2, int))
    env.reset(seed=1, options={"reset_mask": np.array([True, False])})
    assert (first == kept).all()


def test_the_wrapper_is_in_the_environments_spec() -> None:
    env = single("phase")
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    assert isinstance(again, SpikeObservation)
    assert isinstance(again.code, PhaseCode)
    assert (again.reset(seed=4)[0] == env.reset(seed=4)[0]).all()


def test_ranges_come_from_the_space_the_user_or_data() -> None:
    maze = gymnasium.make(MAZE)
    box: Any = maze.observation_space
    low, high = observation_ranges(box)
    assert (low == box.low).all()
    assert (high == box.high).all()
    low, high = observation_ranges(box, (-1, 2))
    assert low.tolist() == [-1.0] * 6
    assert high.tolist() == [2.0] * 6
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(InputError, match=r"no finite limits at index 1, 3: give ranges=.*measured_ranges"):
        SpikeObservation(env)
    largest = gymnasium.spaces.Box(-1e38 * np.ones(2, np.float32), np.array([1.0, 1.0], np.float32))
    with pytest.raises(InputError, match="index 0, 1"):
        observation_ranges(largest)
    seen = [env.reset(seed=0)[0], *[env.step(step % 2)[0] for step in range(20)]]
    low, high = measured_ranges(seen, margin=0.1)
    assert (low < np.min(seen, axis=0)).all()
    assert (high > np.max(seen, axis=0)).all()
    np.testing.assert_allclose(high - low, 1.2 * np.ptp(np.asarray(seen, float), axis=0))
    assert SpikeObservation(env, "latency", ranges=(low, high)).reset()[0].sum() == 4
    constant = measured_ranges(np.full((3, 1), 5.0))
    assert (constant[0].tolist(), constant[1].tolist()) == ([4.0], [6.0])


def test_what_does_not_fit_is_named() -> None:
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(InputError, match="Box with at least one dimension, not of Discrete"):
        SpikeObservation(gymnasium.make("FrozenLake-v1"))
    with pytest.raises(InputError, match="no code 'rank'; expected one of population, latency, phase, delta"):
        SpikeObservation(env, "rank", ranges=CARTPOLE)
    with pytest.raises(InputError, match=r"code 'latency'.*cells"):
        SpikeObservation(env, "latency", ranges=CARTPOLE, cells=3)
    with pytest.raises(InputError, match=r"shapes \(3,\) and \(4,\)"):
        SpikeObservation(env, ranges=([0, 0, 0], CARTPOLE[1]))
    with pytest.raises(InputError, match="below its high"):
        SpikeObservation(env, ranges=(CARTPOLE[1], CARTPOLE[0]))
    with pytest.raises(InputError, match="observations of shape"):
        measured_ranges([1.0, np.nan])
    with pytest.raises(InputError, match="margin -1"):
        measured_ranges([[1.0], [2.0]], margin=-1)


def test_an_observation_that_is_nan_is_refused() -> None:
    broken = gymnasium.wrappers.TransformObservation(
        gymnasium.make("CartPole-v1"), lambda x: x * np.float32(np.nan), None
    )
    with pytest.raises(InputError, match=r"number at \[0\] is NaN"):
        SpikeObservation(broken, "delta", ranges=CARTPOLE).reset(seed=0)


def test_every_code_can_be_asked_for_by_name() -> None:
    assert set(CODES) == {"population", "latency", "phase", "delta"}
    env = SpikeObservation(gymnasium.make("CartPole-v1"), "delta", ranges=CARTPOLE, threshold=0.25)
    assert isinstance(env.code, DeltaCode)
    assert env.code.threshold == 0.25
