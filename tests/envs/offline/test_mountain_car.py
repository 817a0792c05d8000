"""MountainCar's model is the environment's, and its values are steps to the goal."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from neuroaccel.envs.offline import expert, measure, mountain_car
from neuroaccel.envs.offline.collect import MEASURING_SEEDS


def test_the_model_is_the_environment() -> None:
    env = gymnasium.make("MountainCar-v0").unwrapped
    rng = np.random.default_rng(0)
    for _ in range(200):
        state = rng.uniform([-1.2, -0.07], [0.6, 0.07])
        action = int(rng.integers(3))
        env.reset(seed=0)
        env.state = tuple(state)  # type: ignore[attr-defined]
        seen = env.step(action)[0]
        to, speed = mountain_car.transition(state[0], state[1], np.array(float(action)))
        np.testing.assert_allclose([to, speed], seen, rtol=1e-5, atol=1e-7)


def test_values_count_steps() -> None:
    steps = mountain_car.values((61, 41), 300)
    assert steps.shape == (61, 41)
    assert (steps[np.linspace(-1.2, 0.6, 61) >= 0.5] == 0).all()
    assert steps[56, 30] == pytest.approx(1.0)  # just before the goal, fast
    assert steps[23, 20] == steps[23].max() or steps[23, 20] > 80  # at rest in the valley: far
    early = mountain_car.values((61, 41), 50)
    assert (early <= steps + 1e-9).all()


def test_the_expert_is_kept_in_the_cache_and_beats_pushing_along_the_velocity(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mountain_car, "GRID", (121, 91))
    first = measure("MountainCar-v0", expert("MountainCar-v0"), MEASURING_SEEDS[:5])
    assert first.mean >= -110.0
    assert len(list(cache_dir.glob("expert-mountain-car-*"))) == 1
    monkeypatch.setattr(mountain_car, "values", lambda: pytest.fail("computed again"))
    assert measure("MountainCar-v0", expert("MountainCar-v0"), MEASURING_SEEDS[:5]) == first
