"""Accuracy and loss of a graph on a split, in the executor asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.datasets import EventDataModule
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph
from neuroaccel.network import Network
from neuroaccel.training.device import checked_device
from neuroaccel.training.recipe import Recipe

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (a fraction), mean cross-entropy of the scaled readout, and how many samples they are over."""

    accuracy: float
    loss: float
    samples: int


def data_module(
    recipe: Recipe,
    progress: Progress | None = None,
    *,
    folder: str | Path | None = None,
    bin_on: Literal["cpu", "cuda"] = "cpu",
) -> EventDataModule:
    """The recipe's data as a Lightning data module; ``folder`` and ``bin_on`` are those of ``EventDataModule``."""
    d = recipe.data
    return EventDataModule(
        d.name,
        batch_size=d.batch_size,
        ticks=d.ticks,
        dt=d.dt,
        binning=d.binning,
        workers=d.workers,
        seed=d.seed,
        progress=progress,
        train_samples=d.train_samples,
        frames=d.frames_table(),
        augment=d.augment,
        folder=folder,
        bin_on=bin_on,
    )


def inputs(recipe: Recipe, split: str, samples: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first ``samples`` of a split as dense ``[T, N, ...]`` and their labels.

    Raises:
        InputError: more samples asked for than the split has.
    """
    dataset = data_module(recipe).dataset(split)
    count = len(dataset) if samples is None else samples
    if not 1 <= count <= len(dataset):
        raise InputError(f"split '{split}' has {len(dataset)} samples, {count} were asked for")
    x, labels = dataset.batch(range(count))
    return x.numpy(), labels.numpy()


def decide(final: NDArray[Any]) -> NDArray[np.int64]:
    """Class per sample from the last readout ``[N, classes]``; ties go to the lower index."""
    return np.asarray(np.argmax(final, axis=1), dtype=np.int64)


def evaluate(
    model: Graph | Network,
    recipe: Recipe,
    *,
    split: str = "test",
    executor: Literal["torch", "engine"] = "torch",
    batch_size: int = 64,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Evaluation:
    """Run a split through a model.

    Arguments:
        model: a graph, or a network (which runs in torch as it is).
        recipe: where the data comes from, and the scale of the loss.
        split: train, validation or test.
        executor: torch (dense, all samples of a batch at once) or engine (event by event).
        batch_size: samples per call.
        device: where torch runs, ``cpu`` or ``cuda``; the engine runs on the CPU.
        progress: called with (done, total).

    Returns:
        The evaluation; both executors give the same one for a snapped graph.
    """
    dataset = data_module(recipe).dataset(split)
    network = model if isinstance(model, Network) else None
    if isinstance(model, Graph) and executor == "torch":
        network = Network.from_graph(model).eval()
    if network is not None:
        network = network.to(checked_device(device))
    right, loss, done = 0, 0.0, 0
    while done < len(dataset):
        x, labels = dataset.batch(range(done, min(done + batch_size, len(dataset))))
        if network is not None:
            with torch.no_grad():
                final = network(x.to(device))[0][-1].cpu()
        else:
            assert isinstance(model, Graph)
            running = engine.run(model, x.numpy(), counts=False).trace.outputs[model.outputs[0]]
            final = torch.from_numpy(np.asarray(running[-1]))
        right += int((torch.from_numpy(decide(final.numpy())) == labels).sum())
        scaled = final.float() * recipe.train.logit_scale
        loss += float(torch.nn.functional.cross_entropy(scaled, labels, reduction="sum"))
        done += len(labels)
        if progress is not None:
            progress(done, len(dataset))
    return Evaluation(right / done, loss / done, done)
