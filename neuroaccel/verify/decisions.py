"""What a network decides: the comparison that is left where arithmetic is only close."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, Readout, Trace, infer

Decisions = NDArray[np.int64]


def is_exact(graph: Graph) -> bool:
    """Whether every executor must compute every value of a graph bit for bit the same."""
    return all(signal.exact for signal in infer(graph).values())


def decisions(graph: Graph, trace: Trace) -> dict[str, Decisions]:
    """Output name → the decision of every sample, ``[N]``.

    The argmax of a Readout's last value, of what other nodes give summed over all ticks; ties go to the lower index.
    """
    out = {}
    for name in graph.outputs:
        values = np.asarray(trace.outputs[name])
        running = any(isinstance(graph.nodes[e.source], Readout) for e in graph.into(name))
        final = values[-1] if running else values.sum(axis=0)
        out[name] = final.reshape(len(final), -1).argmax(axis=1).astype(np.int64)
    return out


def deciding_output(graph: Graph) -> str:
    """The output whose decision is the network's: the first behind a Readout, else the first."""
    for name in graph.outputs:
        if any(isinstance(graph.nodes[e.source], Readout) for e in graph.into(name)):
            return name
    return graph.outputs[0]


def as_labels(labels: Any, samples: int) -> Decisions:
    """Labels as int64 ``[N]``.

    Raises:
        InputError: not one whole number per sample.
    """
    found = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if found.shape != (samples,) or found.dtype.kind not in "iu":
        raise InputError(f"labels are {found.dtype}{list(found.shape)}, expected whole numbers [{samples}]")
    return found.astype(np.int64)
