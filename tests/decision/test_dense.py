"""The dense twin: nothing of the future reaches a prediction, and a cache changes none."""

from __future__ import annotations

import pytest
import torch

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.dense import DenseDT
from tests.decision.sets import small


def stream(config: DecisionConfig, batch: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Drawn tokens, and timesteps that go up by one every three."""
    x = torch.randn(batch, length, config.token_size, generator=torch.Generator().manual_seed(seed))
    return x, (torch.arange(length) // 3).expand(batch, length)


def model_of(config: DecisionConfig, seed: int = 0) -> DenseDT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DenseDT(config).eval()


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("context", [1, 4])
def test_cached_steps_are_the_full_banded_pass_over_long_streams(layers: int, context: int) -> None:
    config = small(layers=layers, context=context)
    model = model_of(config)
    x, steps = stream(config, 2, 30 * context)  # 10·N decisions
    cache, one_by_one = model.cache(2), []
    with torch.no_grad():
        for i in range(x.shape[1]):
            predicted, cache = model.step(x[:, i], steps[:, i], cache)
            one_by_one.append(predicted)
        whole = model(x, steps)
    assert (torch.stack(one_by_one, 1) - whole).abs().max() < 1e-5
    assert whole.std() > 0.05


def test_tokens_at_once_are_tokens_one_by_one() -> None:
    config = small(layers=2, context=3)
    model = model_of(config)
    x, steps = stream(config, 2, 40)
    cache, parts, at = model.cache(2), [], 0
    with torch.no_grad():
        for count in (2, 3, 20, 1, 14):  # 20 are more than the band
            predicted, cache = model.extend(x[:, at : at + count], steps[:, at : at + count], cache)
            parts.append(predicted)
            at += count
        whole = model(x, steps)
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("continuous", [False, True])
def test_no_token_reaches_a_prediction_before_it_or_beyond_its_band(continuous: bool) -> None:
    bounds = {"continuous": True, "low": (-1.0, 0.0), "high": (1.0, 2.0)} if continuous else {}
    config = small(layers=2, context=2, **bounds)
    model = model_of(config)
    x, steps = stream(config, 1, 24)
    reach = config.layers * (config.band - 1)
    with torch.no_grad():
        before = model(x, steps)
        for j in range(0, 24, 5):
            other = x.clone()
            other[:, j] += 3.0
            after = model(other, steps)
            changed = (after != before).any(-1)[0]
            assert not changed[:j].any()
            assert changed[j]
            assert not changed[j + reach + 1 :].any()
    assert not continuous or before.abs().max() <= 1


def test_an_action_does_not_reach_its_own_prediction() -> None:
    config = small(layers=2)
    model = model_of(config)
    x, steps = stream(config, 1, 12)
    other = x.clone()
    other[:, 5] *= -2.0  # the action token of decision 1, whose state token is 4
    with torch.no_grad():
        assert torch.equal(model(x, steps)[:, :5], model(other, steps)[:, :5])


def test_reset_forgets_the_episodes_that_are_done_and_no_other() -> None:
    config = small(layers=2)
    model = model_of(config)
    x, steps = stream(config, 3, 9)
    with torch.no_grad():
        _, cache = model.extend(x, steps, model.cache(3))
        cache = model.reset(cache, torch.tensor([False, True, False]))
        after, _ = model.step(x[:, 0], steps[:, 0], cache)
        fresh, _ = model.step(x[:, 0], steps[:, 0], model.cache(3))
        _, kept = model.extend(x, steps, model.cache(3))
        going_on, _ = model.step(x[:, 0], steps[:, 0], kept)
    assert torch.allclose(after[1], fresh[1], atol=1e-6)
    assert torch.equal(after[[0, 2]], going_on[[0, 2]])
    assert not torch.allclose(after[0], fresh[0], atol=1e-3)


def test_a_cache_is_a_value_that_no_step_changes() -> None:
    config = small()
    model = model_of(config)
    x, steps = stream(config, 1, 2)
    cache = model.cache(1)
    with torch.no_grad():
        first, _ = model.step(x[:, 0], steps[:, 0], cache)
        model.step(x[:, 1], steps[:, 1], cache)
        again, _ = model.step(x[:, 0], steps[:, 0], cache)
    assert torch.equal(first, again)
    assert int(cache.filled) == 0
