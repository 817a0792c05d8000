"""Exported artifacts are read themselves: one weight changed by one unit is found, with node and index."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuroaccel.errors import FileFormatError
from neuroaccel.graph import save_graph, sha256
from neuroaccel.hardware.lava import export_lava
from neuroaccel.hardware.nir import export_nir
from neuroaccel.program import LIF
from neuroaccel.verify import check_artifact, compare_graphs, table, verify
from neuroaccel.verify.artifacts import ArtifactReport
from neuroaccel.verify.report import ExecutorReport, VerifyReport
from tests.verify.networks import Q, changed, conv_network, events, nudged, with_threshold


def test_artifacts_as_they_were_exported_are_ok(tmp_path: Path) -> None:
    graph = conv_network()
    paths = [
        save_graph(graph, tmp_path / "model.safetensors"),
        export_nir(graph, tmp_path / "graph.nir"),
        export_lava(graph, tmp_path / "float"),
        export_lava(graph, tmp_path / "fixed", fixed=True),
    ]
    report = verify(graph, events(graph), executors=("engine",), artifacts=paths, lava_samples=2)
    assert report.ok, table(report)
    assert [(a.kind, a.status, a.differences) for a in report.artifacts] == [
        ("model", "ok", ()),
        ("nir", "ok", ()),
        ("lava", "ok", ()),
        ("lava", "ok", ()),
    ]
    assert {a.sha256 for a in report.artifacts} == {sha256(graph)}
    nir, lava, fixed = (a.spikes for a in report.artifacts[1:])
    assert nir is not None
    assert lava is not None
    assert fixed is not None
    assert (nir.samples, lava.samples, fixed.samples) == (5, 2, 2)
    assert nir.spikes > 0
    assert nir.identical
    data = json.loads(json.dumps(report.to_json()))["artifacts"]
    assert [a["spikes"]["differing"] for a in data[1:]] == [0, 0, 0]


def test_one_unit_in_a_nir_file_is_found(tmp_path: Path) -> None:
    graph = conv_network()
    path = export_nir(graph, tmp_path / "graph.nir")
    with h5py.File(path, "r+") as stream:
        stream["node/nodes/dense/weight"][2, 7] += np.float32(2.0**-Q)
    report = verify(graph, events(graph), executors=("engine",), artifacts=[path])
    assert not report.ok
    (artifact,) = report.artifacts
    assert artifact.status == "differs"
    assert len(artifact.differences) == 1
    assert "node 'dense': weight[2, 7] is " in artifact.differences[0]
    assert artifact.spikes is not None
    assert artifact.spikes.divergence is not None
    assert (artifact.spikes.divergence.node, artifact.spikes.divergence.index) == ("second", (2,))
    assert artifact.spikes.divergence.operation == "current"
    assert "weight[2, 7]" in table(report)


@pytest.mark.parametrize("fixed", [False, True])
def test_one_unit_in_a_lava_bundle_is_found(fixed: bool, tmp_path: Path) -> None:
    graph = conv_network()
    bundle = export_lava(graph, tmp_path / "bundle", fixed=fixed)
    with np.load(bundle / "weights.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    weight = arrays["dense/weight"]
    weight[2, 7] += 2 if fixed else 2.0**-Q  # Loihi's weights are even
    np.savez(bundle / "weights.npz", **arrays)
    report = verify(graph, events(graph), executors=("engine",), artifacts=[bundle], lava_samples=3)
    assert not report.ok
    (artifact,) = report.artifacts
    assert artifact.status == "differs"
    assert len(artifact.differences) == 1
    assert artifact.differences[0].startswith("node 'dense': weight[2, 7] is ")
    assert artifact.spikes is not None
    assert artifact.spikes.divergence is not None
    assert (artifact.spikes.divergence.node, artifact.spikes.divergence.index) == ("second", (2,))


def test_one_unit_in_a_model_file_is_found(tmp_path: Path) -> None:
    graph = conv_network()
    path = save_graph(nudged(graph, "conv", (1, 0, 2, 2)), tmp_path / "model.safetensors")
    found = check_artifact(graph, path, events(graph))
    assert found.status == "differs"
    assert found.differences[0].startswith("its graph is ")
    assert found.differences[1].startswith("node 'conv': weight[1, 0, 2, 2] is ")
    assert len(found.differences) == 2
    assert found.spikes is not None
    assert found.spikes.divergence is not None
    assert found.spikes.divergence.node == "first"
    assert found.spikes.divergence.index[0] == 1


def test_an_export_that_folds_r_may_change_bits_and_says_so(tmp_path: Path) -> None:
    graph = conv_network(LIF(beta=0.9, threshold=1.0, gain=0.3))
    folded = export_nir(graph, tmp_path / "folded.nir", fold_r=True)
    found = check_artifact(graph, folded, events(graph))
    assert (found.status, found.differences) == ("ok", ())
    assert found.spikes is not None
    assert found.spikes.currents_differing > 0
    assert found.reason.startswith("exported as an approximation")
    exact = check_artifact(graph, export_nir(graph, tmp_path / "exact.nir"), events(graph))
    assert (exact.status, exact.reason) == ("ok", "")
    with h5py.File(folded, "r+") as stream:
        stream["node/nodes/dense/weight"][2, 7] += np.float32(2.0**-Q)
    assert check_artifact(graph, folded, events(graph)).status == "differs"


def test_without_input_only_arrays_are_compared(tmp_path: Path) -> None:
    graph = conv_network()
    path = export_nir(nudged(graph, "dense", (0, 1)), tmp_path / "graph.nir")
    found = check_artifact(graph, path)
    assert found.status == "differs"
    assert found.spikes is None
    assert any("weight[0, 1]" in line for line in found.differences)


def test_an_artifact_of_another_network_differs_and_does_not_fail(tmp_path: Path) -> None:
    graph = conv_network()
    other = changed(graph, "events", shape=(2, 6, 7))
    smaller = {name: other.nodes[name] for name in ("events", "conv")}
    from neuroaccel.graph import Output, chain

    path = save_graph(chain({**smaller, "y": Output()}), tmp_path / "model.safetensors")
    found = check_artifact(graph, path, events(graph))
    assert found.status == "differs"
    assert any("node 'dense': only in the graph" in line for line in found.differences)
    assert any("does not take the graph's inputs" in line for line in found.differences)


def test_a_bundle_without_lava_is_compared_and_then_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = conv_network()
    bundle = export_lava(graph, tmp_path / "bundle")
    monkeypatch.setenv("NEUROACCEL_LAVA_PYTHON", str(tmp_path / "python"))
    found = check_artifact(graph, bundle, events(graph))
    assert (found.status, found.differences) == ("unavailable", ())
    assert "NEUROACCEL_LAVA_PYTHON" in found.reason
    other = with_threshold(graph, "second", np.float32(1.5))
    assert check_artifact(other, bundle, events(graph)).status == "differs"


def test_graphs_are_compared_field_by_field() -> None:
    graph = conv_network()
    assert compare_graphs(graph, graph) == []
    found = compare_graphs(graph, with_threshold(graph, "second", np.float32(1.5)))
    assert found[1:] == ["node 'second': parameters.threshold[] is 1.5, expected 1.0"]
    found = compare_graphs(graph, changed(graph, "conv", padding=(1, 0)))
    assert found[1:] == [
        "node 'conv': padding is (1, 0), expected (1, 1)",
    ]
    assert "dt is 0.001, expected None" in compare_graphs(type(graph)(graph.nodes, graph.edges), graph)


@pytest.mark.parametrize("name", ["missing.nir", "notes.txt", "folder", "torn.nir", "torn.safetensors"])
def test_what_is_no_artifact_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name != "missing.nir":
        path.write_bytes(b"\x00\x01 not what it says")
    with pytest.raises(FileFormatError, match=name):
        check_artifact(conv_network(), path)


def test_an_approximation_whose_spikes_differ_is_not_verified(tmp_path: Path) -> None:
    graph = conv_network(LIF(beta=0.9, threshold=0.5, reset="subtract"))
    path = export_nir(graph, tmp_path / "approximate.nir", allow_approximate=True)
    report = verify(graph, events(graph), executors=("engine",), artifacts=[path])
    (found,) = report.artifacts
    assert found.spikes is not None
    assert found.spikes.differing > 0
    assert (found.status, report.ok) == ("differs", False)
    assert found.reason.startswith("exported as an approximation, as its record says")


def test_a_bundle_that_states_another_graph_or_does_not_run_differs(tmp_path: Path) -> None:
    graph = conv_network()
    bundle = export_lava(graph, tmp_path / "bundle")
    told = json.loads((bundle / "graph.json").read_text("utf-8"))
    (bundle / "graph.json").write_text(json.dumps({**told, "graph_sha256": "0" * 64}), "utf-8")
    found = check_artifact(graph, bundle)
    assert (found.status, len(found.differences)) == ("differs", 1)
    assert "it runs graph 0000000000000000…" in found.differences[0]
    (bundle / "graph.json").write_text(json.dumps({**told, "processes": []}), "utf-8")
    found = check_artifact(graph, bundle, events(graph), lava_samples=1)
    assert found.status == "differs"
    assert any("is only in the graph" in line for line in found.differences)


def test_a_refused_artifact_is_not_verified(tmp_path: Path) -> None:
    report = VerifyReport([ExecutorReport("engine", "float32", "engine float32", "ok")])
    refused = ArtifactReport("model.nir", "nir", "refused", "0" * 64)
    assert report.ok
    assert not replace(report, artifacts=[refused]).ok


def test_a_nir_file_may_have_any_name(tmp_path: Path) -> None:
    graph = conv_network()
    assert check_artifact(graph, export_nir(graph, tmp_path / "network")).kind == "nir"
