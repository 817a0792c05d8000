"""Lava in float64 and in Loihi's integers computes what the engine computes: spikes, states, currents, outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.errors import GraphError, UnsupportedNode
from neuroaccel.graph import (
    Add,
    Conv1d,
    Conv2d,
    Delay,
    Dendrite,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    MaxPool2d,
    Neuron,
    Output,
    Readout,
    Select,
    SumPool2d,
    Trace,
    chain,
    load_graph,
    save_graph,
)
from neuroaccel.hardware.lava import quantise, run_lava
from neuroaccel.hardware.lava.mapping import network_of
from neuroaccel.program import ALIF, IF, LI, LIF, CubaLIF, NeuronSpec
from tests.random_graphs import random_graph, random_input


def neuron(spec: NeuronSpec, *shape: int) -> Neuron:
    return Neuron(spec.program, {k: np.asarray(v, np.float32) for k, v in spec.values.items()}, shape)


def weights(seed: int, *shape: int, low: int = -20, high: int = 33) -> np.ndarray:
    return (np.random.default_rng(seed).integers(low, high, shape) / 64).astype(np.float32)


def spikes(shape: tuple[int, ...], rate: float = 0.3, T: int = 12, N: int = 3, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((T, N, *shape)) < rate).astype(np.float32)


def differences(expected: Trace, found: Trace) -> list[str]:
    """What differs between two traces, by name; the membranes as well as the spikes."""
    out = []
    for name in expected.spikes:
        pairs = {"spikes": (expected.spikes, found.spikes), "current": (expected.currents, found.currents)}
        out += [f"{name} {what}" for what, (a, b) in pairs.items() if not np.array_equal(a[name], b[name])]
        out += [f"{name} {k}" for k, v in expected.states[name].items() if not np.array_equal(v, found.states[name][k])]
    out += [f"output {k}" for k, v in expected.outputs.items() if not np.array_equal(v, found.outputs[k])]
    return out


def agree_float(graph: Graph, x: np.ndarray) -> Trace:
    expected = engine.run(graph, x, record=True, arithmetic="float64").trace
    assert differences(expected, run_lava(graph, x, timeout_s=120)) == []
    return expected


def agree_fixed(graph: Graph, x: np.ndarray) -> Trace:
    expected = engine.run(quantise(graph)[0], x, record=True, arithmetic="integer").trace
    assert differences(expected, run_lava(graph, x, fixed=True, timeout_s=120)) == []
    return expected


def types(graph: Graph, *, fixed: bool = False) -> dict[str, str]:
    return {p["name"]: p["type"] for p in network_of(graph, fixed=fixed).description["processes"]}


def image_net() -> Graph:
    """Biases, strides, padding, groups, dilation, counts behind a pool, and a readout of each kind of membrane."""
    return chain(
        {
            "x": Input((2, 9, 7)),
            "conv1": Conv2d(weights(1, 4, 2, 3, 2), weights(2, 4), padding=(1, 0), stride=(1, 2)),
            "lif1": neuron(LIF(0.75, 0.5), 4, 9, 3),
            "pool": SumPool2d((2, 1), (2, 1)),
            "conv2": Conv2d(weights(3, 6, 2, 2, 2), weights(4, 6), groups=2, dilation=(2, 1), padding=(0, 1)),
            "cuba": neuron(CubaLIF(0.5, 0.875, 0.75), 6, 2, 4),
            "flatten": Flatten(),
            "linear": Linear(weights(5, 5, 48), weights(6, 5)),
            "li": neuron(LI(0.9375), 5),
            "readout": Readout("mean_membrane"),
            "y": Output(),
        }
    )


def loop_and_skip() -> Graph:
    """A recurrent layer, a skip path that retiming must delay, the same spikes into one port twice, and a long loop."""
    nodes: dict[str, Any] = {
        "x": Input((6,)),
        "in": Linear(weights(11, 8, 6)),
        "rec": neuron(LIF(0.75, 0.5), 8),
        "back": Linear(weights(12, 8, 8, low=-30, high=20)),
        "deep": Linear(weights(13, 8, 8), weights(14, 8)),
        "n2": neuron(IF(0.75), 8),
        "skip": Linear(weights(15, 8, 6)),
        "some": Select((0, 0, 3, 5)),
        "both": Add(),
        "last": Linear(weights(16, 4, 4)),
        "n3": neuron(LIF(0.5, 0.25), 4),
        "wait": Delay(np.array([1, 3, 2, 5], np.int32)),
        "home": Linear(weights(17, 8, 4)),
        "y": Output(),
        "count": Readout("spike_count"),
        "z": Output(),
    }
    edges = [
        Edge("x", "in"),
        Edge("in", "rec"),
        Edge("rec", "back", recurrent=True),
        Edge("back", "rec"),
        Edge("rec", "deep"),
        Edge("deep", "n2"),
        Edge("x", "skip"),
        Edge("skip", "n2"),
        Edge("n2", "some"),
        Edge("some", "both"),
        Edge("some", "last"),
        Edge("both", "last"),
        Edge("last", "n3"),
        Edge("n3", "wait"),
        Edge("wait", "hold"),
        Edge("hold", "home"),
        Edge("home", "n2"),
        Edge("n3", "y"),
        Edge("n3", "count"),
        Edge("count", "z"),
    ]
    nodes["hold"] = Delay(np.asarray(2, np.int32))
    return Graph(nodes, tuple(edges)).validate()


@pytest.mark.parametrize("agree", [agree_float, agree_fixed])
def test_an_image_network(agree: Callable[..., Trace]) -> None:
    graph = image_net()
    found = types(graph, fixed=agree is agree_fixed)
    assert {found[k] for k in ("conv1", "conv2")} == {"conv"}
    assert {found["lif1"], found["cuba"]} == {"lif"}
    assert {found["linear"], found["conv1_bias"]} == {"dense", "constant"}
    trace = agree(graph, spikes((2, 9, 7)))
    assert all(trace.spikes[k].any() and not trace.spikes[k].all() for k in ("lif1", "cuba"))


@pytest.mark.parametrize("agree", [agree_float, agree_fixed])
def test_loops_skip_paths_and_delays(agree: Callable[..., Trace]) -> None:
    trace = agree(loop_and_skip(), spikes((6,), 0.4, T=20))
    assert all(0 < trace.spikes[k].mean() < 1 for k in ("rec", "n2", "n3"))


@pytest.mark.parametrize("agree", [agree_float, agree_fixed])
@pytest.mark.parametrize("tie", ["gt", "ge"])
def test_at_the_threshold_the_tie_rule_decides(agree: Callable[..., Trace], tie: Any) -> None:
    """Weights of 1/4 meet a threshold of 1 exactly; both rules run with Lava's own LIF in floats."""
    w = np.full((4, 1), 0.25, np.float32)
    graph = chain({"x": Input((1,)), "w": Linear(w), "n": neuron(LIF(1.0, 1.0, tie=tie), 4), "y": Output()})
    assert types(graph)["n"] == "lif"
    trace = agree(graph, np.ones((10, 1, 1), np.float32))
    period = 4 if tie == "ge" else 5
    assert np.flatnonzero(trace.spikes["n"][:, 0, 0]).tolist() == list(range(period - 1, 10, period))


