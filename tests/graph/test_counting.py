"""Static numbers of the counting rules against loops over every product."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.errors import GraphError
from neuroaccel.graph import (
    Add,
    Attention,
    Conv2d,
    Dendrite,
    Edge,
    Graph,
    Input,
    Linear,
    Node,
    Output,
    Plastic,
    Readout,
    Scope,
    Select,
    Synapse,
    WeightGrid,
    Window,
    chain,
    infer,
    nodes,
)
from neuroaccel.graph.counting import (
    RULES,
    columns_of,
    nominal_per_tick,
    product_column,
    pruned_per_tick,
    reached,
    rule_of,
)
from neuroaccel.program import LIF, Arithmetic, Fixed, GradedLIF
from tests.conftest import examples
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron, weights


def static(node: Node, shape: tuple[int, ...], edge: nodes.EdgeKind = "binary", maximum: int = 1) -> tuple[int, int]:
    graph = chain({"x": Input(shape, edge, maximum), "node": node, "y": Output()})
    signals = infer(graph)
    return nominal_per_tick(graph, "node", signals), pruned_per_tick(graph, "node", signals)


def test_every_node_type_has_a_rule() -> None:
    bases = {nodes.Node, Synapse, nodes.Pool2d}
    types = {t for t in vars(nodes).values() if isinstance(t, type) and issubclass(t, Node)} - bases
    assert set(RULES) == types


def test_a_type_without_a_rule_is_named() -> None:
    @dataclass(frozen=True, eq=False)
    class Guess(Node):
        """Nobody's node."""

    with pytest.raises(GraphError, match="there is no counting rule for Guess; there are rules for Linear"):
        rule_of(Guess())


def test_linear_counts_over_all_leading_axes() -> None:
    weight = np.array([[1, 0, 2], [0, 0, 3]], np.float32)
    assert static(Linear(weight), (3,)) == (6, 3)
    assert static(Linear(weight), (4, 3)) == (24, 12)


