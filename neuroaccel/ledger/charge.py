"""The charging rules: which constant each column of the book is multiplied with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError
from neuroaccel.ledger.book import Counts
from neuroaccel.ledger.facts import ADDRESS_BYTES, NodeFacts
from neuroaccel.ledger.profile import Constant, Profile

Energies = NDArray[np.float64]
CLASSES = ("synapse", "neuron", "memory", "network")

# ours: what an operation of a neuron program costs in arithmetic. A comparison is a subtraction whose sign is read.
ADDITIONS = frozenset({"add", "sub", "compare", "gt", "ge", "lt", "le", "eq", "max", "min"})
# ours: sign bits, multiplexers and bit moves; nobody publishes them apart, and they are small beside an addition.
WIRING = frozenset({"neg", "abs", "copy", "select", "flush", "floor", "shift"})


def precision(bits: int) -> str:
    """The nearest published integer precision that holds ``bits``."""
    return "int8" if bits <= 8 else "int32"


class Charger:
    """Multiplies counts with constants and remembers what was used, what was missing, what is a minimum."""

    def __init__(self, profile: Profile, samples: int, strict: bool) -> None:
        self.profile, self.samples, self.strict = profile, samples, strict
        self.used: dict[str, Constant] = {}
        self.missing: dict[str, None] = {}
        self.bounds: dict[str, None] = {}

    def charge(self, constant: str, counts: Counts | NDArray[np.float64], what: str) -> Energies:
        """(low, high) picojoules of every sample, ``[2, N]``; zero, and noted, where the constant is not published."""
        if not np.any(counts):
            return np.zeros((2, self.samples))
        found = self.profile.constant(constant)
        if found is None or found.value is None:
            note = f"{what}: no published constant '{constant}'"
            if self.strict:
                raise InputError(f"energy: profile '{self.profile.name}': {note}")
            self.missing.setdefault(note, None)
            return np.zeros((2, self.samples))
        self.used.setdefault(constant, found)
        if found.bound:
            self.bounds.setdefault(f"{constant} is published as a minimum", None)
        return np.outer(np.asarray(found.value), counts.astype(np.float64))

    def memory(self, moved: Counts | NDArray[np.float64], footprint: int, what: str) -> Energies:
        """Energy of ``moved`` bytes at the smallest level that holds ``footprint`` bytes."""
        level = self.profile.level(footprint)
        if level is None:
            return self.charge("memory", moved, f"{what} ({footprint} bytes)")
        return self.charge(level.name, moved * 8 / level.access_bits, what)

    def operations(self, f: NodeFacts, operations: Mapping[str, int], counts: Counts, what: str) -> Energies:
        """Energy of ``counts`` times a set of operations in the node's arithmetic."""
        kind = "fp32" if f.integer_bits is None else precision(f.integer_bits[1])
        total = np.zeros((2, self.samples))
        for op, times in operations.items():
            if op in WIRING:
                continue
            constant = f"{kind}_{'add' if op in ADDITIONS else op}"
            total += self.charge(constant, counts * times, f"{op} in {what}")
        return total


def charge_node(charger: Charger, name: str, f: NodeFacts, column: Mapping[str, Counts]) -> dict[str, Energies]:
    """Energies of one node by class.

    Arguments:
        charger: profile and bookkeeping.
        name, f, column: the node and its columns of the book.

    Returns:
        synapse, neuron, memory, network → ``[2, N]`` picojoules.

    Raises:
        InputError: a constant is not published and the charger is strict.
    """
    rule = _chip if charger.profile.model == "chip" else _processor
    return rule(charger, name, f, column)


def _processor(charger: Charger, name: str, f: NodeFacts, column: Mapping[str, Counts]) -> dict[str, Energies]:
    operand, accumulator = ("fp32", "fp32")
    if f.integer_bits is not None:
        operand, accumulator = (precision(bits) for bits in f.integer_bits)
    what = f"'{name}'"
    synapse = (
        charger.charge(f"{accumulator}_add", column["synaptic_events"] + column["macs"], f"additions of {what}")
        + charger.charge(f"{operand}_mul", column["macs"], f"multiplications of {what}")
        + charger.charge("adc_conversion", column["adc_conversions"], f"conversions of {what}")
        + charger.charge("learning_update", column["learning_updates"], f"learning of {what}")
    )
    neuron = charger.operations(f, f.operations, column["updates_driven"], f"updates of {what}")
    neuron = neuron + charger.operations(f, f.operations_on_fire, column["spikes"], f"resets of {what}")
    if f.elementwise_operation:
        # A trace fades and takes in a product.
        each = {"mul": 1, "add": 1} if f.elementwise_operation == "mac" else {f.elementwise_operation: 1}
        neuron = neuron + charger.operations(f, each, column["elementwise"], what)
    memory = (
        charger.memory(column["weight_bytes"], f.weight_footprint, f"weights of {what}")
        + charger.memory(column["state_bytes"], f.state_footprint, f"states of {what}")
        # The buffer between two layers must hold the events of one tick at most.
        + charger.memory(column["event_bytes"], f.event_footprint, f"events of {what}")
    )
    return {"synapse": synapse, "neuron": neuron, "memory": memory, "network": np.zeros_like(memory)}


def _chip(charger: Charger, name: str, f: NodeFacts, column: Mapping[str, Counts]) -> dict[str, Energies]:
    what = f"'{name}'"
    idle = column["updates_nominal"] - column["updates_driven"]
    synapse = (
        charger.charge("synaptic_event", column["synaptic_events"], f"synaptic events of {what}")
        + charger.charge("graded_mac", column["macs"], f"macs of {what}")
        + charger.charge("adc_conversion", column["adc_conversions"], f"conversions of {what}")
        + charger.charge("learning_update", column["learning_updates"], f"learning of {what}")
    )
    neuron = (
        charger.charge("neuron_update_active", column["updates_driven"], f"driven updates of {what}")
        + charger.charge("neuron_update_inactive", idle, f"idle updates of {what}")
        + charger.charge("elementwise", column["elementwise"], what)
    )
    network = charger.charge("spike_within_tile", column["spikes"], f"spikes of {what}")
    if f.kind == "Input":
        events = column["event_bytes"] // ((1 + f.consumers) * ADDRESS_BYTES)
        network = network + charger.charge("spike_injection", events, f"events that enter at {what}")
    return {"synapse": synapse, "neuron": neuron, "memory": np.zeros_like(synapse), "network": network}
