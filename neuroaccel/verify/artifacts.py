"""Exported files, checked for themselves: array for array against their graph, then by the spikes that they give."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neuroaccel.engine.plan import Number
from neuroaccel.errors import (
    ExecutorFailure,
    ExecutorUnavailable,
    FileFormatError,
    GraphError,
    InputError,
    UnsupportedNode,
)
from neuroaccel.graph import Graph, load_graph, sha256
from neuroaccel.verify.compare import Comparison, compare
from neuroaccel.verify.executors import STAND_IN_DT, engine_trace, natural, quantised
from neuroaccel.verify.inputs import Inputs, as_inputs, chunks, part, size_of

Kind = Literal["nir", "lava", "model"]
APPROXIMATE = "the export was allowed to change bits"
SHOWN = 10


@dataclass(frozen=True)
class ArtifactReport:
    """What became of one exported artifact.

    Arguments:
        path, kind: the file or folder, and what it is.
        status: ``ok``; ``differs``; ``refused``, where it holds what no executor runs; ``unavailable``, where its
            arrays are right and its executor is not installed.
        sha256: of the graph that it should hold.
        differences: one line per array value or field that differs, naming node and index.
        spikes: the comparison of its spikes, ``None`` where it was not run.
        reason: why it is not ok, where the lines do not say; or what an export that was allowed to approximate changed.
    """

    path: str
    kind: Kind
    status: Literal["ok", "differs", "refused", "unavailable"]
    sha256: str
    differences: tuple[str, ...] = ()
    spikes: Comparison | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        c = self.spikes
        counts = None
        if c is not None:
            counts = {
                "samples": c.samples,
                "spikes": c.spikes,
                "differing": c.differing,
                "outputs_differing": c.outputs_differing,
                "states_differing": c.states_differing,
                "first_divergence": None if c.divergence is None else c.divergence.to_json(),
            }
        return {**vars(self), "differences": list(self.differences), "spikes": counts}


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """What an artifact is, by its name; a NIR file also by its first bytes, for it may have any name.

    Raises:
        FileFormatError: it is not there, or nothing that was exported.
    """
    found = Path(path)
    if found.is_dir():
        if not (found / "graph.json").is_file():
            raise FileFormatError(f"{path}: a folder without graph.json is no Lava bundle")
        return "lava"
    if not found.is_file():
        raise FileFormatError(f"{path}: no such artifact")
    with found.open("rb") as stream:
        hdf5 = stream.read(8) == b"\x89HDF\r\n\x1a\n"
    if found.suffix == ".nir" or hdf5:
        return "nir"
    if found.suffix == ".safetensors":
        return "model"
    raise FileFormatError(f"{path}: an artifact is a .nir file, a .safetensors file or the folder of a Lava bundle")


def check_artifact(
    graph: Graph, path: str | os.PathLike[str], x: Any = None, *, lava_samples: int = 16
) -> ArtifactReport:
    """Check an exported artifact against the graph that it should hold.

    Its arrays are compared one by one; then it is run itself: a NIR file is imported and runs in the engine, a Lava
    bundle runs in Lava, and the spikes are compared.

    Arguments:
        graph: what was exported.
        path: a ``.nir`` file, the folder of a Lava bundle, or a model's ``.safetensors`` file.
        x: inputs to run it on (:func:`~neuroaccel.verify.inputs.as_inputs`); without any, only arrays are compared.
        lava_samples: samples that Lava runs.

    Raises:
        FileFormatError: it is not there, not readable, or nothing that was exported.
    """
    kind = kind_of(path)
    inputs = None if x is None else as_inputs(graph, x)
    check = {"nir": _check_nir, "lava": _check_lava, "model": _check_model}[kind]
    differences: list[str] = []
    comparison: Comparison | None = None
    approximate = False
    status: Literal["ok", "differs", "refused", "unavailable"] = "ok"
    reason = ""
    try:
        for found in check(graph, path, inputs, lava_samples):
            if isinstance(found, Comparison):
                comparison = found
            elif found is APPROXIMATE:
                approximate = True
            else:
                differences.append(found)
    except (UnsupportedNode, GraphError) as error:
        status, reason = "refused", str(error)
    except ExecutorUnavailable as error:
        status, reason = "unavailable", str(error)
    except ExecutorFailure as error:
        status, reason = "differs", str(error)
    if comparison is not None and comparison.divergence is not None:
        reason = str(comparison.divergence)
    elif comparison is not None and comparison.lacking:
        reason = comparison.lacking[0]
    identical = comparison is None or comparison.identical
    if approximate and not identical and comparison is not None and not comparison.lacking:
        reason = f"exported as an approximation, as its record says: {comparison.differing} spikes differ; {reason}"
        identical = not comparison.differing and not comparison.outputs_differing  # membranes may, spikes may not
    if differences or not identical:
        status = "differs"
    return ArtifactReport(str(path), kind, status, sha256(graph), tuple(differences), comparison, reason)


Found = Iterator[str | Comparison]


def _run_other(graph: Graph, other: Graph, inputs: Inputs, name: str) -> Found:
    """Spikes of two graphs in the engine; what is lacking in the other one counts as different."""
    try:
        as_inputs(other, inputs)
    except InputError as error:
        yield f"{name} does not take the graph's inputs: {error}"
        return
    number = natural(graph)
    total = Comparison()
    for first, last in chunks(graph, inputs):
        x = part(inputs, first, last)
        expected = engine_trace(graph, x, number)
        total += compare(graph, expected, engine_trace(other, x, number), ("the graph", name), first)
    yield total


def _check_nir(graph: Graph, path: str | os.PathLike[str], inputs: Inputs | None, lava_samples: int) -> Found:
    from neuroaccel.hardware.nir import compare_nir, import_nir
    from neuroaccel.hardware.nir.importer import read_nir
    from neuroaccel.hardware.nir.record import read_record

    yield from compare_nir(graph, path)
    if inputs is not None:
        record = read_record(read_nir(path).metadata, str(path))
        dt = graph.dt if graph.dt is not None or record is None else record.dt
        back = import_nir(path, dt=STAND_IN_DT if dt is None else dt)
        if record is not None and not record.bit_identical:
            yield APPROXIMATE
        yield from _run_other(graph, back, inputs, "the NIR file")


def _check_lava(graph: Graph, path: str | os.PathLike[str], inputs: Inputs | None, lava_samples: int) -> Found:
    from neuroaccel.hardware.lava import compare_lava, load_bundle, run_bundle
    from neuroaccel.hardware.lava.run import dense_inputs

    yield from compare_lava(graph, path)
    if inputs is None:
        return
    x = part(inputs, 0, min(lava_samples, size_of(inputs)[1]))
    fixed = load_bundle(path).description["model"] == "fixed"
    reference = quantised(graph) if fixed and natural(graph) != "integer" else graph
    number: Number = "integer" if fixed else "float64"
    found = run_bundle(path, dense_inputs(reference, x))
    yield compare(reference, engine_trace(reference, x, number), found, ("the graph", "the Lava bundle"))


def _check_model(graph: Graph, path: str | os.PathLike[str], inputs: Inputs | None, lava_samples: int) -> Found:
    other = load_graph(path)
    yield from compare_graphs(graph, other)
    if sha256(other) == sha256(graph):
        return
    if inputs is not None:
        yield from _run_other(graph, other, inputs, "the model file")


def compare_graphs(graph: Graph, other: Graph) -> list[str]:
    """Two graphs node by node and array by array; notes in the metadata are not compared.

    Returns:
        One line per difference, naming node and index; what ``other`` holds comes first.
    """
    out = []
    if (a := sha256(other)) != (b := sha256(graph)):
        out.append(f"its graph is {a[:16]}…, expected is {b[:16]}…")
    for field in ("timing", "dt"):
        if getattr(graph, field) != getattr(other, field):
            out.append(f"{field} is {getattr(other, field)}, expected {getattr(graph, field)}")
    ours, theirs = ({(e.name, e.recurrent) for e in g.edges} for g in (graph, other))
    out += [f"edge '{name}': only in one of them" for name, _ in sorted(ours ^ theirs)]
    for name in dict.fromkeys((*graph.nodes, *other.nodes)):
        if name not in graph.nodes or name not in other.nodes:
            out.append(f"node '{name}': only in the {'artifact' if name in other.nodes else 'graph'}")
        elif type(graph.nodes[name]) is not type(other.nodes[name]):
            out.append(f"node '{name}': is a {other.nodes[name].kind}, expected {graph.nodes[name].kind}")
        else:
            found = list(_values(f"node '{name}'", "", other.nodes[name], graph.nodes[name]))
            out += found[:SHOWN] + ([f"node '{name}': {len(found)} values differ"] if len(found) > SHOWN else [])
    return out


def _values(where: str, path: str, found: Any, expected: Any) -> Iterator[str]:
    """Lines on two nodes or fields of nodes."""
    if isinstance(expected, np.ndarray | np.generic) and isinstance(found, np.ndarray | np.generic):
        a, b = np.asarray(found), np.asarray(expected)
        if a.shape != b.shape or a.dtype != b.dtype:
            yield f"{where}: {path} is {a.dtype}{list(a.shape)}, expected {b.dtype}{list(b.shape)}"
            return
        for index in np.argwhere((a != b) | (np.signbit(a) != np.signbit(b)) if a.dtype.kind == "f" else a != b):
            at = tuple(int(k) for k in index)
            yield f"{where}: {path}{list(at)} is {a[at].item()!r}, expected {b[at].item()!r}"
    elif dataclasses.is_dataclass(expected) and type(found) is type(expected):
        for field in dataclasses.fields(expected):
            inner = f"{path}.{field.name}" if path else field.name
            yield from _values(where, inner, getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, Graph) and isinstance(found, Graph):
        yield from (f"{where}: {line}" for line in compare_graphs(expected, found))
    elif isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys((*expected, *found)):
            if key not in expected or key not in found:
                yield f"{where}: {path} has '{key}' in one of them only"
            else:
                yield from _values(where, f"{path}.{key}", found[key], expected[key])
    elif found != expected:
        yield f"{where}: {path} is {found!r}, expected {expected!r}"
