"""Files to try the readers with: valid ones of every format, ways to damage them, and what may come of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neuroaccel.datasets import Events
from neuroaccel.datasets.readers import guard, open_recording
from neuroaccel.errors import NeuroaccelError
from tests.datasets.readers.encoders import dat, evt2, evt3, evt21, header, rows, some_events

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
MAGIC = (
    b"", b"#!AER-DAT4.0\r\n", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"% evt 3.0\n% end\n",
    b"% evt 2.0\n% end\n", b"% format EVT21\n% end\n", b"% Version 2\n\x0c\x08", b"x,y,t,p\n", b"1 2 3 0\n",
)  # fmt: skip
NUMBERS = (0, 1, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 1 << 40, (1 << 63) - 1)
NATIVE = ("aedat4", "hdf5")
FORMATS = ("evt2", "evt21", "evt3", "dat", "npy", "npz", "csv", *NATIVE)


def seed(name: str, folder: Path) -> bytes:
    """A small valid file of a format."""
    events = some_events(40, span_us=400_000)
    if name in _PLAIN:
        return _PLAIN[name](events)
    path = folder / f"seed.{name}"
    if name == "hdf5":
        import h5py

        with h5py.File(path, "w") as file:
            for column in "xytp":
                file.create_dataset(f"events/{column}", data=events.data[column], chunks=(16,), compression="gzip")
            file.attrs["geometry"] = "640x480"
    else:
        import dv_processing as dv

        writer = dv.io.MonoCameraWriter(str(path), dv.io.MonoCameraWriter.DAVISConfig("DAVIS346_1", (640, 480)))
        store = dv.EventStore()
        for x, y, t, p in rows(events):
            store.push_back(t, x, y, bool(p))
        writer.writeEvents(store)
        writer.writeFrame(dv.Frame(100, np.arange(48, dtype=np.uint8).reshape(6, 8)))
        del writer  # which closes the file
    return path.read_bytes()


def _npz(events: Events) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **{name: events.data[name] for name in "xytp"})
    return content.getvalue()


def _npy(events: Events) -> bytes:
    content = io.BytesIO()
    np.save(content, events.data)
    return content.getvalue()


def _csv(events: Events) -> bytes:
    return ("x,y,t,p\n" + "".join(",".join(map(str, row)) + "\n" for row in rows(events))).encode()


_PLAIN: dict[str, Callable[[Events], bytes]] = {
    "evt2": lambda events: header("format EVT2;height=480;width=640") + evt2(events),
    "evt21": lambda events: header("format EVT21;height=480;width=640") + evt21(events),
    "evt3": lambda events: header("evt 3.0", "geometry 640x480") + evt3(events),
    "dat": lambda events: header("Version 2", "Width 640", "Height 480", end=False) + dat(events),
    "npy": _npy,
    "npz": _npz,
    "csv": _csv,
}

Change = tuple[str, float, int]
KINDS = ("set", "flip", "insert", "delete", "cut", "repeat", "number", "zero")


def damaged(data: bytes, changes: list[Change]) -> bytes:
    """A file after changes ``(kind, place, value)``, places from 0 to 1."""
    held = bytearray(data)
    for kind, place, value in changes:
        at = min(int(place * len(held)), max(len(held) - 1, 0))
        if not held:
            break
        if kind == "set":
            held[at] = value & 0xFF
        elif kind == "flip":
            held[at] ^= 1 << (value & 7)
        elif kind == "insert":
            held[at:at] = value.to_bytes(8, "little")[: 1 + value % 8]
        elif kind == "delete":
            del held[at : at + 1 + value % 16]
        elif kind == "cut":
            del held[at:]
        elif kind == "repeat":
            held[at:at] = held[at : at + value % 64]
        elif kind == "number":
            number = NUMBERS[value % len(NUMBERS)].to_bytes(8, "little")[: 4 if value & 1 else 8]
            held[at : at + len(number)] = number
        else:
            held[at : at + value % 32] = bytes(len(held[at : at + value % 32]))
    return bytes(held)


def drawn(data: bytes, rng: np.random.Generator) -> bytes:
    """A file after changes that a generator draws."""
    if rng.random() < 0.05:
        return MAGIC[rng.integers(len(MAGIC))] + rng.bytes(int(rng.integers(0, 400)))
    changes = [
        (KINDS[rng.integers(len(KINDS))], float(rng.random()), int(rng.integers(0, 1 << 31)))
        for _ in range(int(rng.integers(1, 8)))
    ]
    return damaged(data, changes)


def attempt(path: Path, on_error: Any = "raise") -> str | None:
    """Read a file, which must give sound events or one of our own errors that names it.

    Returns:
        The error's message, None where the file could be read.
    """
    try:
        found = open_recording(path, on_error=on_error)
        list(found.frames())
        assert found.imu.ndim == 1
    except NeuroaccelError as error:
        said = str(error)
    else:
        found.events.validate()
        assert found.repairs.removed <= found.repairs.events
        assert found.path == path
        return None
    if path.name not in said or "\n" in said:
        raise AssertionError(f"a message that does not name the file on one line: {said!r}")
    return said


def hurry() -> None:
    """Less patience with a reader that loops; a case is small."""
    guard.SECONDS = 1.0
