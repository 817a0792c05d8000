"""Two traces side by side: how many spikes, currents, states and outputs differ, and where the two part first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import Graph, Scope, Trace, infer, traced
from neuroaccel.verify.divergence import STATE, Divergence, different, first_divergence, recordings


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two traces found; comparisons of parts of a run add up.

    Arguments:
        samples: how many were compared.
        spikes: events that the other executor's spiking neurons emitted (non-zero emissions).
        reference_spikes: the same of the reference.
        differing: emissions of spiking neurons that differ.
        outputs_differing, currents_differing, states_differing: values that differ, over all ticks.
        max_membrane_error: largest distance of two membranes; infinite where one is not a number.
        exact_differing: values of all of these kinds that differ though their node is exact.
        lacking: what the other executor did not record, or recorded in another shape.
        divergence: the first place where the two part.
    """

    samples: int = 0
    spikes: int = 0
    reference_spikes: int = 0
    differing: int = 0
    outputs_differing: int = 0
    currents_differing: int = 0
    states_differing: int = 0
    max_membrane_error: float = 0.0
    exact_differing: int = 0
    lacking: tuple[str, ...] = ()
    divergence: Divergence | None = None

    @property
    def identical(self) -> bool:
        """Whether currents, states, emissions and outputs are all there and bit for bit the same."""
        differences = (self.differing, self.outputs_differing, self.currents_differing, self.states_differing)
        return not any(differences) and not self.lacking

    def __add__(self, other: Comparison) -> Comparison:
        found = [d for d in (self.divergence, other.divergence) if d is not None]
        return Comparison(
            samples=self.samples + other.samples,
            spikes=self.spikes + other.spikes,
            reference_spikes=self.reference_spikes + other.reference_spikes,
            differing=self.differing + other.differing,
            outputs_differing=self.outputs_differing + other.outputs_differing,
            currents_differing=self.currents_differing + other.currents_differing,
            states_differing=self.states_differing + other.states_differing,
            max_membrane_error=max(self.max_membrane_error, other.max_membrane_error),
            exact_differing=self.exact_differing + other.exact_differing,
            lacking=tuple(dict.fromkeys((*self.lacking, *other.lacking))),
            divergence=min(found, key=lambda d: d.order, default=None),
        )


def compare(
    graph: Graph, a: Trace, b: Trace, names: tuple[str, str] = ("the reference", "the other"), first_sample: int = 0
) -> Comparison:
    """Compare two runs of a graph bit for bit; −0 equals 0, a NaN differs from everything.

    Arguments:
        graph: what the reference ran.
        a, b: traces of the reference and of the other executor; what only ``b`` holds is not looked at.
        names: what to call the two.
        first_sample: number of the traces' first sample, where they hold a part of a run.
    """
    counts = {"spike": 0, "current": 0, "state": 0, "output": 0}
    spikes, error, lacking = [0, 0], 0.0, []
    layers, exact, against = traced(graph), exact_nodes(graph), 0
    for name, operation, x, y in _pairs(graph, a, b):
        if x is None or y is None or x.shape != y.shape:
            found = "nothing" if y is None else f"shape {y.shape}" if x is not None else "something"
            expected = "nothing" if x is None else f"shape {x.shape}"
            lacking.append(f"{operation} of '{name}': {found} from {names[1]}, {expected} from {names[0]}")
            continue
        node = layers[name].node if name in layers else None
        spiking = operation == "spike" and node is not None and node.program.emit.kind != "state"
        if spiking:
            spikes = [spikes[0] + int(np.count_nonzero(x)), spikes[1] + int(np.count_nonzero(y))]
        mask = different(x, y)
        wrong = int(np.count_nonzero(mask))
        against += wrong if name in exact else 0
        counts[operation.split(" ")[0]] += wrong if operation != "spike" or spiking else 0
        if wrong and node is not None and operation == f"{STATE}{node.program.membrane}":
            away = np.abs(x[mask].astype(np.float64) - y[mask].astype(np.float64))
            error = max(error, float(np.where(np.isnan(away), np.inf, away).max()))
    return Comparison(
        samples=next(iter(a.outputs.values())).shape[1] if a.outputs else 0,
        spikes=spikes[1],
        reference_spikes=spikes[0],
        differing=counts["spike"],
        outputs_differing=counts["output"],
        currents_differing=counts["current"],
        states_differing=counts["state"],
        max_membrane_error=error,
        exact_differing=against,
        lacking=tuple(lacking),
        divergence=first_divergence(graph, a, b, names, first_sample) if any(counts.values()) else None,
    )


def exact_nodes(graph: Graph) -> frozenset[str]:
    """Nodes that every executor computes bit for bit; those of scopes, as ``scope/node``, if what enters them is so."""
    signals = infer(graph)
    found = {name for name, signal in signals.items() if signal.exact}
    for name in graph.of_type(Scope):
        node = graph.nodes[name]
        if isinstance(node, Scope) and all(signals[e.source].exact for e in graph.into(name)):
            found |= {f"{name}/{inner}" for inner in exact_nodes(node.graph)}
    return frozenset(found)


def _pairs(graph: Graph, a: Trace, b: Trace) -> Iterator[tuple[str, str, NDArray[Any] | None, NDArray[Any] | None]]:
    """(node, operation, reference's values, other's values) of everything that a trace of the graph should hold."""
    for name in traced(graph):
        for (operation, x), (_, y) in zip(recordings(graph, a, name), recordings(graph, b, name), strict=True):
            yield name, operation, x, y
    for name in graph.outputs:
        yield name, "output", a.outputs.get(name), b.outputs.get(name)
