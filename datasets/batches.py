"""Labelled recordings as torch data sets that give whole batches, time-major."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, RandomSampler, Sampler

from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.datasets.recordings import BinnedRecordings, Recordings
from neuroaccel.errors import EventsError

if TYPE_CHECKING:
    from neuroaccel.datasets.augment import Augmentation, EventMix
    from neuroaccel.datasets.device_frames import PackedTensors
    from neuroaccel.datasets.frames import Frames

Batch = tuple[torch.Tensor, ...]
"""``(x, labels)``, or ``(x, labels, lengths)`` where lengths were asked for."""

AT_ONCE = 64
"""Recordings whose dense frames are in memory at once while a whole set is looked through."""


class Batches(Protocol):
    """What a split of a data set can do, whatever it keeps in memory."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 ``[S]``."""
        ...

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        ...

    def __getitem__(self, sample: int) -> tuple[torch.Tensor, int]: ...

    def batch(self, samples: Sequence[int]) -> Batch:
        """Return samples as one batch, not augmented."""
        ...

    def summed(self) -> NDArray[np.float32]:
        """Return every sample summed over time, float32 ``[S, C·H·W]``."""
        ...

    def largest(self) -> float:
        """Return the largest value of any sample."""
        ...


class EventDataset(Dataset[tuple[torch.Tensor, int]]):
    """One sample is ``(x, label)`` with ``x`` float32 ``[T, P, H, W]``.

    Arguments:
        binned: the recordings; they stay sparse in memory, and each sample is made dense when asked for.
    """

    def __init__(self, binned: BinnedRecordings) -> None:
        self.binned = binned

    def __len__(self) -> int:
        return len(self.binned)

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 ``[S]``."""
        return self.binned.labels

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """``(P, H, W)``."""
        return self.binned.shape

    def __getitem__(self, sample: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.binned.dense([range(len(self))[sample]])[:, 0]), int(self.binned.labels[sample])

    def batch(self, samples: Sequence[int]) -> Batch:
        """Return ``(x, labels)``: float32 ``[T, N, P, H, W]`` and int64 ``[N]``."""
        x = torch.zeros(self.binned.ticks, len(samples), *self.binned.shape)
        self.binned.dense(samples, out=x.numpy())
        return x, torch.from_numpy(self.binned.labels[list(samples)])

    def numbered(self, numbers: Sequence[int]) -> Batch:
        """Return the batch of a loader's request, see ``Numbered``."""
        return self.batch([number % len(self) for number in numbers])

    def summed(self) -> NDArray[np.float32]:
        """Return every sample summed over time, float32 ``[S, P·H·W]``."""
        return self.binned.summed()

    def largest(self) -> float:
        """Return the largest count of any sample."""
        binned = self.binned
        return float(min(len(binned.cell), 1) if binned.value is None else binned.value.max(initial=0))