PER_NEURON = np.linspace(0.25, 0.9, 6, dtype=np.float32)
OWN = {
    "subtract": LIF(0.75, 0.5, reset="subtract"),
    "subtract a tick later": LIF(0.75, 0.5, reset="subtract", reset_delay=1, tie="ge"),
    "to a value": LIF(0.75, 0.5, reset="to_value", v_reset=-0.25),
    "to a value a tick later": IF(0.75, reset="to_value", v_reset=0.125, reset_delay=1),
    "per neuron": CubaLIF(PER_NEURON[::-1].copy(), PER_NEURON, PER_NEURON, tie="ge"),
    "leaks to a potential": LIF(PER_NEURON, 0.5, v_leak=0.75, reset="subtract"),
}


@pytest.mark.parametrize("model", ["float", "fixed"])
def test_neurons_that_lava_does_not_have(model: str) -> None:
    """All side by side in one network, in process models of the bundle's own."""
    nodes: dict[str, Any] = {"x": Input((5,)), "w": Linear(weights(31, 6, 5), weights(32, 6, low=0))}
    edges = [Edge("x", "w")]
    for number, spec in enumerate(OWN.values()):
        nodes |= {
            f"w{number}": Linear(weights(33 + number, 6, 5)),
            f"n{number}": neuron(spec, 6),
            f"y{number}": Output(),
        }
        edges += [Edge("x", f"w{number}"), Edge(f"w{number}", f"n{number}"), Edge(f"n{number}", f"y{number}")]
    if model == "float":
        nodes |= {"alif": neuron(ALIF(0.75, 0.25, kappa=0.25), 6), "ya": Output()}
        edges += [Edge("w", "alif"), Edge("alif", "ya")]
    else:
        nodes |= {"li": neuron(LI(PER_NEURON, v_leak=0.5), 6), "ya": Output()}
        edges += [Edge("w", "li"), Edge("li", "ya")]
    graph = Graph(nodes, tuple(edges))
    found = types(graph, fixed=model == "fixed")
    assert {found[k] for k in nodes if isinstance(nodes[k], Neuron)} == {"program"}
    trace = (agree_float if model == "float" else agree_fixed)(graph, spikes((5,), 0.5))
    assert all(trace.spikes[f"n{k}"].any() for k in range(len(OWN)))


