"""A NIR graph or file as a graph."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal

import h5py
import nir
import numpy as np

from neuroaccel.errors import FileFormatError, GraphError, NeuroaccelError, ProgramError, UnsupportedNode
from neuroaccel.graph import Add, Constant, Edge, Graph, Input, Multiply, Neuron, Node, Probe, Readout, chain, infer
from neuroaccel.graph.nodes import EdgeKind
from neuroaccel.hardware.nir.layers import Note, Shape, read_node, shape_of
from neuroaccel.hardware.nir.neurons import FIELDS, rebuild
from neuroaccel.hardware.nir.record import WHERE, Record, agreed_dt, read_record
from neuroaccel.hardware.nir.topology import Pair, inlined, recurrent_pairs

logger = logging.getLogger("neuroaccel")
Form = Literal["decay", "euler"]


def read_nir(path: str | os.PathLike[str]) -> Any:
    """Read a NIR file.

    Raises:
        FileFormatError: not there, truncated, no NIR file, or of unknown nodes.
    """
    if not Path(path).is_file():
        raise FileFormatError(f"{path}: no such NIR file")
    try:
        with h5py.File(path, "r") as stream:
            if "node" not in stream or "nodes" not in stream["node"]:
                raise FileFormatError(f"{path}: an HDF5 file, but not a NIR graph (no 'node/nodes')")
            for name, group in stream["node"]["nodes"].items():
                kind = group["type"][()]
                kind = kind.decode() if isinstance(kind, bytes) else str(kind)
                if not isinstance(getattr(nir, kind, None), type):
                    raise FileFormatError(f"{path}: node '{name}' has type '{kind}', unknown to nir {nir.version}")
        # nir 1.0.8 infers wrong shapes for rectangular kernels and groups, and would then refuse the file.
        return nir.read(path, type_check=False)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, AssertionError, IndexError) as error:
        if isinstance(error, NeuroaccelError):
            raise
        raise FileFormatError(f"{path}: not a readable NIR file ({error!r})") from error


class _Reader:
    """Builds the nodes of one NIR graph, asking what enters a node only where its own fields do not say its shape."""

    def __init__(self, nodes: dict[str, Any], pairs: list[Pair], dt: float, form: Form, edge: EdgeKind) -> None:
        self.nodes, self.dt, self.form, self.edge = nodes, dt, form, edge
        self.before: dict[str, list[str]] = {}
        for source, target in pairs:
            self.before.setdefault(target, []).append(source)
        self.shapes: dict[str, Shape] = {}

    def entering(self, name: str, seen: frozenset[str] = frozenset()) -> Shape:
        """Shape of what enters a node, ``()`` where nothing or only a cycle does."""
        for source in self.before.get(name, ()):
            if source not in seen and (shape := self.leaving(source, seen | {name})):
                return shape
        return ()

    def leaving(self, name: str, seen: frozenset[str]) -> Shape:
        node = self.nodes[name]
        for field in ("r", "scale", "threshold", "delay"):
            if np.size(getattr(node, field, 0)) > 1:
                return tuple(np.shape(getattr(node, field)))
        if isinstance(node, (nir.Linear, nir.Affine)):
            return tuple(np.shape(node.weight)[:-1])
        if isinstance(node, nir.Input):
            return shape_of(name, node.input_type, "input")
        if name not in self.shapes:
            shape = self.entering(name, seen)
            if not shape or not isinstance(node, (nir.Conv1d, nir.Conv2d, nir.SumPool2d, nir.AvgPool2d, nir.Flatten)):
                return shape
            alone = {"in": Input(shape), "node": read_node(name, node, shape, self.dt, {}, self.edge)}
            self.shapes[name] = infer(chain(alone))["node"].shape
        return self.shapes[name]

    def _full(self, name: str, value: Any) -> Any:
        """A field in float64, repeated over the layer where it is given once."""
        wide = np.asarray(value, np.float64)
        shape = self.entering(name) if wide.size == 1 else ()
        return np.array(np.broadcast_to(wide.reshape(()), shape)) if shape else wide

    def neuron(self, name: str, title: str, kind: str, source: Any, note: Note | None) -> Neuron:
        fields = {key: self._full(name, source[key]) for key in FIELDS[kind]}
        shape = np.broadcast_shapes(*(np.shape(value) for value in fields.values()))
        fields = {key: np.array(np.broadcast_to(value, shape)) for key, value in fields.items()}
        for key, value in fields.items():
            if not np.all(np.isfinite(value)):
                raise FileFormatError(f"NIR node '{title}': its {key} is not finite")
            if key.startswith("tau") and np.any(value <= 0):
                raise FileFormatError(f"NIR node '{title}': its {key} is not positive")
        return rebuild(title, kind, fields, tuple(shape), self.dt, self.form, note)

    def build(self, name: str, title: str, note: Note | None) -> dict[str, Node]:
        """The graph's nodes for a NIR node; edges enter the first and leave the one called ``title``."""
        node = self.nodes[name]
        kind = type(node).__name__
        if kind == "CubaLI":  # two leaky integrators in a row: u drives v in the same tick
            tau_syn = np.asarray(node.tau_syn, np.float64)
            syn = {"tau": tau_syn, "r": np.asarray(node.w_in, np.float64), "v_leak": np.zeros_like(tau_syn)}
            mem = {"tau": node.tau_mem, "r": node.r, "v_leak": node.v_leak}
            parts = {f"{title}.syn": syn, title: mem}
            return {part: self.neuron(name, part, "LI", fields, None) for part, fields in parts.items()}
        if kind == "Threshold":  # a LIF that forgets at once: v = 0·v + i
            zero = np.zeros_like(np.asarray(node.threshold, np.float64))
            fields = {"tau": zero + self.dt, "r": zero + 1, "v_leak": zero, "v_reset": zero}
            return {title: self.neuron(name, title, "LIF", fields | {"v_threshold": node.threshold}, None)}
        if kind in FIELDS:
            own = note if note is not None and note.get("kind") == "Neuron" and "neuron" in note else None
            return {title: self.neuron(name, title, kind, vars(node), own)}
        if kind == "Scale":
            scale = np.asarray(self._full(name, node.scale), np.float32)
            if note is not None and note.get("kind") in ("Add", "Probe") and np.all(scale == 1):
                return {title: Add() if note["kind"] == "Add" else Probe(note["threshold"])}
            gate = tuple(note["gate"]) if note is not None and "gate" in note else scale.shape
            small = scale[tuple(slice(0, 1) if g == 1 else slice(None) for g in gate)] if gate else scale.flat[0]
            same = len(gate) == scale.ndim and np.array_equal(np.broadcast_to(small, scale.shape), scale)
            return {title: Multiply(), f"{title}.scale": Constant(np.array(small if same else scale))}
        return {title: read_node(title, node, self.entering(name), self.dt, note or {}, self.edge)}


