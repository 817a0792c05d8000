"""What the synapses of a pruned network carry, written down after every epoch of its training."""

from __future__ import annotations

import copy

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from neuroaccel.datasets import EventDataModule
from neuroaccel.graph.lower import lower
from neuroaccel.ledger.transfer import transfer
from neuroaccel.synapses.pruning import fold
from neuroaccel.training.recipe import Recipe
from neuroaccel.training.runs import Run

SAMPLES = 8  # of the validation split, the first ones: enough for a curve, few enough for every epoch


class Carried(Callback):
    """Appends :func:`neuroaccel.ledger.transfer.transfer` of the network as it is to the run, once per epoch.

    A copy is lowered, and torch's generator is left alone: the training is the same without this.

    Arguments:
        run: gets ``transfer.jsonl``.
        recipe: of the run.
        data: whose validation split is measured.
        network: what is trained.
    """

    def __init__(self, run: Run, recipe: Recipe, data: EventDataModule, network: nn.Module) -> None:
        self.run, self.recipe, self.data, self.network = run, recipe, data, network

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        split = self.data.dataset("validation")
        x, _ = split.batch(range(min(SAMPLES, len(split))))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            options = self.recipe.lower
            graph = lower(
                copy_of(self.network),
                x,
                dt=self.recipe.data.dt,
                maximum=self.recipe.data.maximum,
                fold=options.fold,
                snap=options.snap,
                weight_bits=options.weight_bits,
            )
            rows = transfer(graph, x)
        self.run.append_transfer({"epoch": trainer.current_epoch, "layers": [row.to_json() for row in rows]})


def copy_of(network: nn.Module) -> nn.Module:
    """A copy on the CPU, in evaluation, with plain weights that are pruned as they are now."""
    copied = copy.deepcopy(network)
    fold(copied)
    return copied.cpu().eval()
