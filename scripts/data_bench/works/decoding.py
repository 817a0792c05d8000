"""Recordings decoded from files, beside the libraries that know the formats."""

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from engine_bench.table import Contender, Table

from data_bench.data import SIZE, SPAN_US, gesture
from neuroaccel.datasets import Events
from neuroaccel.errors import NeuroaccelError

ROOT = Path(__file__).resolve().parents[3]
CUT = ROOT / "tests" / "datasets" / "data" / "davis346-cut.aedat4"
Columns = dict[str, np.ndarray]
OURS = "neuroaccel"


def work(table: Table, quick: bool) -> None:
    from neuroaccel.datasets.readers import open_recording

    events = gesture(0, *((1_000_000, 3 * SPAN_US) if quick else (2_000_000, 6 * SPAN_US)))
    written = {column: events.data[column] for column in "txyp"}
    with tempfile.TemporaryDirectory(prefix="neuroaccel-bench-") as folder:
        for name, (path, who, read) in _files(events, Path(folder)).items():
            _one(table, name, path, who, read, open_recording, written)
        if find_spec("dv_processing") and CUT.exists():
            _one(table, "decoding, DAVIS346", CUT, "dv_processing", lambda: _dv(CUT), open_recording)


def _one(
    table: Table,
    name: str,
    path: Path,
    who: str,
    read: Callable[[], Columns],
    opened: Callable[..., Any],
    written: Columns | None = None,
) -> None:
    """Our columns have to be those that were written, or where nobody knows these those of the library."""

    def ours() -> Columns:
        data = opened(path, sensor_size=None if path == CUT else SIZE).events.data
        return {column: data[column] for column in "txyp"}

    theirs = read()
    expected = theirs if written is None else written
    try:
        found = ours()
    except NeuroaccelError as error:
        table.differing.append(str(error))
        return
    if not _same(found, expected):
        table.differing.append(f"{name}, {OURS}")
    if not _same(theirs, expected):
        # expelliarmus 1.1.12 adds to a time of EVT3 what its low part overflowed by, though the high part says it too
        print(f"    {name}: what {who} reads is not what was written")
    seconds = table.contest(name, [Contender(OURS, lambda: ours() and None), Contender(who, lambda: read() and None)])
    count, size = len(expected["t"]), path.stat().st_size
    for each, value in seconds.items():
        note = f"{value / seconds[OURS]:.2f}×  {size / value / 1e6:.0f} MB/s"
        table.add(name, each, "time per event", value / count, "s", note)
    table.ratios(name, seconds, OURS)


def _same(found: Columns, expected: Columns) -> bool:
    """Whether all columns are; times from the first event, where one of them counts otherwise."""
    if any(not np.array_equal(found[column], expected[column]) for column in "xyp"):
        return False
    return np.array_equal(found["t"] - found["t"][0], expected["t"] - expected["t"][0])


def _files(events: Events, folder: Path) -> dict[str, tuple[Path, str, Callable[[], Columns]]]:
    """Files of every format that a library here can write, who reads it, and how."""
    data = events.data
    columns = {name: np.ascontiguousarray(data[name]) for name in "txyp"}
    columns["p"] = columns["p"].astype(np.uint8)
    npz, hdf5, text = folder / "events.npz", folder / "events.h5", folder / "events.csv"
    np.savez(npz, **columns)
    with h5py.File(hdf5, "w") as file:
        for name, column in columns.items():
            file[f"events/{name}"] = column
    np.savetxt(text, np.stack(list(columns.values()), 1), "%d", ",", header="t,x,y,p", comments="")
    files: dict[str, tuple[Path, str, Callable[[], Columns]]] = {
        "decoding, npz": (npz, "numpy", lambda: dict(np.load(npz))),
        "decoding, HDF5": (hdf5, "h5py", lambda: _hdf5(hdf5)),
        "decoding, CSV": (text, "numpy", lambda: _csv(text)),
    }
    if find_spec("expelliarmus"):
        from expelliarmus import Wizard

        their = np.empty(len(data), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])
        for name, column in columns.items():
            their[name] = column
        for encoding, suffix in (("evt2", "raw"), ("evt3", "raw"), ("dat", "dat")):
            path = folder / f"{encoding}.{suffix}"
            wizard = Wizard(encoding=encoding)
            if encoding == "evt3":  # expelliarmus leaves out times that other readers need
                _write_evt3(path, events)
            else:
                wizard.save(fpath=path, arr=their)
            files[f"decoding, {encoding.upper()}"] = (path, "expelliarmus", lambda w=wizard, p=path: _named(w.read(p)))
    else:
        print("    EVT2, EVT3 and DAT are left out: expelliarmus is not installed")
    if find_spec("dv_processing"):
        path = folder / "events.aedat4"
        _write_aedat4(path, events)
        files["decoding, AEDAT4"] = (path, "dv_processing", lambda: _dv(path))
    else:
        print("    AEDAT4 is left out: dv-processing is not installed")
    return files


def _named(data: np.ndarray) -> Columns:
    return {name: data[name] for name in "txyp"}


def _hdf5(path: Path) -> Columns:
    with h5py.File(path) as file:
        return {name: file[f"events/{name}"][()] for name in "txyp"}


def _csv(path: Path) -> Columns:
    return dict(zip("txyp", np.loadtxt(path, np.int64, delimiter=",", skiprows=1).T, strict=True))


def _write_evt3(path: Path, events: Events) -> None:
    """EVT3 without vectors: the words of an event are its time and row, where they changed, and its column."""
    data = events.data
    t = data["t"] % 2**24
    high, low, y = 0x8000 | t >> 12, 0x6000 | t & 0xFFF, data["y"]
    words = np.stack([high, low, y, 0x2000 | data["p"].astype(np.int64) << 11 | data["x"]], 1)
    changed = np.ones(words.shape, bool)
    changed[1:, :3] = words[1:, :3] != words[:-1, :3]
    changed[:, 1] |= changed[:, 0]
    path.write_bytes(b"% evt 3.0\n% geometry 128x128\n" + words[changed].astype("<u2").tobytes())


def _write_aedat4(path: Path, events: Events) -> None:
    import dv_processing as dv

    writer = dv.io.MonoCameraWriter(str(path), dv.io.MonoCameraWriter.EventOnlyConfig("bench", SIZE[:2]))
    for first in range(0, len(events), 10_000):
        store = dv.EventStore()
        for x, y, t, p in events.data[first : first + 10_000].tolist():
            store.push_back(t + 1_700_000_000_000_000, x, y, p)
        writer.writeEvents(store)


def _dv(path: Path) -> Columns:
    import dv_processing as dv

    recording, parts = dv.io.MonoCameraRecording(str(path)), []
    while (part := recording.getNextEventBatch()) is not None:
        parts.append(part.numpy())
    whole = np.concatenate(parts)
    return dict(zip("txyp", (whole[name] for name in ("timestamp", "x", "y", "polarity")), strict=True))
