"""A batch of recordings whose events lie packed, one sample after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.datasets.events import Events
from neuroaccel.datasets.kernels import load
from neuroaccel.errors import EventsError


@dataclass(frozen=True, eq=False)
class PackedEvents:
    """N recordings in three arrays, 8 bytes per event.

    The events of sample ``n`` are those from ``start[n]`` to ``start[n + 1] − 1``. An event's address is

        address = (p · H + y) · W + x

    Arguments:
        start: int64 ``[N + 1]``, from 0, not decreasing; ``start[N]`` is the number of events.
        t_us: int32 ``[n]``, time since the sample's start, not decreasing within a sample.
        address: int32 ``[n]``.
        sensor_size: ``(W, H, P)``.

    Raises:
        EventsError: the arrays do not fit together. Times and addresses are looked at by ``validate`` only.
    """

    start: NDArray[np.int64]
    t_us: NDArray[np.int32]
    address: NDArray[np.int32]
    sensor_size: tuple[int, int, int]

    def __post_init__(self) -> None:
        for name, kind in (("start", np.int64), ("t_us", np.int32), ("address", np.int32)):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or array.dtype != kind:
                raise EventsError(f"{name} is {array.dtype} {list(array.shape)}; expected {np.dtype(kind)} [n]")
            object.__setattr__(self, name, np.ascontiguousarray(array))
        size = tuple(int(side) for side in self.sensor_size)
        if len(size) != 3 or min(size) < 1 or size[2] > 2 or size[0] * size[1] * size[2] >= 2**31:
            raise EventsError(f"sensor_size is {size}; expected (W, H, P), each at least 1 and P at most 2")
        object.__setattr__(self, "sensor_size", size)
        start, events = self.start, len(self.t_us)
        if not len(start) or start[0] != 0 or start[-1] != events or (start[1:] < start[:-1]).any():
            raise EventsError(f"start is {start}; expected 0 to {events}, the number of events, not decreasing")
        if len(self.address) != events:
            raise EventsError(f"{events} times and {len(self.address)} addresses; expected as many of both")

    @classmethod
    def of(cls, samples: Sequence[Events], sensor_size: tuple[int, int, int] | None = None) -> PackedEvents:
        """Pack recordings of one sensor.

        Arguments:
            samples: the recordings.
            sensor_size: ``(W, H, P)``; None: that of the first recording.

        Raises:
            EventsError: a sensor of another size, no sample to take it from, or a time past 2³¹ − 1 µs.
        """
        if sensor_size is None and not samples:
            raise EventsError("no samples and no sensor_size; expected one of them")
        size = samples[0].sensor_size if sensor_size is None else sensor_size
        start = np.zeros(len(samples) + 1, np.int64)
        np.cumsum([len(sample) for sample in samples], out=start[1:])
        t_us, address = np.empty(start[-1], np.int32), np.empty(start[-1], np.int32)
        for number, sample in enumerate(samples):
            data = sample.data
            if sample.sensor_size != tuple(size):
                raise EventsError(f"sample {number} is of a sensor {sample.sensor_size}; expected {tuple(size)}")
            if len(data) and data["t"][-1] >= 2**31:
                raise EventsError(f"sample {number} lasts {data['t'][-1]} µs; expected less than 2^31 µs")
            part = slice(start[number], start[number + 1])
            t_us[part] = data["t"]
            address[part] = (data["p"].astype(np.int32) * size[1] + data["y"]) * size[0] + data["x"]
        return cls(start, t_us, address, size)

    @classmethod
    def gathered(
        cls,
        start: NDArray[np.int64],
        t_us: NDArray[np.int32],
        address: NDArray[np.int32],
        sensor_size: tuple[int, int, int],
        samples: ArrayLike,
    ) -> PackedEvents:
        """Take some samples, in the order asked for, out of the arrays of many; a copy at memory's speed."""
        parts = [slice(start[sample], start[sample + 1]) for sample in np.asarray(samples, np.int64).reshape(-1)]
        ends = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([part.stop - part.start for part in parts], out=ends[1:])
        times: NDArray[np.int32] = np.empty(ends[-1], np.int32)
        places: NDArray[np.int32] = np.empty(ends[-1], np.int32)
        for part, first, last in zip(parts, ends[:-1], ends[1:], strict=True):
            times[first:last], places[first:last] = t_us[part], address[part]
        return cls(ends, times, places, sensor_size)

    def validate(self) -> PackedEvents:
        """Check every event's address and time, and return the batch.

        Raises:
            EventsError: naming the first event that is wrong, its sample and what it holds.
        """
        width, height, polarities = self.sensor_size
        cells = width * height * polarities
        if load("check")(self.start, self.t_us, self.address, cells) < 0:
            return self
        if len(self.address) and (self.address.min() < 0 or self.address.max() >= cells):
            self._refuse((self.address < 0) | (self.address >= cells), f"expected addresses from 0 to {cells - 1}")
        back = self.t_us[1:] < self.t_us[:-1]
        inner = self.start[(self.start > 0) & (self.start < len(self.t_us))]
        back[inner - 1] = False  # a sample may start before the last one's end
        first = self.start[:-1][np.diff(self.start) > 0]
        if back.any():
            self._refuse(np.concatenate([[False], back]), "expected times that do not decrease within a sample")
        if len(first) and self.t_us[first].min() < 0:
            self._refuse(self.t_us < 0, "expected times from 0")
        return self

    def _refuse(self, wrong: NDArray[np.bool_], expected: str) -> None:
        event = int(np.argmax(wrong))
        sample = int(np.searchsorted(self.start, event, "right")) - 1
        raise EventsError(
            f"event {event - self.start[sample]} of sample {sample} has t = {self.t_us[event]} µs and address "
            f"{self.address[event]} on a sensor {self.sensor_size}; {expected}"
        )

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of events of every sample, int64 ``[N]``."""
        counts: NDArray[np.int64] = np.diff(self.start)
        return counts

    @property
    def sample(self) -> NDArray[np.int64]:
        """Number of every event's sample, int64 ``[n]``."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def x(self) -> NDArray[np.int32]:
        """Column of every event, int32 ``[n]``."""
        x: NDArray[np.int32] = self.address % np.int32(self.sensor_size[0])
        return x

    @property
    def y(self) -> NDArray[np.int32]:
        """Row of every event, int32 ``[n]``."""
        width, height, _ = self.sensor_size
        y: NDArray[np.int32] = self.address // np.int32(width) % np.int32(height)
        return y

    @property
    def p(self) -> NDArray[np.int32]:
        """Polarity of every event, int32 ``[n]``."""
        width, height, _ = self.sensor_size
        p: NDArray[np.int32] = self.address // np.int32(width * height)
        return p

    @property
    def last_us(self) -> NDArray[np.int64]:
        """Time of every sample's last event in µs, int64 ``[N]``; −1 where there is none."""
        last = np.full(len(self), -1, np.int64)
        some = self.counts > 0
        last[some] = self.t_us[self.start[1:][some] - 1]
        return last

    def keep(self, kept: NDArray[np.bool_]) -> PackedEvents:
        """Return the batch with only those events, ``[n]``; a sample may end up with none."""
        before = np.zeros(len(kept) + 1, np.int64)
        np.cumsum(kept, out=before[1:])
        return PackedEvents(before[self.start], self.t_us[kept], self.address[kept], self.sensor_size)

    def events(self, sample: int) -> Events:
        """Return one sample as a recording.

        Raises:
            EventsError: an event of it is not of the sensor, or out of order.
        """
        sample = range(len(self))[sample]
        part = slice(self.start[sample], self.start[sample + 1])
        one = PackedEvents(np.array([0, part.stop - part.start]), self.t_us[part], self.address[part], self.sensor_size)
        fields: list[NDArray[Any]] = [one.x, one.y, one.t_us, one.p]
        return Events.from_arrays(fields[0], fields[1], fields[2], fields[3].astype(bool), self.sensor_size)