@settings(max_examples=examples(60, 600))
@given(
    seed=st.integers(0, 10**6),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
    living=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_conv_dendrite_against_loops(
    seed: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    living: float,
) -> None:
    channels, out, kernel, size = 2, 4, (2, 3), (4, 5)
    w = weights(seed, out, channels // groups, *kernel, living=living)
    v = weights(seed + 1, out, channels // groups, *kernel, living=living)
    node = Dendrite(w, v, stride=stride, padding=padding, dilation=dilation, groups=groups)
    rows, columns = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    if min(rows, columns) < 1:
        with pytest.raises(GraphError, match="does not fit into input"):
            static(node, (channels, *size))
        return
    nominal = pruned = 0
    for o, r, c in itertools.product(range(out), range(rows), range(columns)):
        lives = {"w": False, "v": False}
        for i, y, x in itertools.product(range(channels // groups), range(kernel[0]), range(kernel[1])):
            at = (r * stride[0] + y * dilation[0] - padding[0], c * stride[1] + x * dilation[1] - padding[1])
            if 0 <= at[0] < size[0] and 0 <= at[1] < size[1]:
                for key, weight in (("w", w), ("v", v)):
                    nominal += 1
                    pruned += int(weight[o, i, y, x] == 0)
                    lives[key] |= bool(weight[o, i, y, x] != 0)
        nominal += 1  # y·z
        pruned += int(not (lives["w"] and lives["v"]))
        assert reached(node, w, (channels, *size))[o, r, c] == lives["w"]
    assert static(node, (channels, *size)) == (nominal, pruned)


def test_dense_dendrite() -> None:
    w = np.array([[1, 0, 2], [0, 0, 0]], np.float32)
    v = np.array([[1, 1, 1], [0, 0, 3]], np.float32)
    # 6 + 6 products and 2 y·z; 4 + 2 zeros, and the second neuron's y·z, which no synapse of W reaches.
    assert static(Dendrite(w, v), (3,)) == (14, 7)


def test_column_follows_the_edge() -> None:
    def column(*inputs: Input) -> str:
        graph = Graph(
            {**{f"x{i}": x for i, x in enumerate(inputs)}, "fc": Linear(weights(1, 2, 3)), "y": Output()},
            (*(Edge(f"x{i}", "fc") for i in range(len(inputs))), Edge("fc", "y")),
        )
        return product_column(graph, "fc", infer(graph))

    assert column(Input((3,))) == "synaptic_events"
    assert column(Input((3,), "count", 5)) == "macs"
    assert column(Input((3,), "analog")) == "macs"
    assert column(Input((3,)), Input((3,))) == "macs", "the sum of two spikes is a count"


def test_columns_of_one_node() -> None:
    def columns(node: Node, *shape: int, edge: nodes.EdgeKind = "binary") -> set[str]:
        graph = chain({"x": Input(shape, edge), "node": node, "y": Output()})
        return set(columns_of(graph, "node", infer(graph)))

    assert columns(Linear(weights(1, 2, 3)), 3) == {"nominal", "synaptic_events", "weight_bytes", "event_bytes"}
    assert columns(Linear(weights(1, 2, 3)), 3, edge="analog") == {"nominal", "macs", "weight_bytes", "event_bytes"}
    assert {"synaptic_events", "macs"} <= columns(Dendrite(weights(1, 2, 3), weights(2, 2, 3)), 3)
    assert "synaptic_events" not in columns(Dendrite(weights(1, 2, 3), weights(2, 2, 3)), 3, edge="analog")
    assert columns(Output(), 3) == set()
    assert columns(Select((1,)), 3) == {"event_bytes"}
    assert "graded_bits" in columns(neuron(GradedLIF(), 3), 3)
    assert "graded_bits" not in columns(neuron(LIF(), 3), 3)


def test_attention_products() -> None:
    for how, softmax in (("softmax", 2 * 5), ("counts", 0)):
        graph = Graph(
            {"q": Input((6,)), "k": Input((5, 6)), "a": Attention(2, how), "y": Output()},
            (Edge("q", "a", "q"), Edge("k", "a", "k"), Edge("k", "a", "v"), Edge("a", "y")),
        )
        signals = infer(graph)
        assert nominal_per_tick(graph, "a", signals) == 2 * 5 * 6  # each key's q·k, then times each value
        assert rule_of(graph.nodes["a"]).elementwise(graph, "a", signals) == softmax


def test_scope_multiplies_by_its_steps() -> None:
    inner = chain({"in": Input((3,)), "fc": Linear(weights(1, 2, 3)), "lif": neuron(LIF(), 2), "y": Output()})
    once = infer(inner)
    graph = chain({"x": Input((3,)), "scope": Scope(inner, 7), "y": Output()})
    signals = infer(graph)
    assert nominal_per_tick(graph, "scope", signals) == 7 * nominal_per_tick(inner, "fc", once) == 42
    assert pruned_per_tick(graph, "scope", signals) == 7 * pruned_per_tick(inner, "fc", once) > 0
    assert rule_of(graph.nodes["scope"]).updates(graph, "scope", signals) == 14
    assert set(columns_of(graph, "scope", signals)) >= {"nominal", "synaptic_events", "spikes"}


def test_scope_with_a_window_inside() -> None:
    inner = chain({"in": Input((3,)), "window": Window(2, 2), "fc": Linear(weights(1, 4, 3)), "y": Output()})
    graph = chain({"x": Input((3,)), "scope": Scope(inner, 5), "y": Output()})
    assert nominal_per_tick(graph, "scope", infer(graph)) == 2 * (2 * 4 * 3)  # 2 full windows of 2 rows in 5 steps
    carried = chain({"x": Input((3,)), "scope": Scope(inner, 5, state="carry"), "y": Output()})
    with pytest.raises(GraphError, match="'scope' carries a Window"):
        nominal_per_tick(carried, "scope", infer(carried))


def test_nested_scopes_of_the_encoder() -> None:
    graph = GRAPHS["frequency_tokens"]()
    # 5 tokens · (4 steps · 8·8 + 3·8)
    assert nominal_per_tick(graph, "encoder", infer(graph)) == 5 * (4 * 64 + 24)


def test_conversions_of_an_array() -> None:
    graph = GRAPHS["binary_weight"]()
    signals = infer(graph)
    # 40 rows in groups of 16, 13 columns, 2 input bits; the digital scale has no converter.
    assert rule_of(graph.nodes["array"]).adc_conversions(graph, "array", signals) == 3 * 13 * 2
    assert rule_of(graph.nodes["scale"]).adc_conversions(graph, "scale", signals) == 0
    conv = Conv2d(
        weights(1, 4, 2, 3, 3), arithmetic=Arithmetic(group=4, group_convert=Fixed(4), bit_serial=True), padding=(1, 1)
    )
    counted = chain({"x": Input((2, 5, 5), "count", 9), "conv": conv, "y": Output()})
    # 18 rows make 5 groups, 4·5·5 outputs, counts up to 9 have 4 bits
    assert rule_of(conv).adc_conversions(counted, "conv", infer(counted)) == 5 * 100 * 4


def test_learning_updates_and_additions() -> None:
    graph = GRAPHS["plastic_head"]()
    signals = infer(graph)
    assert rule_of(graph.nodes["head"]).learning_updates(graph, "head", signals) == 30
    assert rule_of(graph.nodes["hidden"]).learning_updates(graph, "hidden", signals) == 0
    assert isinstance(graph.nodes["head"], Linear)
    assert graph.nodes["head"].plastic == Plastic(0.95, 0.05, 1.0)
    assert graph.nodes["head"].grid == WeightGrid(10)
    loop = GRAPHS["feedback"]()
    assert isinstance(loop.nodes["both"], Add)
    assert rule_of(loop.nodes["both"]).elementwise(loop, "both", infer(loop)) == 4
    assert rule_of(Readout()).elementwise(loop, "readout", infer(loop)) == 4
