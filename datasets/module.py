"""Binned recordings as a torch data set and as a Lightning data module with time-major batches."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from neuroaccel.datasets.cache import Progress
from neuroaccel.datasets.recordings import BinnedRecordings
from neuroaccel.datasets.registry import load
from neuroaccel.engine.events import BINNINGS, Binning
from neuroaccel.errors import RecipeError

Batch = tuple[torch.Tensor, torch.Tensor]


class EventDataset(Dataset[tuple[torch.Tensor, int]]):
    """One sample is ``(x, label)`` with ``x`` float32 ``[T, P, H, W]``.

    Arguments:
        binned: the recordings; they stay sparse, and each sample is made dense when asked for.
    """

    def __init__(self, binned: BinnedRecordings) -> None:
        self.binned = binned

    def __len__(self) -> int:
        return len(self.binned)

    def __getitem__(self, sample: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.binned.dense([range(len(self))[sample]])[:, 0]), int(self.binned.labels[sample])

    def batch(self, samples: list[int]) -> Batch:
        """Return ``(x, labels)``: float32 ``[T, N, P, H, W]`` and int64 ``[N]``."""
        x = torch.zeros(self.binned.ticks, len(samples), *self.binned.shape)
        self.binned.dense(samples, out=x.numpy())
        return x, torch.from_numpy(self.binned.labels[samples])


class _WholeBatches(Dataset[Any]):
    """Answers the loader's request for several samples with the finished batch: no stacking, no transposing."""

    def __init__(self, dataset: EventDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, sample: int) -> Batch:
        return self.dataset.batch([sample])

    def __getitems__(self, samples: list[int]) -> Batch:
        return self.dataset.batch(samples)


def _unchanged(batch: Any) -> Any:
    return batch


class EventDataModule(lightning.LightningDataModule):
    """A built-in data set for Lightning: batches of ``(x, labels)``, x float32 ``[T, N, P, H, W]``.

    Arguments:
        name: the data set.
        batch_size: N.
        ticks: T.
        dt: length of a tick in seconds.
        binning: ``binary``, ``count`` or ``first``.
        workers: loader processes, spawned; 0 loads in this one, fast enough since samples are sparse in memory.
        seed: seeds the generation, and the order of training samples.
        progress: called with (done, total) while the set is generated.
        train_samples: only that many of the training split, the first ones, for a quick look.

    Raises:
        RecipeError: a batch size, number of workers or binning that is none.
    """

    def __init__(
        self,
        name: str = "saccade-digits",
        batch_size: int = 64,
        ticks: int = 30,
        dt: float = 0.01,
        binning: Binning = "binary",
        workers: int = 0,
        seed: int = 0,
        progress: Progress | None = None,
        train_samples: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or binning not in BINNINGS:
            raise RecipeError(
                f"batch_size={batch_size}, workers={workers}, binning={binning!r}; expected batch_size ≥ 1, "
                f"workers ≥ 0 and a binning of {', '.join(BINNINGS)}"
            )
        self.dataset_name, self.batch_size, self.ticks, self.dt = name, batch_size, ticks, dt
        self.binning, self.workers, self.seed, self.progress = binning, workers, seed, progress
        self.train_samples = train_samples
        self._datasets: dict[str, EventDataset] = {}

    def dataset(self, split: str) -> EventDataset:
        """Return one split, loaded and binned at the first call."""
        if split not in self._datasets:
            recordings = load(self.dataset_name, split=split, seed=self.seed, progress=self.progress)
            if split == "train" and self.train_samples is not None:
                recordings = recordings.select(np.arange(min(self.train_samples, len(recordings))))
            self._datasets[split] = EventDataset(recordings.bin(self.ticks, self.dt, self.binning))
        return self._datasets[split]

    def prepare_data(self) -> None:
        """Generate the set into the cache, on one process only."""
        load(self.dataset_name, split="train", seed=self.seed, progress=self.progress)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches of the training split, in an order that ``seed`` fixes."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches of the validation split, in order."""
        return self._loader("validation", shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return batches of the test split, in order."""
        return self._loader("test", shuffle=False)

    def _loader(self, split: str, shuffle: bool) -> DataLoader[Any]:
        return DataLoader(
            _WholeBatches(self.dataset(split)),
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.workers,
            # A forked loader would have this process's locks, but none of the threads that hold them.
            multiprocessing_context="spawn" if self.workers else None,
            collate_fn=_unchanged,
            generator=torch.Generator().manual_seed(self.seed),
        )
