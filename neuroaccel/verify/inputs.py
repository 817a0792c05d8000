"""What is given to executors, in the one form that verification works with: input name → float32 ``[T, N, *shape]``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.events import EventStream
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, traced

Inputs = dict[str, NDArray[np.float32]]
CHUNK = 64
TRACE_BYTES = 2**27  # of one trace; about three are held at a time


def _dense(name: str, value: Any) -> NDArray[np.float32]:
    if isinstance(value, Sequence) and value and all(isinstance(v, EventStream) for v in value):
        ticks = {v.ticks for v in value}
        if len(ticks) > 1:
            raise InputError(f"input '{name}': the event streams have different numbers of ticks, {sorted(ticks)}")
        return np.stack([v.to_dense(np.float32) for v in value], axis=1)
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise InputError(f"input '{name}' is {found.dtype}, expected numbers")
    dense = found.astype(np.float32)
    if not np.array_equal(dense.astype(np.float64), found.astype(np.float64)):
        raise InputError(f"input '{name}' holds values that are not finite, or that float32 cannot hold")
    return dense


def as_inputs(graph: Graph, x: Any) -> Inputs:
    """Inputs of a graph as float32 arrays.

    Arguments:
        graph: whose inputs they are.
        x: ``[T, N, *shape]`` array or tensor, a list of event streams (one per sample), or input name → one of these.

    Raises:
        InputError: names, shapes, ticks or samples that do not fit, or values that float32 cannot hold.
    """
    if not graph.inputs:
        raise InputError("the graph has no Input, there is nothing to run")
    given = dict(x) if isinstance(x, Mapping) else {graph.inputs[0]: x}
    if set(given) != set(graph.inputs):
        raise InputError(f"inputs {sorted(given)} given, the graph takes {sorted(graph.inputs)}")
    out = {name: _dense(name, given[name]) for name in graph.inputs}
    for name, value in out.items():
        shape = graph.nodes[name].shape  # type: ignore[attr-defined]
        if value.ndim < 2 or value.shape[2:] != shape or 0 in value.shape[:2]:
            raise InputError(f"input '{name}' has shape {value.shape}, expected [T, N, {', '.join(map(str, shape))}]")
    if len({value.shape[:2] for value in out.values()}) > 1:
        raise InputError("all inputs need the same number of ticks and samples")
    return out


def size_of(inputs: Inputs) -> tuple[int, int]:
    """(ticks, samples)."""
    ticks, samples = next(iter(inputs.values())).shape[:2]
    return int(ticks), int(samples)


def part(inputs: Inputs, first: int, last: int) -> Inputs:
    """Samples ``first`` to ``last − 1``."""
    return {name: np.ascontiguousarray(value[:, first:last]) for name, value in inputs.items()}


def chunks(graph: Graph, inputs: Inputs, at_most: int = CHUNK) -> Iterator[tuple[int, int]]:
    """(first, last) of runs of samples whose traces stay small: at most ``at_most`` samples, about 128 MB."""
    ticks, samples = size_of(inputs)
    values = sum(each.steps * each.node.size * (2 + len(each.node.program.states)) for each in traced(graph).values())
    step = max(1, min(at_most, TRACE_BYTES // max(1, 8 * ticks * values)))
    for first in range(0, samples, step):
        yield first, min(first + step, samples)


def sha256_of(inputs: Inputs) -> str:
    """Hash of names, shapes and values (float32, little-endian, −0 as 0)."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        value = inputs[name]
        digest.update(f"{name}{list(value.shape)}".encode())
        for n in range(value.shape[1]):
            digest.update((value[:, n] + np.float32(0)).astype("<f4").tobytes())
    return digest.hexdigest()
