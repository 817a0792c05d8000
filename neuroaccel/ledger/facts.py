"""What the books must know of a node besides its counts: widths, footprints, operations of one update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from neuroaccel.graph import Graph, infer
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import ticks_of
from neuroaccel.graph.counting import columns_of, product_column, rule_of
from neuroaccel.graph.signal import Signal

ADDRESS_BYTES = 4
STATE_BITS = 32

_READOUT_OPERATION = {"spike_count": "add", "mean_membrane": "add", "max_membrane": "compare", "last_membrane": "copy"}


@dataclass(frozen=True)
class NodeFacts:
    """One node, as far as its energy depends on it; nothing here depends on the input.

    Arguments:
        kind: type of the node.
        columns: the columns of the book that it may fill.
        role: encoding, first layer, hidden, readout, or empty for nodes that only move events.
        binary: of a synapse: whether its products are synaptic events, not macs.
        emits: kind of the edges that leave.
        emits_maximum: largest value on a count edge.
        elements: values that it emits per tick.
        consumers: edges that read them.
        weights, weight_bits: number and stored width of the weights.
        neurons, states, state_bits: size of a population, number and width of its states.
        traces: numbers that a plastic synapse keeps beside its weights, each read and written at every tick.
        operations, operations_on_fire: operations of one update (biases included), and more where it fires.
        elementwise_operation: what one count of ``elementwise`` is.
        integer_bits: widths (operands, accumulator) in integer arithmetic, ``None`` for float32.
        nominal_per_tick, adc_per_tick, elementwise_per_tick: counts that every tick adds.
        ann_macs: multiply-accumulates of the layer run once as a dense network, before any pool was folded in.
    """

    kind: str
    columns: tuple[str, ...] = ()
    role: str = ""
    binary: bool = False
    emits: str = ""
    emits_maximum: int = 1
    elements: int = 0
    consumers: int = 0
    weights: int = 0
    weight_bits: int = 32
    neurons: int = 0
    states: int = 0
    state_bits: int = STATE_BITS
    traces: int = 0
    operations: Mapping[str, int] = field(default_factory=dict)
    operations_on_fire: Mapping[str, int] = field(default_factory=dict)
    elementwise_operation: str = ""
    integer_bits: tuple[int, int] | None = None
    nominal_per_tick: int = 0
    adc_per_tick: int = 0
    elementwise_per_tick: int = 0
    ann_macs: int = 0

    @property
    def weight_footprint(self) -> int:
        """Bytes that the weights occupy."""
        return ceil(self.weights * self.weight_bits / 8)

    @property
    def event_footprint(self) -> int:
        """Bytes that the addresses of one tick's events occupy at most."""
        return self.elements * ADDRESS_BYTES

    @property
    def state_footprint(self) -> int:
        """Bytes that the states occupy."""
        return ceil((self.neurons * self.states + self.traces) * self.state_bits / 8)


def node_ticks(graph: Graph, ticks: int, prefix: str = "") -> dict[str, int]:
    """Ticks that each node runs on in ``ticks`` ticks, dropped ones included; ``scope/node`` in a scope."""
    out: dict[str, int] = {}
    for name, here in ticks_of(graph, ticks).items():
        node = graph.nodes[name]
        out[prefix + name] = here
        if isinstance(node, n.Scope) and node.state == "carry":
            out |= node_ticks(node.graph, here * node.ticks, f"{prefix}{name}/")
        elif isinstance(node, n.Scope):
            inner = node_ticks(node.graph, node.ticks, f"{prefix}{name}/")
            out |= {k: v * here for k, v in inner.items()}
    return out


