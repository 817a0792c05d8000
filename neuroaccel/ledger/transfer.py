"""What synapses carry: living ones, their operations for W and V apart, and how much each of them passes on.

The paper (arXiv 2508.21566) reports an efficiency of synaptic information transfer; its definition was not available.
Both here are ours:

    (a) current per synapse   Σ over neurons of the mean over ticks and samples of |i|, divided by living synapses
    (b) information           I(X; Y) = Σ p(x, y)·log2(p(x, y)/(p(x)·p(y))) bits, X the number of events that reach the
                              layer in a tick, Y the spikes that its neurons emit in that tick, each in at most 8 bins
                              of equal counts; over connectivity, and over synaptic operations of a tick

(b) is the plug-in estimate over all (tick, sample) pairs, which few pairs bias upwards by about 49/(2·pairs·ln 2) bits:
compare it between nets on the same samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError
from neuroaccel.graph import Graph
from neuroaccel.graph import nodes as n
from neuroaccel.graph.fanout import fan_out
from neuroaccel.ledger.dense import count_from_emissions
from neuroaccel.ledger.energy_report import energy

BINS = 8


@dataclass(frozen=True)
class LayerTransfer:
    """What one synapse layer carries, per decision (mean over samples).

    Arguments:
        node: its name.
        living_w, total_w: weights that are not 0, and all of them.
        living_v, total_v: likewise of the gate; 0 where there is none.
        biases: biases that are not 0.
        sops_w, sops_v: products of an event and a living weight, W and V apart.
        interactions: products y·z of neurons that both reached (multiply-accumulates).
        energy_pj: of the layer, (low, high); the profile's memory and arithmetic.
        current: Σ over neurons of the mean of |i|.
        information: bits per tick from the events that arrive to the spikes that follow; None where no neuron does.
        ticks: ticks of a decision.
    """

    node: str
    living_w: int
    total_w: int
    living_v: int
    total_v: int
    biases: int
    sops_w: float
    sops_v: float
    interactions: float
    energy_pj: tuple[float, float]
    current: float
    information: float | None
    ticks: int

    @property
    def connectivity(self) -> float:
        return (self.living_w + self.living_v) / (self.total_w + self.total_v)

    @property
    def current_per_synapse(self) -> float:
        """(a)."""
        return self.current / max(1, self.living_w + self.living_v)

    @property
    def information_per_connectivity(self) -> float | None:
        """(b), bits per tick over the share of synapses that live."""
        return None if self.information is None or not self.connectivity else self.information / self.connectivity

    @property
    def information_per_operation(self) -> float | None:
        """(b), bits per synaptic operation."""
        sops = (self.sops_w + self.sops_v) / self.ticks
        return None if self.information is None or not sops else self.information / sops

    def to_json(self) -> dict[str, Any]:
        derived = ("connectivity", "current_per_synapse", "information_per_connectivity", "information_per_operation")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerTransfer:
        """The record that :meth:`to_json` wrote; what is derived is derived anew.

        Raises:
            InputError: a field is missing.
        """
        missing = [field.name for field in fields(cls) if field.name not in data]
        if missing:
            raise InputError(f"transfer: a layer's record has no {', '.join(missing)}")
        given = {field.name: data[field.name] for field in fields(cls)}
        low, high = given["energy_pj"]
        return cls(**{**given, "energy_pj": (low, high)})


def transfer(graph: Graph, x: Any, profile: str = "cmos45") -> list[LayerTransfer]:
    """What every synapse layer of a graph carries on an input, in the order of execution.

    Arguments:
        graph: a lowered graph.
        x: ``[T, N, *shape]``.
        profile: energy constants, see :func:`neuroaccel.ledger.profiles`.

    Raises:
        UnsupportedNode: torch cannot run a node.
        InputError: an input that does not fit.
    """
    from neuroaccel.ledger.torch_hooks import emissions_with_torch

    values, states, _ = emissions_with_torch(graph, x)
    book = count_from_emissions(graph, values, states)
    rows = {row.node: row for row in energy(book, profile).rows}
    emitted = {name: value.detach().numpy() for name, value in values.items()}
    found = []
    for name in graph.order:
        node = graph.nodes[name]
        if not isinstance(node, n.Synapse | n.Dendrite):
            continue
        arrived = sum(_sent(emitted[e.source], e.recurrent) for e in graph.into(name))
        assert isinstance(arrived, np.ndarray)
        gate = node.gate if isinstance(node, n.Dendrite) else None
        total = rows[name].total.mean(axis=1)
        out = emitted[name]
        found.append(
            LayerTransfer(
                name,
                int(np.count_nonzero(node.weight)),
                node.weight.size,
                0 if gate is None else int(np.count_nonzero(gate)),
                0 if gate is None else gate.size,
                0 if node.bias is None else int(np.count_nonzero(node.bias)),
                _operations(node, arrived),
                0.0 if gate is None else _operations(replace(node, weight=gate), arrived),
                0.0 if gate is None else _interactions(book.columns[name], graph, name, arrived, node),
                (float(total[0]), float(total[1])),
                float(np.abs(out).mean(axis=(0, 1), dtype=np.float64).sum()),
                _information(graph, name, emitted, arrived),
                len(arrived),
            )
        )
    return found


def mutual_information(x: NDArray[Any], y: NDArray[Any], bins: int = BINS) -> float:
    """I(X; Y) in bits of paired values ``[n]``, each put into at most ``bins`` bins of equal counts."""
    a, b = _binned(x, bins), _binned(y, bins)
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    return max(0.0, float((joint[some] * np.log2(joint[some] / apart[some])).sum()))


def _binned(values: NDArray[Any], bins: int) -> NDArray[np.int64]:
    flat = np.asarray(values, np.float64).ravel()
    edges = np.unique(np.quantile(flat, np.arange(1, bins) / bins))
    return np.unique(np.searchsorted(edges, flat, side="left"), return_inverse=True)[1].astype(np.int64)


def _sent(values: NDArray[Any], late: bool) -> NDArray[Any]:
    """What an edge brings: an edge that closes a cycle brings it one tick later."""
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]]) if late else values


def _operations(node: n.Synapse | n.Dendrite, arrived: NDArray[Any]) -> float:
    """Σ over events of the living fan-out, mean over samples."""
    _, living = fan_out(node, arrived.shape[2:])
    total: int = ((arrived != 0) * living).sum(dtype=np.int64)
    return float(total) / int(arrived.shape[1])


def _interactions(column: Any, graph: Graph, name: str, arrived: NDArray[Any], node: n.Synapse | n.Dendrite) -> float:
    """What the book has executed beyond the products of W and V."""
    assert isinstance(node, n.Dendrite)
    products = _operations(node, arrived) + _operations(replace(node, weight=node.gate), arrived)
    beyond: float = column["executed"].mean() - products
    return beyond


def _information(graph: Graph, name: str, emitted: dict[str, NDArray[Any]], arrived: NDArray[Any]) -> float | None:
    readers = list(_neurons(graph, name))
    if not readers:
        return None
    spikes = sum(np.count_nonzero(_flat(emitted[reader]), axis=2) for reader in readers)
    return mutual_information(np.count_nonzero(_flat(arrived), axis=2).ravel(), np.asarray(spikes).ravel())


def _neurons(graph: Graph, name: str) -> Iterable[str]:
    """Spiking neurons that read a synapse, also through sums."""
    for edge in graph.edges:
        if edge.source == name:
            target = graph.nodes[edge.target]
            if isinstance(target, n.Neuron) and target.program.fire is not None:
                yield edge.target
            elif isinstance(target, n.Add):
                yield from _neurons(graph, edge.target)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(*values.shape[:2], -1)
