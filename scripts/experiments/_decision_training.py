"""What the decision transformers' experiment trains, and how; without the engine, for machines that have only torch.

To be imported, not run.
"""

import math
import time
from functools import lru_cache
from pathlib import Path

import torch
from _decision_tables import TASKS

from neuroaccel.decision.baselines import MLPPolicy, Reactive, clone
from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.deploy import Decider
from neuroaccel.decision.file import Trained, load_trained, make, save_trained
from neuroaccel.decision.spiking import SpikingDT, silenced
from neuroaccel.decision.to_graph import snapped
from neuroaccel.decision.windows import Normaliser, Windows, config_for
from neuroaccel.envs.offline import TrajectorySet, make_set
from neuroaccel.training.decision_evaluate import VALIDATION, episode_seeds, played
from neuroaccel.training.decision_options import DecisionTraining
from neuroaccel.training.decision_train import DecisionTrainer

KEPT = Path(__file__).resolve().parents[2] / "runs" / "decision"
SOLVED = 0.95  # normalised validation return at which a ladder ends: above BAR, for validation is no test

SPIKING = {"model": "snn-dt", "context": 10, "slope": 3.0}
ANALOG = {**SPIKING, "attention": "softmax", "stream": "analog"}
MODELS: dict[str, dict] = {
    "dt": {"model": "dt", "context": 10},
    "snn-dt-exact": SPIKING,
    "snn-dt": ANALOG,
    "snn-dt-silent": ANALOG,
    "snn-dt-phase-off": {**SPIKING, "phase": False},
    "snn-dt-timestep": {**SPIKING, "phase": False, "timestep": True},
    "snn-dt-routing-off": {**SPIKING, "routing": False},
    "snn-dt-phase-routing-off": {**SPIKING, "phase": False, "routing": False},
    "snn-dt-plasticity-on": SPIKING,
}
USUAL = {"steps": 1600, "validate_every": 100, "learning_rate": 3e-3}
SHORTER = {**USUAL, "steps": 800}
LONGER = {"steps": 4000, "validate_every": 400}  # on Pendulum
TRAINING: dict[str, dict] = {
    "dt": {"steps": 1600, "validate_every": 100},
    "snn-dt": SHORTER,
    "snn-dt-silent": SHORTER,
    # The penalty's weight is few_spikes'; here it says that there is one.
    "snn-dt-spiking": {
        "steps": 1000,
        "validate_every": 100,
        "learning_rate": 5e-3,
        "weight_decay": 0.0,
        "penalty": 1.0,
    },
    "snn-dt-plasticity-on": {**USUAL, "plasticity": 1e-4},
}
SMALL = [{"width": d, "layers": 1, "heads": 1, "hidden": 1, "context": n} for d, n in ((2, 1), (4, 1), (4, 4), (8, 4))]
SMALL += [{"width": d, "layers": 1, "heads": 2, "hidden": 1, "context": 10} for d in (16, 32)]
HIDDEN = ((2,), (4,), (8,), (16,), (32,), (64, 64))
# Few spikes: sizes, the spikes per decision that cost nothing at first and at last.
BARE = {**SPIKING, "layers": 1, "heads": 1, "hidden": 1, "phase": False, "routing": False, "bias": False}
FEW: list[tuple[dict, float, float]] = [
    ({**BARE, "width": d, "context": 1, "micro_steps": t}, 64.0, to)
    for to, sizes in ((8.0, ((4, 2), (4, 4), (8, 2), (8, 4))), (16.0, ((4, 4), (8, 4))))
    for d, t in sizes
]
FEW += [
    ({**SPIKING, "layers": 1, "heads": 2, "hidden": 1, "phase": False, "width": d}, 800.0, to)
    for d, to in ((16, 16.0), (32, 32.0))
]


@lru_cache(maxsize=1)
def data_of(env_id: str, noise: float, decisions: int) -> TrajectorySet:
    """Half of the decisions the expert's, with noise, half random; expert and chance measured over 100 episodes."""
    return make_set(env_id, steps=decisions, noise=noise, seed=0)


def data_for(task: str) -> TrajectorySet:
    of = TASKS[task]
    return data_of(of.env_id, of.noise, of.decisions)


def normalised(data: TrajectorySet, value: float) -> float:
    return (value - data.random_return) / (data.expert_return - data.random_return)


def few_spikes(first: float, last: float, step: int, steps: int) -> dict[str, float]:
    """What few spikes are, and what one more costs: 0.2 for as many again; from first to last over half the steps."""
    above = first * (last / first) ** min(1.0, 2 * step / steps)
    return {"penalty_above": above, "penalty": 0.2 / above}


def rate(step: int, steps: int) -> float:
    """Share of the learning rate: a short rise, then a cosine down to a twentieth."""
    return min(1.0, (step + 1) / 20) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))


