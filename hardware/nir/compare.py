"""Holding a NIR file against the graph that it should be the export of."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import numpy as np

from neuroaccel.graph import Graph, sha256
from neuroaccel.hardware.nir.exporter import to_nir
from neuroaccel.hardware.nir.importer import read_nir
from neuroaccel.hardware.nir.record import KEY, Record, agreed_dt, read_record

SHOWN = 3


def _array(where: str, field: str, found: Any, expected: Any) -> list[str]:
    if isinstance(found, str) or isinstance(expected, str):
        return [] if found == expected else [f"{where}: {field} is {found!r}, the graph has {expected!r}"]
    a, b = np.asarray(found), np.asarray(expected)
    if a.shape != b.shape:
        return [f"{where}: {field} has shape {a.shape}, the graph has {b.shape}"]
    if a.dtype.kind != b.dtype.kind or (a.dtype.kind == "f" and a.dtype != b.dtype):
        return [f"{where}: {field} is {a.dtype}, the graph has {b.dtype}"]
    # Bits, not values: 0 and -0 differ, a NaN is equal to itself.
    raw = np.dtype(f"u{a.dtype.itemsize}")
    unequal = a.view(raw) != b.view(raw) if a.dtype.kind == "f" else a != b
    wrong = np.argwhere(np.atleast_1d(unequal)) if a.ndim else np.zeros((int(unequal), 0), int)
    out = []
    for row in wrong[:SHOWN]:
        index = tuple(int(i) for i in row)
        at = ", ".join(map(str, index))
        out.append(f"{where}: {field}[{at}] is {a[index].item()!r}, the graph has {b[index].item()!r}")
    if len(wrong) > SHOWN:
        out[-1] += f"; {len(wrong)} of {a.size} values differ"
    return out


def _fields(node: Any) -> dict[str, Any]:
    data: dict[str, Any] = node.to_dict()
    return {key: value for key, value in data.items() if key not in ("type", "metadata")}


def _records(found: Record, expected: Record) -> list[str]:
    a, b = asdict(found), asdict(expected)
    out = [
        f"record: {key} is {a[key]!r}, the graph has {b[key]!r}"
        for key in ("edges", "approximate", "bit_identical")
        if a[key] != b[key]
    ]
    notes = {note["name"]: note for note in expected.nodes}
    for note in found.nodes:
        other = notes.get(note["name"], {})
        keys = sorted(key for key in set(note) | set(other) if note.get(key) != other.get(key))
        out += [
            f"node '{note['name']}': its recorded {key} is {note.get(key)!r}, the graph has {other.get(key)!r}"
            for key in keys
        ]
    return out


def compare_nir(graph: Graph, path: str | os.PathLike[str]) -> list[str]:
    """What a NIR file holds that is not the export of this graph, field by field and bit by bit.

    Arguments:
        graph: the graph that the file should hold.
        path: a file that :func:`~neuroaccel.hardware.nir.export_nir` wrote.

    Returns:
        One line per difference, naming node and index; empty if there is none.

    Raises:
        FileFormatError: the file is not readable.
        UnsupportedNode: NIR cannot hold the graph at all.
    """
    found = read_nir(path)
    record = read_record(found.metadata, str(path))
    if record is None:
        return [f"{path}: no record of neuroaccel in it; it was not exported from any graph"]
    out = []
    if record.sha256 != (own := sha256(graph)):
        out.append(f"{path}: exported from the graph {record.sha256[:16]}…, this one is {own[:16]}…")
    if graph.dt is not None and not np.isclose(graph.dt, record.dt, rtol=1e-9, atol=0):
        return [*out, f"{path}: written for dt = {record.dt} s, the graph has {graph.dt} s"]
    options: dict[str, Any] = {"allow_approximate": record.allow_approximate, "profile": record.profile}
    dt = agreed_dt(record.dt, graph.dt, str(path))
    expected = to_nir(graph, dt=dt, fold_r=record.fold_r, **options)
    names = {note["nir"]: note["name"] for note in record.nodes if "nir" in note}
    for short in sorted(set(found.nodes) | set(expected.nodes)):
        where = f"node '{names.get(short, short)}'"
        a, b = found.nodes.get(short), expected.nodes.get(short)
        if a is None or b is None:
            out.append(f"{where}: only in the {'graph' if a is None else 'file'}")
        elif type(a) is not type(b):
            out.append(f"{where}: is a {type(a).__name__}, the graph has {type(b).__name__}")
        else:
            theirs, ours = _fields(a), _fields(b)
            for field in ours:
                out += _array(where, field, theirs.get(field), ours[field])
    edges = [{(names.get(s, s), names.get(t, t)) for s, t in g.edges} for g in (found, expected)]
    out += [f"edge {s} -> {t}: only in the file" for s, t in sorted(edges[0] - edges[1])]
    out += [f"edge {s} -> {t}: only in the graph" for s, t in sorted(edges[1] - edges[0])]
    again = read_record({KEY: expected.metadata[KEY]}, "export")
    return out + (_records(record, again) if again is not None else [])
