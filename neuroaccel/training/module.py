"""The Lightning module: a network, the loss on its readout, the optimiser."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from neuroaccel.network import Network
from neuroaccel.synapses.pruning import parameter_groups
from neuroaccel.training.recipe import Recipe


class Classifier(lightning.LightningModule):
    """Cross-entropy of the last readout, scaled; AdamW with a one-cycle learning rate.

    Arguments:
        network: ends in a Readout, ``[T, N, classes]``.
        recipe: the training options.
        steps: optimiser steps of the whole training, which the learning rate's cycle spans.
    """

    def __init__(self, network: Network, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.steps = steps

    def _loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, labels = batch
        running, _ = self.network(x)
        final = running[-1]
        loss = torch.nn.functional.cross_entropy(final * self.recipe.train.logit_scale, labels)
        classes = labels if labels.ndim == 1 else labels.argmax(dim=1)  # shares of classes, where samples are mixed
        return loss, (final.argmax(dim=1) == classes).float().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """One batch of ``(x [T, N, ...], labels [N])``."""
        loss, accuracy = self._loss(batch)
        size = len(batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size)
        self.log("train_accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True, batch_size=size)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """One batch of the validation split."""
        loss, accuracy = self._loss(batch)
        size = len(batch[1])
        self.log("validation_loss", loss, prog_bar=True, batch_size=size)
        self.log("validation_accuracy", accuracy, prog_bar=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        """AdamW and the one-cycle schedule, stepped per batch; parameters behind soft thresholds do not decay."""
        options = self.recipe.train
        groups = parameter_groups(self.network, options.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=options.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