@pytest.mark.parametrize("agree", [agree_float, agree_fixed])
def test_a_leak_waits_for_its_layer(agree: Callable[..., Trace]) -> None:
    """A neuron behind two synapses must not leak while the pipeline fills; Lava's own LIF holds the leak constant."""
    graph = chain(
        {
            "x": Input((4,)),
            "w1": Linear(weights(41, 4, 4), weights(42, 4)),
            "n1": neuron(LIF(0.75, 0.5, v_leak=0.25), 4),
            "w2": Linear(weights(43, 3, 4), weights(44, 3, low=1)),
            "n2": neuron(CubaLIF(0.5, 0.75, 0.5, v_leak=0.5), 3),
            "readout": Readout("max_membrane"),
            "y": Output(),
        }
    )
    assert set(types(graph, fixed=agree is agree_fixed).values()) == {
        "source",
        "dense",
        "constant",
        "lif",
    }
    agree(graph, spikes((4,)))


def dendrites(timing: Any = "instant") -> Graph:
    """A conv and a dense dendrite with biases, one of them in a loop, behind a sum of two currents."""
    how: dict[str, Any] = {"stride": (1, 2), "padding": (1, 0), "dilation": (1, 1), "groups": 2}
    nodes: dict[str, Any] = {
        "x": Input((2, 7, 6), "count", 3),
        "conv": Dendrite(weights(1, 4, 1, 3, 2), weights(2, 4, 1, 3, 2), weights(3, 4), **how),
        "n1": neuron(LIF(0.75, 0.75), 4, 7, 3),
        "flat": Flatten(),
        "dense": Dendrite(weights(4, 5, 84), weights(5, 5, 84, low=-40, high=20), weights(6, 5)),
        "plain": Linear(weights(7, 5, 84), weights(8, 5)),
        "n2": neuron(CubaLIF(0.5, 0.875, 0.5), 5),
        "wait": Delay(np.int32(2)),
        "back": Dendrite(weights(9, 5, 5), weights(10, 5, 5)),
        "y": Output(),
        "count": Readout("spike_count"),
        "z": Output(),
    }
    edges = "x conv, conv n1, n1 flat, flat dense, flat plain, dense n2, plain n2, n2 wait, wait back, back n2, n2 y"
    pairs = [Edge(*e.split()) for e in edges.split(", ")]
    return Graph(nodes, (*pairs, Edge("n2", "count"), Edge("count", "z")), timing).validate()


