"""Many labelled recordings in a few arrays, and the same binned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.datasets.events import Events, merge, tick_us
from neuroaccel.datasets.mapping import remapped, unmapped
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.engine.events import Binning, EventStream
from neuroaccel.errors import EventsError


@dataclass(frozen=True, eq=False)
class Recordings:
    """A sequence of ``(Events, label)`` whose events lie one recording after the other.

    The arrays may be memory-mapped, and then only the events that are asked for are read. A pickled copy, such as a
    loader's worker gets, refers to the mapped files and holds no events.

    Arguments:
        start: int64 ``[S + 1]``, where each recording's events start.
        t_us: time of every event since its recording's start, not decreasing within a recording.
        address: ``(p · H + y) · W + x`` of every event.
        labels: int64 ``[S]``.
        indices: int64 ``[S]``, each recording's number in the whole set.
        sensor_size: ``(W, H, P)``; ``(channels, 1, 1)`` for sound.
        durations_us: int64 ``[S]``, length of every recording; one number for all of the same length.
        classes: a name per label; empty: they have none.
        groups: int64 ``[S]``, the speaker or subject of every recording; None: unknown.

    Raises:
        EventsError: arrays that do not fit each other.
    """

    start: NDArray[np.int64]
    t_us: NDArray[np.int32]
    address: NDArray[np.int32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    sensor_size: tuple[int, int, int]
    durations_us: NDArray[np.int64]
    classes: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        if np.ndim(self.durations_us) == 0:
            object.__setattr__(self, "durations_us", np.full(count, self.durations_us, np.int64))
        per_recording = {"indices": self.indices, "durations_us": self.durations_us}
        per_recording |= {} if self.groups is None else {"groups": self.groups}
        wrong = [f"{name} has {len(array)}" for name, array in per_recording.items() if len(array) != count]
        if len(self.start) != count + 1:
            wrong.append(f"start has {len(self.start)}, expected one more")
        elif len(self.t_us) != len(self.address) or (count and self.start[-1] > len(self.t_us)):
            wrong.append(f"start ends at {self.start[-1]} of {len(self.t_us)} times and {len(self.address)} addresses")
        if wrong:
            raise EventsError(f"recordings: labels has {count} entries, {', '.join(wrong)}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, sample: int) -> tuple[Events, int]:
        sample = range(len(self))[sample]
        part = slice(self.start[sample], self.start[sample + 1])
        width, height, _ = self.sensor_size
        rest, x = np.divmod(self.address[part], width)
        p, y = np.divmod(rest, height)
        return Events.from_arrays(x, y, self.t_us[part], p.astype(bool), self.sensor_size), int(self.labels[sample])

    def __getstate__(self) -> dict[str, Any]:
        return {name: unmapped(value) for name, value in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: remapped(value) for name, value in state.items()})

    @property
    def duration_us(self) -> int:
        """Length of the longest recording in µs."""
        return int(self.durations_us.max(initial=0))

    def select(self, samples: ArrayLike) -> Recordings:
        """Return some of the recordings, in the order asked for; a run of neighbours shares the events' memory."""
        chosen = self._there(samples)
        t_us: NDArray[np.int32]
        address: NDArray[np.int32]
        if len(chosen) and np.all(np.diff(chosen) == 1):
            first, last = self.start[chosen[0]], self.start[chosen[-1] + 1]
            start = np.asarray(self.start[chosen[0] : chosen[-1] + 2] - first)
            t_us, address = self.t_us[first:last], self.address[first:last]
        else:
            packed = PackedEvents.gathered(self.start, self.t_us, self.address, self.sensor_size, chosen)
            start, t_us, address = packed.start, packed.t_us, packed.address
        return replace(
            self,
            start=start,
            t_us=t_us,
            address=address,
            labels=self.labels[chosen],
            indices=self.indices[chosen],
            durations_us=self.durations_us[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def packed(self, samples: ArrayLike | None = None) -> PackedEvents:
        """Return the events of some recordings, one after the other; None: of all of them.

        Arguments:
            samples: ``[N]``, which ones, in which order.

        Raises:
            EventsError: a recording that is not there.
        """
        if samples is None:
            first, last = int(self.start[0]), int(self.start[-1])
            start = self.start - first
            return PackedEvents(start, self.t_us[first:last], self.address[first:last], self.sensor_size)
        return PackedEvents.gathered(self.start, self.t_us, self.address, self.sensor_size, self._there(samples))

    def _there(self, samples: ArrayLike) -> NDArray[np.int64]:
        chosen = np.asarray(samples, np.int64).reshape(-1)
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise EventsError(f"recordings {chosen.min()} to {chosen.max()} were asked for; there are {len(self)}")
        return chosen

    def check_covered(self, ticks: int, dt: float) -> int:
        """Return a tick's length in µs, if ``ticks`` ticks of ``dt`` seconds cover every recording.

        Raises:
            EventsError: ``dt`` is no whole number of µs, ``ticks`` is not positive, or the ticks end before the events.
        """
        step_us = tick_us(dt)
        if ticks < 1:
            raise EventsError(f"ticks is {ticks}; expected a number ≥ 1")
        if ticks * step_us < self.duration_us:
            raise EventsError(
                f"{ticks} ticks of {step_us} µs end before the recordings, which last {self.duration_us} µs; "
                f"expected at least {math.ceil(self.duration_us / step_us)} ticks"
            )
        return step_us

    def bin(self, ticks: int = 30, dt: float = 0.01, binning: Binning = "binary") -> BinnedRecordings:
        """Bin every recording into ``ticks`` ticks of ``dt`` seconds; the result's ``merged`` counts per recording.

        Raises:
            EventsError: ``dt`` is no whole number of µs, ``ticks`` is not positive, or the ticks end before the events.
        """
        step_us = self.check_covered(ticks, dt)
        width, height, polarities = self.sensor_size
        pixels, addresses = width * height, polarities * width * height
        events = np.diff(self.start)
        tick = np.repeat(np.arange(len(self)) * ticks, events) + self.t_us // step_us
        polarity, pixel = np.divmod(self.address.astype(np.int64), pixels)
        cell, count = merge(tick, pixel, polarity, (polarities, pixels), binning)
        sample, place = np.divmod(cell, ticks * addresses)
        start = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.bincount(sample, minlength=len(self)), out=start[1:])
        return BinnedRecordings(
            start=start,
            cell=place.astype(np.int32),
            value=count.astype(np.int32) if binning == "count" else None,
            labels=self.labels,
            indices=self.indices,
            ticks=ticks,
            shape=(polarities, height, width),
            dt=dt,
            binning=binning,
            merged=events - np.diff(start),
        )


@dataclass(frozen=True, eq=False)
class BinnedRecordings:
    """Binned recordings, sparse: a few bytes per event.

    Arguments:
        start: int64 ``[S + 1]``, where each recording's events start.
        cell: int32, ``tick · addresses + address`` of every event, rising within a recording.
        value: int32, how many of the sensor's events each stands for; None: 1.
        labels: int64 ``[S]``.
        indices: int64 ``[S]``, each recording's number in the whole set.
        ticks: T.
        shape: ``(P, H, W)``.
        dt: length of a tick in seconds.
        binning: how events were merged.
        merged: int64 ``[S]``, the sensor's events without an event of their own, per recording.
    """

    start: NDArray[np.int64]
    cell: NDArray[np.int32]
    value: NDArray[np.int32] | None
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    ticks: int
    shape: tuple[int, int, int]
    dt: float
    binning: Binning
    merged: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def stream(self, sample: int) -> EventStream:
        """Return one recording as the engine reads it."""
        sample = range(len(self))[sample]
        part = slice(self.start[sample], self.start[sample + 1])
        tick, index = np.divmod(self.cell[part], math.prod(self.shape))
        indptr = np.zeros(self.ticks + 1, np.int64)
        np.cumsum(np.bincount(tick, minlength=self.ticks), out=indptr[1:])
        value = None if self.value is None else self.value[part]
        merged = int(self.merged[sample])
        return EventStream(indptr, index, self.shape, self.dt, value, self.binning, merged)

    def dense(self, samples: ArrayLike, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return recordings as one dense batch, time-major.

        Arguments:
            samples: ``[N]``, which ones.
            out: zeros of the result's shape to write to, where the caller has its own memory.

        Returns:
            float32 ``[T, N, P, H, W]``.
        """
        chosen = np.asarray(samples, np.int64).reshape(-1)
        addresses = math.prod(self.shape)
        start, events = gather(self.start, chosen)
        batch = np.zeros((self.ticks, len(chosen), *self.shape), np.float32) if out is None else out
        # cell = tick·A + address goes to tick·N·A + sample·A + address
        cell = self.cell[events].astype(np.int64)
        row = np.repeat(np.arange(len(chosen)) * addresses, np.diff(start))
        place = cell + cell // addresses * ((len(chosen) - 1) * addresses) + row
        batch.reshape(-1)[place] = 1 if self.value is None else self.value[events]
        return batch

    def summed(self) -> NDArray[np.float32]:
        """Return each recording summed over time, float32 ``[S, P·H·W]``: all that is left without time."""
        addresses = math.prod(self.shape)
        sample = np.repeat(np.arange(len(self)), np.diff(self.start))
        place = sample * addresses + self.cell % addresses
        total: NDArray[Any] = np.bincount(place, self.value, minlength=len(self) * addresses)
        return total.reshape(len(self), addresses).astype(np.float32)


def gather(start: NDArray[np.int64], samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``(start, events)``: the positions of some samples' events, one sample after the other."""
    count = start[samples + 1] - start[samples]
    ends = np.zeros(len(samples) + 1, np.int64)
    np.cumsum(count, out=ends[1:])
    return ends, np.arange(ends[-1]) + np.repeat(start[samples] - ends[:-1], count)
