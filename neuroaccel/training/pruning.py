"""Pruning in a Lightning training: the recipe's table applied, a step per optimiser step, all of it in checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from neuroaccel.synapses.pruning import Living, Pruner, prune
from neuroaccel.training.recipe import PruningOptions


def pruner_of(options: PruningOptions, model: nn.Module, seed: int) -> Pruner:
    """Put a recipe's pruning on a model.

    Arguments:
        options: the table ``[pruning]``.
        model: its layers are parametrised in place.
        seed: of fixed gains and RigL's first mask.

    Raises:
        InputError: a layer that is not there, or options that do not fit.
    """
    return prune(
        model,
        options.method,
        options.target,
        gain=options.gain,
        gradient=options.gradient,
        schedule=options.schedule,
        freeze=options.freeze,
        cut=options.cut,
        spread=options.spread,
        structured=options.structured,
        gate=options.gate,
        share_gate=options.share_gate,
        skip=options.skip,
        every=options.every,
        seed=seed,
    )


class Pruning(Callback):
    """Prunes any Lightning module while it trains.

    Arguments:
        pruner: of a model that is pruned already; or None, and the options prune the module's when the training is
            set up, before its optimiser is made.
        options: for :func:`pruner_of`.
        seed: likewise.

    Logs ``living_share`` (connectivity of all pruned tensors), where there are gates that of W and V apart, and
    ``living_share/LAYER.TENSOR`` of every pruned tensor, once per epoch. The optimiser should take
    :func:`neuroaccel.synapses.pruning.parameter_groups`, else its weight decay acts on thresholded parameters.
    """

    def __init__(self, pruner: Pruner | None = None, options: PruningOptions | None = None, seed: int = 0) -> None:
        self.pruner, self.options, self.seed = pruner, options or PruningOptions(), seed
        self._state: dict[str, Any] | None = None

    def setup(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        if self.pruner is None:
            self.pruner = pruner_of(self.options, module, self.seed)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self._state is not None:  # only now: the model's thresholds and masks are there, on their device
            self._pruner().load_state_dict(self._state)
            self._state = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pruner = self._pruner()
        if trainer.global_step != pruner.steps:  # batches whose gradients only gather are no steps
            total = int(trainer.estimated_stepping_batches)
            pruner.step(min(trainer.global_step, total), total)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        rows = self._pruner().living()
        module.log("living_share", _share(rows))
        for tensor in ("weight", "gate"):
            if any(row.tensor == "gate" for row in rows):
                module.log(f"living_share_{tensor}", _share([row for row in rows if row.tensor == tensor]))
        for row in rows:
            module.log(f"living_share/{row.layer}.{row.tensor}", row.connectivity)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.pruner is None else self.pruner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = dict(state_dict)

    def _pruner(self) -> Pruner:
        assert self.pruner is not None
        return self.pruner


def _share(rows: Sequence[Living]) -> float:
    return sum(row.living for row in rows) / max(1, sum(row.total for row in rows))


class Draws(Callback):
    """Keeps the state of torch's generators in checkpoints, so that a resumed training drops what it would have."""

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": devices}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = dict(state_dict)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self._state is None:
            return
        torch.set_rng_state(self._state["cpu"].cpu())
        if len(self._state["cuda"]) == torch.cuda.device_count() > 0:
            torch.cuda.set_rng_state_all([state.cpu() for state in self._state["cuda"]])
        self._state = None
