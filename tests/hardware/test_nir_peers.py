"""The peers that are installed run our files, and spike as the engine does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.graph import Graph, Linear
from neuroaccel.hardware.nir import export_nir, to_nir
from neuroaccel.program import LIF
from tests.hardware.nir_nets import lif_net, spikes_by_hand, with_node

pytestmark = pytest.mark.filterwarnings("ignore")  # what the peers warn about is theirs
X = (np.random.default_rng(11).random((200, 1, 8)) < 0.3).astype(np.float32)


def generic(graph: Graph) -> Graph:
    """Weights on no coarse grid, so that no membrane meets its threshold exactly: peers differ in that rule."""
    rng = np.random.default_rng(12)
    weight, bias = rng.normal(0.3, 0.3, (20, 8)).astype(np.float32), rng.normal(0, 0.1, 20).astype(np.float32)
    return with_node(graph, "w", weight=weight, bias=bias, grid=None)


def by_peer(net: Any) -> NDArray[np.float32]:
    torch = pytest.importorskip("torch")
    state, out = None, []
    for frame in X:
        spikes, state = net(torch.from_numpy(frame), state)
        out.append(spikes.detach().numpy())
    return np.stack(out)


def test_engine_is_the_reference() -> None:
    for tie in ("gt", "ge"):
        graph = lif_net(LIF(0.9, tie=tie))
        outputs = engine.run(graph, X).trace.outputs["y"]
        assert outputs.sum() > 500
        assert np.count_nonzero(outputs != spikes_by_hand(graph, X, tie)) == 0


@pytest.mark.parametrize("tie", ["gt", "ge"])
def test_spikingjelly(tie: Any, tmp_path: Path) -> None:
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    graph = generic(lif_net(LIF(0.9, tie=tie)))
    spikes = by_peer(exchange.import_from_nir(str(export_nir(graph, tmp_path / "a.nir")), dt=1e-3))
    expected = engine.run(graph, X).trace.outputs["y"]
    assert expected.sum() > 500
    assert np.count_nonzero(spikes != expected) == 0


def test_snntorch() -> None:
    reader = pytest.importorskip("snntorch.import_nir")
    graph = generic(lif_net(LIF(0.9), dt=1e-4))
    spikes = by_peer(reader.import_from_nir(to_nir(graph, profile="snntorch")))
    expected = engine.run(graph, X).trace.outputs["y"]
    assert expected.sum() > 500
    assert np.count_nonzero(spikes != expected) == 0


def test_snntorch_would_err_at_another_dt() -> None:
    """Why the profile refuses another dt: its importer takes 1e-4 whatever the file says."""
    reader = pytest.importorskip("snntorch.import_nir")
    graph = generic(lif_net(LIF(0.9), dt=1e-3))
    spikes = by_peer(reader.import_from_nir(to_nir(graph)))
    assert np.count_nonzero(spikes != engine.run(graph, X).trace.outputs["y"]) > 0


def test_nir_reads_and_checks_the_file(tmp_path: Path) -> None:
    graph = nir.read(export_nir(lif_net(), tmp_path / "a.nir"))
    assert graph.check_types()
    assert graph.edges == [("lif", "y"), ("w", "lif"), ("x", "w")]
    linear = lif_net().nodes["w"]
    assert isinstance(linear, Linear)
    assert graph.nodes["w"].weight.tobytes() == linear.weight.tobytes()


def test_nirtorch_builds_modules(tmp_path: Path) -> None:
    nirtorch = pytest.importorskip("nirtorch")
    torch = pytest.importorskip("torch")
    graph = nir.read(export_nir(lif_net(), tmp_path / "a.nir"))
    seen = []

    def module(kind: str) -> Any:
        def make(node: Any) -> Any:
            seen.append(kind)
            return torch.nn.Identity()

        return make

    nirtorch.nir_to_torch(graph, {nir.Affine: module("Affine"), nir.LIF: module("LIF")})
    assert sorted(seen) == ["Affine", "LIF"]
