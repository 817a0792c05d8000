"""A program of its own that reads what only native libraries can read: run by :mod:`guard`, never imported.

dv-processing and libhdf5 may loop or crash on damaged files. Here they take only this process with them: it bounds its
memory and, between two pieces of work, its processor time, and sends what it reads as lines of JSON and plain arrays.
Nothing of neuroaccel is imported, so that it starts fast.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

Message = tuple[dict[str, Any], dict[str, np.ndarray]]
FIELDS = {
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "t": ("t", "ts", "timestamps", "timestamp"),
    "p": ("p", "ps", "polarity", "pol"),
}
EXPANSION = 256  # how much larger than its file an array may get before it counts as a trap
SMALL = 1 << 28


class Refused(Exception):  # noqa: N818
    """What the file holds cannot be read; the message says why."""


def allow(seconds: float) -> None:
    """Give this process so many more seconds of processor time, after which the kernel ends it."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds), hard))


def events(request: dict[str, Any]) -> Iterator[Message]:
    """What an AEDAT4 file states, then its events in the library's own arrays."""
    recording = _open(request)
    streams = list(recording.getStreamNames())
    if not recording.isEventStreamAvailable():
        raise Refused(f"it holds no events, only the streams {', '.join(streams) or 'none'}")
    size = recording.getEventResolution()
    yield (
        {
            "camera": recording.getCameraName(),
            "streams": streams,
            "sensor_size": None if size is None else [*map(int, size), 2],
        },
        {},
    )
    batches: list[np.ndarray] = []
    held = 0
    while True:
        allow(request["seconds"])
        batch = recording.getNextEventBatch()
        if batch is not None and not batch.isEmpty():
            batches.append(batch.numpy())
            held += len(batches[-1])
        if batches and (batch is None or held >= request["block"]):
            data = np.concatenate(batches)
            yield {}, {name: np.ascontiguousarray(data[name]) for name in ("x", "y", "timestamp", "polarity")}
            batches, held = [], 0
        if batch is None:
            return


def frames(request: dict[str, Any]) -> Iterator[Message]:
    """The frames of an AEDAT4 file, one by one."""
    recording = _open(request)
    while recording.isFrameStreamAvailable():
        allow(request["seconds"])
        frame = recording.getNextFrame()
        if frame is None:
            return
        exposure = round(frame.exposure.total_seconds() * 1e6)
        yield {"t": int(frame.timestamp), "exposure_us": exposure}, {"image": np.ascontiguousarray(frame.image)}


def imu(request: dict[str, Any]) -> Iterator[Message]:
    """The motion samples of an AEDAT4 file."""
    recording = _open(request)
    while recording.isImuStreamAvailable():
        allow(request["seconds"])
        batch = recording.getNextImuBatch()
        if batch is None:
            return
        if not len(batch):
            continue
        three = {
            name: np.array([[getattr(s, f"{name}{axis}") for axis in "XYZ"] for s in batch], np.float32)
            for name in ("accelerometer", "gyroscope", "magnetometer")
        }
        t = np.array([s.timestamp for s in batch], np.int64)
        yield {}, {"t": t, **three, "temperature": np.array([s.temperature for s in batch], np.float32)}


def _open(request: dict[str, Any]) -> Any:
    dv_processing = importlib.import_module("dv_processing")
    allow(request["open_seconds"])
    return dv_processing.io.MonoCameraRecording(request["path"])


def hdf5(request: dict[str, Any]) -> Iterator[Message]:
    """The events of an HDF5 file, whichever of the known ways it holds them in."""
    import h5py

    allow(request["open_seconds"])
    with h5py.File(request["path"], "r") as file:
        key = request["key"]
        spikes = file.get("spikes")
        if isinstance(spikes, h5py.Group) and {"times", "units"} <= set(spikes) and not isinstance(key, str):
            yield from _spikes(file, spikes, key, request)
            return
        if isinstance(key, int):
            raise Refused(f"key is {key}, but it does not hold numbered recordings (spikes/times, spikes/units)")
        columns, where, at = _columns(h5py, file, key)
        length = {len(c) for c in columns.values()}
        if len(length) != 1:
            raise Refused(f"{where}: the columns have the lengths { ({k: len(c) for k, c in columns.items()}) }")
        (n,) = length
        for name, column in columns.items():
            _bounded(column, f"{where}/{name}")
        yield {**_about(file, at), "where": where, "kinds": {k: c.dtype.kind for k, c in columns.items()}}, {}
        for start in range(0, n, request["block"]):
            allow(request["seconds"])
            yield {}, {name: column[start : start + request["block"]] for name, column in columns.items()}