def _own(record: Record, reader: _Reader) -> tuple[dict[str, Node], tuple[Edge, ...]]:
    """The graph as it was exported: names, order and edges from the record, values from NIR's fields."""
    nodes: dict[str, Node] = {}
    constants: dict[str, str] = {source: target for source, target, port, _ in record.edges if port == "gate"}
    built: dict[str, Node] = {}
    for note in record.nodes:
        if "nir" in note:
            made = reader.build(note["nir"], note["name"], note)
            built[note["name"]] = made[note["name"]]
            built |= {f"{note['name']}\0gate": node for part, node in made.items() if part != note["name"]}
    for note in record.nodes:
        name = note["name"]
        if note["kind"] == "Readout":
            nodes[name] = Readout(note["how"])
        elif note["kind"] == "Constant":
            nodes[name] = built[f"{constants[name]}\0gate"]
        else:
            nodes[name] = built[name]
    return nodes, tuple(Edge(s, t, p, bool(r)) for s, t, p, r in record.edges)


def _foreign(reader: _Reader, pairs: list[Pair], notes: dict[str, Note]) -> tuple[dict[str, Node], tuple[Edge, ...]]:
    """Names and edges as the file has them; what closes a cycle becomes recurrent."""
    nodes: dict[str, Node] = {}
    enter: dict[str, str] = {}
    extra: list[Edge] = []
    for name in reader.nodes:
        made = reader.build(name, name, notes.get(name))
        if taken := set(made) & (set(nodes) | (set(reader.nodes) - {name})):
            raise UnsupportedNode(name, WHERE, f"it becomes several nodes here, and {sorted(taken)} are there already")
        nodes |= made
        first = next(iter(made))
        enter[name] = first
        if first != name:
            extra.append(Edge(first, name))
        elif len(made) > 1:
            extra.append(Edge(next(reversed(made)), name, "gate"))
    kinds = {name: type(node).__name__ for name, node in reader.nodes.items()}
    starts = sorted(kinds, key=lambda name: kinds[name] != "Input")
    neurons = {name for name in kinds if isinstance(nodes[name], Neuron)}
    delays = {name for name, kind in kinds.items() if kind == "Delay"}
    again = recurrent_pairs(starts, pairs, neurons, delays)
    edges = [Edge(a, enter[b], recurrent=(a, b) in again) for a, b in pairs]
    return nodes, tuple(edges + extra)


