"""A graph as a NIR graph or file."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import (
    Constant,
    Graph,
    Linear,
    Multiply,
    Neuron,
    Output,
    Readout,
    Synapse,
    infer,
    sha256,
    write_atomic,
)
from neuroaccel.hardware.nir.layers import refuse, write_node
from neuroaccel.hardware.nir.neurons import encode, held, note_of
from neuroaccel.hardware.nir.profiles import Profile, check_reader, reader_of
from neuroaccel.hardware.nir.record import KEY, WHERE, Record, agreed_dt, escaped
from neuroaccel.hardware.nir.topology import check_recurrence

logger = logging.getLogger("neuroaccel")
COMPRESS_ABOVE = 2**16  # bytes of arrays


def _check(graph: Graph) -> None:
    """Refuse what is no matter of a single node."""
    if graph.timing != "instant":
        raise UnsupportedNode(
            next(iter(graph.of_type(Synapse)), next(iter(graph.nodes))),
            WHERE,
            "the graph is pipelined, and NIR's synapses take no time; export the graph as it was before it was retimed",
        )
    check_recurrence(graph)
    for name in graph.of_type(Readout):
        ends = graph.out_of(name)
        alone = all(isinstance(graph.nodes[e.target], Output) and len(graph.into(e.target)) == 1 for e in ends)
        if not ends or not alone or any(e.recurrent for e in graph.into(name)):
            raise UnsupportedNode(name, WHERE, "a readout is noted beside NIR's Output; it must lead to Outputs only")
    for name in graph.of_type(Constant):
        ends = graph.out_of(name)
        if len(ends) != 1 or ends[0].port != "gate" or not isinstance(graph.nodes[ends[0].target], Multiply):
            raise refuse(name, "Constant")


def _gate(graph: Graph, name: str) -> Constant | None:
    entering = graph.into(name, "gate")
    node = graph.nodes[entering[0].source] if len(entering) == 1 else None
    return node if isinstance(node, Constant) else None


def _folded(name: str, node: Synapse, factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """R per output of the synapse."""
    if isinstance(node, Linear):
        return factor
    flat = factor.reshape(factor.shape[0], -1)
    if np.any(flat != flat[:, :1]):
        raise UnsupportedNode(
            name, WHERE, "R differs within a channel, so no convolution holds it; use one per channel"
        )
    return np.asarray(flat[:, 0])


def _fold_r(graph: Graph, nir_of: dict[str, str], nodes: dict[str, Any], record: Record) -> None:
    """Move R into the weights before it, r = 1: what a reader that ignores r needs."""
    notes = {note["name"]: note for note in record.nodes}
    for name in graph.of_type(Neuron):
        field = nodes[nir_of[name]]
        factor = np.array(field.r)
        if np.all(factor == 1):
            continue
        for e in graph.into(name):
            source = graph.nodes[e.source]
            if not isinstance(source, Synapse):
                reason = f"R of '{name}' cannot be folded into {source.kind} '{e.source}', which has no weights"
                raise UnsupportedNode(e.source, WHERE, f"{reason}; export without fold_r")
            if len(graph.out_of(e.source)) != 1:
                reason = f"R of '{name}' cannot be folded into '{e.source}', which feeds other nodes too"
                raise UnsupportedNode(e.source, WHERE, f"{reason}; give '{name}' a synapse of its own")
            rows = _folded(name, source, factor)
            synapse = nodes[nir_of[e.source]]
            for key in ("weight", "bias"):
                old = getattr(synapse, key, None)
                if old is not None:
                    new = (old * rows.reshape(-1, *(1,) * (old.ndim - 1))).astype(np.float32)
                    if not np.all(np.isfinite(new)):
                        raise UnsupportedNode(
                            name, WHERE, f"R·{key} of '{e.source}' leaves float32; export without fold_r"
                        )
                    setattr(synapse, key, new)
            notes[e.source].pop("grid", None)
        # Powers of two only move exponents; any other factor rounds.
        record.bit_identical &= bool(np.all(np.frexp(factor)[0] == 0.5))
        field.r = np.ones_like(factor)
        options = notes[name]["options"]
        options["resistance" if options.get("form") == "euler" else "gain"] = options.get("form") != "euler"


def to_nir(
    graph: Graph,
    *,
    dt: float | None = None,
    fold_r: bool = False,
    allow_approximate: bool = False,
    profile: Profile = "strict",
) -> Any:
    """A graph as a ``nir.NIRGraph``; arguments and errors as of :func:`export_nir`."""
    reader = reader_of(profile)
    signals = infer(graph)
    dt = agreed_dt(dt, graph.dt, "export to NIR")
    _check(graph)
    nir_of = escaped(n for n, node in graph.nodes.items() if not isinstance(node, (Readout, Constant)))
    record = Record(sha256(graph), dt, fold_r or reader.fold_r, allow_approximate, profile, notes=dict(graph.metadata))
    nodes: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        own: dict[str, Any] = {"name": name, "kind": node.kind}
        record.nodes.append(own)
        if name not in nir_of:
            own |= {"how": node.how} if isinstance(node, Readout) else {}
            continue
        out = signals[name].shape
        entering = graph.into(name, "in")
        shape = signals[entering[0].source].shape if entering else out
        if isinstance(node, Neuron):
            known, lost = held(name, node, allow_approximate)
            kind, fields = encode(name, node, known, dt)
            written, note = getattr(nir, kind)(**fields), note_of(node, known, kind, fields, dt)
            if lost:
                record.approximate[name] = lost
                record.bit_identical = False
                logger.warning("NIR export, node '%s': %s", name, "; ".join(lost))
        else:
            written, note = write_node(name, node, shape, out, dt, _gate(graph, name))
        if isinstance(written, nir.Flatten) and reader.batch_axis:
            written.start_dim, written.end_dim = (int(d) - len(shape) for d in (written.start_dim, written.end_dim))
        # nir 1.0.8 takes a grouped convolution's channels and a rectangular kernel's width wrongly.
        written.input_type, written.output_type = {"input": np.array(shape)}, {"output": np.array(out)}
        nodes[nir_of[name]] = written
        own |= {"nir": nir_of[name], **note}
    record.edges = [[e.source, e.target, e.port, e.recurrent] for e in graph.edges]
    pairs = record.nir_pairs()
    if len(set(pairs)) != len(pairs):
        raise GraphError("export to NIR: two edges between the same nodes")
    if record.fold_r:
        _fold_r(graph, nir_of, nodes, record)
    names = {short: name for name, short in nir_of.items()}
    check_reader(profile, nodes, names, dt, any(e.recurrent for e in graph.edges))
    return nir.NIRGraph(nodes, pairs, metadata={KEY: record.to_json()}, type_check=False)


def write_nir(nir_graph: Any, path: str | os.PathLike[str]) -> Path:
    """Write a NIR graph; nobody ever sees half a file."""
    content = io.BytesIO()
    arrays = [
        value for node in nir_graph.nodes.values() for value in vars(node).values() if isinstance(value, np.ndarray)
    ]
    # Compressed arrays come in chunks of some kilobytes: worth it only where there is something to compress.
    nir.write(content, nir_graph, compression="gzip" if sum(a.nbytes for a in arrays) > COMPRESS_ABOVE else None)
    return write_atomic(path, content.getvalue())


def export_nir(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    dt: float | None = None,
    fold_r: bool = False,
    allow_approximate: bool = False,
    profile: Profile = "strict",
) -> Path:
    """Write a graph as a NIR file (HDF5).

    A neuron's decay β becomes τ = dt/(1 − β) and its gain R = gain·τ/dt, in float64; β = 1 becomes nir.IF (nir.I for
    LI), R = gain/dt. ``v ≥ θ`` becomes ``v > θ'``, θ' the float32 below θ. A recurrent edge becomes a plain edge: NIR
    leaves to its readers that a cycle takes one tick. A Readout is noted beside its Output. An Add becomes a Scale of
    ones, a Multiply by a Constant a Scale.

    Arguments:
        graph: timing ``instant``.
        path: the file, usually ``*.nir``.
        dt: seconds per tick, where the graph has none.
        fold_r: put R into the weights before each neuron, r = 1, for readers that ignore r; the weights then leave
            their grid, and unless every R is a power of two the bits change (the record says so).
        allow_approximate: write a subtractive or delayed reset as a reset to 0, with a warning.
        profile: ``strict``, or a reader whose limits are kept: ``snntorch``, ``norse`` (folds R), ``lava``.

    Returns:
        The path.

    Raises:
        UnsupportedNode: NIR, or the profile's reader, has no such node; says what to do.
        InputError: no dt, or another than the graph's.
        GraphError: the graph does not validate.
    """
    nir_graph = to_nir(graph, dt=dt, fold_r=fold_r, allow_approximate=allow_approximate, profile=profile)
    return write_nir(nir_graph, path)