class _Field:
    """A field of a compound dataset, as a column."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset, self.name, self.dtype = dataset, name, dataset.dtype[name]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, part: slice) -> np.ndarray:
        found: np.ndarray = self.dataset[part][self.name]
        return found


def _columns(h5py: Any, file: Any, key: str | None) -> tuple[dict[str, Any], str, Any]:
    for where in [key] if key is not None else ["CD/events", "events", "/"]:
        found = file.get(where)
        if isinstance(found, h5py.Dataset) and found.dtype.names and found.ndim == 1:
            named = _named(found.dtype.names)
            if named:
                return {k: _Field(found, v) for k, v in named.items()}, where, found
        if isinstance(found, h5py.Group):
            named = _named([k for k in found if isinstance(found.get(k), h5py.Dataset) and found[k].ndim == 1])
            if named:
                return {k: found[v] for k, v in named.items()}, where, found
    there: list[str] = []
    file.visit(lambda name: there.append(name) if len(there) < 12 else True)
    raise Refused(
        f"no events at {key!r}"
        if key is not None
        else "neither CD/events, events/{x,y,t,p} nor spikes/{times,units}; "
        f"it holds {', '.join(there) or 'nothing'}; key names the group of x, y, t and p"
    )


def _named(names: Any) -> dict[str, str]:
    found = {k: next((n for n in options if n in names), None) for k, options in FIELDS.items()}
    return {k: n for k, n in found.items() if n is not None} if all(found.values()) else {}


def _about(file: Any, group: Any) -> dict[str, Any]:
    """Sensor size and camera, where attributes or a scalar beside the columns state them."""
    about: dict[str, Any] = {"sensor_size": None, "camera": None, "start_us": 0}
    for attributes in (group.attrs, file.attrs):
        try:
            if "geometry" in attributes:
                text = attributes["geometry"]
                text = text.decode() if isinstance(text, bytes) else str(text)
                width, _, height = text.partition("x")
                about["sensor_size"] = [int(width), int(height), 2]
            elif "width" in attributes and "height" in attributes:
                about["sensor_size"] = [int(attributes["width"]), int(attributes["height"]), 2]
            elif "sensor_resolution" in attributes:  # rows first
                height, width = np.ravel(attributes["sensor_resolution"])[:2]
                about["sensor_size"] = [int(width), int(height), 2]
        except (ValueError, TypeError) as error:
            raise Refused(f"its attributes do not state the sensor's size readably ({error})") from error
        for name in ("camera", "camera_name", "serial_number"):
            if name in attributes and about["camera"] is None:
                about["camera"] = str(attributes[name])[:200]
    offset = file.get("t_offset")
    if offset is not None and getattr(offset, "shape", None) == () and offset.dtype.kind in "iu":
        about["start_us"] = int(offset[()])
    return about


def _spikes(file: Any, spikes: Any, key: int | None, request: dict[str, Any]) -> Iterator[Message]:
    times, units = spikes["times"], spikes["units"]
    if times.ndim != 1 or times.shape != units.shape:
        raise Refused(f"spikes/times has the shape {times.shape}, spikes/units {units.shape}")
    held = len(times)
    if key is None and held != 1:
        raise Refused(f"it holds {held} recordings; key names one, from 0 to {held - 1}")
    key = key or 0
    if not 0 <= key < held:
        raise Refused(f"key is {key}; it holds the recordings 0 to {held - 1}")
    allow(request["seconds"])
    t, x = np.asarray(times[key]), np.asarray(units[key])
    if t.ndim != 1 or t.shape != x.shape:
        raise Refused(f"recording {key} has times of shape {t.shape} and units of shape {x.shape}")
    about: dict[str, Any] = {"sensor_size": [700, 1, 1] if not len(x) or x.max() < 700 else None, "key": key}
    labels = file.get("labels")
    if labels is not None and getattr(labels, "ndim", 0) == 1 and len(labels) == held:
        about["label"] = int(labels[key])
    speaker = file.get("extra/speaker")
    if speaker is not None and getattr(speaker, "ndim", 0) == 1 and len(speaker) == held:
        about["speaker"] = int(speaker[key])
    zeros = np.zeros(len(x), np.uint8)
    yield {**about, "where": f"spikes, recording {key}", "kinds": {"t": t.dtype.kind}}, {}
    yield {}, {"x": x, "y": zeros, "t": t, "p": zeros}


def _bounded(column: Any, where: str) -> None:
    """Refuse a dataset that states far more than is stored: reading it would fill the memory with nothing."""
    dataset = column.dataset if isinstance(column, _Field) else column
    if dataset.dtype.kind not in "iufbV":
        raise Refused(f"{where} is {dataset.dtype}; expected numbers")
    size, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    if max(size, chunk) > SMALL and max(size, chunk) > EXPANSION * stored:
        raise Refused(f"{where} states {max(size, chunk)} bytes but holds {stored}")


def said(error: BaseException) -> str:
    """An error's message in one line, without the place in a library's source and the stack that some begin and end
    with."""
    lines = str(error).partition("Stacktrace:")[0].splitlines()
    if len(lines) > 1 and ".hpp(" in lines[0]:
        lines = lines[1:]
    return " ".join(" ".join(lines).split())[:500] or type(error).__name__


def main() -> None:
    request = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for message, arrays in WORK[request["work"]](request) if _limit(request) else ():
        _send(out, message, arrays)
    _send(out, {"end": True}, {})


def _limit(request: dict[str, Any]) -> bool:
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    return True


def _send(out: Any, message: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    held = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    message["arrays"] = [[name, a.dtype.str, list(a.shape)] for name, a in held.items()]
    out.write(json.dumps(message).encode() + b"\n")
    for array in held.values():
        out.write(array.data if array.size else b"")
    out.flush()


WORK = {"events": events, "frames": frames, "imu": imu, "hdf5": hdf5}

if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # whoever asked has left
    except MemoryError:
        sys.stderr.write("\nREFUSED it asks for more memory than it can need\n")
        sys.exit(3)
    except (Refused, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        sys.stderr.write(f"\nREFUSED {said(error)}\n")
        sys.exit(3)
