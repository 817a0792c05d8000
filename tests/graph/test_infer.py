"""Shapes, kinds, grids and exactness; and every refusal, by node, with what was found and what was expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from neuroaccel.errors import GraphError
from neuroaccel.graph import (
    Add,
    Attention,
    AvgPool2d,
    Constant,
    Conv1d,
    Conv2d,
    Delay,
    Dendrite,
    Edge,
    Flatten,
    Graph,
    Input,
    Keep,
    LayerNorm,
    Linear,
    MaxPool2d,
    Memory,
    Multiply,
    Node,
    Output,
    Plastic,
    Probe,
    Readout,
    Reshape,
    Scope,
    Select,
    Signal,
    Softmax,
    SumPool2d,
    Table,
    ValueGrid,
    WeightGrid,
    Window,
    chain,
    infer,
)
from neuroaccel.program import LI, LIF, Arithmetic, GradedLIF
from tests.graphs.parts import neuron, weights

F = np.float32


def one(node: Node, *shape: int, edge: str = "binary", maximum: int = 1) -> Graph:
    """x → node → y."""
    return chain({"x": Input(shape, edge, maximum), "node": node, "y": Output()})  # type: ignore[arg-type]


def signal(node: Node, *shape: int, edge: str = "binary", maximum: int = 1) -> Signal:
    return infer(one(node, *shape, edge=edge, maximum=maximum))["node"]


def ports(node: Node, **signals: Input) -> Graph:
    """One Input per port of a node."""
    edges = tuple(Edge(port, "node", port) for port in signals)
    return Graph({**signals, "node": node, "y": Output()}, (*edges, Edge("node", "y")))


def inner(*shape: int, edge: str = "binary", maximum: int = 1) -> Graph:
    return chain({"in": Input(shape, edge, maximum), "y": Output()})  # type: ignore[arg-type]


def plastic(**changes: object) -> Graph:
    fields: dict[str, object] = {"grid": WeightGrid(5), "plastic": Plastic(0.9, 0.1, 1.0), "post": (2,), "third": (1,)}
    fields |= changes
    fc = Linear(weights(1, 2, 3), grid=fields["grid"], plastic=fields["plastic"])  # type: ignore[arg-type]
    graph = chain({"x": Input((3,)), "node": fc, "y": Output()})
    extra = {port: Input(fields[port]) for port in ("third", "post") if fields[port] is not None}  # type: ignore[arg-type]
    return replace(
        graph, nodes={**graph.nodes, **extra}, edges=(*graph.edges, *(Edge(port, "node", port) for port in extra))
    )


@dataclass(frozen=True, eq=False)
class Guess(Node):
    """A type that nothing knows."""


class NotANumber:
    """Arrays with one bad entry."""

    weight = np.array([[1, 2, 3], [4, np.nan, 6]], F)
    bias = np.array([0, np.inf], F)


W = weights(1, 2, 3)
K = weights(2, 4, 2, 3, 3)
BROKEN: dict[str, tuple[Callable[[], Graph], str]] = {
    "no nodes": (lambda: Graph({}, ()), "the graph has no nodes"),
    "timing": (
        lambda: chain({"x": Input((1,)), "y": Output()}, timing="lazy"),
        "timing is 'instant' or 'pipelined', not 'lazy'",
    ),
    "dt": (lambda: chain({"x": Input((1,)), "y": Output()}, dt=0.0), r"dt must be positive seconds, not 0\.0"),
    "no such node": (
        lambda: Graph({"x": Input((1,)), "y": Output()}, (Edge("x", "z"),)),
        "edge 'x->z:in': there is no node 'z'",
    ),
    "edge twice": (
        lambda: Graph({"x": Input((1,)), "y": Output()}, (Edge("x", "y"), Edge("x", "y", recurrent=True))),
        "edge 'x->y:in' is there twice",
    ),
    "no such port": (
        lambda: Graph({"x": Input((1,)), "y": Output()}, (Edge("x", "y", "gate"),)),
        "edge 'x->y:gate': Output has no port 'gate'; it has in",
    ),
    "into an input": (
        lambda: Graph({"x": Input((1,)), "z": Input((1,))}, (Edge("x", "z"),)),
        "Input has no port 'in'; it has none",
    ),
    "empty name": (lambda: Graph({"": Input((1,))}, ()), "a node's name is empty"),
    "unfed port": (
        lambda: Graph({"x": Input((1,)), "m": Multiply()}, (Edge("x", "m"),)),
        "Multiply 'm': nothing enters its port 'gate'",
    ),
    "shapes that do not add": (
        lambda: Graph(
            {"a": Input((2,)), "b": Input((3,)), "sum": Add(), "y": Output()},
            (Edge("a", "sum"), Edge("b", "sum"), Edge("sum", "y")),
        ),
        r"node 'sum': its edges bring different shapes: \[\(2,\), \(3,\)\]",
    ),
    "unknown type": (lambda: one(Guess(), 3), "node 'node' has the unknown type Guess"),
    "empty axis": (lambda: one(Add(), 3, 0), r"Input 'x': shape \(3, 0\) has an empty axis"),
    "edge kind": (lambda: one(Add(), 3, edge="ternary"), "Input 'x': edge is binary, count or analog, not 'ternary'"),
    "binary maximum": (lambda: one(Add(), 3, maximum=2), "Input 'x': maximum 2 does not fit a binary edge"),
    "count maximum": (lambda: one(Add(), 3, edge="count", maximum=0), "Input 'x': maximum 0 does not fit a count edge"),
    "constant": (
        lambda: chain({"c": Constant(NotANumber.bias), "y": Output()}),
        r"node 'c': value\[1\] is inf, weights must be finite",
    ),
    "delay of 0": (lambda: one(Delay(np.array(0)), 3), "Delay 'node': ticks must be whole numbers of at least 1"),
    "delay of 1.5": (lambda: one(Delay(np.array(1.5)), 3), "Delay 'node': ticks must be whole"),
    "delays": (
        lambda: one(Delay(np.array([1, 2])), 3),
        r"Delay 'node': ticks have shape \(2,\), the edge \(3,\)",
    ),
    "weight not finite": (
        lambda: one(Linear(NotANumber.weight), 3),
        r"node 'node': weight\[1, 1\] is nan, weights must be finite",
    ),
    "bias not finite": (lambda: one(Linear(W, NotANumber.bias), 3), r"node 'node': bias\[1\] is inf"),
    "weight of words": (
        lambda: one(Linear(np.array([["a"]])), 3),
        "node 'node': weight has dtype <U1, expected a number",
    ),
    "weight axes": (lambda: one(Linear(K), 3), "Linear 'node': weight has 4 axes, expected 2"),
    "bias": (
        lambda: one(Linear(W, np.zeros(3, F)), 3),
        r"Linear 'node': bias has shape \(3,\), weight asks for \(2,\)",
    ),
    "linear": (
        lambda: one(Linear(W), 4),
        r"Linear 'node' takes 3 inputs on the last axis, its edge has shape \(4,\)",
    ),
    "groups": (
        lambda: one(Conv2d(K, groups=3), 2, 8, 8),
        "Conv2d 'node': 4 output channels do not divide into 3 groups",
    ),
    "channels": (
        lambda: one(Conv2d(K), 3, 8, 8),
        r"Conv2d 'node' takes 2 channels and 2 axes, its edge has shape \(3, 8, 8\)",
    ),
    "conv axes": (
        lambda: one(Conv1d(weights(1, 4, 2, 3)), 2, 8, 8),
        r"Conv1d 'node' takes 2 channels and 1 axes, its edge has shape \(2, 8, 8\)",
    ),
    "stride": (lambda: one(Conv2d(K, stride=(0, 1)), 2, 8, 8), "Conv2d 'node': stride and dilation must be >= 1"),
    "padding": (lambda: one(Conv2d(K, padding=(-1, 0)), 2, 8, 8), "'node': stride and .* and padding >= 0"),
    "kernel": (
        lambda: one(Conv2d(K, dilation=(2, 1)), 2, 4, 4),
        r"Conv2d 'node': kernel \(3, 3\) does not fit into input \(2, 4, 4\)",
    ),
    "gate shape": (
        lambda: one(Dendrite(W, weights(2, 3, 3)), 3),
        r"Dendrite 'node': weight \(2, 3\) and gate \(3, 3\) differ in shape",
    ),
    "gate not finite": (lambda: one(Dendrite(W, NotANumber.weight), 3), r"node 'node': gate\[1, 1\] is nan"),
    "dendrite": (lambda: one(Dendrite(W, W), 4), r"Dendrite 'node' takes 3 inputs, its edge has shape \(4,\)"),
    "pool axes": (
        lambda: one(SumPool2d((2, 2), (2, 2)), 8),
        r"SumPool2d 'node' takes \[C, H, W\], its edge has shape \(8,\)",
    ),
    "pool padding": (
        lambda: one(AvgPool2d((2, 2), (2, 2), (2, 0)), 1, 8, 8),
        "AvgPool2d 'node': kernel, stride >= 1 and padding <= kernel/2 expected",
    ),
    "pool window": (
        lambda: one(SumPool2d((9, 2), (2, 2)), 1, 8, 8),
        r"SumPool2d 'node': window \(9, 2\) does not fit into \(1, 8, 8\)",
    ),
    "max of counts": (
        lambda: one(MaxPool2d((2, 2), (2, 2)), 1, 8, 8, edge="count", maximum=3),
        "MaxPool2d 'node' is a spike-OR and needs a binary edge; it gets count",
    ),
    "flatten axis": (lambda: one(Flatten(0, 2), 2, 3), "Flatten 'node': axis 2 of a value with 2 axes"),
    "flatten order": (lambda: one(Flatten(1, 0), 2, 3), "Flatten 'node': start 1 lies behind end 0"),
    "reshape": (
        lambda: one(Reshape((4,)), 2, 3),
        r"Reshape 'node': \(2, 3\) does not hold as many values as \(4,\)",
    ),
    "select": (lambda: one(Select((0, 3)), 3), r"Select 'node': indices \(0, 3\) on an axis of 3"),
    "select nothing": (lambda: one(Select(()), 3), r"Select 'node': indices \(\) on an axis of 3"),
    "select axis": (lambda: one(Select((0,), axis=1), 3), "Select 'node': axis 1 of a value with 1 axes"),
    "gate": (
        lambda: ports(Multiply(), **{"in": Input((2, 3)), "gate": Input((3, 1))}),
        r"Multiply 'node': gate \(3, 1\) does not fit \(2, 3\)",
    ),
    "table of analog": (
        lambda: one(Table(np.zeros(4, F)), 3, edge="analog"),
        "Table 'node' is indexed by whole numbers; its edge is analog",
    ),
    "table axes": (
        lambda: one(Table(np.zeros((2, 2), F)), 3),
        r"Table 'node': values have shape \(2, 2\), expected one axis",
    ),
    "parameter range": (
        lambda: one(replace(neuron(LIF(), 3), parameters={"beta": np.float32(1.5), "threshold": np.float32(1)}), 3),
        r"Neuron 'node': parameter 'beta' spans \[1.5, 1.5\], allowed is \[0.0, 1.0\]",
    ),
    "parameters": (
        lambda: one(replace(neuron(LIF(), 3), parameters={}), 3),
        r"Neuron 'node': parameters \[\] given, program 'LIF' has \['beta', 'threshold'\]",
    ),
    "neuron shape": (lambda: one(neuron(LIF(), 3), 4), r"Neuron 'node' has shape \(3,\), its edge \(4,\)"),
    "parameter shape": (
        lambda: one(neuron(LIF(np.zeros(2, F)), 3), 3),
        r"Neuron 'node': parameter 'beta' has shape \(2,\), the layer \(3,\)",
    ),
    "readout": (lambda: one(Readout("mode"), 3), "Readout 'node': unknown kind 'mode'"),  # type: ignore[arg-type]
    "counting analog": (
        lambda: one(Readout(), 3, edge="analog"),
        "Readout 'node' counts spikes, but its edge is analog",
    ),
    "attention": (
        lambda: ports(Attention(2), q=Input((4,)), k=Input((3, 4)), v=Input((2, 4))),
        r"Attention 'node': q \(4,\), k \(3, 4\), v \(2, 4\) do not fit",
    ),
    "heads": (
        lambda: ports(Attention(3), q=Input((4,)), k=Input((3, 4)), v=Input((3, 4))),
        "Attention 'node': 4 features do not divide into 3 heads",
    ),
    "attention on analog": (
        lambda: ports(Attention(2), q=Input((4,), "analog"), k=Input((3, 4)), v=Input((3, 4))),
        "Attention 'node' on counts needs binary or count edges",
    ),
    "layer norm": (
        lambda: one(LayerNorm(np.ones(2, F), np.ones(2, F)), 3),
        r"LayerNorm 'node': weight \(2,\) on \(3,\)",
    ),
    "memory": (lambda: one(Memory(0), 3), "Memory 'node': capacity must be at least 1"),
    "window": (lambda: one(Window(2, 0), 3), "Window 'node': width and stride must be at least 1"),
    "mask": (
        lambda: ports(Keep(), **{"in": Input((3,)), "mask": Input((3,))}),
        r"Keep 'node': its mask must be one binary value per tick, not binary\[3\]",
    ),
    "scope ticks": (lambda: one(Scope(inner(3), 0), 3), "Scope 'node' needs ticks >= 1"),
    "scope ports": (
        lambda: ports(Scope(inner(3), 2, port_names=("x",)), x=Input((3,))),
        r"Scope 'node' .* ports named as its inputs \('in',\), not \('x',\)",
    ),
    "scope shape": (
        lambda: one(Scope(inner(3), 2, input="slice"), 3),
        r"Scope 'node': port 'in' takes \(2, 3\), its edge has shape \(3,\)",
    ),
    "scope kind": (
        lambda: one(Scope(inner(3, edge="count", maximum=3), 2), 3, edge="count", maximum=4),
        r"Scope 'node': port 'in' takes count≤3\[3\], its edge is count≤4\[3\]",
    ),
    "inside a scope": (
        lambda: one(Scope(chain({"in": Input((3,)), "fc": Linear(K), "y": Output()}), 2), 3),
        "Linear 'fc': weight has 4 axes",
    ),
    "plastic without a third factor": (
        lambda: plastic(third=None),
        "Linear 'node': 0 edges enter its port 'third', expected one, as it is plastic",
    ),
    "third factor without plasticity": (
        lambda: plastic(plastic=None),
        "Linear 'node': 1 edges enter its port 'third', expected none, as it is not plastic",
    ),
    "third factor of two": (
        lambda: plastic(third=(2,)),
        r"Linear 'node': port 'third' takes one value, its edge has shape \(2,\)",
    ),
    "post of the wrong shape": (
        lambda: plastic(post=(3,)),
        r"Linear 'node': port 'post' takes \(2,\), its edge has shape \(3,\)",
    ),
    "plastic without a grid": (lambda: plastic(grid=None), "Linear 'node' is plastic and has no grid"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refuses(case: str) -> None:
    build, message = BROKEN[case]
    with pytest.raises(GraphError, match=message):
        build().validate()


def test_the_plastic_graph_is_right_but_for_what_the_cases_change() -> None:
    assert infer(plastic())["node"].shape == (2,)


@pytest.mark.parametrize(
    ("node", "shape", "kind", "maximum"),
    [
        (neuron(LIF(), 2, 4, 4), (2, 4, 4), "binary", 1),
        (neuron(GradedLIF(bits=3), 2, 4, 4), (2, 4, 4), "count", 7),
        (neuron(LI(), 2, 4, 4), (2, 4, 4), "analog", None),
        (SumPool2d((2, 2), (2, 2)), (2, 2, 2), "count", 4),
        (SumPool2d((3, 2), (1, 2), (1, 1)), (2, 4, 3), "count", 6),
        (AvgPool2d((2, 2), (2, 2)), (2, 2, 2), "analog", 4),
        (AvgPool2d((3, 3), (1, 1)), (2, 2, 2), "analog", None),
        (MaxPool2d((2, 2), (2, 2)), (2, 2, 2), "binary", 1),
        (Flatten(), (32,), "binary", 1),
        (Flatten(1), (2, 16), "binary", 1),
        (Reshape((4, 8)), (4, 8), "binary", 1),
        (Select((1,)), (1, 4, 4), "binary", 1),
        (Select((3, 0), -1), (2, 4, 2), "binary", 1),
        (Delay(np.array(3)), (2, 4, 4), "binary", 1),
        (Memory(5), (5, 2, 4, 4), "binary", 1),
        (Window(3, 2), (3, 2, 4, 4), "binary", 1),
        (Probe(0.9), (2, 4, 4), "binary", 1),
        (Conv2d(K, padding=(1, 1), stride=(2, 1)), (4, 2, 4), "analog", None),
        (Softmax(), (2, 4, 4), "analog", None),
        (Table(np.array([0, 1], F)), (2, 4, 4), "binary", 1),
        (Table(np.array([0, 5], F)), (2, 4, 4), "count", 5),
        (Table(np.array([-1, 0.5], F)), (2, 4, 4), "analog", 2),
        (Scope(inner(2, 4, 4), 3, output="sum"), (2, 4, 4), "count", 3),
        (Scope(inner(2, 4, 4), 3, output="all"), (3, 2, 4, 4), "binary", 1),
        (Scope(inner(2, 4, 4), 3), (2, 4, 4), "binary", 1),
    ],
)
def test_what_a_node_makes_of_spikes(node: Node, shape: tuple[int, ...], kind: str, maximum: int | None) -> None:
    found = signal(node, 2, 4, 4)
    assert (found.shape, found.kind, found.maximum) == (shape, kind, maximum)


def test_sum_pool_multiplies_counts() -> None:
    found = signal(SumPool2d((2, 2), (2, 2)), 1, 4, 4, edge="count", maximum=3)
    assert (found.kind, found.maximum, found.frac) == ("count", 12, 0)


def test_average_over_a_power_of_two_stays_on_a_grid() -> None:
    four, nine = (signal(AvgPool2d((k, k), (1, 1)), 1, 4, 4) for k in (2, 3))
    assert (four.frac, four.maximum, four.exact) == (2, 4, True)
    assert (nine.frac, nine.exact) == (None, False)


def test_edges_that_add() -> None:
    def total(*inputs: Input) -> Signal:
        nodes = {f"x{i}": x for i, x in enumerate(inputs)}
        edges = (*(Edge(name, "sum") for name in nodes), Edge("sum", "y"))
        return infer(Graph({**nodes, "sum": Add(), "y": Output()}, edges))["sum"]

    spikes, counts = Input((3,)), Input((3,), "count", 5)
    assert (total(spikes, spikes).kind, total(spikes, spikes).maximum) == ("count", 2)
    assert total(spikes, counts).maximum == 6
    fine = total(
        Input((3,), "analog", grid=ValueGrid(4, -8, 7)), Input((3,), "analog", grid=ValueGrid(6, -4, 4)), counts
    )
    assert (fine.kind, fine.frac, fine.maximum) == ("analog", 6, 8 * 4 + 4 + 5 * 64)
    assert total(spikes, Input((3,), "analog")).frac is None


def test_currents_are_exact_on_a_grid_below_2_to_24() -> None:
    w = np.array([[0.5, -1.5, 0]], F)
    b = np.array([0.25], F)
    snapped = signal(Linear(w, b, grid=WeightGrid(2)), 3)
    assert (snapped.exact, snapped.frac, snapped.maximum) == (True, 2, 2 + 6 + 1)
    counts = signal(Linear(w, b, grid=WeightGrid(2)), 3, edge="count", maximum=10)
    assert counts.maximum == 10 * 8 + 1
    assert not signal(Linear(w, b), 3).exact, "no grid"
    assert not signal(Linear(w, grid=WeightGrid(2)), 3, edge="analog").exact, "an analog edge without a grid"
    assert not signal(Linear(w, grid=WeightGrid(21)), 3, edge="count", maximum=4).exact, "2 · 2^21 · 4 = 2^24"
    assert signal(Linear(w, grid=WeightGrid(21)), 3, edge="count", maximum=3).exact
    assert signal(Linear(w, arithmetic=Arithmetic()), 3).exact, "integers"


def test_a_plastic_weight_may_grow_to_its_bound() -> None:
    graph = plastic(plastic=Plastic(0.9, 0.1, 4.0))
    assert infer(graph)["node"].maximum == 3 * 4 * 32


def test_a_dendrite_needs_both_grids() -> None:
    both = Dendrite(W, W, grid=WeightGrid(5), gate_grid=WeightGrid(5))
    assert signal(both, 3).exact
    assert not signal(replace(both, gate_grid=None), 3).exact
    assert not signal(replace(both, grid=None), 3).exact


def test_gates_and_tables_keep_the_grid() -> None:
    gated = infer(ports(Multiply(), **{"in": Input((3,), "analog", grid=ValueGrid(4, -8, 7)), "gate": Input((1,))}))
    assert (gated["node"].frac, gated["node"].maximum, gated["node"].exact) == (4, 8, True)
    halves = signal(Table(np.array([0.5, -0.75], F)), 3)
    assert (halves.frac, halves.maximum) == (2, 3)
    assert signal(Table(np.array([0.1, 1e-9], F)), 3).frac is None


def test_close_nodes_and_what_follows_them() -> None:
    graph = chain(
        {"x": Input((3,)), "s": Softmax(), "fc": Linear(W, grid=WeightGrid(5)), "lif": neuron(LIF(), 2), "y": Output()}
    )
    assert [name for name, s in infer(graph).items() if s.exact] == ["x"]
    inside = one(Scope(graph_with_softmax(), 2), 3)
    assert not infer(inside)["node"].exact
    outside = chain({"x": Input((3,)), "s": Softmax(), "scope": Scope(inner(3, edge="analog"), 2), "y": Output()})
    assert not infer(outside)["scope"].exact


def graph_with_softmax() -> Graph:
    return chain({"in": Input((3,)), "s": Softmax(), "y": Output()})


def test_attention_on_counts_is_exact_while_float32_holds_it() -> None:
    def found(maximum: int) -> Signal:
        count = Input((4,), "count", maximum)
        keys = Input((3, 4), "count", maximum)
        return infer(ports(Attention(2, shift=1), q=count, k=keys, v=keys))["node"]

    assert (found(5).maximum, found(5).frac, found(5).exact) == (5**3 * 2 * 3, 1, True)
    assert not found(200).exact


def test_closeness_comes_back_through_feedback() -> None:
    nodes: dict[str, Node] = {
        "x": Input((2,)),
        "fc": Linear(np.eye(2, dtype=F), grid=WeightGrid(0)),
        "lif": neuron(LIF(), 2),
        "late": Delay(np.array(1)),
        "raw": Linear(np.eye(2, dtype=F)),
        "y": Output(),
    }
    edges = (
        Edge("x", "fc"),
        Edge("fc", "lif"),
        Edge("lif", "late"),
        Edge("late", "raw"),
        Edge("raw", "lif"),
        Edge("lif", "y"),
    )
    signals = infer(Graph(nodes, edges))
    assert not signals["lif"].exact
    assert not signals["late"].exact, "what a Delay hands on is as close as what it took in"
    snapped = Graph({**nodes, "raw": nodes["fc"]}, edges)
    assert all(s.exact for s in infer(snapped).values())


def test_signals_print() -> None:
    assert str(Signal((2, 3), "count", 4)) == "count≤4[2x3]"
    assert str(Signal((), "analog", None, None, False)) == "analog[scalar] close"
