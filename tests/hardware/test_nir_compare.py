"""A changed file is found, and what changed is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from neuroaccel.graph import Linear
from neuroaccel.hardware.nir import compare_nir, export_nir
from neuroaccel.program import LIF
from tests.hardware.nir_nets import NETS, lif_net, recurrent_net, with_node


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("fold_r", [False, True])
def test_an_untouched_file_has_no_difference(net: str, fold_r: bool, tmp_path: Path) -> None:
    graph = NETS[net]()
    assert compare_nir(graph, export_nir(graph, tmp_path / "a.nir", fold_r=fold_r)) == []


def test_options_of_the_export_are_taken_from_the_file(tmp_path: Path) -> None:
    graph = lif_net(LIF(0.5, reset="subtract"), dt=None)
    assert compare_nir(graph, export_nir(graph, tmp_path / "a.nir", dt=2e-3, allow_approximate=True)) == []
    graph = lif_net()
    assert compare_nir(graph, export_nir(graph, tmp_path / "a.nir", profile="norse")) == []


def change(path: Path, dataset: str, index: Any, by: float) -> None:
    with h5py.File(path, "r+") as stream:
        stream[dataset][index] = stream[dataset][index] + by


def test_one_weight_by_one_unit_is_found_and_named(tmp_path: Path) -> None:
    graph = lif_net()
    path = export_nir(graph, tmp_path / "a.nir")
    change(path, "node/nodes/w/weight", (13, 5), 2.0**-8)
    found = compare_nir(graph, path)
    linear = graph.nodes["w"]
    assert isinstance(linear, Linear)
    old = float(linear.weight[13, 5])
    assert found == [f"node 'w': weight[13, 5] is {old + 2**-8}, the graph has {old}"]


@pytest.mark.parametrize(
    ("dataset", "index", "by", "line"),
    [
        ("w/bias", 7, 2.0**-8, "node 'w': bias[7] is "),
        ("lif/tau", 3, 1e-12, "node 'lif': tau[3] is "),
        ("lif/v_threshold", 19, 1e-16, None),
        ("lif/v_threshold", 19, 1e-15, "node 'lif': v_threshold[19] is 1.000000000000001, the graph has 1.0"),
        ("lif/v_reset", 0, 0.5, "node 'lif': v_reset[0] is 0.5, the graph has 0.0"),
    ],
)
def test_each_field_is_compared(tmp_path: Path, dataset: str, index: int, by: float, line: str | None) -> None:
    graph = lif_net()
    path = export_nir(graph, tmp_path / "a.nir")
    change(path, f"node/nodes/{dataset}", index, by)
    found = compare_nir(graph, path)
    assert len(found) == (line is not None)
    assert line is None or found[0].startswith(line)


def test_many_differences_are_counted(tmp_path: Path) -> None:
    graph = lif_net()
    path = export_nir(graph, tmp_path / "a.nir")
    change(path, "node/nodes/w/weight", slice(None), 1.0)
    found = compare_nir(graph, path)
    assert len(found) == 3
    assert found[-1].endswith("; 160 of 160 values differ")


def test_names_are_the_graphs(tmp_path: Path) -> None:
    graph = recurrent_net()
    path = export_nir(graph, tmp_path / "a.nir")
    change(path, "node/nodes/layer_1_2/weight", (2, 4), 2.0**-6)
    assert [line.partition(" is ")[0] for line in compare_nir(graph, path)] == ["node 'layer_1': weight[2, 4]"]


def test_the_file_of_another_graph_is_found(tmp_path: Path) -> None:
    path = export_nir(lif_net(), tmp_path / "a.nir")
    found = compare_nir(lif_net(LIF(0.875)), path)
    assert "exported from the graph" in found[0]
    assert any(line.startswith("node 'lif': tau[0] is ") for line in found)
    other = with_node(lif_net(), "w", weight_bits=8)  # nothing that NIR has a field for
    found = compare_nir(other, path)
    assert "exported from the graph" in found[0]
    assert found[1:] == ["node 'w': its recorded weight_bits is 32, the graph has 8"]
    assert "written for dt" in compare_nir(lif_net(dt=1e-4), path)[1]
    assert any(
        "only in the" in line for line in compare_nir(recurrent_net(), export_nir(lif_net(dt=5e-4), tmp_path / "b.nir"))
    )


def test_a_forged_hash_is_found(tmp_path: Path) -> None:
    graph = lif_net()
    path = export_nir(graph, tmp_path / "a.nir")
    with h5py.File(path, "r+") as stream:
        data = json.loads(stream["node/metadata/neuroaccel"][()])
        data["sha256"] = "0" * 64
        del stream["node/metadata/neuroaccel"]
        stream["node/metadata/neuroaccel"] = json.dumps(data)
    assert compare_nir(graph, path)[0].startswith(f"{path}: exported from the graph {'0' * 16}")


def test_edges_nodes_and_types_are_compared(tmp_path: Path) -> None:
    graph = lif_net()
    path = export_nir(graph, tmp_path / "a.nir")
    changed = nir.read(path)
    changed.edges.append(("lif", "w"))
    changed.nodes["w"] = nir.Linear(changed.nodes["w"].weight)
    changed.nodes["more"] = nir.Linear(np.zeros((2, 2), np.float32))
    nir.write(path, changed)
    found = compare_nir(graph, path)
    assert "node 'w': is a Linear, the graph has Affine" in found
    assert "node 'more': only in the file" in found
    assert "edge lif -> w: only in the file" in found


def test_a_file_without_record(tmp_path: Path) -> None:
    path = export_nir(lif_net(), tmp_path / "a.nir")
    bare = nir.read(path)
    bare.metadata = {}
    nir.write(path, bare)
    assert compare_nir(lif_net(), path) == [
        f"{path}: no record of neuroaccel in it; it was not exported from any graph"
    ]
