"""Executors side by side: agreement, refusal, absence, requirements, closeness, accuracy, and the report's forms."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuroaccel import neurons
from neuroaccel.engine import EventStream
from neuroaccel.errors import ExecutorFailure, ExecutorUnavailable, InputError, UnsupportedNode
from neuroaccel.graph import Graph, Input, LayerNorm, Node, Output, Softmax, Trace, WeightGrid, chain
from neuroaccel.graph import Linear as LinearNode
from neuroaccel.network import Network
from neuroaccel.program import LIF, Arithmetic, Fixed
from neuroaccel.synapses import Conv2d, Flatten, Linear, Readout, SumPool2d
from neuroaccel.verify import Executor, table, verify
from neuroaccel.verify.compare import exact_nodes
from neuroaccel.verify.executors import EXECUTORS, engine_trace
from tests.graphs import GRAPHS
from tests.graphs.parts import neuron, weights
from tests.verify.networks import N, T, conv_network, events, impostor, with_threshold

FIELDS = [
    "name",
    "arithmetic",
    "against",
    "status",
    "samples",
    "spikes",
    "differing",
    "outputs_differing",
    "max_membrane_error",
    "reason",
]


def failing(error: Exception, at: str) -> Executor:
    """An executor that stops with an error, when it is started or when it runs."""

    def run(x: Any) -> Trace:
        raise error

    def start(graph: Graph, stack: ExitStack) -> Any:
        if at == "start":
            raise error
        return run

    return Executor("other", "float32", start, group="others")


def test_all_executors_agree_on_what_all_can_hold() -> None:
    graph = conv_network()
    report = verify(graph, events(graph), require=("lava",), lava_samples=2)
    assert report.ok, table(report)
    rows = report.to_json()["executors"]
    assert [row["name"] for row in rows] == ["torch", "engine", "nir", "lava-float", "lava-fixed"]
    assert [row["arithmetic"] for row in rows] == ["float32", "float32", "float32", "float64", "integer"]
    assert [row["against"] for row in rows] == [f"engine {row['arithmetic']}" for row in rows]
    assert [row["samples"] for row in rows] == [N, N, N, 2, 2]
    for row in rows:
        assert row["status"] == "ok"
        assert (row["differing"], row["outputs_differing"], row["max_membrane_error"]) == (0, 0, 0.0)
        assert (row["currents_differing"], row["states_differing"], row["reason"]) == (0, 0, "")
    spikes = engine_trace(graph, {"events": events(graph)}, "float32").spikes
    assert rows[0]["spikes"] == sum(int(s.sum()) for s in spikes.values()) > 0
    assert rows[3]["spikes"] == sum(int(s[:, :2].sum()) for s in spikes.values())


def test_float64_against_float32_is_reported_and_no_failure() -> None:
    graph = conv_network()
    report = verify(graph, events(graph), executors=("torch",))
    (row,) = report.reported
    assert (row.name, row.arithmetic, row.against, row.samples) == ("engine", "float64", "engine float32", N)
    assert row.status == "differs"  # 0.9 has no float32
    assert row.states_differing
    assert 0 < (row.max_membrane_error or 0) < 1e-5
    assert report.ok


def test_an_impostor_is_found_and_the_report_is_not_ok() -> None:
    graph = conv_network()
    other = with_threshold(graph, "second", np.float32(1.0625))
    report = verify(graph, events(graph), executors=("engine", impostor(other)))
    assert not report.ok
    assert [row.status for row in report.executors] == ["ok", "differs"]
    assert "NOT verified" in table(report)
    assert "'second'" in table(report)


def test_a_refusal_has_its_reason_and_is_no_failure_unless_required() -> None:
    graph = conv_network(LIF(beta=0.9, threshold=1.0, reset="subtract"))
    report = verify(graph, events(graph), executors=("torch", "nir"))
    row = report.executor("nir")
    assert (row.status, row.samples, row.spikes, row.differing, row.max_membrane_error) == ("refused", *[None] * 4)
    assert "first" in row.reason
    assert "subtract" in row.reason
    assert report.ok
    strict = verify(graph, events(graph), executors=("torch",), require=("nir",))
    assert strict.missing == ("nir",)
    assert not strict.ok
    assert "required and not verified: nir" in table(strict)


@pytest.mark.parametrize("at", ["start", "run"])
@pytest.mark.parametrize(
    ("error", "status", "ok"),
    [
        (UnsupportedNode("first", "other", "no"), "refused", True),
        (ExecutorUnavailable("other is not installed here; install it"), "unavailable", True),
        (ExecutorFailure("other gave no result within 5 seconds"), "differs", False),
    ],
)
def test_what_stops_an_executor_becomes_its_status(error: Exception, status: str, ok: bool, at: str) -> None:
    graph = conv_network()
    report = verify(graph, events(graph), executors=("torch", failing(error, at)))
    row = report.executor("other")
    assert (row.status, row.samples, row.differing) == (status, None, None)
    assert row.reason == str(error)
    assert report.ok is ok
    required = verify(graph, events(graph), executors=("torch", failing(error, at)), require=("others",))
    assert not required.ok


def test_an_error_of_another_kind_is_not_hidden() -> None:
    graph = conv_network()
    with pytest.raises(ZeroDivisionError):
        verify(graph, events(graph), executors=(failing(ZeroDivisionError("a bug"), "run"),))


def test_nothing_verified_is_not_ok() -> None:
    graph = conv_network(LIF(beta=0.9, threshold=1.0, reset="subtract"))
    report = verify(graph, events(graph), executors=("nir",))
    assert [row.status for row in report.executors] == ["refused"]
    assert not report.ok


def test_lava_is_unavailable_where_its_interpreter_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEUROACCEL_LAVA_PYTHON", str(tmp_path / "python"))
    graph = conv_network()
    report = verify(graph, events(graph), executors=("torch", "lava-float"))
    assert report.executor("lava-float").status == "unavailable"
    assert "NEUROACCEL_LAVA_PYTHON" in report.executor("lava-float").reason
    assert report.ok
    assert not verify(graph, events(graph), executors=("torch", "lava-float"), require=("lava",)).ok


def test_a_node_that_the_engine_cannot_hold_is_refused_by_all() -> None:
    # The graph's own arithmetic is integer, which has no softmax.
    whole = replace(neuron(LIF(0.5, 0.5), 3), arithmetic=Arithmetic(state=Fixed(16, 8)))
    graph = chain({"x": Input((3,)), "p": Softmax(), "n": whole, "y": Output()})
    report = verify(graph, np.zeros((2, 1, 3), np.float32), executors=("torch", "engine"))
    assert {row.status for row in report.executors} == {"refused"}
    assert report.certificate is None
    assert not report.ok


def normed() -> Graph:
    """Exact neurons, and behind a LayerNorm close ones."""
    layers: dict[str, Node] = {
        "x": Input((6,)),
        "a": LinearNode(weights(1, 8, 6), grid=WeightGrid(5)),
        "exact": neuron(LIF(0.5, 0.5), 8),
        "norm": LayerNorm(np.ones(8, np.float32), np.zeros(8, np.float32)),
        "b": LinearNode(weights(2, 4, 8)),
        "close": neuron(LIF(0.5, 0.5), 4),
    }
    return chain({**layers, "y": Output()})


def test_what_is_close_is_judged_by_decisions_and_rates() -> None:
    graph = normed()
    x = (np.random.default_rng(0).random((20, 40, 6)) < 0.5).astype(np.float32)
    report = verify(graph, x, executors=("torch", "engine"))
    assert report.ok
    assert report.executor("torch").reason.startswith("close")
    # Other spikes with the same decisions are not enough: their number tells.
    often = impostor(with_threshold(graph, "close", np.float32(0.2)))
    lenient = {"decision_tolerance": 1 - 1e-9}
    assert verify(graph, x, executors=(often,), rate_tolerance=10.0, **lenient).ok
    row = verify(graph, x, executors=(often,), **lenient).executor("impostor")
    assert row.status == "differs"
    assert "(allowed 1.0%)" in row.reason


def test_what_is_exact_in_a_close_graph_must_be_the_same() -> None:
    graph = normed()
    x = (np.random.default_rng(0).random((20, 40, 6)) < 0.5).astype(np.float32)
    other = impostor(with_threshold(graph, "exact", np.float32(0.75)))
    row = verify(graph, x, executors=(other,), decision_tolerance=1 - 1e-9, rate_tolerance=10.0).executor("impostor")
    assert row.status == "differs"
    assert "values of nodes that are exact differ; first of all: " in row.reason
    assert exact_nodes(graph) == {"x", "a", "exact"}
    block = exact_nodes(GRAPHS["decision_block_softmax"]())
    assert {"micro_steps/qkv", "keys", "phase"} <= block
    assert not {"attention", "norm", "lif", "out"} & block


def test_an_integer_graph_is_verified_in_its_own_arithmetic() -> None:
    graph = GRAPHS["integer_core"]()
    x = events(graph, rate=0.5) * np.float32(20)  # analog values on a grid
    report = verify(graph, x, executors=("torch", "engine"))
    row = report.executor("engine")
    assert (row.arithmetic, row.against, row.status, row.differing) == ("integer", "engine integer", "ok", 0)
    assert row.spikes
    assert report.executor("torch").status == "refused"
    assert report.reported == []
    assert report.certificate is not None
    assert report.certificate.arithmetic == "integer"


def network() -> Network:
    torch.manual_seed(3)
    layers = [Conv2d(2, 4, 3), neurons.LIF(beta=0.9), SumPool2d(2), Flatten(), Linear(36, 3), neurons.LIF(beta=0.8)]
    return Network([*layers, Readout("spike_count")])


def test_a_torch_network_is_lowered_first_and_given_as_tensor_streams_or_dict() -> None:
    net = network()
    x = (torch.rand(T, N, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    streams = [EventStream.from_dense(x[:, n].numpy(), dt=1e-3) for n in range(N)]
    reports = [verify(net, given, executors=("torch", "engine", "nir")) for given in (x, streams, {"input": x})]
    assert all(report.ok for report in reports)
    assert reports[0].executors[0].spikes
    assert len({report.executors[0] for report in reports}) == 1
    certificates = [report.certificate for report in reports]
    assert all(c is not None and c.input == certificates[0].input for c in certificates)  # type: ignore[union-attr]


def test_without_snapping_decisions_are_compared_and_the_report_says_close() -> None:
    net = network()
    x = (torch.rand(T, 40, 2, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    report = verify(net, x, executors=("torch", "engine"), snap=False)
    row = report.executor("torch")
    assert row.states_differing  # sums in another order
    assert row.status == "ok"
    assert row.reason.startswith("close: decisions differ in 0 of 40 samples")
    assert report.ok
    from neuroaccel.graph.lower import lower

    graph = lower(net, x, snap=False)
    silent = with_threshold(graph, "1", np.float32(1e6))
    other = verify(graph, x, executors=(impostor(silent),))
    assert other.executor("impostor").status == "differs"
    assert not other.ok
    share = 1 - 1e-9  # every sample may decide otherwise
    assert verify(graph, x, executors=(impostor(silent),), decision_tolerance=share).executor("impostor").reason


def test_the_snapped_network_needs_no_tolerance() -> None:
    x = (torch.rand(T, 40, 2, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    row = verify(network(), x, executors=("torch",)).executor("torch")
    assert (row.status, row.states_differing, row.currents_differing, row.reason) == ("ok", 0, 0, "")


def test_parts_change_nothing() -> None:
    graph = conv_network()
    x = events(graph, samples=7)
    reports = [verify(graph, x, executors=("torch", "engine"), chunk=k) for k in (1, 3, 64)]
    assert len({json.dumps(report.to_json()) for report in reports}) == 1


def test_accuracy_and_what_quantisation_costs() -> None:
    graph = conv_network()
    x = events(graph, samples=16)
    counts = engine_trace(graph, {"events": x}, "float32").outputs["class"][-1]
    labels = counts.argmax(axis=1)
    labels[3] = (labels[3] + 1) % 4
    report = verify(graph, x, executors=("torch", "lava-fixed"), lava_samples=2, labels=torch.from_numpy(labels))
    assert report.accuracy is not None
    assert report.accuracy.reference == report.executor("torch").accuracy == 15 / 16
    quantised = EXECUTORS["lava-fixed"].prepare(graph)
    integer = engine_trace(quantised, {"events": x}, "integer").outputs["class"][-1]
    assert report.accuracy.quantised == np.mean(integer.argmax(axis=1) == labels)
    assert report.accuracy.lost == report.accuracy.reference - report.accuracy.quantised
    assert report.executor("lava-fixed").accuracy == np.mean(integer[:2].argmax(axis=1) == labels[:2])
    assert "accuracy on 16 samples: 93.75%" in table(report)


def test_the_json_has_the_agreed_keys_and_no_infinities() -> None:
    graph = conv_network(LIF(beta=0.9, threshold=1.0, reset="subtract"))
    report = verify(graph, events(graph), executors=("torch", "nir"))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert list(data)[:2] == ["ok", "executors"]
    for row in data["executors"]:
        assert list(row)[: len(FIELDS)] == FIELDS
    assert data["certificate"]["executors"] == [*data["executors"], *data["reported"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executors": ("torhc",)}, "unknown executor 'torhc'"),
        ({"executors": ("torch", "torch")}, "twice"),
        ({"require": ("hls",)}, "unknown executor 'hls' is required"),
        ({"labels": [1, 2]}, r"expected whole numbers \[5\]"),
        ({"labels": [0.5] * 5}, "expected whole numbers"),
        ({"decision_tolerance": 1.0}, "fraction"),
        ({"rate_tolerance": -0.1}, "fraction of at least 0"),
        ({"snap": False}, "a Graph was given"),
    ],
)
def test_bad_options_are_the_users_mistake(options: dict[str, Any], message: str) -> None:
    graph = conv_network()
    with pytest.raises(InputError, match=message):
        verify(graph, events(graph), **{"executors": ("torch",), **options})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 1, 2, 6, 5), np.float32), "expected"),
        (np.zeros((0, 1, 2, 6, 6), np.float32), "expected"),
        (np.full((4, 1, 2, 6, 6), np.nan, np.float32), "not finite"),
        (np.zeros((4, 1, 2, 6, 6), "S1"), "expected numbers"),
        ({"other": np.zeros((4, 1, 2, 6, 6))}, "the graph takes"),
        (np.full((4, 1, 2, 6, 6), 3, np.uint8), "expected 0 or 1"),
    ],
)
def test_bad_inputs_are_the_users_mistake(x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        verify(conv_network(), x, executors=("torch",))


def test_the_public_name_is_the_function_however_it_was_imported() -> None:
    import neuroaccel

    graph = conv_network()
    x = events(graph, samples=1)
    for _ in range(2):  # the first access imports the package of the same name
        assert neuroaccel.verify(graph, x, executors=("engine",)).ok
    from neuroaccel import verify as public

    assert public(graph, x, executors=("engine",)).ok
