"""Many labelled recordings in a few arrays, and the same binned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.datasets.events import Events, merge, tick_us
from neuroaccel.engine.events import Binning, EventStream
from neuroaccel.errors import EventsError


@dataclass(frozen=True, eq=False)
class Recordings:
    """A sequence of ``(Events, label)`` whose events lie one recording after the other.

    Arguments:
        start: int64 ``[S + 1]``, where each recording's events start.
        t_us: time of every event since its recording's start, not decreasing within a recording.
        address: ``(p · H + y) · W + x`` of every event.
        labels: int64 ``[S]``.
        indices: int64 ``[S]``, each recording's number in the whole set.
        sensor_size: ``(W, H, P)``.
        duration_us: length of every recording.
    """

    start: NDArray[np.int64]
    t_us: NDArray[np.int32]
    address: NDArray[np.int32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    sensor_size: tuple[int, int, int]
    duration_us: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, sample: int) -> tuple[Events, int]:
        sample = range(len(self))[sample]
        part = slice(self.start[sample], self.start[sample + 1])
        width, height, _ = self.sensor_size
        rest, x = np.divmod(self.address[part], width)
        p, y = np.divmod(rest, height)
        return Events.from_arrays(x, y, self.t_us[part], p.astype(bool), self.sensor_size), int(self.labels[sample])

    def select(self, samples: NDArray[np.int64]) -> Recordings:
        """Return some of the recordings, in the order asked for."""
        start, events = gather(self.start, samples)
        return replace(
            self,
            start=start,
            t_us=self.t_us[events],
            address=self.address[events],
            labels=self.labels[samples],
            indices=self.indices[samples],
        )

    def bin(self, ticks: int = 30, dt: float = 0.01, binning: Binning = "binary") -> BinnedRecordings:
        """Bin every recording into ``ticks`` ticks of ``dt`` seconds; the result's ``merged`` counts per recording.

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
