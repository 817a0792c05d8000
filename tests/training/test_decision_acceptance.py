"""Both decision transformers from data to episodes on CartPole: a smoke test, not what they can reach.

The short profile trains small ones of one seed; the long one (``scripts/test --long``) those of the experiment's width
with three seeds, some minutes.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest

from neuroaccel.decision.windows import config_for
from neuroaccel.envs.offline import TrajectorySet, make_set
from neuroaccel.training.decision_evaluate import sweep
from neuroaccel.training.decision_options import training_of
from neuroaccel.training.decision_train import train_decision
from tests.conftest import LONG

ENV = "CartPole-v1"
SEEDS = (0, 1, 2) if LONG else (0,)
EPISODES = 20 if LONG else 10
LEAST = 300 if LONG else 200  # chance gives 22
SIZES: dict[str, Any] = {"width": 64, "layers": 2, "heads": 4, "context": 20} if LONG else {}
SIZES = SIZES or {"width": 32, "layers": 1, "heads": 2, "context": 8}
STEPS = 300 if LONG else 200
OWN: dict[str, tuple[dict[str, Any], float]] = {  # of the model, and the learning rate
    "dt": ({}, 1e-3 if LONG else 3e-3),
    "snn-dt": ({"micro_steps": 4, "slope": 3.0}, 3e-3),
}


@lru_cache(maxsize=1)
def data() -> TrajectorySet:
    """10,000 decisions, half of them the expert's with noise, half random."""
    return make_set(ENV, steps=10_000, seed=0, measure_seeds=range(2_000_000, 2_000_010))


@pytest.fixture(scope="module")
def returns(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(model, seed) → mean returns where 100 and 500 are asked for."""

    @cache
    def found(model: str, seed: int) -> tuple[float, float]:
        sizes, rate = OWN[model]
        config = config_for(data(), model=model, **SIZES, **sizes)
        options = {"steps": STEPS, "validate_every": STEPS // 3, "validation_episodes": 5, "learning_rate": rate}
        folder = tmp_path_factory.mktemp(f"{model}-{seed}") / "run"
        run = train_decision(data(), config, training_of({**options, "seed": seed}), folder)
        low, high = sweep(run.trained(), ENV, [100.0, 500.0], episodes=EPISODES, seeds=(seed,))
        return low.mean, high.mean

    return found


def test_the_data_are_half_a_rules_that_balances_and_half_chance() -> None:
    steps = {name: int(data().lengths[list(own)].sum()) for name, own in data().policies.items()}
    assert set(steps) == {"expert", "random"}
    assert all(5000 <= count < 5500 for count in steps.values())
    assert (data().expert_return, data().random_return) == (500.0, pytest.approx(22, abs=10))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("model", ["dt", "snn-dt"])
def test_it_balances_where_500_is_asked_for_and_less_long_where_100_is(returns: Any, model: str, seed: int) -> None:
    low, high = returns(model, seed)
    assert high >= LEAST
    assert high > low or (model == "snn-dt" and not LONG)  # so small a spiking one balances first, and heeds later


@pytest.mark.skipif(not LONG, reason="the small one has but one seed and 200 steps; scripts/test --long")
def test_the_spiking_one_reaches_nine_tenths_of_the_dense_one(returns: Any) -> None:
    dense, spiking = (np.mean([returns(model, seed)[1] for seed in SEEDS]) for model in ("dt", "snn-dt"))
    assert spiking >= 0.9 * dense
