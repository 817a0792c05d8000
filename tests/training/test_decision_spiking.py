"""Training a spiking model: its penalty, its plastic head, its shifts, and the snapped weights that it ends with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.file import make
from neuroaccel.decision.spiking import SpikingDT, spike_counts
from neuroaccel.decision.to_graph import snapped
from neuroaccel.decision.tokens import tokens
from neuroaccel.decision.windows import Windows, config_for
from neuroaccel.synapses.plastic import ThreeFactor
from neuroaccel.training.decision_evaluate import sweep
from neuroaccel.training.decision_options import training_of
from neuroaccel.training.decision_train import DecisionTrainer, forward, plastic_step, train_decision
from tests.decision.sets import cartpole


@pytest.fixture(scope="module")
def windows() -> Windows:
    data = cartpole(episodes=4, longest=50)
    return Windows(data, config_for(data, width=16, heads=2, layers=1, context=3, micro_steps=2))


def seeded(config: DecisionConfig) -> SpikingDT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(config)
    assert isinstance(model, SpikingDT)
    return model


def trained(windows: Windows, **changes: object) -> SpikingDT:
    model = seeded(windows.config)
    trainer = DecisionTrainer(model, windows, training_of({"steps": 60, "batch_size": 16} | changes))
    trainer.advance(60)
    return model


def spikes(model: SpikingDT, windows: Windows) -> float:
    batch = windows.at(torch.arange(0, 90, 3))
    return float(sum(count.sum() for count in spike_counts(model, *tokens(batch, windows.config)).values()))


def test_a_penalty_makes_it_spike_less(windows: Windows) -> None:
    assert spikes(trained(windows, penalty=0.05), windows) < 0.8 * spikes(trained(windows), windows)


def test_a_plastic_step_is_the_three_factor_rule_decision_by_decision(windows: Windows) -> None:
    model, rule = seeded(windows.config), ThreeFactor(0.5, 0.1, 8.0)
    batch = windows.at(torch.tensor([0, len(windows) - 2]))
    assert not batch.mask.all()
    found = forward(model, batch, windows.config, record=True)
    weight = model.head.weight.detach().clone()
    plastic_step(model, batch, found, rule, 0.2, 0.5)
    entered = found.record.head_input[:, 1::3]
    post = torch.nn.functional.one_hot(batch.actions, 2) - found.predicted.detach().softmax(-1)
    third = ((batch.returns[..., 0] - 0.2) / 0.5).clamp(-1, 1) * batch.mask
    trace = torch.zeros(2, 2, 16)
    for n in range(3):
        trace = 0.5 * trace + post[:, n, :, None] * entered[:, n, None, :]
        weight = weight + (0.1 * third[:, n, None, None] * trace).mean(0)
    assert torch.allclose(model.head.weight, weight, atol=1e-6)
    assert not torch.allclose(model.head.weight, seeded(windows.config).head.weight, atol=1e-4)


def test_without_a_rate_the_head_is_bit_identical(windows: Windows) -> None:
    model = seeded(windows.config)
    batch = windows.at(torch.tensor([0, 5]))
    before = model.head.weight.detach().clone()
    found = forward(model, batch, windows.config, record=True)
    plastic_step(model, batch, found, ThreeFactor(0.95, 0.0, 8.0), 0.0, 1.0)
    assert torch.equal(model.head.weight, before)
    off, on = trained(windows), trained(windows, plasticity=0.01)
    assert not torch.equal(off.head.weight, on.head.weight)


def test_shifts_are_set_before_the_first_step(windows: Windows) -> None:
    model = seeded(windows.config)
    model.blocks[0].shift.fill_(9)  # type: ignore[operator]
    trainer = DecisionTrainer(model, windows, training_of({"steps": 4, "batch_size": 16}))
    trainer.advance(1)
    drawn = windows.sample(torch.Generator().manual_seed(0), 16)
    assert int(model.blocks[0].shift) == seeded(windows.config).calibrate(*tokens(drawn, windows.config))[0]  # type: ignore[arg-type]
    assert int(model.blocks[0].shift) < 9  # type: ignore[arg-type]


def test_a_run_ends_snapped_and_its_graph_plays_the_same_episodes(tmp_path: Path) -> None:
    data = cartpole(episodes=6, longest=60)
    config = config_for(data, width=8, heads=1, layers=1, context=2, micro_steps=2)
    options = {"steps": 40, "validate_every": 20, "validation_episodes": 2, "target": 40.0}
    run = train_decision(data, config, training_of(options), tmp_path / "run")
    found = run.trained()
    assert isinstance(found.model, SpikingDT)
    again = snapped(found.model).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in found.model.state_dict().items())
    (module,), (engine,) = (sweep(found, "CartPole-v1", [40.0], episodes=3, which=w) for w in ("module", "engine"))
    assert module.episodes.returns.tolist() == engine.episodes.returns.tolist()
