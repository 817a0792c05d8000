"""What the books must know of a node besides its counts: widths, footprints, operations of one update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, prod

import numpy as np

from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import Graph, infer
from neuroaccel.graph import nodes as n
from neuroaccel.graph.fanout import fan_out
from neuroaccel.graph.infer import Signal

ADDRESS_BYTES = 4
STATE_BITS = 32

# One line per node kind: what the ledger counts for it. A node that is not here cannot be counted.
COUNTING_RULES: Mapping[type[n.Node], str] = {
    n.Input: "event_bytes of its events",
    n.Output: "nothing: its edge reads the events of its source",
    n.Constant: "nothing",
    n.Linear: "synaptic_events on a binary edge, macs on others; zero_input; pruned",
    n.Conv1d: "as Linear; products outside the border do not exist",
    n.Conv2d: "as Linear; products outside the border do not exist",
    n.Dendrite: "as Linear for W and for V, and one mac for y·z",
    n.SumPool2d: "event_bytes",
    n.AvgPool2d: "nothing: its edge is analog",
    n.MaxPool2d: "event_bytes",
    n.Flatten: "event_bytes",
    n.Reshape: "event_bytes",
    n.Select: "event_bytes",
    n.Add: "event_bytes",
    n.Multiply: "elementwise, one multiplication per element and tick",
    n.Table: "elementwise, one look-up per element and tick",
    n.Delay: "event_bytes",
    n.Neuron: "updates, spikes, state_bytes, event_bytes",
    n.Readout: "elementwise, one running operation per element and tick (none for last_membrane)",
    n.Attention: "macs of q·k and of scores·v whose operands are not 0; softmax is elementwise",
    n.LayerNorm: "elementwise",
    n.Softmax: "elementwise",
    n.Memory: "event_bytes of the values that it takes in",
    n.Window: "nothing of its own; the nodes behind it tick once per stride",
    n.Keep: "products of the dropped ticks, in the nodes behind it, are dropped",
    n.Probe: "products after the stop are exited",
    n.Scope: "its inner nodes, named scope/node, over ticks · T",
}
_READOUT_OPERATION = {"spike_count": "add", "mean_membrane": "add", "max_membrane": "compare"}


@dataclass(frozen=True)
class NodeFacts:
    """One node, as far as its energy depends on it; nothing here depends on the input.

    Arguments:
        kind: type of the node.
        role: encoding, first layer, hidden, readout, or empty for nodes that only move events.
        reads, emits: kind of the edge that enters and of the edges that leave.
        emits_maximum: largest value on a count edge.
        elements: values that it emits per tick.
        consumers: edges that read them.
        weights, weight_bits: number and stored width of the weights.
        neurons, states, state_bits: size of a population, number and width of its states.
        operations, operations_on_fire: operations of one update (biases included), and more where it fires.
        elementwise_operation: what one count of ``elementwise`` is.
        integer_bits: widths (operands, accumulator) in integer arithmetic, ``None`` for float32.
        nominal_per_tick, adc_per_tick, elementwise_per_tick: counts that every tick adds.
        ticks_per_tick: ticks per tick of the outermost graph.
        ann_macs: multiply-accumulates of the layer run once as a dense network, before any pool was folded in.
    """

    kind: str
    role: str = ""
    reads: str = ""
    emits: str = ""
    emits_maximum: int = 1
    elements: int = 0
    consumers: int = 0
    weights: int = 0
    weight_bits: int = 32
    neurons: int = 0
    states: int = 0
    state_bits: int = STATE_BITS
    operations: Mapping[str, int] = field(default_factory=dict)
    operations_on_fire: Mapping[str, int] = field(default_factory=dict)
    elementwise_operation: str = ""
    integer_bits: tuple[int, int] | None = None
    nominal_per_tick: int = 0
    adc_per_tick: int = 0
    elementwise_per_tick: int = 0
    ticks_per_tick: int = 1
    ann_macs: int = 0

    @property
    def weight_footprint(self) -> int:
        """Bytes that the weights occupy."""
        return ceil(self.weights * self.weight_bits / 8)

    @property
    def state_footprint(self) -> int:
        """Bytes that the states occupy."""
        return ceil(self.neurons * self.states * self.state_bits / 8)


def counting_rule(node: n.Node) -> str:
    """What the ledger counts for a node, in words.

    Raises:
        UnsupportedNode: the ledger has no rule for this type.
    """
    rule = COUNTING_RULES.get(type(node))
    if rule is None:
        raise UnsupportedNode(node.kind, "ledger", "no counting rule for this type of node; add one to ledger/facts.py")
    return rule


def arriving(graph: Graph, signals: Mapping[str, Signal], name: str, port: str = "in") -> tuple[str, int]:
    """(kind, maximum) of what several edges bring to a port together; one edge keeps its kind, a sum does not."""
    sources = [signals[e.source] for e in graph.into(name, port)]
    if len(sources) == 1:
        return sources[0].kind, sources[0].maximum or 1
    if any(s.kind == "analog" for s in sources):
        return "analog", 1
    return "count", sum(s.maximum or 1 for s in sources)


def facts(graph: Graph, prefix: str = "", ticks_per_tick: int = 1) -> dict[str, NodeFacts]:
    """Facts of every node, in the order of execution; nodes of a scope are named ``scope/node``.

    Raises:
        UnsupportedNode: a node without a counting rule.
        GraphError: the graph does not validate.
    """
    signals = infer(graph)
    out: dict[str, NodeFacts] = {}
    for name in graph.order:
        node = graph.nodes[name]
        counting_rule(node)
        fields = dict(_fields(graph, signals, name))
        out[prefix + name] = NodeFacts(
            kind=node.kind,
            emits=signals[name].kind,
            emits_maximum=signals[name].maximum or 1 if signals[name].kind != "analog" else 1,
            elements=signals[name].size,
            consumers=len(graph.out_of(name)),
            ticks_per_tick=ticks_per_tick,
            **fields,  # type: ignore[arg-type]
        )
        if isinstance(node, n.Scope):
            out |= facts(node.graph, f"{prefix}{name}/", ticks_per_tick * node.ticks)
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
        yield "elementwise_operation", _READOUT_OPERATION.get(node.how, "")
        yield "elementwise_per_tick", 0 if node.how == "last_membrane" else signals[name].size
    elif isinstance(node, n.Attention):
        keys, width = signals[graph.into(name, "k")[0].source].shape
        yield "role", "hidden"
        yield "nominal_per_tick", 2 * keys * width
        yield "ann_macs", 2 * keys * width
        if node.how == "softmax":
            yield "elementwise_operation", "softmax"
            yield "elementwise_per_tick", node.heads * keys
    elif isinstance(node, (n.Multiply, n.Table, n.LayerNorm, n.Softmax)):
        yield "elementwise_operation", "mul" if isinstance(node, n.Multiply) else node.kind.lower()
        yield "elementwise_per_tick", signals[name].size


def _synapse(
    graph: Graph, signals: Mapping[str, Signal], name: str, node: n.Synapse | n.Dendrite
) -> Iterator[tuple[str, object]]:
    kind, maximum = arriving(graph, signals, name)
    entering = signals[graph.into(name, "in")[0].source].shape
    outputs = signals[name].size
    nominal = int(fan_out(node, entering)[0].sum())
    weights = node.weight.size
    if isinstance(node, n.Dendrite):
        nominal, weights = 2 * nominal + outputs, 2 * weights
    yield "role", "first layer" if _from_input(graph, name) else "hidden"
    yield "reads", kind
    yield "weights", weights
    yield "weight_bits", node.weight_bits
    yield "nominal_per_tick", nominal
    yield "ann_macs", (node.unfolded_nominal if isinstance(node, n.Synapse) else 0) or nominal
    a = node.arithmetic
    if a is None:
        return
    operand = max(a.weight.bits if a.weight else node.weight_bits, a.input.bits if a.input else maximum.bit_length())
    yield "integer_bits", (operand, a.accumulator.bits if a.accumulator else 32)
    if a.group_convert is not None:
        rows = prod(node.weight.shape[1:])
        serial = (a.input.bits if a.input else maximum.bit_length()) if a.bit_serial else 1
        yield "adc_per_tick", outputs * ceil(rows / a.group) * serial


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