def trained(
    data: TrajectorySet,
    config: DecisionConfig,
    options: dict,
    seed: int,
    quick: bool,
    *,
    few: tuple[float, float] | None = None,
    silent: bool = False,
    device: str = "cpu",
) -> tuple[torch.nn.Module, Normaliser, float]:
    """A trained model, spiking ones with snapped weights, the data's normaliser, and the validation's return.

    Arguments:
        few: spikes per decision that cost nothing, at first and at last; None: spikes cost nothing.
        silent: whether the neurons never fire.
        device: where the optimiser's steps are made; validation is on the CPU.
    """
    options = {**options, "seed": seed, **({"steps": 60, "validate_every": 30} if quick else {})}
    training = DecisionTraining(**options)
    windows = Windows(data, config)
    seeds = episode_seeds(4 if quick else 20, (seed,), VALIDATION)

    def validate(model: torch.nn.Module) -> float:
        # A model is judged as it will be used: on its grids.
        judged = snapped(model) if isinstance(model, SpikingDT) else model

        def acting(count: int) -> Decider:
            return decider(judged, windows.normaliser, data.expert_return, count)

        return float(played(acting, data.env_id, seeds).returns.mean())

    torch.manual_seed(seed)
    model = make(config)
    if silent:
        model = silenced(model)
    trainer = DecisionTrainer(model.to(device), windows, training, validate)
    while trainer.done < training.steps:
        if few:
            trainer.training = training.model_copy(update=few_spikes(*few, trainer.done, training.steps))
        for group in trainer.optimiser.param_groups:
            group["lr"] = training.learning_rate * rate(trainer.done, training.steps)
        trainer.advance(5)
        # With few spikes no checkpoint counts before the target has come down.
        if trainer.done % training.validate_every == 0 and not (few and trainer.done < 0.6 * training.steps):
            trainer.checkpoint()
    found = trainer.finish().cpu()
    return (snapped(found) if isinstance(found, SpikingDT) else found), windows.normaliser, trainer.best_return


def decider(model: torch.nn.Module, normaliser: Normaliser, target: float, episodes: int) -> Decider:
    return Decider(model, model.config, target, normaliser, episodes=episodes, warn=False)


def transformer(task: str, arm: str, seed: int, quick: bool, device: str = "cpu") -> Trained:
    """The model of an arm of fixed size, trained, or as it was kept; its notes hold the expert's return."""
    of, data = TASKS[task], data_for(task)
    config = config_for(data, return_token=of.token, **MODELS[arm], **of.sizes)
    options = TRAINING.get(arm, USUAL) | (LONGER if config.continuous else {}) | dict(of.options)
    file = (KEPT / "quick" if quick else KEPT) / f"{task}-{arm}-seed{seed}.safetensors"
    if file.exists():
        kept = load_trained(file)
        if kept.config == config and kept.about["training"] == options:
            return kept
    started, silent = time.process_time(), arm == "snn-dt-silent"
    model, normaliser, best = trained(data, config, options, seed, quick, silent=silent, device=device)
    notes = {
        "env_id": of.env_id,
        "target": data.expert_return,
        "validation_return": best,
        "training": options,
        "training_cpu_seconds": time.process_time() - started,
    }
    found = Trained(model, config, normaliser, notes)
    if not silent:  # a file would not tell that its neurons never fire
        file.parent.mkdir(parents=True, exist_ok=True)
        save_trained(found, file)
    return found


def small_ones(data: TrajectorySet, arm: str, seed: int, token: str, quick: bool):
    """The models of a ladder, each with its normaliser and its validation's return, as they are trained."""
    if arm == "mlp":
        seeds = episode_seeds(4 if quick else 20, (seed,), VALIDATION)
        for sizes in HIDDEN:
            torch.manual_seed(seed)
            model = MLPPolicy(config_for(data, model="dt"), sizes)

            def judge(acting: Reactive) -> float:
                return float(played(lambda count: acting, data.env_id, seeds).returns.mean())

            steps = 100 if quick else 1500
            normaliser = clone(model, data, best=0.5, seed=seed, learning_rate=3e-3, steps=steps, validate=judge)
            yield model, normaliser, judge(Reactive(model, normaliser))
    elif arm == "dt-small":
        options = {"steps": 1000, "validate_every": 200, "learning_rate": 5e-3}
        for sizes in SMALL:
            config = config_for(data, model="dt", return_token=token, **sizes)
            yield trained(data, config, options, seed, quick)
    else:
        for sizes, first, last in FEW:
            config = config_for(data, return_token=token, **sizes)
            yield trained(data, config, TRAINING[arm], seed, quick, few=(first, last))


def ladder(data: TrajectorySet, arm: str, seed: int, token: str, quick: bool):
    """The first model whose validation says that the task is solved, or the best of all; which it was, for the rows."""
    best = None
    for rung, found in enumerate(small_ones(data, arm, seed, token, quick)):
        solved = normalised(data, found[2]) >= SOLVED
        if best is None or found[2] > best[2] or solved:
            best = (*found, rung)
        if solved:
            break
    model, normaliser, reached, rung = best
    width = model.hidden[-1] if arm == "mlp" else model.config.width
    return model, normaliser, {"rung": rung, "width": width, "validation_return": reached}
