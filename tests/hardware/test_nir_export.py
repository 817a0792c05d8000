"""What an export writes into NIR's own fields, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from neuroaccel.errors import InputError, UnsupportedNode
from neuroaccel.graph import (
    Add,
    Constant,
    Conv2d,
    Delay,
    Dendrite,
    Edge,
    Flatten,
    Graph,
    Input,
    Linear,
    MaxPool2d,
    Multiply,
    Neuron,
    Output,
    Plastic,
    Readout,
    Reshape,
    Select,
    WeightGrid,
    chain,
)
from neuroaccel.hardware.nir import export_nir, from_nir, to_nir
from neuroaccel.program import ALIF, IF, LI, LIF, Arithmetic, Assign, CubaLIF, Fixed, GradedLIF, NeuronSpec
from tests.hardware.nir_nets import conv_net, lif_net, neuron, recurrent_net, weights, with_node


def exported(spec: NeuronSpec, dt: float = 1e-3, **options: Any) -> Any:
    return to_nir(lif_net(spec, dt), **options).nodes["lif"]


def record(nir_graph: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(nir_graph.metadata["neuroaccel"])
    return data


def test_lif_fields() -> None:
    node = exported(LIF(0.75, 1.25, gain=0.5, v_leak=0.125, reset="to_value", v_reset=-0.5))
    assert isinstance(node, nir.LIF)
    expected = {"tau": 4e-3, "r": 2.0, "v_leak": 0.125, "v_threshold": 1.25, "v_reset": -0.5}
    for key, value in expected.items():
        field = getattr(node, key)
        assert (field.dtype, field.shape) == (np.float64, (20,))
        np.testing.assert_allclose(field, value, rtol=1e-15)


@pytest.mark.parametrize(
    ("spec", "kind", "fields"),
    [
        (IF(1.0, gain=0.5), nir.IF, {"r": 500.0, "v_threshold": 1.0, "v_reset": 0.0}),
        (LIF(1.0), nir.IF, {"r": 1000.0}),
        (LIF(1.0, v_leak=2.0), nir.LIF, {"tau": 1e-3 * 2.0**60, "v_leak": 2.0}),
        (LIF(0.0), nir.LIF, {"tau": 1e-3, "r": 1.0}),
        (LIF(form="euler", rate=0.25, resistance=3.0), nir.LIF, {"tau": 4e-3, "r": 3.0, "v_leak": 0.0}),
        (LIF(form="decay_input", tau=5.0), nir.LIF, {"tau": 5e-3, "r": 1.0}),
        (LI(1.0), nir.I, {"r": 1000.0}),
        (LI(0.5, gain=0.25), nir.LI, {"tau": 2e-3, "r": 0.5}),
        (CubaLIF(0.5, 0.75), nir.CubaLIF, {"tau_syn": 2e-3, "w_in": 2.0, "tau_mem": 4e-3, "r": 4.0, "v_reset": 0.0}),
    ],
)
def test_fields_of_each_neuron(spec: NeuronSpec, kind: type, fields: dict[str, float]) -> None:
    node = exported(spec)
    assert type(node) is kind
    for key, value in fields.items():
        np.testing.assert_allclose(getattr(node, key), value, rtol=1e-15)


def test_at_or_above_threshold_becomes_above_its_neighbour() -> None:
    below = np.nextafter(np.float32(1.25), np.float32(0))
    graph = lif_net(LIF(0.5, 1.25, tie="ge"))
    nir_graph = to_nir(graph)
    assert np.all(nir_graph.nodes["lif"].v_threshold == float(below))
    assert record(nir_graph)["nodes"][2]["options"]["tie"] == "ge"
    nir_graph.metadata = {}
    bare = from_nir(nir_graph, dt=1e-3).nodes["lif"]
    assert isinstance(bare, Neuron)
    # Without the record: v > neighbour, which holds for the same float32 v.
    assert bare.program.fire is not None
    assert bare.program.fire.op == "gt"
    assert np.all(bare.parameters["threshold"] == below)


def test_recurrent_edges_are_plain_and_readouts_are_passed_over() -> None:
    nir_graph = to_nir(recurrent_net())
    names = {note.get("nir"): note["name"] for note in record(nir_graph)["nodes"]}
    pairs = {(names[a], names[b]) for a, b in nir_graph.edges}
    assert ("..", "layer_1") in pairs
    assert ("layer_1", "..") in pairs
    assert ("λ", "1") in pairs
    assert "maximum" not in names.values() or names.get(None) == "maximum"


def test_shapes_are_right_where_nir_infers_them_wrongly() -> None:
    nir_graph = to_nir(conv_net())
    assert nir_graph.check_types()
    assert nir_graph.nodes["c1"].output_type["output"].tolist() == [4, 6, 5]
    plain = nir.Conv2d((6, 5), weights(0, 4, 1, 3, 5), (1, 1), (1, 2), (1, 1), 2, np.zeros(4, np.float32))
    assert plain.output_type["output"].tolist() != [4, 6, 5]


@pytest.mark.parametrize("spec", [ALIF(), GradedLIF()], ids=["ALIF", "GradedLIF"])
def test_neurons_that_nir_does_not_have(spec: NeuronSpec) -> None:
    with pytest.raises(UnsupportedNode, match=r"'lif': NIR has no (ALIF|GradedLIF); use IF"):
        exported(spec)


def test_a_neuron_of_ones_own() -> None:
    spec = LIF()
    program = dataclasses.replace(spec.program, name="mine", body=(*spec.program.body, Assign("v", "abs", ("v",))))
    with pytest.raises(UnsupportedNode, match="'lif': 'mine' is a neuron of its own"):
        exported(dataclasses.replace(spec, program=program))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (LIF(reset="subtract"), "reset by subtraction"),
        (LIF(reset_delay=1), "one tick late"),
        (IF(reset="subtract", reset_delay=1), "reset by subtraction"),
        (LIF(form="euler", rate=0.0), "rate is 0"),
    ],
)
def test_resets_and_rates_that_nir_cannot_say(spec: NeuronSpec, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedNode, match=f"'lif'.*{reason}") as error:
        export_nir(lif_net(spec), tmp_path / "x.nir")
    assert error.value.node == "lif"
    assert list(tmp_path.iterdir()) == []


def test_approximation_is_asked_for_warned_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    graph = lif_net(LIF(0.5, reset="subtract", reset_delay=1))
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        nir_graph = to_nir(graph, allow_approximate=True)
    assert "node 'lif': reset by subtraction became" in caplog.text
    assert len(record(nir_graph)["approximate"]["lif"]) == 2
    assert record(nir_graph)["bit_identical"] is False
    back = from_nir(nir_graph, dt=1e-3).nodes["lif"]
    assert isinstance(back, Neuron)
    assert back.program == LIF(0.5).program


X = Input((2, 4, 4))
VECTOR = Input((4,))
COMPUTE_IN_MEMORY = Arithmetic(weight=Fixed(8))


@pytest.mark.parametrize(
    ("nodes", "name", "reason"),
    [
        ({"x": X, "m": MaxPool2d((2, 2), (2, 2)), "y": Output()}, "m", "NIR has no maximum; use SumPool2d"),
        ({"x": VECTOR, "m": Dendrite(weights(0, 2, 4), weights(1, 2, 4)), "y": Output()}, "m", "product of two"),
        ({"x": VECTOR, "m": Select((0, 1)), "y": Output()}, "m", "no counterpart"),
        ({"x": VECTOR, "m": Reshape((2, 2)), "y": Output()}, "m", "Flatten is the only"),
        ({"x": Input((3, 4)), "m": Linear(weights(0, 2, 4)), "y": Output()}, "m", "put a Flatten before it"),
        ({"x": VECTOR, "m": Linear(weights(0, 2, 4), arithmetic=COMPUTE_IN_MEMORY), "y": Output()}, "m", "integer"),
        ({"x": VECTOR, "r": Readout(), "m": Readout("last_membrane"), "y": Output()}, "r", "lead to Outputs only"),
    ],
)
def test_nodes_that_nir_does_not_have(nodes: dict[str, Any], name: str, reason: str) -> None:
    with pytest.raises(UnsupportedNode, match=f"NIR cannot hold node '{name}'.*{re.escape(reason)}"):
        to_nir(chain(nodes, dt=1e-3))


def test_plastic_weights_are_refused() -> None:
    plastic = Linear(weights(0, 2, 4), grid=WeightGrid(6), plastic=Plastic(0.5, 0.25, 1.0))
    nodes = {"x": VECTOR, "reward": Input((1,)), "w": plastic, "n": neuron(LIF(), 2), "y": Output()}
    edges = (Edge("x", "w"), Edge("reward", "w", "third"), Edge("n", "w", "post", recurrent=True))
    graph = Graph(nodes, (*edges, Edge("w", "n"), Edge("n", "y")), dt=1e-3)
    with pytest.raises(UnsupportedNode, match="'w': Plastic: NIR has no learning rule"):
        to_nir(graph)


def test_constants_may_only_scale() -> None:
    nodes = {"x": VECTOR, "c": Constant(weights(0, 4)), "sum": Add(), "y": Output()}
    graph = Graph(nodes, (Edge("x", "sum"), Edge("c", "sum"), Edge("sum", "y")), dt=1e-3)
    with pytest.raises(UnsupportedNode, match="'c': Constant: NIR has no source"):
        to_nir(graph)
    nodes = {"x": VECTOR, "product": Multiply(), "y": Output()}
    graph = Graph(nodes, (Edge("x", "product"), Edge("x", "product", "gate"), Edge("product", "y")), dt=1e-3)
    with pytest.raises(UnsupportedNode, match="'product': Multiply: NIR's Scale multiplies by constants only"):
        to_nir(graph)


def test_a_recurrent_edge_must_close_a_cycle_of_its_own() -> None:
    nodes = {"x": VECTOR, "w": Linear(weights(0, 4, 4)), "n": neuron(LIF(), 4), "y": Output()}
    late = Graph(nodes, (Edge("x", "w"), Edge("w", "n"), Edge("n", "y", recurrent=True)), dt=1e-3)
    with pytest.raises(UnsupportedNode, match="the recurrent edge 'n->y:in' closes no cycle"):
        to_nir(late)
    ring = {**nodes, "w2": Linear(weights(1, 4, 4)), "m": neuron(LIF(), 4)}
    once = (Edge("x", "w"), Edge("w", "n"), Edge("n", "w2"), Edge("w2", "m"), Edge("m", "w", recurrent=True))
    to_nir(Graph(ring, (*once, Edge("n", "y")), dt=1e-3))
    twice = (*once[:2], Edge("n", "w2", recurrent=True), *once[3:], Edge("n", "y"))
    with pytest.raises(UnsupportedNode, match="put a Delay of one tick"):
        to_nir(Graph(ring, twice, dt=1e-3))


def test_pipelined_graphs_are_refused() -> None:
    with pytest.raises(UnsupportedNode, match="pipelined, and NIR's synapses take no time"):
        to_nir(dataclasses.replace(lif_net(), timing="pipelined"))


def test_dt_is_asked_for_once() -> None:
    with pytest.raises(InputError, match="name the seconds per tick"):
        to_nir(lif_net(dt=None))
    with pytest.raises(InputError, match=r"dt=0.001 was given, but it is 0.0001 there"):
        to_nir(lif_net(dt=1e-4), dt=1e-3)
    with pytest.raises(InputError, match="positive"):
        to_nir(lif_net(dt=None), dt=-1.0)
    assert record(to_nir(lif_net(dt=None), dt=2e-3))["dt"] == 2e-3


def test_fold_r_moves_r_into_the_weights() -> None:
    graph = lif_net(LIF(0.75, gain=3.0))
    nir_graph = to_nir(graph, fold_r=True)
    linear = graph.nodes["w"]
    assert isinstance(linear, Linear)
    assert np.all(nir_graph.nodes["lif"].r == 1)
    np.testing.assert_allclose(nir_graph.nodes["w"].weight, linear.weight * 12, rtol=1e-7)
    np.testing.assert_allclose(nir_graph.nodes["w"].bias, linear.bias * 12, rtol=1e-7)
    assert record(nir_graph)["bit_identical"] is False
    back = from_nir(nir_graph, dt=1e-3)
    node, synapse = back.nodes["lif"], back.nodes["w"]
    assert isinstance(node, Neuron)
    assert isinstance(synapse, Linear)
    assert synapse.grid is None  # the products have left it
    assert np.all(node.parameters["gain"] == np.float32(0.25))


def test_fold_r_by_a_power_of_two_changes_no_bits() -> None:
    nir_graph = to_nir(lif_net(LIF(0.5)), fold_r=True)  # R = 1/(1 - 0.5)
    assert record(nir_graph)["bit_identical"] is True


def test_fold_r_into_a_convolution_and_a_loop() -> None:
    nir_graph = to_nir(conv_net(), fold_r=True)
    assert np.all(nir_graph.nodes["n1"].r == 1)
    c1 = conv_net().nodes["c1"]
    assert isinstance(c1, Conv2d)
    np.testing.assert_array_equal(nir_graph.nodes["c1"].weight, c1.weight * 4)
    loop = to_nir(recurrent_net(), fold_r=True)
    r = to_nir(recurrent_net()).nodes["n__"].r
    back = recurrent_net().nodes["layer_1"]
    assert isinstance(back, Linear)
    np.testing.assert_array_equal(loop.nodes["layer_1_2"].weight, (back.weight * r[:, None]).astype(np.float32))


def test_fold_r_refuses_what_it_cannot_fold() -> None:
    shared = {"x": VECTOR, "w": Linear(weights(0, 4, 4)), "n": neuron(LIF(0.75), 4), "y": Output(), "z": Output()}
    edges = (Edge("x", "w"), Edge("w", "n"), Edge("n", "y"), Edge("w", "z"))
    with pytest.raises(UnsupportedNode, match=r"cannot hold node 'w': R of 'n' .* feeds other nodes too"):
        to_nir(Graph(shared, edges, dt=1e-3), fold_r=True)
    delayed = {"x": VECTOR, "d": Delay(np.asarray(1, np.int32)), "n": neuron(LIF(0.75), 4), "y": Output()}
    with pytest.raises(UnsupportedNode, match="cannot be folded into Delay 'd', which has no weights"):
        to_nir(chain(delayed, dt=1e-3), fold_r=True)
    beta = np.linspace(0.5, 0.9, 4 * 6 * 5).reshape(4, 6, 5).astype(np.float32)
    with pytest.raises(UnsupportedNode, match="R differs within a channel"):
        to_nir(
            with_node(conv_net(), "n1", parameters={"beta": beta, "threshold": np.ones((), np.float32)}), fold_r=True
        )


def test_profile_snntorch() -> None:
    to_nir(lif_net(dt=1e-4), profile="snntorch")
    with pytest.raises(InputError, match=r"snntorch reads every NIR file at dt = 0.0001 s.*set the graph's dt"):
        to_nir(lif_net(), profile="snntorch")
    for spec, reason in [
        (IF(), "does not read nir.IF"),
        (LIF(0.5, v_leak=1.0), "v_leak to be 0"),
        (LIF(0.5, reset="to_value", v_reset=-1.0), "v_reset to be 0"),
        (LIF(0.5, np.linspace(1, 2, 20).astype(np.float32)), "one v_threshold per layer"),
        (LIF(0.5, gain=np.linspace(1, 2, 20).astype(np.float32)), "one gain per layer"),
    ]:
        with pytest.raises(UnsupportedNode, match=f"NIR for snntorch cannot hold node 'lif'.*{reason}"):
            to_nir(lif_net(spec, 1e-4), profile="snntorch")
    flat = chain({"x": X, "f": Flatten(), "w": Linear(weights(0, 2, 32)), "y": Output()}, dt=1e-4)
    node = to_nir(flat, profile="snntorch").nodes["f"]
    assert (node.start_dim, node.end_dim) == (-3, -1)  # right with a batch axis in front, and without
    assert from_nir(to_nir(flat, profile="snntorch"), dt=1e-4).nodes["f"].start == 0  # type: ignore[attr-defined]
    loop = dataclasses.replace(with_node(recurrent_net(), "..", program=CubaLIF().program), dt=1e-4)
    plain = neuron(CubaLIF(), 6)
    loop = with_node(loop, "..", parameters=plain.parameters)
    with pytest.raises(UnsupportedNode, match=r"nir.LI\b"):
        to_nir(loop, profile="snntorch")


def test_profile_norse_folds_r() -> None:
    nir_graph = to_nir(lif_net(), profile="norse")
    assert np.all(nir_graph.nodes["lif"].r == 1)
    with pytest.raises(UnsupportedNode, match="v_reset to be 0"):
        to_nir(lif_net(LIF(reset="to_value", v_reset=1.0)), profile="norse")


def test_profile_lava_and_unknown_ones() -> None:
    to_nir(lif_net(), profile="lava")
    with pytest.raises(UnsupportedNode, match="lava takes one v_threshold per layer"):
        to_nir(lif_net(LIF(0.5, np.linspace(1, 2, 20).astype(np.float32))), profile="lava")
    with pytest.raises(InputError, match="unknown NIR profile 'brian'; known: strict, snntorch"):
        to_nir(lif_net(), profile="brian")  # type: ignore[arg-type]
