"""The dense twin compiled, with 8-bit weights and pruned; smaller policies; what each costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuroaccel.decision.baselines import MLPPolicy, Reactive, clone, linear_policy
from neuroaccel.decision.costs import macs_per_decision
from neuroaccel.decision.dense import DenseDT
from neuroaccel.decision.variants import Int8Linear, compiled, int8
from neuroaccel.decision.windows import config_for
from neuroaccel.errors import ExecutorUnavailable, InputError
from neuroaccel.synapses.pruning import prune
from tests.conftest import LONG
from tests.decision.sets import cartpole, of, rewarded, small
from tests.decision.test_dense import model_of, stream


def of_a_stream(model: DenseDT, tokens: int = 12) -> torch.Tensor:
    x, steps = stream(model.config, 1, tokens)
    cache, found = model.cache(1), []
    with torch.no_grad():
        for i in range(0, tokens, 3):
            predicted, cache = model.extend(x[:, i : i + 3], steps[:, i : i + 3], cache)
            found.append(predicted)
    return torch.cat(found, 1)


@pytest.mark.filterwarnings("ignore")  # torch's own use of what it deprecates
@pytest.mark.parametrize("backend", ["aot_eager", *(["inductor"] if LONG else [])])  # the latter: half a minute
def test_compiled_decides_alike(backend: str) -> None:
    model = model_of(small(layers=1))
    assert (of_a_stream(compiled(model, backend=backend)) - of_a_stream(model)).abs().max() < 1e-5


def test_where_nothing_compiles_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **options: object) -> object:
        raise RuntimeError("no compiler here\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(ExecutorUnavailable, match=r"no compiler here\)"):
        compiled(model_of(small()))


@pytest.mark.parametrize("own", [False, True])
def test_int8_is_near_and_leaves_the_model_as_it_was(own: bool) -> None:
    model = model_of(small(width=32))
    before = of_a_stream(model)
    rounded = int8(model, own=own)
    change = (of_a_stream(rounded) - before).abs().max()  # type: ignore[arg-type]
    assert 0 < change < 0.1 * before.abs().max()
    assert torch.equal(of_a_stream(model), before)
    assert any(isinstance(m, Int8Linear) for m in rounded.modules()) == own


def test_an_int8_layer_multiplies_whole_numbers() -> None:
    dense = torch.nn.Linear(3, 2)
    with torch.no_grad():
        dense.weight.copy_(torch.tensor([[127.0, -64, 3], [0.5, 1, -1]]))
        dense.bias.copy_(torch.tensor([1.0, -1.0]))
    layer = Int8Linear(dense)
    assert layer.weight.tolist() == [[127, -64, 3], [64, 127, -127]]
    x = torch.tensor([[254.0, 2, -2]])
    wanted = 127 * 127 * 2 - 64 * 2 - 3 * 2 + 1
    assert float(layer(x)[0, 0].detach()) == pytest.approx(wanted)


def test_pruning_applies_to_its_linears_and_lowers_its_costs() -> None:
    model = model_of(small())
    whole = macs_per_decision(model)
    pruner = prune(model, "magnitude", 0.25)
    for step in range(1, 11):
        pruner.step(step, 10)
    pruner.fold()
    found = macs_per_decision(model)
    assert pruner.parts
    assert found.products == whole.products
    assert found.weights_read < 0.3 * whole.weights_read


def counted(model: DenseDT, cached: bool) -> int:
    """MACs of a decision, every product of the loops written out; tokens' places that are always 0 left out."""
    c, d = model.config, model.config.width
    kinds = {"return": 1, "state": c.state_size, "action": c.actions}
    order = ["return", "state", "action"] * c.context
    tokens = ["action", "return", "state"] if cached else order[:-1]
    total = 0
    for at, kind in enumerate(tokens):
        total += kinds[kind] * d
        for _ in range(c.layers):
            total += 3 * d * d  # q, k, v
            total += 2 * d * (c.band if cached else at + 1)
            total += d * d + 2 * c.hidden * d * d
    return total + d * c.actions


@pytest.mark.parametrize("cached", [True, False])
def test_the_formula_is_the_loops_written_out(cached: bool) -> None:
    model = model_of(small(layers=3, hidden=4))
    assert macs_per_decision(model, cached=cached).total == counted(model, cached)
    assert macs_per_decision(model.config, cached=cached) == macs_per_decision(model, cached=cached)


def test_a_linear_policy_on_cartpole_is_eight_macs_and_one_of_64_units_six_times_64() -> None:
    config = small()
    assert macs_per_decision(linear_policy(config)).total == 8
    assert macs_per_decision(MLPPolicy(config, (64,))).total == 6 * 64


def test_cloning_on_the_best_half_balances_the_pole() -> None:
    from neuroaccel.training.decision_evaluate import played

    data = cartpole(episodes=20)
    config = config_for(data, model="dt", width=8, heads=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy = linear_policy(config)
    norm = clone(policy, data, steps=400, learning_rate=1e-2, best=0.5)
    found = played(lambda count: Reactive(policy, norm), "CartPole-v1", range(5))
    assert found.returns.mean() > 300


def test_cloning_keeps_the_checkpoint_that_validates_best() -> None:
    data = of(rewarded([1, 1, 1], [0, 1, 1]))
    config = config_for(data, model="dt", width=8, heads=1)
    policy, seen, returns = MLPPolicy(config, (4,)), [], iter([1.0, 5.0, 2.0])

    def validate(reactive: Reactive) -> float:
        seen.append(reactive.policy.layers[0].weight.detach().clone())  # type: ignore[operator]
        return next(returns)

    clone(policy, data, steps=3, batch=4, validate=validate, every=1)
    assert torch.equal(policy.layers[0].weight, seen[1])  # type: ignore[arg-type]
    assert not torch.equal(seen[1], seen[2])


def test_the_best_share_is_of_steps_and_an_impossible_one_is_refused() -> None:
    data = of(rewarded([1] * 4, [1] * 4), rewarded([9.0] * 2, [0] * 2), rewarded([0.0] * 4, [1] * 4))
    config = config_for(data, model="dt", width=8, heads=1)
    policy = MLPPolicy(config, (16,))
    norm = clone(policy, data, steps=200, learning_rate=1e-2, best=0.2)
    acted = Reactive(policy, norm).act(data.trajectories[0].observations)
    assert acted.tolist() == [0] * 4  # only the episode that took 0 was cloned
    with pytest.raises(InputError, match="best is 0"):
        clone(policy, data, best=0)
    with pytest.raises(InputError, match="finite"):
        Reactive(policy, norm).act(np.full((1, 2), np.nan))