def facts(graph: Graph, prefix: str = "") -> dict[str, NodeFacts]:
    """Facts of every node, in the order of execution; nodes of a scope are named ``scope/node``.

    Raises:
        GraphError: the graph does not validate, or a node has no counting rule.
    """
    signals = infer(graph)
    out: dict[str, NodeFacts] = {}
    for name in graph.order:
        node, signal = graph.nodes[name], signals[name]
        scope = isinstance(node, n.Scope)
        rule = rule_of(node)
        nominal = 0 if scope else rule.nominal(graph, name, signals)
        fields = {
            "ann_macs": nominal,
            "nominal_per_tick": nominal,
            "elementwise_per_tick": 0 if scope else rule.elementwise(graph, name, signals),
            "adc_per_tick": 0 if scope else rule.adc_conversions(graph, name, signals),
            **dict(_fields(graph, signals, name)),
        }
        out[prefix + name] = NodeFacts(
            kind=node.kind,
            columns=() if scope else columns_of(graph, name, signals),
            emits=signal.kind,
            emits_maximum=signal.maximum or 1 if signal.kind == "count" else 1,
            elements=signal.size,
            consumers=len(graph.out_of(name)),
            **fields,  # type: ignore[arg-type]
        )
        if isinstance(node, n.Scope):
            out |= facts(node.graph, f"{prefix}{name}/")
    return out


def _fields(graph: Graph, signals: Mapping[str, Signal], name: str) -> Iterator[tuple[str, object]]:
    node = graph.nodes[name]
    if isinstance(node, n.Input):
        yield "role", "encoding"
    elif isinstance(node, (n.Synapse, n.Dendrite)):
        yield from _synapse(graph, signals, name, node)
    elif isinstance(node, n.Neuron):
        yield from _neuron(graph, name, node)
    elif isinstance(node, n.Readout):
        yield "role", "readout"
        yield "elementwise_operation", _READOUT_OPERATION[node.how]
    elif isinstance(node, n.Attention):
        yield "role", "hidden"
        yield "elementwise_operation", "softmax"
    elif isinstance(node, n.Add):
        yield "elementwise_operation", "add"
    elif isinstance(node, (n.Multiply, n.Table, n.LayerNorm, n.Softmax)):
        yield "elementwise_operation", "mul" if isinstance(node, n.Multiply) else node.kind.lower()


def _synapse(
    graph: Graph, signals: Mapping[str, Signal], name: str, node: n.Synapse | n.Dendrite
) -> Iterator[tuple[str, object]]:
    yield "role", "first layer" if _from_input(graph, name) else "hidden"
    yield "binary", product_column(graph, name, signals) == "synaptic_events"
    yield "weights", node.weight.size * (2 if isinstance(node, n.Dendrite) else 1)
    yield "weight_bits", node.weight_bits
    if isinstance(node, n.Synapse) and node.plastic is not None:
        yield "traces", node.weight.size
        yield "elementwise_operation", "mac"
    if isinstance(node, n.Synapse) and node.unfolded_nominal:
        yield "ann_macs", node.unfolded_nominal
    a = node.arithmetic
    if a is not None:
        entering = sum(signals[e.source].maximum or 1 for e in graph.into(name, "in"))
        operand = max(
            a.weight.bits if a.weight else node.weight_bits, a.input.bits if a.input else entering.bit_length()
        )
        yield "integer_bits", (operand, a.accumulator.bits if a.accumulator else 32)


def _neuron(graph: Graph, name: str, node: n.Neuron) -> Iterator[tuple[str, object]]:
    operations = Counter(node.program.operations())
    for e in graph.into(name):
        source = graph.nodes[e.source]
        if isinstance(source, (n.Synapse, n.Dendrite)) and source.bias is not None and np.any(source.bias):
            operations["add"] += 1
    yield "role", "readout" if node.program.emit.kind == "state" else "hidden"
    yield "neurons", node.size
    yield "states", len(node.program.states)
    if node.arithmetic is not None:
        bits = node.arithmetic.state.bits if node.arithmetic.state else STATE_BITS
        yield "state_bits", bits
        yield "integer_bits", (bits, bits)
    yield "operations", dict(operations)
    yield "operations_on_fire", node.program.operations_on_fire()


def _from_input(graph: Graph, name: str) -> bool:
    """Whether a synapse reads an Input through nothing but nodes that move events."""
    waiting, seen = [name], set[str]()
    while waiting:
        for e in graph.into(waiting.pop(), "in"):
            node = graph.nodes[e.source]
            if isinstance(node, n.Input):
                return True
            if e.source not in seen and not isinstance(node, (n.Neuron, n.Synapse, n.Dendrite)):
                seen.add(e.source)
                waiting.append(e.source)
    return False