@pytest.mark.parametrize("timing", ["instant", "pipelined"])
def test_dendrites_are_processes_of_their_own(timing: str) -> None:
    graph = dendrites(timing)
    found = types(graph)
    assert [found[k] for k in ("conv", "conv_w", "conv_v")] == ["dendrite", "conv", "conv"]
    assert [found[k] for k in ("dense", "dense_w", "dense_v")] == ["dendrite", "dense", "dense"]
    x = (spikes((2, 7, 6), 0.25) * np.random.default_rng(1).integers(1, 4, (12, 3, 2, 7, 6))).astype(np.float32)
    trace = agree_float(graph, x)
    assert all(0 < trace.spikes[name].mean() < 1 for name in ("n1", "n2"))
    without = {k: v for k, v in graph.nodes.items()}
    without["dense"] = Linear(weights(4, 5, 84), weights(6, 5))
    plain = engine.run(Graph(without, graph.edges, graph.timing), x, record=True, arithmetic="float64").trace
    assert (plain.currents["n2"] != trace.currents["n2"]).any()


def test_a_dendrite_in_whole_numbers_is_refused() -> None:
    graph = chain({"x": Input((4,)), "d": Dendrite(weights(1, 3, 4), weights(2, 3, 4)), "n": neuron(LIF(), 3)})
    graph = chain({**graph.nodes, "y": Output()})
    with pytest.raises(UnsupportedNode, match=r"'d'.*no product of two currents") as caught:
        network_of(graph, fixed=True)
    assert caught.value.node == "d"


def test_samples_do_not_see_each_other() -> None:
    """Currents under way, membranes and delay lines of one sample are gone when the next begins."""
    graph = loop_and_skip()
    x = spikes((6,), 0.6, N=4)
    x[:, 2] = 0
    together = run_lava(graph, x)
    alone = run_lava(graph, x[:, 3:])
    assert not together.spikes["rec"][:, 2].any()
    assert together.spikes["n2"][:, 1].any()
    last = Trace(
        {k: v[:, 3:] for k, v in together.outputs.items()},
        {k: v[:, 3:] for k, v in together.spikes.items()},
        {k: {s: v[:, 3:] for s, v in states.items()} for k, states in together.states.items()},
        {k: v[:, 3:] for k, v in together.currents.items()},
    )
    assert differences(alone, last) == []


def test_counts_and_sequences() -> None:
    """A count input, a Conv1d, a Linear over the last axis of a matrix."""
    graph = chain(
        {
            "x": Input((2, 12), "count", 5),
            "conv": Conv1d(weights(51, 3, 2, 3), stride=2, padding=1),
            "n": neuron(LIF(0.75, 1.0), 3, 6),
            "w": Linear(weights(52, 4, 6), weights(53, 4)),
            "n2": neuron(LIF(0.5, 0.5), 3, 4),
            "y": Output(),
        }
    )
    x = np.random.default_rng(5).integers(0, 6, (10, 2, 2, 12)).astype(np.float32)
    for agree in (agree_float, agree_fixed):
        trace = agree(graph, x)
        assert trace.spikes["n2"].any()


@pytest.mark.parametrize("beta_syn", [None, 0.96875])
def test_the_current_wraps_and_the_membrane_saturates_as_lava_has_it(beta_syn: float | None) -> None:
    """1200 inputs of the largest weight leave 24 bits: Lava's own model wraps, and so does the integer program."""
    w = np.ones((3, 1200), np.float32) * np.array([[1.0], [-1.0], [0.43]], np.float32)
    spec = LIF(0.96875, 300.0) if beta_syn is None else CubaLIF(beta_syn, 0.96875, 300.0)
    graph = chain({"x": Input((1200,)), "w": Linear(w), "n": neuron(spec, 3), "y": Output()})
    made, report = quantise(graph)
    assert report["n"].may_wrap
    assert types(graph, fixed=True)["n"] == "lif"
    x = spikes((1200,), 0.45, T=30, N=2)
    trace = agree_fixed(graph, x)
    exact = 64 * np.einsum("oi,tni->tno", made.nodes["w"].weight.astype(np.int64), x.astype(np.int64))  # type: ignore[attr-defined]
    assert np.abs(exact).max() > 2**23
    assert np.abs(trace.states["n"]["v"]).max() == 2**23 - 1


