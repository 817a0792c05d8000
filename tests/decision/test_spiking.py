"""The spiking decision transformer: causality, cache, neurons, learning without dead layers, counts of spikes."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from neuroaccel.decision.spiking import Record, SpikingDT, lif, penalty, silenced, spike_counts
from neuroaccel.decision.tokens import tokens
from neuroaccel.errors import InputError
from neuroaccel.neurons import Neuron
from neuroaccel.synapses.plastic import ThreeFactor
from tests.decision.made_up import config, model_and_tokens, pole_batch

VARIANTS: list[dict[str, Any]] = [
    {},
    {"phase": False},
    {"routing": False},
    {"attention": "softmax"},
    {"stream": "analog"},
    {"stream": "analog", "attention": "softmax", "phase": False, "routing": False},
    {"continuous": True, "actions": 1, "low": (-2.0,), "high": (2.0,)},
]


def stepped(model: SpikingDT, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    cache, found = model.cache(len(x)), []
    with torch.no_grad():
        for t in range(x.shape[1]):
            predicted, cache = model.step(x[:, t], steps[:, t], cache)
            found.append(predicted)
    return torch.stack(found, 1)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_no_token_sees_a_later_one(options: dict[str, Any]) -> None:
    model, x, steps = model_and_tokens(**options)
    with torch.no_grad():
        before = model(x, steps)
        for j in (1, 16, 17, 20):  # a state, a state's neighbours, an action
            changed = x.clone()
            changed[:, j] += torch.randn(x.shape[-1], generator=torch.Generator().manual_seed(j))
            after = model(changed, steps)
            assert torch.equal(before[:, :j], after[:, :j])
            assert not torch.equal(before[:, j:], after[:, j:])


def test_an_action_does_not_change_its_own_prediction() -> None:
    model, x, steps = model_and_tokens()
    changed = x.clone()
    changed[:, 2::3, 5:7] = 1 - changed[:, 2::3, 5:7]
    with torch.no_grad():
        before, after = model(x, steps), model(changed, steps)
    assert torch.equal(before[:, 1], after[:, 1])  # only the first decision saw no earlier action
    last = x.clone()
    last[:, -1, 5:7] = 1 - last[:, -1, 5:7]
    with torch.no_grad():
        assert torch.equal(before[:, 1::3], model(last, steps)[:, 1::3])


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_cached_steps_equal_the_banded_pass_over_ten_contexts(options: dict[str, Any]) -> None:
    model, x, steps = model_and_tokens(length=10 * 4, **options)
    with torch.no_grad():
        whole = model(x, steps)
    found = stepped(model, x, steps)
    if options.get("attention") == "softmax":
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    else:
        assert torch.equal(found, whole)
    assert whole.std() > 0.01


def test_tokens_beyond_all_bands_are_forgotten() -> None:
    """Two layers reach back 2·(band − 1) tokens and no further."""
    model, x, steps = model_and_tokens(length=20)
    changed = x.clone()
    changed[:, :3] += 1
    reach = 2 * (model.config.band - 1)
    with torch.no_grad():
        before, after = model(x, steps), model(changed, steps)
    assert torch.equal(before[:, 3 + reach :], after[:, 3 + reach :])
    assert not torch.equal(before[:, :reach], after[:, :reach])


def test_extending_by_several_tokens_and_reset() -> None:
    model, x, steps = model_and_tokens(length=12)
    with torch.no_grad():
        whole = model(x, steps)
        first, cache = model.extend(x[:, :10], steps[:, :10], model.cache(2))
        then, cache = model.extend(x[:, 10:], steps[:, 10:], cache)
        assert torch.equal(torch.cat([first, then], 1), whole)
        cache = model.reset(cache, torch.tensor([True, False]))
        again, _ = model.step(x[:, 0], steps[:, 0], cache)
        fresh, _ = model.step(x[:, 0], steps[:, 0], model.cache(2))
    assert torch.equal(again[0], fresh[0])


@pytest.mark.parametrize("current", [0.4, 0.6, 0.7, 0.9, 1.1])
def test_lif_fires_when_the_formula_says(current: float) -> None:
    """v_k = i (1 − β^k)/(1 − β) without a spike; the first k above θ spikes, resets to 0, and so on."""
    settings = config()
    beta, theta = settings.beta, settings.threshold
    spikes, state = lif(settings)(torch.full((40, 1, 1), current))
    reached = [k for k in range(1, 60) if current * (1 - beta**k) / (1 - beta) > theta]
    if not reached:
        assert spikes.sum() == 0
        return
    first = reached[0]
    assert spikes.flatten().nonzero().flatten().tolist() == list(range(first - 1, 40, first))
    assert float(spikes.mean()) == pytest.approx((40 // first) / 40)
    assert 40 % first or float(state["v"]) == 0


def test_surrogate_is_1_at_the_threshold_and_a_quarter_at_a_tenth() -> None:
    i = torch.tensor([[[1.0, 1.1]]], requires_grad=True)
    spikes, _ = lif(config())(i)
    spikes.sum().backward()
    assert i.grad is not None
    torch.testing.assert_close(i.grad.flatten(), torch.tensor([1.0, 0.25]))


@pytest.mark.parametrize("options", [{}, {"stream": "analog"}], ids=str)
def test_layers_fire_from_the_start(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    settings = config(width=64, context=20, **options)
    model, record = SpikingDT(settings), Record()
    x, steps = tokens(pole_batch(32, 20), settings)
    model.calibrate(x, steps)
    model.run(x, steps, record)
    assert all(0.02 < rate < 0.55 for rate in record.rates.values()), record.rates


def test_it_learns_32_sequences_and_no_layer_dies(record_property: Any) -> None:
    settings = config(width=32, context=10)
    torch.manual_seed(0)
    model, batch = SpikingDT(settings), pole_batch(32, 10)
    x, steps = tokens(batch, settings)
    model.calibrate(x, steps)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    loss = math.inf
    for _ in range(600):
        predicted = model(x, steps)[:, 1::3]
        error = torch.nn.functional.cross_entropy(predicted[batch.mask], batch.actions[batch.mask])
        optimizer.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss = float(error.detach())
        if loss < 0.04:
            break
    record = Record()
    with torch.no_grad():
        model.run(x, steps, record)
    record_property("rates", record.rates)
    assert loss < 0.05
    layers = {name: rate for name, rate in record.rates.items() if name != "phase"}
    assert len(layers) == 9
    assert all(0.01 < rate < 0.5 for rate in layers.values()), layers


def test_every_parameter_learns() -> None:
    model, x, steps = model_and_tokens(size=8, snap=False)
    model(x, steps).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    assert silent == []


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_counted_spikes_are_those_of_all_layers(options: dict[str, Any]) -> None:
    model, x, steps = model_and_tokens(**options)
    seen: list[torch.Tensor] = []
    layers_of = [m for m in model.modules() if isinstance(m, Neuron)]
    hooks = [m.register_forward_hook(lambda _, __, out: seen.append(out[0])) for m in layers_of]
    found = spike_counts(model, x, steps)
    for hook in hooks:
        hook.remove()
    layers = sum(counts for name, counts in found.items() if name != "phase")
    by_hand = sum(s.sum((0, 2)).reshape(x.shape[:2]) for s in seen)
    assert torch.equal(layers, by_hand)
    assert layers.sum() > 0
    assert ("phase" in found) == model.config.phase
    if model.phase is not None:
        assert torch.equal(found["phase"], model.phase(steps).sum((2, 3)))


def test_counts_of_cached_steps_are_those_of_the_pass() -> None:
    model, x, steps = model_and_tokens()
    whole, cache = spike_counts(model, x, steps), model.cache(len(x))
    with torch.no_grad():
        for t in range(x.shape[1]):
            record = Record()
            _, cache = model.step(x[:, t], steps[:, t], cache, record)
            for name, counts in record.spikes.items():
                assert torch.equal(counts[:, 0], whole[name][:, t])


def test_penalty_is_a_hinge_on_the_spikes_of_a_decision() -> None:
    model, x, steps = model_and_tokens(snap=False)
    record = Record()
    model.run(x, steps, record)
    mean = float(sum(s.detach().sum() for s in record.spikes.values())) / (2 * 12)
    assert float(penalty(record, 0.0).detach()) == pytest.approx(mean)
    assert float(penalty(record, mean + 1).detach()) == 0
    mask = torch.zeros(2, 12, dtype=torch.bool)
    mask[0, 0] = True
    only = float(sum(s.detach()[0, :3].sum() for s in record.spikes.values()))
    assert float(penalty(record, 0.0, mask).detach()) == pytest.approx(only)
    penalty(record, mean - 1).backward()
    assert model.embed.weight.grad is not None
    assert (model.embed.weight.grad != 0).any()


@pytest.mark.parametrize("stream", ["spiking", "analog"])
def test_a_silenced_model_fires_nowhere(stream: str) -> None:
    model, x, steps = model_and_tokens(stream=stream, phase=False, snap=False)
    assert sum(float(c.sum()) for c in spike_counts(model, x, steps).values()) > 0
    quiet = silenced(model)
    assert sum(float(c.sum()) for c in spike_counts(quiet, x, steps).values()) == 0
    with torch.no_grad():
        spread = quiet(x, steps).std(1).max()
    # Only an analog stream leads around the neurons.
    assert (spread > 0.01) == (stream == "analog")


def test_a_rate_of_0_leaves_the_head_as_it_is() -> None:
    model, x, steps = model_and_tokens()
    before = model.head.weight.detach().clone()
    record = Record()
    with torch.no_grad():
        y = model.run(x, steps, record)
    assert record.head_input is not None
    trace = torch.zeros(2, 2, 16)
    for t in range(5):
        trace = model.head_update(trace, record.head_input[:, t], y[:, t], torch.ones(2), ThreeFactor(0.9, 0.0, 4.0))
    assert torch.equal(model.head.weight, before)
    assert not trace.requires_grad
    trace = model.head_update(trace, record.head_input[:, 5], y[:, 5], torch.zeros(2), ThreeFactor(0.9, 0.1, 4.0))
    assert torch.equal(model.head.weight, before)
    model.head_update(trace, record.head_input[:, 5], y[:, 5], torch.ones(2), ThreeFactor(0.9, 0.1, 4.0))
    assert not torch.equal(model.head.weight, before)


def test_counts_that_float32_cannot_hold_are_refused() -> None:
    with pytest.raises(InputError, match="2\\^24"):
        SpikingDT(config(micro_steps=64, context=20))


def test_models_are_made_of_state_dicts() -> None:
    model, x, steps = model_and_tokens()
    other = SpikingDT(model.config)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    with torch.no_grad():
        assert torch.equal(model(x, steps), other(x, steps))
