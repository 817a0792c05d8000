"""Which columns of the algorithm book a node fills, and the numbers that follow from its weights and shapes alone.

One rule per node type, as data. Static numbers are per tick of the node's own clock and per sample
(:func:`neuroaccel.graph.clocks.ticks_of` says how many of a sequence's ticks that are); what depends on the input
(events, zero_input, spikes) is counted by executors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import GraphError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import ticks_of
from neuroaccel.graph.fanout import fan_out
from neuroaccel.graph.graph import Graph
from neuroaccel.graph.infer import infer
from neuroaccel.graph.rules import conv_output
from neuroaccel.graph.signal import Signal

Signals = Mapping[str, Signal]
Count = Callable[[Graph, str, Signals], int]


def _none(graph: Graph, name: str, signals: Signals) -> int:
    return 0


@dataclass(frozen=True)
class CountingRule:
    """How one node type is counted.

    Arguments:
        columns: columns that a node of this type may fill; :func:`columns_of` says which of them one node does.
        nominal: in-border products per tick with every weight and input non-zero.
        pruned: those of them whose weight is 0, whatever the reason.
        elementwise: operations per tick outside the balance (gates, tables, norms, running values, traces).
        updates: neuron updates per tick that a clocked chip makes.
        adc_conversions: conversions per tick of a clocked array, every group and input bit.
        learning_updates: weights that a plastic node may move per tick; executors count those that it does.
    """

    columns: tuple[str, ...]
    nominal: Count = _none
    pruned: Count = _none
    elementwise: Count = _none
    updates: Count = _none
    adc_conversions: Count = _none
    learning_updates: Count = _none


def _input_shape(graph: Graph, name: str, signals: Signals, port: str = "in") -> tuple[int, ...]:
    return signals[graph.into(name, port)[0].source].shape


def _products(graph: Graph, name: str, signals: Signals) -> int:
    full, _ = fan_out(graph.nodes[name], _input_shape(graph, name, signals))
    return int(full.sum())


def _pruned(graph: Graph, name: str, signals: Signals) -> int:
    full, living = fan_out(graph.nodes[name], _input_shape(graph, name, signals))
    return int((full - living).sum())


def _dendrite(graph: Graph, name: str) -> n.Dendrite:
    node = graph.nodes[name]
    assert isinstance(node, n.Dendrite)
    return node


def _dendrite_products(graph: Graph, name: str, signals: Signals) -> int:
    """W·x, V·x and one product y·z per neuron."""
    return 2 * _products(graph, name, signals) + signals[name].size


def _dendrite_pruned(graph: Graph, name: str, signals: Signals) -> int:
    node, shape = _dendrite(graph, name), _input_shape(graph, name, signals)
    lost = 0
    for weight in (node.weight, node.gate):
        full, living = fan_out(replace(node, weight=weight), shape)
        lost += int((full - living).sum())
    both = reached(node, node.weight, shape) & reached(node, node.gate, shape)
    return lost + int((~both).sum())


def reached(node: n.Dendrite, weight: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which neurons have a living synapse inside the border, in the shape of the node's output.

    Arguments:
        node: gives stride, padding, dilation and groups.
        weight: its weight or its gate.
        shape: shape of what enters it.
    """
    living = weight != 0
    if node.stride is None:
        return np.broadcast_to(living.any(axis=1), (*shape[:-1], len(weight)))
    inside = []
    for size, k, s, p, d in zip(shape[1:], weight.shape[2:], node.stride, node.padding, node.dilation, strict=True):
        at = np.arange(conv_output(size, k, s, p, d)) * s + np.arange(k)[:, None] * d - p
        inside.append(((at >= 0) & (at < size)).astype(np.int64))
    taps = living.any(axis=1).astype(np.int64)
    return np.asarray(np.einsum("oyx,yr,xc->orc", taps, *inside) > 0)


def _size(graph: Graph, name: str, signals: Signals) -> int:
    return signals[name].size


def _additions(graph: Graph, name: str, signals: Signals) -> int:
    return signals[name].size * (len(graph.into(name)) - 1)


def _attention_products(graph: Graph, name: str, signals: Signals) -> int:
    """q·k and (q·k)·v over all heads: a product per key and feature, twice."""
    return 2 * int(np.prod(_input_shape(graph, name, signals, "k"), dtype=np.int64))


def _attention_elementwise(graph: Graph, name: str, signals: Signals) -> int:
    node = graph.nodes[name]
    assert isinstance(node, n.Attention)
    return node.heads * _input_shape(graph, name, signals, "k")[0] if node.how == "softmax" else 0


