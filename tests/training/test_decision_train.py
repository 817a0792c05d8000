"""Training: what its loss counts, that it learns, goes on bit for bit, prunes, and keeps the best."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file
from torch import nn

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.file import Trained, load_trained, make, save_trained
from neuroaccel.decision.windows import Windows, config_for
from neuroaccel.envs.offline import Trajectory, TrajectorySet
from neuroaccel.errors import FileFormatError, InputError, RecipeError
from neuroaccel.training.decision_options import DecisionTraining, settings_of, training_of
from neuroaccel.training.decision_runs import MODEL, STATE, DecisionRun, open_decision_run
from neuroaccel.training.decision_train import DecisionTrainer, default_target, forward, train_decision
from tests.decision.sets import cartpole, of, rewarded, small


def seeded(config: DecisionConfig, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(config)


@pytest.mark.parametrize("model", ["dt", "snn-dt"])
def test_padding_is_no_part_of_the_loss(model: str) -> None:
    config = small(model=model, state_size=2)
    windows = Windows(of(rewarded([1, 1], [0, 1]), rewarded([1] * 5, [0, 1, 1, 0, 1])), config)
    batch = windows.at(torch.tensor([0, 1, 3, 5]))
    assert not batch.mask.all()
    padding = ~batch.mask
    perturbed = dataclasses.replace(
        batch,
        actions=torch.where(padding, 1 - batch.actions, batch.actions),
        states=torch.where(padding[..., None], torch.tensor(9.0), batch.states),
        returns=torch.where(padding[..., None], torch.tensor(-9.0), batch.returns),
    )
    network = seeded(config).eval()
    with torch.no_grad():
        loss, other = forward(network, batch, config).loss, forward(network, perturbed, config).loss
        moved = dataclasses.replace(batch, actions=torch.where(batch.mask, 1 - batch.actions, batch.actions))
        assert torch.equal(loss, other)
        assert not torch.equal(loss, forward(network, moved, config).loss)


def test_padding_is_no_part_of_the_loss_of_real_actions() -> None:
    box, bounded = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Box(-1.0, 1.0, (1,), np.float32)
    one = Trajectory(np.ones((2, 2)), np.array([[0.5], [-0.25]]), np.ones(2), True, False, 0)
    data = TrajectorySet("Nothing-v0", box, bounded, (one,))
    config = config_for(data, model="dt", width=8, heads=1, context=4)
    batch, network = Windows(data, config).at(torch.tensor([0, 1])), seeded(config).eval()
    assert batch.mask.tolist() == [[True, True, False, False], [True, False, False, False]]
    perturbed = dataclasses.replace(batch, actions=torch.where(batch.mask[..., None], batch.actions, torch.tensor(0.9)))
    found, other = forward(network, batch, config), forward(network, perturbed, config)
    assert torch.equal(found.loss, other.loss)
    gaps = [found.predicted[b, n] - batch.actions[b, n] for b, n in ((0, 0), (0, 1), (1, 0))]
    torch.testing.assert_close(found.loss, torch.cat(gaps).square().mean())


def test_the_loss_is_the_mean_over_unpadded_state_tokens() -> None:
    config = small(state_size=2)
    batch = Windows(of(rewarded([1, 1], [0, 1])), config).at(torch.tensor([0, 1]))
    found = forward(seeded(config).eval(), batch, config)
    rows = [(0, 0, 0), (0, 1, 1), (1, 0, 1)]  # window, decision, action
    by_hand = [-found.predicted[b, n].log_softmax(-1)[a] for b, n, a in rows]
    assert torch.allclose(found.loss, torch.stack(by_hand).mean())


def test_it_overfits_32_sequences() -> None:
    data = cartpole(episodes=12, longest=60)
    config = config_for(data, model="dt", width=64, layers=2, heads=4, context=10)
    windows = Windows(data, config)
    starts = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))[:32]
    batch, model = windows.at(starts), seeded(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(300):
        loss = forward(model, batch, config).loss
        if loss < 0.05:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.05


def quick(**changes: object) -> DecisionTraining:
    return training_of(
        {"steps": 12, "batch_size": 8, "validate_every": 4, "validation_episodes": 2, "target": 100.0} | changes
    )


def test_a_training_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = cartpole(episodes=4, longest=50)
    config = config_for(data, model="dt", width=16, heads=2, context=4)
    whole = train_decision(data, config, quick(), tmp_path / "whole")

    def die(self: DecisionTrainer, steps: int, advance: object = DecisionTrainer.advance) -> float:
        if self.done >= 8:
            raise KeyboardInterrupt
        return advance(self, steps)  # type: ignore[operator, no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(DecisionTrainer, "advance", die)
        with pytest.raises(KeyboardInterrupt):
            train_decision(data, config, quick(), tmp_path / "cut")
    cut = DecisionRun(tmp_path / "cut")
    assert not cut.finished
    assert [row["step"] for row in cut.metrics()] == [4, 8]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)  # another generator state is left as it is
        before = torch.get_rng_state()
        resumed = train_decision(data, config, quick(), tmp_path / "cut")
        assert torch.equal(torch.get_rng_state(), before)
    assert (resumed.folder / MODEL).read_bytes() == (whole.folder / MODEL).read_bytes()
    assert (resumed.folder / STATE).read_bytes() == (whole.folder / STATE).read_bytes()
    assert resumed.metrics() == whole.metrics()
    assert set(load_file(whole.folder / STATE)) > {"draws", "torch", "optimiser.0.exp_avg"}


def test_the_best_checkpoint_is_kept_the_later_of_equals() -> None:
    data = cartpole(episodes=2, longest=40)
    config = config_for(data, model="dt", width=8, heads=1, context=2)
    returns = iter([3.0, 7.0, 7.0, 5.0])
    trainer = DecisionTrainer(seeded(config), Windows(data, config), quick(steps=4), lambda model: next(returns))
    kept = []
    for _ in range(4):
        trainer.advance(1)
        trainer.checkpoint()
        kept.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    assert (trainer.best_return, trainer.best_step) == (7.0, 3)
    best = trainer.finish().state_dict()
    assert all(torch.equal(value, kept[2][name]) for name, value in best.items())
    assert not torch.equal(kept[3]["head.weight"], kept[2]["head.weight"])


@pytest.mark.parametrize("attention", ["counts", "softmax"])
def test_phases_are_clipped_apart_from_all_others(attention: str) -> None:
    data, limit = cartpole(episodes=2, longest=40), 1e-6
    config = config_for(data, model="snn-dt", width=8, heads=2, context=2, attention=attention)
    model = seeded(config)
    DecisionTrainer(model, Windows(data, config), quick(gradient_clip=limit)).advance(1)
    code = set(dict(model.phase.named_parameters(prefix="phase")))  # type: ignore[union-attr]
    assert code == {"phase.turns", "phase.phi"}
    for part in (True, False):
        grads = [p.grad for name, p in model.named_parameters() if (name in code) is part and p.grad is not None]
        assert float(torch.cat([g.flatten() for g in grads]).norm()) == pytest.approx(limit, rel=1e-2)


def test_a_pruned_run_ends_with_plain_sparse_weights(tmp_path: Path) -> None:
    data = cartpole(episodes=4, longest=40)
    config = config_for(data, model="dt", width=16, heads=2, context=4)
    run = train_decision(data, config, quick(steps=20, prune_to=0.25), tmp_path / "sparse")
    weights = {n: v for n, v in run.trained().model.state_dict().items() if n.startswith(("blocks", "embed", "head"))}
    matrices = [v for n, v in weights.items() if n.endswith("weight") and v.dim() == 2]
    share = sum(int(torch.count_nonzero(v)) for v in matrices) / sum(v.numel() for v in matrices)
    assert share <= 0.25
    assert run.summary()["living"][0]["living"] > 0
    assert all("parametrizations" not in name for name in run.trained().model.state_dict())


def test_end_to_end_on_cartpole(tmp_path: Path) -> None:
    from neuroaccel.training.decision_evaluate import sweep

    data = cartpole(episodes=40, longest=200)
    config = config_for(data, model="dt", width=32, layers=2, heads=2, context=8)
    told: list[tuple[int, int]] = []
    run = train_decision(
        data,
        config,
        training_of({"steps": 300, "validate_every": 100, "validation_episodes": 4, "target": 200.0}),
        tmp_path / "run",
        data_name="played",
        progress=lambda *at: told.append(at),
    )
    low, high = sweep(run.trained(), "CartPole-v1", [20.0, 200.0], episodes=5)
    assert high.mean > 100
    assert high.mean > low.mean
    assert high.normalised == pytest.approx((high.mean - 20) / 480)
    assert told[0] == (0, 300)
    assert told[-1] == (300, 300)
    losses = [row["train_loss"] for row in run.metrics()]
    assert losses[-1] < losses[0]
    summary = run.summary()
    assert (summary["env_id"], summary["data"], summary["steps"]) == ("CartPole-v1", "played", 300)
    assert summary["validation_return"] == max(row["validation_return"] for row in run.metrics())


def test_a_finished_foreign_or_other_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    data = cartpole(episodes=2, longest=30)
    config = config_for(data, model="dt", width=8, heads=1, context=2)
    short = quick(steps=1, validation_episodes=0)
    run = train_decision(data, config, short, tmp_path / "one")
    before = (run.folder / MODEL).read_bytes()
    with pytest.raises(InputError, match="finished"):
        train_decision(data, config, short, tmp_path / "one")
    assert (run.folder / MODEL).read_bytes() == before
    (run.folder / MODEL).unlink()
    with pytest.raises(InputError, match=r"other settings \(training\)"):
        train_decision(data, config, quick(steps=2, validation_episodes=0), tmp_path / "one")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="is left as it is"):
        train_decision(data, config, short, tmp_path / "mine", overwrite=True)
    again = train_decision(data, config, short, tmp_path / "one", overwrite=True)
    assert again.finished
    assert open_decision_run("one", tmp_path).name == open_decision_run(None, tmp_path).name == "one"
    with pytest.raises(InputError, match=r"known: \['one'\]"):
        open_decision_run("two", tmp_path)


def test_what_cannot_be_trained_or_validated_leaves_no_run_behind(tmp_path: Path) -> None:
    data = cartpole(episodes=2, longest=30)
    config = config_for(data, model="dt", width=8, heads=1, context=2)
    many = config_for(data, micro_steps=64, width=8, heads=1)
    elsewhere = dataclasses.replace(data, env_id="Acrobot-v1")
    cases = [
        (data, many, "2\\^24"),
        (elsewhere, config, "reads 4 numbers"),
        (dataclasses.replace(data, env_id="Nothing-v9"), config, "'Nothing-v9' cannot be made"),
    ]
    for where, sizes, words in cases:
        with pytest.raises(InputError, match=words):
            train_decision(where, sizes, quick(), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="spiking models"):
        train_decision(data, config, quick(penalty=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_target_out_of_the_data_is_warned_about_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = cartpole(episodes=4, longest=40)
    config = config_for(data, model="dt", width=8, heads=1, context=2)
    with caplog.at_level("WARNING", "neuroaccel"):
        train_decision(data, config, quick(target=900.0, prune_to=0.5), tmp_path / "run")
    (told,) = caplog.messages
    assert f"900 is out of the data's range, {data.returns.min():g} to {data.returns.max():g}" in told


def test_a_model_file_gives_its_model_back_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    data = cartpole(episodes=2, longest=30)
    config = config_for(data, model="dt", width=8, heads=1, context=2)
    trained = Trained(seeded(config), config, Windows(data, config).normaliser, {"env_id": "CartPole-v1"})
    path = save_trained(trained, tmp_path / "model.safetensors")
    found = load_trained(path)
    assert (found.config, found.about) == (config, {"env_id": "CartPole-v1"})
    assert (found.normaliser.lowest, found.normaliser.highest) == (data.returns.min(), data.returns.max())
    assert np.array_equal(found.normaliser.std, trained.normaliser.std)
    x, steps = torch.randn(1, 6, config.token_size), torch.zeros(1, 6, dtype=torch.long)
    with torch.no_grad():
        assert torch.equal(found.model(x, steps), trained.model.eval()(x, steps))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        load_trained(path)
    with pytest.raises(FileFormatError, match="no such file"):
        load_trained(tmp_path / "none.safetensors")


def test_a_state_of_another_training_is_refused(tmp_path: Path) -> None:
    data = cartpole(episodes=2, longest=30)
    trainers = []
    for width in (8, 16):
        config = config_for(data, model="dt", width=width, heads=1, context=2)
        trainers.append(DecisionTrainer(seeded(config), Windows(data, config), quick()))
    trainers[0].advance(1)
    (tmp_path / STATE).write_bytes(trainers[0].state())
    with pytest.raises(FileFormatError, match="another training"):
        trainers[1].restore(tmp_path / STATE)


def test_settings_are_sorted_and_faults_named() -> None:
    config, training = settings_of(["width=32", 'attention="softmax"', "stream=analog", "penalty=0.5"])
    assert config == {"width": 32, "attention": "softmax", "stream": "analog"}
    assert training == {"penalty": 0.5}
    with pytest.raises(RecipeError, match="depth: no such setting"):
        settings_of(["depth=3"])
    with pytest.raises(RecipeError, match="key=value"):
        settings_of(["width"])
    with pytest.raises(RecipeError, match="steps"):
        training_of({"steps": 0})
    data = cartpole(episodes=2, longest=30)
    config_dt = config_for(data, model="dt", width=8, heads=1)
    with pytest.raises(InputError, match="spiking models"):
        DecisionTrainer(seeded(config_dt), Windows(data, config_dt), quick(penalty=1.0))


def test_the_target_is_the_experts_or_the_best_tenths() -> None:
    data = of(*(rewarded([float(i)], [0]) for i in range(20)))
    assert default_target(data) == 18.5
    assert default_target(dataclasses.replace(data, expert_return=3.0)) == 3.0


def test_settings_of_a_run_are_what_it_was_started_with(tmp_path: Path) -> None:
    data = cartpole(episodes=2, longest=30)
    config = config_for(data, model="dt", width=8, heads=1, context=2)
    run = train_decision(data, config, quick(steps=1, validation_episodes=0), tmp_path / "one")
    assert DecisionConfig.model_validate(run.settings()["config"]) == config
    (run.folder / "decision.json").write_text(json.dumps([1]))
    with pytest.raises(FileFormatError, match="damaged"):
        run.settings()
