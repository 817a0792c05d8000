"""A Lightning data module over any event data set, with time-major batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from neuroaccel.datasets.batches import (
    Batch,
    EventDataset,
    FramedDataset,
    Numbered,
    WholeBatches,
    shipped,
    steady,
    unchanged,
)
from neuroaccel.datasets.cache import Progress
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.registry import load
from neuroaccel.engine.events import BINNINGS, Binning
from neuroaccel.errors import EventsError, NeuroaccelError, RecipeError, WorkerFailure

if TYPE_CHECKING:
    from neuroaccel.datasets.augment import Augmentation, EventMix
    from neuroaccel.datasets.frames import Frames

__all__ = ["Batch", "EventDataModule", "EventDataset", "FramedDataset"]

IN_MEMORY = 20_000_000
"""Events up to which a set is binned once and kept so (4 bytes an event), rather than batch by batch."""


class EventDataModule(lightning.LightningDataModule):
    """An event data set for Lightning: batches of ``(x, labels)``, x float32 ``[T, N, C, H, W]``.

    Training samples come in an order, and augmented in a way, that ``seed`` and the epoch fix: the number of workers
    changes nothing, nor does a break in the training.

    Arguments:
        name: the data set.
        batch_size: N.
        ticks: T, where ``frames`` is None.
        dt: length of a tick in seconds, where ``frames`` is None; T ticks must cover the recordings.
        binning: ``binary``, ``count`` or ``first``, where ``frames`` is None.
        workers: loader processes, spawned, that stay from epoch to epoch; 0 loads in this one.
        seed: seeds the generation, the order of training samples and their augmentation.
        progress: called with (done, total) while the set is made.
        train_samples: only that many of the training split, of each class as many as of the others; the same ones
            whatever the seed.
        frames: how events become frames, or a recipe's table that says so; None: ticks of ``dt``, which have to cover
            the recordings.
        augment: augmentations of training samples, or a recipe's tables, applied in this order. Crop and Downsample,
            which make the sensor smaller, apply to all samples; outside of training Crop takes the middle.
        folder: where the files of a downloaded set are; None: in the cache.
        bin_on: ``cuda``: loaders ship events, 8 bytes each, and Lightning's device makes the frames
            (``on_after_batch_transfer``; call it yourself outside of Lightning).
        with_lengths: batches get a third element: the ticks that each sample really covers, int64 ``[N]``.

    Raises:
        RecipeError: a batch size, number of workers, binning, frames or augmentation that is none.
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
        *,
        frames: Frames | Mapping[str, Any] | None = None,
        augment: Sequence[Augmentation | EventMix | Mapping[str, Any]] = (),
        folder: str | Path | None = None,
        bin_on: Literal["cpu", "cuda"] = "cpu",
        with_lengths: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or binning not in BINNINGS or bin_on not in ("cpu", "cuda"):
            raise RecipeError(
                f"batch_size={batch_size}, workers={workers}, binning={binning!r}, bin_on={bin_on!r}; expected "
                f"batch_size ≥ 1, workers ≥ 0, a binning of {', '.join(BINNINGS)}, and cpu or cuda"
            )
        self.dataset_name, self.batch_size, self.ticks, self.dt = name, batch_size, ticks, dt
        self.binning, self.workers, self.seed, self.progress = binning, workers, seed, progress
        self.train_samples, self.folder = train_samples, folder
        self.bin_on, self.with_lengths = bin_on, with_lengths
        self.frames = _frames(frames)
        self.augment = _augment(augment)
        self._always = steady(self.augment) if self.augment else ()
        if self.frames is not None:
            self.ticks = self.frames.ticks
        self._recordings: dict[str, Recordings] = {}
        self._datasets: dict[str, EventDataset | FramedDataset] = {}

    def recordings(self, split: str) -> Recordings:
        """Return one split's events, loaded at the first call.

        Raises:
            EventsError: a recording without a label.
            RecipeError: an unknown set or split, or one that is empty.
        """
        if split not in self._recordings:
            made = load(self.dataset_name, split=split, seed=self.seed, progress=self.progress, folder=self.folder)
            if split == "train" and self.train_samples is not None:
                made = made.select(_balanced(made.labels, self.train_samples))
            if not len(made):
                raise RecipeError(f"{self.dataset_name}, {split}: the split is empty; expected at least one recording")
            nameless = np.flatnonzero((made.labels < 0) | (made.labels >= (len(made.classes) or 2**62)))
            if len(nameless):
                first, classes = nameless[0], f"0 to {len(made.classes) - 1}" if made.classes else "0 or more"
                raise EventsError(
                    f"{self.dataset_name}, {split}: recording {made.indices[first]} has no label: found "
                    f"{made.labels[first]}, expected {classes}"
                )
            self._recordings[split] = made
        return self._recordings[split]

    def dataset(self, split: str) -> EventDataset | FramedDataset:
        """Return one split as it is, without augmentation, loaded at the first call."""
        if split not in self._datasets:
            recordings = self.recordings(split)
            plain = self.frames is None and not self.with_lengths and not self._always
            plain = plain and len(recordings.t_us) <= IN_MEMORY
            self._datasets[split] = (
                EventDataset(recordings.bin(self.ticks, self.dt, self.binning)) if plain else self._framed(split, False)
            )
        return self._datasets[split]

    def prepare_data(self) -> None:
        """Make the set's training split, and with it whatever is cached for all splits, on one process only."""
        load(self.dataset_name, split="train", seed=self.seed, progress=self.progress, folder=self.folder)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches of the training split, in an order that ``seed`` fixes."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches of the validation split, in order."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return batches of the test split, in order."""
        return self._loader("test")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Make the frames of a batch whose events were shipped to a device, on that device."""
        packed = shipped(batch) if self.bin_on == "cuda" else None
        if packed is None:
            return batch
        x, lengths = self._framing().on_device(packed)
        return (x, batch[1], lengths) if self.with_lengths else (x, batch[1])

    def _framing(self) -> Frames:
        if self.frames is not None:
            return self.frames
        from neuroaccel.datasets.frames import TimeBins

        return TimeBins(self.ticks, self.dt, self.binning)

    def _framed(self, split: str, training: bool) -> FramedDataset:
        recordings = self.recordings(split)
        if self.frames is None:
            recordings.check_covered(self.ticks, self.dt)
        return FramedDataset(
            f"{self.dataset_name}, {split}",
            recordings,
            self._framing(),
            self.augment if training else self._always,
            self._always,
            self.seed,
            self.bin_on == "cuda",
            self.with_lengths,
        )

    def _loader(self, split: str) -> DataLoader[Any]:
        training = split == "train"
        packed = self.bin_on == "cuda" or (training and self.augment)
        dataset = self._framed(split, training) if packed else self.dataset(split)
        return _Loader(
            WholeBatches(dataset),
            batch_size=self.batch_size,
            sampler=Numbered(len(dataset), self.seed if training else None, self._epoch),
            num_workers=self.workers,
            # A forked loader would have this process's locks, but none of the threads that hold them.
            multiprocessing_context="spawn" if self.workers else None,
            persistent_workers=self.workers > 0,
            collate_fn=unchanged,
            pin_memory=self.bin_on == "cuda" and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch


class _Loader(DataLoader[Any]):
    """A loader that says so when one of its workers has died, whatever broke because of it."""

    def __iter__(self) -> Any:
        return _Watched(super().__iter__())


class _Watched:
    """The iterator of a loader; its attributes are that one's."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._batches)
        except (OSError, EOFError, RuntimeError) as error:
            if isinstance(error, NeuroaccelError):
                raise
            workers = getattr(self._batches, "_workers", ())
            if isinstance(error, (ConnectionError, EOFError)):  # the line to a worker broke a moment before its end
                for worker in workers:
                    worker.join(1)
            dead = {worker.pid: worker.exitcode for worker in workers}
            dead = {pid: code for pid, code in dead.items() if code}
            if not dead:
                raise
            which = ", ".join(f"{pid} (exit code {code})" for pid, code in dead.items())
            raise WorkerFailure(
                f"the data loader's process {which} died: killed, or out of memory; fewer workers or smaller batches "
                f"need less ({type(error).__name__}: {error})"
            ) from error

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


def _balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices, ascending, of ``count`` samples, drawn from every class alike while it has some: sets come sorted."""
    drawn = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # a sample's turn among those of its class
    for label in np.unique(labels):
        of_class = drawn[labels[drawn] == label]
        turn[of_class] = np.arange(len(of_class))
    return np.sort(drawn[np.argsort(turn[drawn], kind="stable")[:count]])


def _frames(given: Frames | Mapping[str, Any] | None) -> Frames | None:
    if not isinstance(given, Mapping):
        return given
    from neuroaccel.datasets.frames import frames_from

    return frames_from(given)


def _augment(given: Sequence[Augmentation | EventMix | Mapping[str, Any]]) -> tuple[Augmentation | EventMix, ...]:
    made: list[Augmentation | EventMix] = []
    for one in given:
        if isinstance(one, Mapping):
            from neuroaccel.datasets.augment import augment_from

            made += augment_from([one])
        else:
            made.append(one)
    return tuple(made)
