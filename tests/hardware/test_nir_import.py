"""Files of others: every node that the graph holds, conventions, and readable errors for the rest."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.errors import FileFormatError, InputError, UnsupportedNode
from neuroaccel.graph import Constant, Conv1d, Conv2d, Delay, Edge, Graph, Linear, Neuron
from neuroaccel.hardware.nir import export_nir, from_nir, import_nir, to_nir
from neuroaccel.program import IF, LI, LIF, CubaLIF, match
from tests.hardware.nir_nets import conv_net, lif_net, recurrent_net, weights

DT = 1e-3


def line(*nodes: Any, n: int = 4, m: int | None = None) -> Any:
    """A NIR graph as others write it: nodes in a row between an Input and an Output."""
    named = {"input": nir.Input(np.array([n])), **{f"node{i}": node for i, node in enumerate(nodes)}}
    named["output"] = nir.Output(np.array([n if m is None else m]))
    names = list(named)
    return nir.NIRGraph(named, list(itertools.pairwise(names)), type_check=False)


def full(value: float, *shape: int) -> np.ndarray:
    return np.full(shape or (4,), value)


def lif(**changes: Any) -> Any:
    fields = {"tau": full(1e-2), "r": full(10.0), "v_leak": full(0.0), "v_threshold": full(1.0), "v_reset": full(0.0)}
    return nir.LIF(**(fields | changes))


def imported(*nodes: Any, m: int | None = None, **options: Any) -> Graph:
    return from_nir(line(*nodes, m=m), **({"dt": DT} | options))


def population(graph: Graph, name: str = "node0") -> Neuron:
    node = graph.nodes[name]
    assert isinstance(node, Neuron)
    return node


def test_lif_in_both_forms() -> None:
    decay = population(imported(lif()))
    assert decay.program == LIF(0.9, 1.0).program
    assert np.all(decay.parameters["beta"] == np.float32(0.9))
    euler = population(imported(lif(r=full(2.0)), form="euler"))
    assert euler.program == LIF(form="euler", rate=0.1, resistance=2.0).program
    assert np.all(euler.parameters["rate"] == np.float32(0.1))
    both = population(imported(lif(v_leak=full(0.5), v_reset=full(-0.5), r=full(1.0))))
    assert both.program == LIF(0.9, gain=0.1, v_leak=0.5, reset="to_value", v_reset=-0.5).program


def test_the_two_forms_spike_alike() -> None:
    """They are the same step, rounded differently."""
    x = (np.random.default_rng(0).random((200, 2, 4)) < 0.4).astype(np.float32)
    nodes = (nir.Linear(weights(1, 4, 4)), lif(r=full(5.0)))
    a, b = (engine.run(imported(*nodes, form=form), x, record=True).trace for form in ("decay", "euler"))
    assert a.spikes["node1"].sum() > 100
    assert np.mean(a.spikes["node1"] != b.spikes["node1"]) < 1e-3
    np.testing.assert_allclose(a.states["node1"]["v"][:5], b.states["node1"]["v"][:5], atol=1e-6)


def test_integrators_and_cuba() -> None:
    assert population(imported(nir.IF(full(1e3), full(2.0)))).program == IF(2.0).program
    assert population(imported(nir.I(full(1e3)))).program == LI(1.0).program
    assert population(imported(nir.LI(full(2e-3), full(2.0), full(0.0)))).program == LI(0.5).program
    cuba = nir.CubaLIF(full(2e-3), full(4e-3), full(4.0), full(0.0), full(1.0), full(0.0), full(2.0))
    assert population(imported(cuba)).program == CubaLIF(0.5, 0.75).program
    # A factor on the current, w_in·dt/τ_syn = 3, drives v three times as strongly.
    strong = nir.CubaLIF(full(2e-3), full(4e-3), full(4.0), full(0.0), full(1.0), full(0.0), full(6.0))
    assert np.all(population(imported(strong)).parameters["gain"] == 3)


def test_cuba_li_becomes_two_integrators() -> None:
    graph = imported(nir.CubaLI(full(2e-3), full(4e-3), full(8.0), full(0.0), full(2.0)))
    assert [e.name for e in graph.edges] == ["input->node0.syn:in", "node0->output:in", "node0.syn->node0:in"]
    x = (np.random.default_rng(1).random((20, 1, 4)) < 0.5).astype(np.float32)
    u, v = np.zeros((1, 4)), np.zeros((1, 4))
    out = engine.run(graph, x).trace.outputs["output"]
    for t, frame in enumerate(x):  # NIR's equations, forward Euler, the new current drives v
        u = u + 0.5 * (-u + 2.0 * frame)
        v = v + 0.25 * (-v + 8.0 * u)
        np.testing.assert_allclose(out[t], v, rtol=1e-5)


def test_threshold_and_scale() -> None:
    graph = imported(nir.Scale(np.array([0.5, 1.0, 2.0, -1.0])), nir.Threshold(full(0.75)))
    assert isinstance(graph.nodes["node0.scale"], Constant)
    x = np.ones((2, 1, 4), np.float32)
    assert engine.run(graph, x).trace.outputs["output"][:, 0].tolist() == [[0, 1, 1, 0]] * 2


def test_synapses() -> None:
    graph = imported(nir.Affine(weights(0, 3, 4), np.zeros(3)), nir.Linear(weights(1, 2, 3).astype(np.float64)), m=2)
    first, second = graph.nodes["node0"], graph.nodes["node1"]
    assert isinstance(first, Linear)
    assert isinstance(second, Linear)
    assert first.bias is None  # zeros
    assert second.weight.dtype == np.float32
    conv = nir.Conv2d((9, 9), weights(2, 3, 2, 3, 5), 2, "valid", (1, 1), 1, np.ones(3))
    nodes = {"input": nir.Input(np.array([2, 9, 9])), "c": conv, "output": nir.Output(np.array([3, 4, 3]))}
    node = from_nir(nir.NIRGraph(nodes, [("input", "c"), ("c", "output")], type_check=False), dt=DT).nodes["c"]
    assert isinstance(node, Conv2d)
    assert (node.stride, node.padding, node.dilation, node.groups) == ((2, 2), (0, 0), (1, 1), 1)
    conv1 = nir.Conv1d(7, weights(3, 3, 2, 3), 1, "same", 2, 1, np.ones(3))
    nodes = {"input": nir.Input(np.array([2, 7])), "c": conv1, "output": nir.Output(np.array([3, 7]))}
    one = from_nir(nir.NIRGraph(nodes, [("input", "c"), ("c", "output")], type_check=False), dt=DT).nodes["c"]
    assert isinstance(one, Conv1d)
    assert (one.padding, one.dilation) == (2, 2)


def test_delays_in_seconds() -> None:
    node = imported(nir.Delay(np.array([1, 2, 3, 40]) * 1e-3)).nodes["node0"]
    assert isinstance(node, Delay)
    assert node.ticks.tolist() == [1, 2, 3, 40]
    for seconds in (1.5e-3, 0.0):
        with pytest.raises(UnsupportedNode, match=r"'node0': a delay is a whole number of ticks of 0.001 s"):
            imported(nir.Delay(full(seconds)))


def test_a_constant_given_once_holds_for_the_layer() -> None:
    """snntorch writes a scalar β."""
    fields = ("tau", "r", "v_leak", "v_threshold", "v_reset")
    once = nir.LIF(**{key: getattr(lif(), key)[:1] for key in fields})
    graph = imported(nir.Linear(weights(0, 4, 4)), once)
    assert population(graph, "node1").shape == (4,)


def test_cycles_get_their_recurrent_edge() -> None:
    nodes = {
        "input": nir.Input(np.array([4])),
        "w": nir.Linear(weights(0, 4, 4)),
        "lif": lif(),
        "back": nir.Affine(weights(1, 4, 4), np.ones(4)),
        "late": nir.Delay(full(2e-3)),
        "w2": nir.Linear(weights(2, 4, 4)),
        "output": nir.Output(np.array([4])),
    }
    pairs = [("input", "w"), ("w", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")]
    graph = from_nir(
        nir.NIRGraph(nodes, [*pairs, ("lif", "late"), ("late", "w2"), ("w2", "lif")], type_check=False), dt=DT
    )
    assert [e for e in graph.edges if e.recurrent] == [Edge("lif", "back", recurrent=True)]
    without = {"input": nodes["input"], "a": nir.Linear(weights(0, 4, 4)), "output": nodes["output"]}
    loop = nir.NIRGraph(without, [("input", "a"), ("a", "a"), ("a", "output")], type_check=False)
    with pytest.raises(InputError, match="the cycle through a holds no neuron and no Delay"):
        from_nir(loop, dt=DT)


def test_nested_graphs_are_unrolled() -> None:
    """snntorch wraps a recurrent layer in a graph of its own."""
    inner = nir.NIRGraph(
        {
            "input": nir.Input(np.array([4])),
            "lif": lif(),
            "w": nir.Linear(weights(0, 4, 4)),
            "output": nir.Output(np.array([4])),
        },
        [("input", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")],
        type_check=False,
    )
    graph = imported(nir.Linear(weights(1, 4, 4)), inner)
    assert set(graph.nodes) == {"input", "node0", "node1/lif", "node1/w", "output"}
    assert Edge("node0", "node1/lif") in graph.edges
    assert Edge("node1/lif", "node1/w", recurrent=True) in graph.edges


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (lif(tau=full(5e-4)), "shorter than dt = 0.001 s"),
        (lif(v_threshold=full(-1.0)), "its threshold is -1"),
        (nir.Linear(weights(0, 2, 4, 4)), "put a Flatten before it"),
    ],
)
def test_nodes_that_the_graph_cannot_hold(node: Any, reason: str) -> None:
    with pytest.raises(UnsupportedNode, match=f"'node0'.*{reason}"):
        imported(node)


def test_values_that_are_no_numbers() -> None:
    with pytest.raises(FileFormatError, match="'node0': its r is not finite"):
        imported(lif(r=full(np.nan)))
    with pytest.raises(FileFormatError, match="'node0': its tau is not positive"):
        imported(lif(tau=full(0.0)))


def test_dt_must_be_the_files(tmp_path: Path) -> None:
    path = export_nir(lif_net(), tmp_path / "a.nir")
    with pytest.raises(InputError, match=r"a\.nir.*dt=0.0001 was given, but it is 0.001 there"):
        import_nir(path, dt=1e-4)


def test_a_changed_file_is_read_by_its_own_fields(caplog: pytest.LogCaptureFixture) -> None:
    nir_graph = to_nir(lif_net())
    nir_graph.nodes["lif"].r *= 2
    nir_graph.nodes["w"].weight[3, 5] += 1e-3
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        graph = from_nir(nir_graph, dt=DT)
    assert "'lif' was changed after its export" in caplog.text
    assert "'w' no longer lies on its grid" in caplog.text
    assert np.all(population(graph, "lif").parameters["gain"] == 2)
    nir_graph = to_nir(recurrent_net())
    nir_graph.edges = [e for e in nir_graph.edges if e != ("layer_1_2", "n__")]
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        graph = from_nir(nir_graph, dt=5e-4)
    assert "names and edges are the file's" in caplog.text
    known = match(population(graph, "n__").program)
    assert known is not None
    assert known.options["tie"] == "ge"  # a node's own note still holds


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("{}")
    elif how == "other":
        with h5py.File(path, "w") as stream:
            stream["layer/0/weight"] = np.zeros(3)
    else:
        with h5py.File(path, "r+") as stream:
            if how == "unknown":
                del stream["node/nodes/lif/type"]
                stream["node/nodes/lif/type"] = "Izhikevich"
            elif how == "missing":
                del stream["node/nodes/lif/tau"]
            elif how == "shape":
                del stream["node/nodes/w/weight"]
                stream["node/nodes/w/weight"] = np.zeros((20, 9), np.float32)
            elif how == "infinite":
                stream["node/nodes/w/weight"][0, 0] = np.inf
            else:
                text = stream["node/metadata/neuroaccel"][()]
                data = json.loads(text)
                if how == "newer":
                    data["format"] = 99
                elif how == "record":
                    del data["sha256"]
                elif how == "note":
                    del data["nodes"][2]["options"]
                del stream["node/metadata/neuroaccel"]
                stream["node/metadata/neuroaccel"] = json.dumps(data)[: 20 if how == "json" else None]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("truncated", "not a readable NIR file"),
        ("empty", "not a readable NIR file"),
        ("text", "not a readable NIR file"),
        ("other", "not a NIR graph"),
        ("unknown", "node 'lif' has type 'Izhikevich', unknown to nir"),
        ("missing", "not a readable NIR file"),
        ("shape", "takes 9 inputs"),
        ("infinite", r"weight\[0, 0\] is inf"),
        ("newer", "format 99, this neuroaccel reads up to 1"),
        ("record", "is damaged"),
        ("note", "inconsistent NIR graph"),
        ("json", "is not readable"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, how: str, reason: str) -> None:
    path = export_nir(lif_net(), tmp_path / "bad.nir")
    damaged(path, how)
    with pytest.raises(FileFormatError, match=rf"bad\.nir: .*{reason}") as error:
        import_nir(path, dt=DT)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such NIR file"):
        import_nir(tmp_path / "nowhere.nir", dt=DT)


def test_an_unknown_form() -> None:
    with pytest.raises(InputError, match="form is 'decay' or 'euler'"):
        imported(lif(), form="exact")


def test_rectangular_kernels_and_groups_are_read(tmp_path: Path) -> None:
    path = export_nir(conv_net(), tmp_path / "c.nir")
    with pytest.raises(ValueError, match="type"):
        nir.read(path)  # nir 1.0.8's own check gets the shapes wrong
    assert import_nir(path, dt=DT).nodes["c1"].groups == 2  # type: ignore[attr-defined]