class FramedDataset(Dataset[tuple[torch.Tensor, int]]):
    """Packed recordings that become augmented frames batch by batch; nothing dense is kept.

    A batch's augmentation is drawn from ``(seed, epoch, the samples in it)``: the same whichever process makes it.

    Arguments:
        name: for messages, the set and its split.
        recordings: packed, memory-mapped or not.
        frames: what makes frames of them.
        augment: augmentations of a loader's batches, applied in this order.
        always: those of ``batch``, which draw nothing; see ``steady``.
        seed: of the augmentations.
        ship: a loader's batches hold ``PackedTensors`` in place of x, for a device to bin.
        with_lengths: batches get a third element: the ticks that each sample really covers, int64 ``[N]``.
    """

    def __init__(
        self,
        name: str,
        recordings: Recordings,
        frames: Frames,
        augment: Sequence[Augmentation | EventMix] = (),
        always: Sequence[Augmentation | EventMix] = (),
        seed: int = 0,
        ship: bool = False,
        with_lengths: bool = False,
    ) -> None:
        self.name, self.recordings, self.frames = name, recordings, frames
        self.augment, self.always, self.seed = tuple(augment), tuple(always), seed
        self.ship, self.with_lengths = ship, with_lengths

    def __len__(self) -> int:
        return len(self.recordings)

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 ``[S]``."""
        return self.recordings.labels

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        nothing = self.recordings.packed([])
        seen, _ = self._changed(self.always, nothing, np.empty(0, np.int64), 0, np.empty(0, np.int64))
        return self.frames.sample_shape(seen.sensor_size)

    def __getitem__(self, sample: int) -> tuple[torch.Tensor, int]:
        sample = range(len(self))[sample]
        return self.batch([sample])[0][:, 0], int(self.labels[sample])

    def batch(self, samples: Sequence[int]) -> Batch:
        """Return ``(x, labels)``, not augmented: float32 ``[T, N, C, H, W]`` and int64 ``[N]``."""
        chosen = np.asarray(samples, np.int64).reshape(-1)
        return self._framed(chosen, *self._augmented(self.always, 0, chosen))

    def numbered(self, numbers: Sequence[int]) -> tuple[Any, ...]:
        """Return the batch of a loader's request, see ``Numbered``: augmented, and packed where a device bins it."""
        epochs, chosen = np.divmod(np.asarray(numbers, np.int64), len(self))
        packed, labels = self._augmented(self.augment, int(epochs[0]), chosen)
        if not self.ship:
            return self._framed(chosen, packed, labels)
        from neuroaccel.datasets.device_frames import PackedTensors

        try:
            return PackedTensors.of(packed, self.frames), labels
        except EventsError as error:
            raise self._naming(chosen, packed, error) from error

    def summed(self) -> NDArray[np.float32]:
        """Return every sample summed over time, float32 ``[S, C·H·W]``."""
        parts = [batch[0].numpy().sum(0).reshape(batch[0].shape[1], -1) for batch in self._all()]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def largest(self) -> float:
        """Return the largest value of any sample."""
        return max(float(batch[0].max()) for batch in self._all())

    def _all(self) -> Iterator[Batch]:
        for first in range(0, len(self), AT_ONCE):
            yield self.batch(range(first, min(first + AT_ONCE, len(self))))

    def _augmented(
        self, augment: Sequence[Augmentation | EventMix], epoch: int, chosen: NDArray[np.int64]
    ) -> tuple[PackedEvents, torch.Tensor]:
        packed, labels = self.recordings.packed(chosen), np.array(self.labels[chosen])
        if augment:
            try:
                packed.validate()  # an event outside the sensor would be flipped or shifted to somewhere inside it
            except EventsError as error:
                raise self._naming(chosen, packed, error) from error
            packed, labels = self._changed(augment, packed, labels, epoch, chosen)
        return packed, torch.from_numpy(labels)

    def _changed(
        self,
        augment: Sequence[Augmentation | EventMix],
        packed: PackedEvents,
        labels: NDArray[Any],
        epoch: int,
        chosen: NDArray[np.int64],
    ) -> tuple[PackedEvents, NDArray[Any]]:
        if not augment:
            return packed, labels
        from neuroaccel.datasets.augment import augment as changed

        return changed(augment, packed, np.random.default_rng([self.seed, epoch, *chosen.tolist()]), labels)

    def _framed(self, chosen: NDArray[np.int64], packed: PackedEvents, labels: torch.Tensor) -> Batch:
        try:
            x, lengths = self.frames.frames(packed)
        except EventsError as error:
            raise self._naming(chosen, packed, error) from error
        framed = torch.from_numpy(x), labels
        return (*framed, torch.from_numpy(lengths)) if self.with_lengths else framed

    def _naming(self, chosen: NDArray[np.int64], packed: PackedEvents, error: EventsError) -> EventsError:
        """The error of a batch, said of the recording that it is in."""
        for place, sample in enumerate(chosen.tolist()):
            part = slice(int(packed.start[place]), int(packed.start[place + 1]))
            start = np.array([0, part.stop - part.start])
            try:
                PackedEvents(start, packed.t_us[part], packed.address[part], packed.sensor_size).validate()
            except EventsError as found:
                words = str(found).replace(" of sample 0", "")
                return EventsError(f"{self.name}: recording {self.recordings.indices[sample]}: {words}")
        return EventsError(f"{self.name}: {error}")


def steady(augment: Sequence[Augmentation | EventMix]) -> tuple[Augmentation | EventMix, ...]:
    """Return what validation and test samples need as well: what makes the sensor smaller, in its middle."""
    from neuroaccel.datasets.augment import Crop, Downsample

    kept: list[Augmentation | EventMix] = []
    for one in augment:
        if isinstance(one, Crop):
            kept.append(dataclasses.replace(one, centred=True))
        elif isinstance(one, Downsample):
            kept.append(one)
    return tuple(kept)


class WholeBatches(Dataset[Any]):
    """Answers the loader's request for several samples with the finished batch: no stacking, no transposing."""

    def __init__(self, dataset: EventDataset | FramedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Any:
        return self.dataset.numbered([number])

    def __getitems__(self, numbers: list[int]) -> Any:
        return self.dataset.numbered(numbers)


class Numbered(Sampler[int]):
    """Numbers ``epoch · S + sample``, so that whoever makes a batch knows the epoch that it is for.

    Arguments:
        count: S.
        seed: of the order, which changes by epoch; None: samples in their own order.
        epoch: says the least epoch that the next one is, for a training that goes on after a break.
    """

    def __init__(self, count: int, seed: int | None, epoch: Callable[[], int] = lambda: 0) -> None:
        self.count, self.shuffle, self.least = count, seed is not None, epoch
        self.generator = torch.Generator().manual_seed(seed or 0)
        self.next = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        epoch = max(self.next, self.least())
        while self.next < epoch:  # the epochs before a break had their orders
            self._order()
        first = epoch * self.count
        return iter([first + sample for sample in self._order()])

    def _order(self) -> list[int]:
        self.next += 1
        if not self.shuffle:
            return list(range(self.count))
        # A loader draws a number for its workers before each epoch's order, but not with workers that stay: drawn
        # here, the order is the same with any number of them, and that of a loader without.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        return list(RandomSampler(range(self.count), generator=self.generator))


def unchanged(batch: Any) -> Any:
    """Return a batch as it is: the loader has nothing to put together. Here, since workers import no lightning."""
    return batch


def shipped(batch: Any) -> PackedTensors | None:
    """Return the packed events of a batch that a device has yet to bin, else None."""
    from neuroaccel.datasets.device_frames import PackedTensors

    first = batch[0] if isinstance(batch, (tuple, list)) and len(batch) else None
    return first if isinstance(first, PackedTensors) else None
