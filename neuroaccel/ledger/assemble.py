"""From what an executor observed to the columns of the book: one rule per column, for every executor the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError
from neuroaccel.graph import Graph
from neuroaccel.ledger.book import FATES, Book
from neuroaccel.ledger.facts import ADDRESS_BYTES, NodeFacts, facts, node_ticks

Counts = NDArray[np.int64]
Observed = Mapping[str, Mapping[str, Counts]]

_KNOWN = frozenset(
    {"products", "interactions", "updates_driven", "spikes", "events_out", "learning_updates", "nominal", "ticks_run"}
    | (set(FATES) - {"executed"})
)
_GIVEN = frozenset({"nominal", "ticks_run"})  # where they are missing they follow from the graph


def assemble(graph: Graph, observed: Observed, *, ticks: int) -> Book:
    """The algorithm book of a run.

    Arguments:
        graph: the lowered graph that ran.
        observed: node → raw column → int64 ``[N]``. Synapses: ``products`` (living products of inputs that are not 0),
            ``interactions`` (a dendrite's y·z), ``zero_input``, ``pruned`` and further fates, ``learning_updates`` of
            those that learn; neurons:
            ``updates_driven``, ``spikes``; every node: ``events_out``; nodes of which a Keep drops ticks:
            ``ticks_run``, those that are left; ``nominal`` (of the ticks run) where it was counted, not derived.
        ticks: T of the input.

    Returns:
        The checked book.

    Raises:
        ImbalanceError: the books do not balance.
        InputError: an unknown node or raw column, or nothing was observed.
    """
    known, clock = facts(graph), node_ticks(graph, ticks)
    if unknown := set(observed) - set(known):
        raise InputError(f"ledger: counts for {sorted(unknown)}, which the graph does not hold")
    samples = next((len(v) for node in observed.values() for v in node.values()), None)
    if samples is None:
        raise InputError("ledger: the executor counted nothing")
    columns = {}
    for name, f in known.items():
        raw = observed.get(name, {})
        if odd := set(raw) - _KNOWN:
            raise InputError(f"ledger: node '{name}' has unknown raw columns {sorted(odd)}")
        full = {k: np.asarray(raw.get(k, np.zeros(samples)), dtype=np.int64) for k in _KNOWN - _GIVEN}
        full |= {k: np.asarray(raw[k], dtype=np.int64) for k in _GIVEN & set(raw)}
        columns[name] = _columns(f, full, clock[name], samples)
    return Book(ticks, known, columns, graph.dt)


def _columns(f: NodeFacts, raw: dict[str, Counts], ticks: int, samples: int) -> dict[str, Counts]:
    zero = np.zeros(samples, np.int64)
    products, interactions = raw["products"], raw["interactions"]
    run = raw.get("ticks_run", zero + ticks)
    # A tick that is removed takes all its products with it, whatever else would have become of them.
    dropped = f.nominal_per_tick * (ticks - run)
    # The two rules that need more than the node's own kind: what is an event, and which products are events.
    events = raw["events_out"] if f.emits != "analog" and "event_bytes" in f.columns else zero
    measured = {
        "synaptic_events": products if f.binary else zero,
        "macs": interactions if f.binary else products + interactions,
        "executed": products + interactions,
        "updates_driven": raw["updates_driven"],
        "updates_nominal": np.full(samples, f.neurons * ticks, np.int64),
        "spikes": raw["spikes"] if "spikes" in f.columns else zero,
        "graded_bits": events * f.emits_maximum.bit_length() if "graded_bits" in f.columns else zero,
        "learning_updates": raw["learning_updates"],
        "adc_conversions": f.adc_per_tick * run,
        # A weight that learns is read and written.
        "weight_bytes": -(-(products + 2 * raw["learning_updates"]) * f.weight_bits // 8) if f.weights else zero,
        "state_bytes": -(-2 * (raw["updates_driven"] * f.states + run * f.traces) * f.state_bits // 8),
        "event_bytes": events * (1 + f.consumers) * ADDRESS_BYTES,
        "elementwise": f.elementwise_per_tick * run,
        "nominal": raw.get("nominal", f.nominal_per_tick * run) + dropped,
    }
    return measured | {fate: raw[fate] for fate in FATES if fate != "executed"} | {"dropped": raw["dropped"] + dropped}