def _conversions(graph: Graph, name: str, signals: Signals) -> int:
    node = graph.nodes[name]
    assert isinstance(node, n.Synapse | n.Dendrite)
    a = node.arithmetic
    if a is None or a.group_convert is None:
        return 0
    rows = int(np.prod(node.weight.shape[1:], dtype=np.int64))
    bits = 1
    if a.bit_serial:
        largest = sum(signals[e.source].maximum or 1 for e in graph.into(name, "in"))
        bits = a.input.bits if a.input is not None else largest.bit_length()
    arrays = 2 if isinstance(node, n.Dendrite) else 1
    return arrays * -(-rows // a.group) * signals[name].size * bits


def _moved(graph: Graph, name: str, signals: Signals) -> int:
    node = graph.nodes[name]
    return int(node.weight.size) if isinstance(node, n.Synapse) and node.plastic is not None else 0


def _traced(graph: Graph, name: str, signals: Signals) -> int:
    """E = λ·E + x·y of every weight that may learn, at every place."""
    return _products(graph, name, signals) if _moved(graph, name, signals) else 0


def _inside(field: str) -> Count:
    """The same number of a scope's graph, over the steps that it makes in one tick of the parent."""

    def count(graph: Graph, name: str, signals: Signals) -> int:
        node = graph.nodes[name]
        assert isinstance(node, n.Scope)
        inner, steps = infer(node.graph), ticks_of(node.graph, node.ticks)
        if node.state == "carry" and node.graph.of_type(n.Window):
            raise GraphError(f"Scope '{name}' carries a Window from tick to tick: its work per tick is not one number")
        return sum(steps[x] * getattr(rule_of(y), field)(node.graph, x, inner) for x, y in node.graph.nodes.items())

    return count


_SYNAPSE = CountingRule(
    (
        *("nominal", "synaptic_events", "macs", "weight_bytes", "event_bytes", "adc_conversions"),
        *("learning_updates", "elementwise", "state_bytes"),
    ),
    nominal=_products,
    pruned=_pruned,
    elementwise=_traced,
    adc_conversions=_conversions,
    learning_updates=_moved,
)
_NEURON = ("updates_nominal", "updates_driven", "spikes", "graded_bits", "state_bytes", "event_bytes")
_MOVES = CountingRule(("event_bytes",))
_PASSES = CountingRule(())
_ELEMENTWISE = CountingRule(("elementwise", "event_bytes"), elementwise=_size)

RULES: dict[type[n.Node], CountingRule] = {
    **dict.fromkeys((n.Linear, n.Conv1d, n.Conv2d), _SYNAPSE),
    n.Dendrite: CountingRule(
        ("nominal", "synaptic_events", "macs", "weight_bytes", "event_bytes", "adc_conversions"),
        nominal=_dendrite_products,
        pruned=_dendrite_pruned,
        adc_conversions=_conversions,
    ),
    n.Attention: CountingRule(
        ("nominal", "macs", "elementwise", "event_bytes"),
        nominal=_attention_products,
        elementwise=_attention_elementwise,
    ),
    n.Neuron: CountingRule(_NEURON, updates=_size),
    **dict.fromkeys((n.Input, n.SumPool2d, n.AvgPool2d, n.MaxPool2d, n.Flatten, n.Reshape, n.Select), _MOVES),
    **dict.fromkeys((n.Delay, n.Memory, n.Window, n.Keep), _MOVES),
    **dict.fromkeys((n.Output, n.Constant, n.Probe), _PASSES),
    **dict.fromkeys((n.Multiply, n.Table, n.LayerNorm, n.Softmax), _ELEMENTWISE),
    n.Add: CountingRule(("elementwise", "event_bytes"), elementwise=_additions),
    n.Readout: CountingRule(("elementwise",), elementwise=_size),
    n.Scope: CountingRule(
        tuple(dict.fromkeys((*_SYNAPSE.columns, *_NEURON, "elementwise"))),
        nominal=_inside("nominal"),
        pruned=_inside("pruned"),
        elementwise=_inside("elementwise"),
        updates=_inside("updates"),
        adc_conversions=_inside("adc_conversions"),
        learning_updates=_inside("learning_updates"),
    ),
}


def rule_of(node: n.Node) -> CountingRule:
    """The counting rule of a node's type.

    Raises:
        GraphError: there is none; an operation that nobody counts must not pass for free.
    """
    try:
        return RULES[type(node)]
    except KeyError:
        known = ", ".join(t.__name__ for t in RULES)
        raise GraphError(f"there is no counting rule for {type(node).__name__}; there are rules for {known}") from None


def product_column(graph: Graph, name: str, signals: Signals) -> str:
    """The column of a synapse's products: synaptic_events on a binary edge, macs on a count or analog edge.

    Several edges into the port are one sum, which is not binary.
    """
    entering = graph.into(name, "in")
    binary = len(entering) == 1 and signals[entering[0].source].kind == "binary"
    return "synaptic_events" if binary else "macs"


def columns_of(graph: Graph, name: str, signals: Signals) -> tuple[str, ...]:
    """The columns that this one node fills, in the order of its rule."""
    node = graph.nodes[name]
    columns = rule_of(node).columns
    if isinstance(node, n.Scope):
        inner = infer(node.graph)
        filled = {c for x in node.graph.nodes for c in columns_of(node.graph, x, inner)}
        return tuple(c for c in columns if c in filled)
    empty: set[str] = set()
    if isinstance(node, n.Synapse | n.Dendrite):
        dense = "macs" if isinstance(node, n.Synapse) else ""  # a dendrite's own products are macs on any edge
        empty |= {"synaptic_events", dense} - {product_column(graph, name, signals)}
        empty |= {"adc_conversions"} if _conversions(graph, name, signals) == 0 else set()
        learns = _moved(graph, name, signals) > 0
        empty |= set() if learns else {"learning_updates", "elementwise", "state_bytes"}
    if isinstance(node, n.Neuron):
        empty |= {"count": set(), "spike": {"graded_bits"}}.get(node.program.emit.kind, {"graded_bits", "spikes"})
    if isinstance(node, n.Attention) and node.how != "softmax":
        empty |= {"elementwise"}
    return tuple(c for c in columns if c not in empty)


def nominal_per_tick(graph: Graph, name: str, signals: Signals) -> int:
    """In-border products of a node per tick, every weight and input taken as non-zero."""
    return rule_of(graph.nodes[name]).nominal(graph, name, signals)


def pruned_per_tick(graph: Graph, name: str, signals: Signals) -> int:
    """Those of :func:`nominal_per_tick` whose weight is 0.

    A plastic node's as it starts; executors count those that are 0 at each tick.
    """
    return rule_of(graph.nodes[name]).pruned(graph, name, signals)
