"""Retiming: the pipelined graph's spikes are the instant graph's, shifted by each node's lag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import Add, Delay, Edge, Graph, Input, Linear, Neuron, Output, Readout, chain
from neuroaccel.graph.retime import retime, schedule
from neuroaccel.program import IF, LIF, NeuronSpec
from tests.random_graphs import random_graph, random_input


def neuron(spec: NeuronSpec, *shape: int) -> Neuron:
    return Neuron(spec.program, {k: np.asarray(v, np.float32) for k, v in spec.values.items()}, shape)


def linear(seed: int, out: int, into: int, bias: bool = False) -> Linear:
    rng = np.random.default_rng(seed)
    b = (rng.integers(-8, 17, out) / 32).astype(np.float32) if bias else None
    return Linear((rng.integers(-16, 33, (out, into)) / 32).astype(np.float32), b)


def skip() -> Graph:
    """One path of three synapses beside one of one."""
    nodes: dict[str, Any] = {
        "x": Input((4,)),
        "w1": linear(1, 5, 4, bias=True),
        "n1": neuron(LIF(0.75, 0.5), 5),
        "w2": linear(2, 6, 5, bias=True),
        "short": linear(3, 6, 4),
        "n2": neuron(LIF(0.5, 0.5), 6),
        "y": Output(),
    }
    pairs = [("x", "w1"), ("w1", "n1"), ("n1", "w2"), ("w2", "n2"), ("x", "short"), ("short", "n2"), ("n2", "y")]
    return Graph(nodes, tuple(Edge(a, b) for a, b in pairs)).validate()


def same_after_the_shift(graph: Graph, x: np.ndarray) -> None:
    made = retime(graph)
    lag, latency = made.metadata["lag"], made.metadata["latency"]
    late = max([*lag.values(), *latency.values()])
    longer = np.concatenate([x, np.zeros((late, *x.shape[1:]), x.dtype)])
    before = engine.run(graph, x, record=True, arithmetic="float64").trace
    after = engine.run(made, longer, record=True, arithmetic="float64").trace
    for name, ticks in lag.items():
        assert np.array_equal(before.spikes[name], after.spikes[name][ticks : ticks + len(x)]), name
        assert not after.spikes[name][:ticks].any(), name
        for state, values in before.states[name].items():
            assert np.array_equal(values, after.states[name][state][ticks : ticks + len(x)]), (name, state)
    for name, ticks in latency.items():
        assert np.array_equal(before.outputs[name], after.outputs[name][ticks : ticks + len(x)]), name


def test_random_graphs_are_equal_after_the_shift(examples: Callable[[int, int], int]) -> None:
    equal, reasons = 0, []
    for seed in range(examples(80, 1000)):
        rng = np.random.default_rng(seed)
        more: dict[str, Any] = {} if seed % 4 == 0 else {"leak": False, "readouts": seed % 2 == 0}
        graph = random_graph(rng, "small", timings=("instant",), **more)
        x = random_input(graph, rng, T=8, N=2)
        try:
            retime(graph)
        except UnsupportedNode as error:
            reasons.append(error.reason)
            continue
        same_after_the_shift(graph, x)
        equal += 1
    assert equal >= examples(40, 500)
    assert all("before its first input" in reason or "the loop" in reason for reason in reasons)


def test_the_short_path_waits_where_its_spikes_are() -> None:
    """The delay stands before the synapse: it holds 4 binary values and not 6 currents."""
    made = retime(skip())
    assert made.metadata["latency"] == {"y": 2}
    assert made.metadata["lag"] == {"n1": 1, "n2": 2}
    assert list(made.metadata["buffers"].values()) == [
        {"edge": "x->short:in", "ticks": 1, "values": 4, "kind": "binary"}
    ]
    same_after_the_shift(skip(), (np.random.default_rng(0).random((10, 3, 4)) < 0.5).astype(np.float32))


def test_a_bias_behind_the_first_layer_starts_with_its_layer() -> None:
    graph = skip()
    made = retime(graph)
    assert made.nodes["w1"].bias is not None  # type: ignore[attr-defined]
    assert made.nodes["w2"].bias is None  # type: ignore[attr-defined]
    silent = np.zeros((6, 1, 4), np.float32)
    currents = engine.run(made, silent, record=True, arithmetic="float64").trace.currents["n2"][:, 0]
    assert not currents[:2].any()
    assert np.array_equal(currents[2], graph.nodes["w2"].bias)  # type: ignore[attr-defined]


def loop(*, ticks: int, synapses: int, delay_is_vector: bool = False) -> Graph:
    """x -> in -> n -> s1 .. -> n, the loop being ``ticks`` long: one recurrent edge, the rest in a Delay."""
    nodes: dict[str, Any] = {"x": Input((3,)), "in": linear(5, 3, 3), "n": neuron(LIF(0.75, 0.5), 3), "y": Output()}
    edges = [Edge("x", "in"), Edge("in", "n"), Edge("n", "y")]
    at, recurrent = "n", True
    if ticks > 1:
        wait = np.full(3, ticks - 1, np.int32) if delay_is_vector else np.int32(ticks - 1)
        nodes["wait"] = Delay(wait)  # type: ignore[arg-type]
        edges.append(Edge("n", "wait", recurrent=True))
        at, recurrent = "wait", False
    for k in range(synapses):
        nodes[f"s{k}"] = linear(6 + k, 3, 3)
        edges.append(Edge(at, f"s{k}", recurrent=recurrent))
        at, recurrent = f"s{k}", False
    return Graph(nodes, (*edges, Edge(at, "n"))).validate()


@pytest.mark.parametrize(("ticks", "synapses", "vector"), [(1, 1, False), (2, 1, False), (2, 2, False), (4, 2, True)])
def test_a_loop_pays_its_synapses_with_its_own_ticks(ticks: int, synapses: int, vector: bool) -> None:
    graph = loop(ticks=ticks, synapses=synapses, delay_is_vector=vector)
    made = retime(graph)
    assert not any(e.recurrent for e in made.edges)
    at, lasts = "n", 0
    while True:
        (at,) = (e.target for e in made.out_of(at) if e.target != "y")
        if at == "n":
            break
        node = made.nodes[at]
        lasts += int(np.max(node.ticks)) if isinstance(node, Delay) else int(isinstance(node, Linear))
    assert lasts == ticks
    same_after_the_shift(graph, (np.random.default_rng(1).random((12, 2, 3)) < 0.5).astype(np.float32))


def test_a_loop_shorter_than_its_synapses_is_refused_by_name_with_the_fix() -> None:
    with pytest.raises(UnsupportedNode, match=r"the loop .*s1.* lasts 1 tick\(s\) and crosses 2.*add Delay\(1\)"):
        retime(loop(ticks=1, synapses=2))
    with pytest.raises(UnsupportedNode, match=r"'wait', with ticks per element, must keep one.*add Delay\(1\)"):
        retime(loop(ticks=2, synapses=2, delay_is_vector=True))


def test_what_moves_before_its_first_input_is_refused() -> None:
    def net(spec: NeuronSpec, how: Any = "spike_count") -> Graph:
        return chain(
            {"x": Input((3,)), "w": linear(9, 2, 3), "n": neuron(spec, 2), "readout": Readout(how), "y": Output()}
        )

    with pytest.raises(UnsupportedNode, match="node 'n': its v moves before its first input"):
        retime(net(LIF(0.5, 1.0, v_leak=0.5)))
    with pytest.raises(UnsupportedNode, match="node 'n': it fires in its fresh state"):
        retime(net(IF(0.0, tie="ge")))
    with pytest.raises(UnsupportedNode, match="node 'readout': mean_membrane"):
        retime(net(LIF(), "mean_membrane"))
    # In front of the first synapse nothing waits, and nothing is refused.
    first = chain({"x": Input((2,)), "n": neuron(LIF(0.5, 1.0, v_leak=0.5), 2), "w": linear(9, 3, 2), "y": Output()})
    assert retime(first).metadata["lag"] == {"n": 0}


def test_a_pipelined_graph_is_not_retimed_twice() -> None:
    made = retime(skip())
    with pytest.raises(GraphError, match="takes an instant graph"):
        retime(made)
    assert set(schedule(made).arrives.values()) == {0}


def test_sums_between_synapses_meet_in_time() -> None:
    """An Add whose edges come from a deep and a shallow path."""
    graph = skip()
    nodes = {**graph.nodes, "sum": Add()}
    edges = [e for e in graph.edges if e.target != "n2"]
    edges += [Edge("w2", "sum"), Edge("short", "sum"), Edge("sum", "n2")]
    same_after_the_shift(
        Graph(nodes, tuple(edges)).validate(), (np.random.default_rng(2).random((10, 2, 4)) < 0.5).astype(np.float32)
    )
