"""The algorithm book: what a network and its input cost, per node and sample, whoever executes it.

Columns, int64, summed over the T ticks of a sample (x: what arrives at a synapse, w: its weights):

==================  ====================================================================================================
``synaptic_events``  Σ over x ≠ 0 of a binary edge: products inside the border with w ≠ 0
``macs``             the same on count and analog edges; a dendrite's y·z where a living event came through W and
                     through V; an attention's products of two operands that are not 0
``updates_driven``   (neuron, tick) pairs that receive a living event or a bias that is not 0, have a leak constant that
                     is not 0, start the tick at or above threshold, or spike in it
``updates_nominal``  neurons · T
``spikes``           emissions of a spiking neuron that are not 0
``graded_bits``      spikes of a neuron that emits counts · bits of its largest count
``learning_updates`` (weight, tick) pairs of a plastic synapse with rate·third factor ≠ 0 and a trace ≠ 0: changes that
                     are computed, whether or not the grid or the bound then leave the weight where it is
``adc_conversions``  T · outputs · ⌈rows/group⌉ · (input bits if bit-serial, else 1), where ``group_convert`` is set;
                     a dendrite has two arrays
``weight_bytes``     ⌈(synaptic_events + macs that read a weight + 2 · learning_updates) · weight_bits / 8⌉: no reuse
``state_bytes``      ⌈updates_driven · 2 · states · state bits / 8⌉: each state read and written; 32 bits unless the
                     node's arithmetic says otherwise; of a plastic synapse its traces, all of them at every tick
``event_bytes``      events emitted on binary and count edges · (1 written + 1 read per consumer) · 4 bytes of address,
                     at the node that emits; Outputs and Probes emit nothing of their own
``elementwise``      operations outside the balance: gates, tables, sums, LayerNorm, softmax and readouts, per tick; a
                     plastic synapse's traces, one E = λ·E + x·y per weight, place and tick
``nominal``          products inside the border with every w and x taken as not 0; a dendrite adds V's and its y·z
==================  ====================================================================================================

Every nominal operation has exactly one fate: ``nominal = executed + zero_input + pruned + gated + dropped + cached +
exited``, with executed = synaptic_events + macs. A bias belongs to the update, pooling to ``event_bytes``.
Events are counted at the tick in which a synapse takes them in; those still under way after the last tick are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import ImbalanceError, InputError
from neuroaccel.ledger.facts import NodeFacts

Counts = NDArray[np.int64]

MEASURES = (
    "synaptic_events",
    "macs",
    "updates_driven",
    "updates_nominal",
    "spikes",
    "graded_bits",
    "learning_updates",
    "adc_conversions",
    "weight_bytes",
    "state_bytes",
    "event_bytes",
    "elementwise",
    "nominal",
)
FATES = ("executed", "zero_input", "pruned", "gated", "dropped", "cached", "exited")
COLUMNS = MEASURES + FATES


@dataclass(frozen=True, eq=False)
class Book:
    """Counts per node and sample; checked when it is made.

    Arguments:
        ticks: T.
        facts: node → what a profile must know of it (widths, footprints, operations), in the order of execution.
        columns: node → column → int64 ``[N]``; a column that is left out is zero.
        dt: seconds per tick, if the network has a physical time.

    Raises:
        ImbalanceError: an operation without a fate, or with two; names node, sample and numbers.
        InputError: an unknown node or column, or columns of different lengths.
    """

    ticks: int
    facts: Mapping[str, NodeFacts]
    columns: Mapping[str, Mapping[str, Counts]]
    dt: float | None = None

    def __post_init__(self) -> None:
        lengths = {len(v) for node in self.columns.values() for v in node.values()}
        if len(lengths) != 1 or set(self.columns) != set(self.facts):
            raise InputError(f"ledger: columns of {sorted(lengths)} samples for nodes {sorted(self.columns)}")
        samples = lengths.pop()
        full: dict[str, dict[str, Counts]] = {}
        for name in self.facts:
            given = self.columns[name]
            if unknown := set(given) - set(COLUMNS):
                raise InputError(f"ledger: node '{name}' has unknown columns {sorted(unknown)}")
            full[name] = {c: np.asarray(given.get(c, np.zeros(samples)), dtype=np.int64) for c in COLUMNS}
        object.__setattr__(self, "columns", full)
        self._balance()

    def _balance(self) -> None:
        for name, column in self.columns.items():
            for label, left, parts in (
                ("executed", "executed", ("synaptic_events", "macs")),
                ("nominal", "nominal", FATES),
            ):
                difference = column[left] - sum(column[p] for p in parts)
                wrong = np.flatnonzero(difference)
                if len(wrong):
                    i = int(wrong[0])
                    terms = " + ".join(f"{p} {column[p][i]}" for p in parts if column[p][i]) or "nothing"
                    raise ImbalanceError(
                        f"node '{name}', sample {i}: {label} {column[left][i]} is not {terms} "
                        f"(difference {difference[i]})"
                    )
            for c in COLUMNS:
                negative = np.flatnonzero(column[c] < 0)
                if len(negative):
                    i = int(negative[0])
                    raise ImbalanceError(f"node '{name}', sample {i}: {c} is {column[c][i]}, counts are not negative")

    @property
    def samples(self) -> int:
        return len(next(iter(self.columns.values()))["nominal"])

    @property
    def ann_macs(self) -> int:
        """Multiply-accumulates of the dense network of the same layers, once: nominal / T, before any folding."""
        return sum(f.ann_macs for f in self.facts.values())

    def total(self, column: str) -> Counts:
        """A column summed over all nodes, ``[N]``."""
        return np.asarray(np.sum([node[column] for node in self.columns.values()], axis=0, dtype=np.int64))

    def mean(self, column: str, node: str | None = None) -> tuple[float, float]:
        """(mean, standard deviation) over samples of one node's column or of the total; n − 1 in the denominator."""
        values = self.total(column) if node is None else self.columns[node][column]
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0

    def differences(self, other: Book) -> list[str]:
        """What differs from another book, one readable line each: node, column, sample and both numbers."""
        if (self.ticks, self.samples) != (other.ticks, other.samples):
            return [f"{self.ticks} ticks, {self.samples} samples against {other.ticks}, {other.samples}"]
        if set(self.columns) != set(other.columns):
            return [f"only in one book: {', '.join(sorted(set(self.columns) ^ set(other.columns)))}"]
        found = []
        for name, column in self.columns.items():
            for c in COLUMNS:
                theirs = other.columns[name][c]
                found += [
                    f"node '{name}', {c}, sample {i}: {column[c][i]} against {theirs[i]}"
                    for i in np.flatnonzero(column[c] != theirs)
                ]
        return found

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: per node the counts of every sample (columns that are zero throughout are left out)."""
        return {
            "ticks": self.ticks,
            "samples": self.samples,
            "ann_macs": self.ann_macs,
            "nodes": [
                {
                    "node": name,
                    "kind": self.facts[name].kind,
                    "role": self.facts[name].role,
                    "counts": {c: column[c].tolist() for c in COLUMNS if column[c].any()},
                }
                for name, column in self.columns.items()
            ],
            "totals": {
                c: {"mean": mean, "sd": sd} for c, (mean, sd) in ((c, self.mean(c)) for c in COLUMNS) if mean or sd
            },
        }


def join(books: Sequence[Book]) -> Book:
    """One book of the samples of several: batches of the same network and the same T.

    Raises:
        InputError: no books, or books of different networks or T.
    """
    if not books:
        raise InputError("ledger: no books to join")
    first = books[0]
    for b in books[1:]:
        if b.ticks != first.ticks or dict(b.facts) != dict(first.facts):
            raise InputError("ledger: only books of the same network and number of ticks can be joined")
    columns = {
        name: {c: np.concatenate([b.columns[name][c] for b in books]) for c in COLUMNS} for name in first.columns
    }
    return Book(first.ticks, first.facts, columns, first.dt)