def test_random_networks_in_floats(examples: Callable[[int, int], int]) -> None:
    agreed, refused = 0, []
    for seed in range(100, 100 + examples(12, 200)):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, "small", pools=("sum", "avg"))
        x = random_input(graph, rng, T=8, N=2)
        try:
            network_of(graph, fixed=False)
        except UnsupportedNode as error:
            refused.append(error.executor)
            continue
        agree_float(graph, x)
        agreed += 1
    assert agreed >= examples(8, 120)
    assert set(refused) <= {"retiming"}


def test_random_networks_in_integers(examples: Callable[[int, int], int]) -> None:
    agreed = 0
    for seed in range(500, 500 + examples(20, 300)):
        rng = np.random.default_rng(seed)
        graph = random_graph(
            rng, "small", pools=("sum",), neurons=("IF", "LIF", "CubaLIF"), leak=seed % 4 == 0, dendrites=False
        )
        x = random_input(graph, rng, T=8, N=2)
        try:
            network_of(graph, fixed=True)
        except (UnsupportedNode, GraphError):  # a gain, a decay of 1 that 12 bits do not hold, a short loop
            continue
        agree_fixed(graph, x)
        agreed += 1
    assert agreed >= examples(8, 120)


def test_the_integers_are_those_of_the_report(tmp_path: Path) -> None:
    """Weights are even and 8 bits wide, the largest one is used in full, and the integer graph survives its file."""
    graph = image_net()
    made, report = quantise(graph)
    for name, layer in {"conv1": "lif1", "conv2": "cuba", "linear": "li"}.items():
        whole = made.nodes[name].weight.astype(np.int64)  # type: ignore[attr-defined]
        real = graph.nodes[name].weight  # type: ignore[attr-defined]
        assert np.all(whole % 2 == 0)
        assert np.abs(whole).max() == 254
        assert np.abs(whole / report[layer].scale - real).max() <= report[layer].weight_change
        assert report[layer].weight_change <= 1 / report[layer].scale
    threshold = made.nodes["lif1"].parameters["threshold"]  # type: ignore[attr-defined]
    assert threshold == 64 * round(0.5 * report["lif1"].scale)
    again = load_graph(save_graph(made, tmp_path / "integers.safetensors"))
    assert types(again, fixed=True) == types(graph, fixed=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LIF(0.0, 1.0), "layer 'n': 4096·beta is 0, allowed is 1 to 4096"),
        (CubaLIF(1.0, 0.5, 1.0), "layer 'n': 4096·beta_syn is 4096, allowed is 0 to 4095"),
        (LIF(0.5, np.array([1e-4, 5000.0], np.float32)), "layer 'n': the smallest threshold is 0.0001"),
    ],
)
def test_what_would_clip_is_an_error_that_names_the_layer(spec: NeuronSpec, message: str) -> None:
    graph = chain({"x": Input((3,)), "w": Linear(weights(61, 2, 3)), "n": neuron(spec, 2), "y": Output()})
    with pytest.raises(GraphError, match=message):
        quantise(graph)


def test_a_node_without_counterpart_is_refused_by_name() -> None:
    pool = chain({"x": Input((1, 4, 4)), "pool": MaxPool2d((2, 2), (2, 2)), "y": Output()})
    with pytest.raises(UnsupportedNode, match="Lava cannot hold node 'pool': Lava has no pooling; use SumPool2d"):
        network_of(pool, fixed=False)
    bare = chain({"x": Input((3,)), "n": neuron(IF(1.0), 3), "y": Output()})
    with pytest.raises(UnsupportedNode, match="'n': Input 'x' enters it without weights"):
        quantise(bare)
    gain = chain({"x": Input((3,)), "w": Linear(weights(71, 3, 3)), "n": neuron(IF(gain=2.0), 3), "y": Output()})
    with pytest.raises(UnsupportedNode, match=r"node 'n'.*gain 1"):
        quantise(gain)
