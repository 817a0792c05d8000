"""What a recording file gives: its events, what was repaired, and the camera's frames and motion where it has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.events import Events
from neuroaccel.datasets.repair import OnError, Repairs

Columns = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""x, y, t in µs, p: integers ``[n]`` each, as the file has them."""

IMU_DTYPE = np.dtype(
    [("t", "<i8"), ("accelerometer", "<f4", 3), ("gyroscope", "<f4", 3), ("magnetometer", "<f4", 3),
     ("temperature", "<f4")]
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How a file is to be read.

    Arguments:
        sensor_size: ``(W, H, P)`` where the file does not state it, or states it wrongly.
        on_error: ``raise``, ``drop`` or ``clip``.
        key: which recording of a file that holds several, or the order of columns without names.
        time_unit: ``s``, ``ms``, ``us`` or ``ns`` where the file does not state it.
        block: about how many events a reader gives at once.
    """

    sensor_size: tuple[int, int, int] | None = None
    on_error: OnError = "raise"
    key: str | int | None = None
    time_unit: str | None = None
    block: int = 1 << 20


@dataclass(eq=False)
class Source:
    """An opened file, before its events are read.

    Arguments:
        format: its name.
        blocks: the events, in parts; may be run through once.
        sensor_size: as the file states it, None where it does not.
        metadata: what else it states.
        lost: counts of ``Repairs`` by name, complete when the blocks are through.
        frames: gives the frames, where the format has them.
        imu: gives the motion samples, where the format has them.
    """

    format: str
    blocks: Iterator[Columns]
    sensor_size: tuple[int, int, int] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    frames: Callable[[], Iterator[Frame]] | None = None
    imu: Callable[[], NDArray[Any]] | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a camera that takes frames beside events.

    Arguments:
        t_us: its time, on the same clock as the recording's events.
        exposure_us: how long it was exposed.
        image: ``[H, W]`` or ``[H, W, 3]``, uint8.
    """

    t_us: int
    exposure_us: int
    image: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that a file held.

    Arguments:
        path: the file.
        format: its format.
        events: the events; their time counts from ``start_us`` of the file's clock.
        repairs: what was wrong, in counts.
        metadata: what the file states beside: camera, sensor, date, units; ``start_us``.
    """

    path: Path
    format: str
    events: Events
    repairs: Repairs
    metadata: dict[str, Any]
    source: Source = field(repr=False)

    @property
    def sensor_size(self) -> tuple[int, int, int]:
        """``(W, H, P)``."""
        return self.events.sensor_size

    @property
    def camera(self) -> str | None:
        """The camera's name, None where the file does not state it."""
        found = self.metadata.get("camera")
        return None if found is None else str(found)

    @property
    def start_us(self) -> int:
        """The file's own time at which the events' time is 0."""
        return int(self.metadata.get("start_us", 0))

    def frames(self) -> Iterator[Frame]:
        """Give the camera's frames one after the other, none where the format has none."""
        return iter(()) if self.source.frames is None else self.source.frames()

    @cached_property
    def imu(self) -> NDArray[Any]:
        """The motion samples, ``[n]`` of ``IMU_DTYPE``: m/s² or g and °/s as the camera gives them, time as events'."""
        return np.empty(0, IMU_DTYPE) if self.source.imu is None else self.source.imu()

    @cached_property
    def frame_count(self) -> int:
        """Number of frames; counted by reading them."""
        return sum(1 for _ in self.frames())

    @property
    def imu_count(self) -> int:
        """Number of motion samples."""
        return len(self.imu)
