"""Train a decision transformer, dense or spiking, on offline trajectories: resumable, the best checkpoint kept."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.deploy import Decider
from neuroaccel.decision.file import Trained, make, read_tensors, save_trained
from neuroaccel.decision.plasticity import modulator
from neuroaccel.decision.tokens import Batch, tokens
from neuroaccel.decision.windows import Windows
from neuroaccel.errors import FileFormatError, InputError
from neuroaccel.graph import write_atomic
from neuroaccel.synapses.plastic import ThreeFactor
from neuroaccel.synapses.pruning import prune
from neuroaccel.training.decision_evaluate import VALIDATION, check_fits, episode_seeds, make_env, played
from neuroaccel.training.decision_options import DecisionTraining
from neuroaccel.training.decision_runs import MODEL, STATE, DecisionRun, begin
from neuroaccel.training.device import checked_device

if TYPE_CHECKING:
    from neuroaccel.envs.offline import TrajectorySet

log = logging.getLogger("neuroaccel")
Progress = Callable[[int, int], None]
PHASES = ("turns", "phi")
KEY, FORMAT = "neuroaccel-decision-state", 1
CALIBRATIONS = (0, 50, 150, 300)
TELL = 10  # steps between two reports of progress


@dataclass(frozen=True)
class Forward:
    """A batch that went through a model.

    Arguments:
        loss: cross-entropy (discrete) or mean squared error (continuous) of the actions at state tokens that are no
            padding.
        predicted: at state tokens, ``[B, N, actions]``.
        record: a spiking model's, on request.
    """

    loss: Tensor
    predicted: Tensor
    record: Any


def forward(model: nn.Module, batch: Batch, config: DecisionConfig, *, record: bool = False) -> Forward:
    """Predict the actions of a batch of windows.

    Arguments:
        model: predicts at every token.
        batch: windows.
        config: of the model.
        record: whether to keep a spiking model's record.
    """
    x, steps = tokens(batch, config)
    kept: Any = None
    if record:
        from neuroaccel.decision.spiking import Record

        spiking: Any = model
        kept = Record()
        every = spiking.run(x, steps, kept)
    else:
        every = model(x, steps)
    predicted = every[:, 1::3]
    if config.continuous:
        loss = nn.functional.mse_loss(predicted[batch.mask], batch.actions[batch.mask])
    else:
        loss = nn.functional.cross_entropy(predicted[batch.mask], batch.actions[batch.mask])
    return Forward(loss, predicted, kept)


def plastic_step(model: Any, batch: Batch, found: Forward, rule: ThreeFactor, mean: float, std: float) -> None:
    """Move a spiking model's action head by the three-factor rule, decision by decision through the windows.

    y = taken action − predicted one (one-hot − softmax), so that what was done becomes likelier where the return is
    above the mean and less likely below. # ours: the paper's post-synaptic factor and f(G) are not known.

    Arguments:
        model: whose head moves.
        batch: windows.
        found: what the model gave for them, with its record.
        rule: λ, rate and bound.
        mean, std: of the data's return tokens.
    """
    config = model.config
    with torch.no_grad():
        if config.continuous:
            post = batch.actions - found.predicted
        else:
            post = nn.functional.one_hot(batch.actions, config.actions) - found.predicted.softmax(-1)
        third = modulator(batch.returns[..., 0], mean, std) * batch.mask
        trace = post.new_zeros(len(post), config.actions, config.width)
        for n in range(post.shape[1]):
            x = found.record.head_input[:, 3 * n + 1]
            trace = model.head_update(trace, x, post[:, n], third[:, n], rule)


class DecisionTrainer:
    """A training that can stop after any step and go on bit for bit (on a CPU).

    Arguments:
        model: to train in place, on whatever device it is.
        windows: its data.
        training: how.
        validate: return of the model as it is now, given a copy on the CPU; None: the last weights are kept.

    Raises:
        InputError: a penalty or plasticity for a dense model.
    """

    def __init__(
        self,
        model: nn.Module,
        windows: Windows,
        training: DecisionTraining,
        validate: Callable[[nn.Module], float] | None = None,
    ) -> None:
        self.model, self.windows, self.training, self.validate = model, windows, training, validate
        t = training
        self._records = t.penalty > 0 or t.plasticity > 0
        if self._records and windows.config.model != "snn-dt":
            raise InputError(f"penalty and plasticity are of spiking models; this one is {windows.config.model}")
        self._rule = ThreeFactor(t.plasticity_decay, t.plasticity, t.plasticity_bound) if t.plasticity > 0 else None
        self.pruner = None if t.prune_to is None else prune(model, t.prune_method, t.prune_to, seed=t.seed)
        named = list(model.named_parameters())
        self.device = named[0][1].device
        self.phases = [p for name, p in named if name.rpartition(".")[2] in PHASES]
        set_apart = set(map(id, self.phases))
        self.others = [p for _, p in named if id(p) not in set_apart]
        decay = [p for p in self.others if p.dim() > 1]
        rest = [p for p in self.others if p.dim() <= 1] + self.phases
        groups = [{"params": decay, "weight_decay": t.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=t.learning_rate)
        self.generator = torch.Generator().manual_seed(t.seed)
        self.done = 0
        self.best: dict[str, Tensor] = {}
        self.best_return: float | None = None
        self.best_step = 0
        self.living: list[dict[str, Any]] = []  # of pruned tensors, once finished

    def advance(self, steps: int) -> float:
        """Make that many steps of the optimiser; returns their mean loss, without the penalty."""
        t, total = self.training, 0.0
        self.model.train()
        for _ in range(steps):
            self._calibrate()
            batch = self.windows.sample(self.generator, t.batch_size).to(self.device)
            found = forward(self.model, batch, self.windows.config, record=self._records)
            loss = found.loss
            total += float(loss.detach())
            if t.penalty > 0:
                from neuroaccel.decision.spiking import penalty

                loss = loss + t.penalty * penalty(found.record, t.penalty_above, batch.mask)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for parameters in (self.phases, self.others):
                if parameters:
                    clip_grad_norm_(parameters, t.gradient_clip)
            self.optimiser.step()
            if self._rule is not None:
                told = self.windows.returns
                plastic_step(self.model, batch, found, self._rule, float(told.mean()), float(told.std()))
            self.done += 1
            if self.pruner is not None:
                self.pruner.step(self.done, t.steps)
        return total / steps

    def _calibrate(self) -> None:
        """Where a model has shifts to set, set them from a batch, at the start and while it changes fastest."""
        model: Any = self.model
        if self.done in CALIBRATIONS and 2 * self.done < self.training.steps and hasattr(model, "calibrate"):
            drawn = self.windows.sample(torch.Generator().manual_seed(self.training.seed), self.training.batch_size)
            model.calibrate(*tokens(drawn.to(self.device), self.windows.config))

    def checkpoint(self) -> float | None:
        """Validate, and keep the weights if none before were better; while pruning is under way none are kept."""
        found = None
        if self.validate is not None:
            self.model.eval()
            found = self.validate(self.model if self.device.type == "cpu" else copy.deepcopy(self.model).cpu())
        pruned = self.pruner is None or self.pruner.connectivity() <= (self.training.prune_to or 1.0)
        last = self.done >= self.training.steps
        better = found is None or self.best_return is None or found >= self.best_return
        if (pruned or (last and not self.best)) and better:
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self.best_return, self.best_step = found, self.done
        return found

    def finish(self) -> nn.Module:
        """The model with its best weights, on the CPU; pruned synapses are plain zeros then."""
        if self.best:
            self.model.load_state_dict(self.best)
        if self.pruner is not None:
            self.living = [asdict(row) for row in self.pruner.living()]
            self.pruner.fold()
        return self.model.cpu().eval()

    def state(self) -> bytes:
        """All that going on depends on, as a ``.safetensors`` file."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for at, values in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{at}.{name}": value for name, value in values.items()}
        tensors |= {"draws": self.generator.get_state(), "torch": torch.get_rng_state()}
        header = {
            "format": FORMAT,
            "done": self.done,
            "best_return": self.best_return,
            "best_step": self.best_step,
            "pruner": None if self.pruner is None else self.pruner.state_dict(),
        }
        own = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
        return save(own, metadata={KEY: json.dumps(header)})

    def restore(self, path: Path) -> None:
        """Go on from a file of :meth:`state`.

        Raises:
            FileFormatError: it is damaged, or of another training.
        """
        tensors, header = read_tensors(path, KEY, FORMAT)

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}."): v for key, v in tensors.items() if key.startswith(f"{name}.")}

        moments: dict[int, dict[str, Tensor]] = {}
        try:
            self.model.load_state_dict(part("model"))
            for key, value in part("optimiser").items():
                at, _, name = key.partition(".")
                moments.setdefault(int(at), {})[name] = value
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
            self.generator.set_state(tensors["draws"])
            torch.set_rng_state(tensors["torch"])
            self.best, self.best_return, self.best_step = part("best"), header["best_return"], header["best_step"]
            self.done = int(header["done"])
            if self.pruner is not None:
                self.pruner.load_state_dict(header["pruner"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FileFormatError(f"{path}: of another training ({error}); --overwrite starts anew") from error


def train_decision(
    data: TrajectorySet,
    config: DecisionConfig,
    training: DecisionTraining,
    folder: str | Path,
    *,
    data_name: str = "",
    overwrite: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DecisionRun:
    """Train into a run folder; an unfinished run of the same settings is resumed from its last validation.

    Arguments:
        data: the trajectories.
        config: of the model, such as of :func:`~neuroaccel.decision.windows.config_for`.
        training: how.
        folder: the run's.
        data_name: of the data, for the record.
        overwrite: start anew even over a finished run.
        device: where the steps are made, ``cpu`` or ``cuda``; validation plays on the CPU.
        progress: called with (steps done, all).

    Returns:
        The finished run; a spiking model's weights are snapped.

    Raises:
        InputError: a finished run without ``overwrite``, another training's run, data that do not fit the config, or an
            environment to validate in that does not; or a device that is not there.
    """
    windows = Windows(data, config, training.window)
    target = training.target if training.target is not None else default_target(data)
    about = {
        "env_id": data.env_id,
        "data": data_name,
        "target": target,
        "expert_return": data.expert_return,
        "random_return": data.random_return,
    }
    seeds = (
        episode_seeds(training.validation_episodes, (training.seed,), VALIDATION)
        if training.validation_episodes
        else []
    )
    if seeds:  # what validation could not play is refused before anything is trained or written
        env = make_env(data.env_id, 1)
        try:
            check_fits(config, env.single_observation_space, env.single_action_space)
        finally:
            env.close()

    def validate(model: nn.Module) -> float:
        def acting(count: int) -> Decider:
            first = trainer.done <= training.validate_every
            return Decider(model, config, target, windows.normaliser, episodes=count, warn=first)

        return float(played(acting, data.env_id, seeds).returns.mean())

    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        trainer = DecisionTrainer(
            make(config).to(checked_device(device)), windows, training, validate if seeds else None
        )
        settings = {"config": config.model_dump(), "training": training.model_dump(), **about}
        run = begin(Path(folder), settings, overwrite)  # after the model: one that cannot be made leaves no run behind
        if (run.folder / STATE).is_file():
            trainer.restore(run.folder / STATE)
            log.info("resuming run %s at step %d", run.name, trainer.done)
        if progress is not None:
            progress(trainer.done, training.steps)
        while trainer.done < training.steps:
            count = min(training.validate_every, training.steps - trainer.done)
            total = 0.0
            for first in range(0, count, TELL):
                part = min(TELL, count - first)
                total += part * trainer.advance(part)
                if progress is not None:
                    progress(trainer.done, training.steps)
            found = trainer.checkpoint()
            record = {"epoch": -(-trainer.done // training.validate_every), "step": trainer.done}
            run.append_metrics({**record, "train_loss": total / count, "validation_return": found})
            write_atomic(run.folder / STATE, trainer.state())
        model = trainer.finish()
    if config.model == "snn-dt":
        from neuroaccel.decision.to_graph import snapped

        model = snapped(model)  # type: ignore[arg-type]  # so that its graph acts as it does, to the last bit
    summary = {
        **about,
        "steps": training.steps,
        "best_step": trainer.best_step,
        "validation_return": trainer.best_return,
        "training_seconds": time.perf_counter() - started,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    if trainer.pruner is not None:
        summary |= {"living": trainer.living}
    run.write_json("summary.json", summary)
    save_trained(Trained(model, config, windows.normaliser, about), run.folder / MODEL)
    return run


def default_target(data: TrajectorySet) -> float:
    """The expert's return, or where nobody measured it the mean of the data's best tenth of episodes."""
    if data.expert_return is not None:
        return float(data.expert_return)
    best = np.sort(data.returns)[::-1]
    return float(best[: max(1, len(best) // 10)].mean())
