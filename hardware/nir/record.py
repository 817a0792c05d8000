"""What a NIR file of ours carries beside NIR's own fields: one JSON string in the metadata of its graph."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from neuroaccel.errors import FileFormatError, InputError

KEY = "neuroaccel"
FORMAT = 1
WHERE = "NIR"


@dataclass
class Record:
    """The record of an export.

    Arguments:
        sha256: hash of the exported graph.
        dt: seconds per tick that τ and R were written for.
        fold_r, allow_approximate, profile: the options of the export.
        nodes: per node of the graph, in its order: ``name``, ``kind``, its ``nir`` name (absent where NIR has no node
            for it) and what NIR has no field for.
        edges: source, target, port, recurrent, in the order of the graph.
        approximate: node → what was approximated.
        bit_identical: whether a reader of NIR's fields alone computes the same bits (not after R was folded).
        notes: the graph's own metadata.
    """

    sha256: str
    dt: float
    fold_r: bool = False
    allow_approximate: bool = False
    profile: str = "strict"
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[list[Any]] = field(default_factory=list)
    approximate: dict[str, list[str]] = field(default_factory=dict)
    bit_identical: bool = True
    notes: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    def nir_pairs(self) -> list[tuple[str, str]]:
        """NIR's edges, sorted: readouts are passed over, and a constant is part of the node that it scales."""
        nir = {n["name"]: n.get("nir") for n in self.nodes}
        behind: dict[str, list[str]] = {}
        for source, target, _, _ in self.edges:
            behind.setdefault(source, []).append(target)
        kinds = {n["name"]: n["kind"] for n in self.nodes}
        pairs = []
        for source, target, _, _ in self.edges:
            if kinds[source] in ("Readout", "Constant"):
                continue
            ends = behind.get(target, []) if kinds[target] == "Readout" else [target]
            pairs += [(str(nir[source]), str(nir[end])) for end in ends]
        return sorted(pairs)


def read_record(metadata: Any, where: str) -> Record | None:
    """The record in a NIR graph's metadata, ``None`` in a file that somebody else wrote.

    Raises:
        FileFormatError: a record that is newer than this reader, or damaged.
    """
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if text is None:
        return None
    try:
        data = json.loads(text)
        version = int(data["format"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{where}: its record '{KEY}' in the metadata is not readable ({error!r})") from error
    if version > FORMAT:
        raise FileFormatError(f"{where}: written with format {version}, this neuroaccel reads up to {FORMAT}")
    try:
        record = Record(**data)
        names = {str(n["name"]) for n in record.nodes if str(n["kind"])}
        ends = {end for source, target, _, _ in record.edges for end in (source, target)}
        if not isinstance(record.dt, float) or not ends <= names:
            raise ValueError("dt is no number, or an edge ends nowhere")
        return record
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{where}: its record '{KEY}' in the metadata is damaged ({error!r})") from error


def escaped(names: Iterable[str]) -> dict[str, str]:
    """A distinct NIR name for every name: letters, digits and ``_``, as HDF5 paths and torch modules demand."""
    out: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_]", "_", name)
        base = base if base[:1].isalpha() else f"n{base}"
        free, k = base, 1
        while free in taken:
            k += 1
            free = f"{base}_{k}"
        taken.add(free)
        out[name] = free
    return out


def agreed_dt(first: float | None, second: float | None, what: str) -> float:
    """The one dt of two sources, each of which may be silent.

    Raises:
        InputError: neither names a dt, they disagree, or it is not a positive number of seconds.
    """
    dt = second if first is None else first
    if dt is None:
        raise InputError(f"{what}: NIR is in seconds; name the seconds per tick (dt=...)")
    if not (math.isfinite(dt) and dt > 0):
        raise InputError(f"{what}: dt must be positive seconds, not {dt}")
    if second is not None and not math.isclose(dt, second, rel_tol=1e-9):
        raise InputError(f"{what}: dt={first} was given, but it is {second} there")
    return float(dt)