def from_nir(
    nir_graph: Any, *, dt: float, form: Form = "decay", edge: EdgeKind = "binary", where: str = "NIR graph"
) -> Graph:
    """A ``nir.NIRGraph`` as a graph; arguments and errors as of :func:`import_nir`."""
    if form not in ("decay", "euler"):
        raise ProgramError(f"form is 'decay' or 'euler', not '{form}'")
    record = read_record(nir_graph.metadata, where)
    dt = agreed_dt(dt, None if record is None else record.dt, where)
    nodes, pairs = inlined(nir_graph, where)
    reader = _Reader(nodes, pairs, dt, form, edge)
    notes = {} if record is None else {str(note["nir"]): note for note in record.nodes if "nir" in note}
    try:
        if record is not None and set(notes) == set(nodes) and sorted(pairs) == record.nir_pairs():
            found, edges = _own(record, reader)
            metadata = record.notes
        else:
            if record is not None:
                logger.warning(
                    "%s: its nodes or edges were changed after its export; names and edges are the file's", where
                )
            found, edges = _foreign(reader, pairs, notes)
            metadata = {"source": "NIR", "form": form}
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, NeuroaccelError):
            raise
        raise FileFormatError(f"{where}: inconsistent NIR graph ({error!r})") from error
    if not any(isinstance(node, Input) for node in found.values()):
        raise FileFormatError(f"{where}: the NIR graph has no Input node")
    return Graph(found, edges, dt=dt, metadata=metadata).validate()


def import_nir(
    source: str | os.PathLike[str] | Any, *, dt: float, form: Form = "decay", edge: EdgeKind = "binary"
) -> Graph:
    """Read a NIR file, or a ``nir.NIRGraph``, as a graph.

    A file that :func:`~neuroaccel.hardware.nir.export_nir` wrote comes back as the graph that it was, bit for bit:
    programs, ties, scalars, grids, names and the order of nodes and edges come from its record, all values from NIR's
    own fields. In any other file β = float32(1 − dt/τ), gain = float32(R·dt/τ); the edge that leaves the last neuron
    of a cycle becomes recurrent; nested graphs are unrolled; Threshold becomes a LIF with β = 0, CubaLI two LI, Scale
    a Multiply by a Constant.

    Arguments:
        source: the file or graph.
        dt: seconds per tick; NIR itself does not say.
        form: how a LIF is discretised, ``decay`` or ``euler``, where the file does not say.
        edge: kind of what enters an Input (binary, count, analog), where the file does not say.

    Returns:
        The graph, validated, with this dt.

    Raises:
        FileFormatError: not a NIR file, truncated, damaged, or of a newer format.
        InputError: another dt than the file was written for.
        UnsupportedNode: a node or constant that the graph cannot hold; says which and why.
    """
    if isinstance(source, nir.NIRGraph):
        return from_nir(source, dt=dt, form=form, edge=edge)
    try:
        return from_nir(read_nir(source), dt=dt, form=form, edge=edge, where=str(source))
    except (GraphError, ProgramError) as error:
        raise FileFormatError(f"{source}: {error}") from error
