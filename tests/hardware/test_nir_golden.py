"""The golden files: today's code reads them, runs them to the same spikes, and would write them again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroaccel import engine
from neuroaccel.graph.file import to_bytes
from neuroaccel.hardware.nir import compare_nir, import_nir
from tests.hardware.nir_nets import NETS

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_there_is_one_per_network() -> None:
    assert {p.stem for p in GOLDEN.glob("*.nir")} == {p.stem for p in GOLDEN.glob("*.npz")} == set(NETS)
    assert sum(p.stat().st_size for p in GOLDEN.iterdir()) < 120_000


@pytest.mark.parametrize("net", NETS)
def test_it_is_read_and_spikes_as_it_did(net: str) -> None:
    graph = NETS[net]()
    back = import_nir(GOLDEN / f"{net}.nir", dt=graph.dt or 0)
    assert to_bytes(back) == to_bytes(graph)
    expected = load(GOLDEN / f"{net}.npz")
    trace = engine.run(back, expected["x"], record=True).trace
    found = {f"spikes {n}": v for n, v in trace.spikes.items()} | {f"output {n}": v for n, v in trace.outputs.items()}
    assert set(found) == set(expected) - {"x"}
    for key, value in found.items():
        assert (value.dtype, value.shape) == (expected[key].dtype, expected[key].shape)
        assert value.tobytes() == expected[key].tobytes(), key
        assert np.any(value), key


@pytest.mark.parametrize("net", NETS)
def test_an_export_today_is_the_same(net: str) -> None:
    assert compare_nir(NETS[net](), GOLDEN / f"{net}.nir") == []


def test_the_script_writes_them(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_golden_nir"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for net, make in NETS.items():
        assert compare_nir(make(), tmp_path / f"{net}.nir") == []
        new, old = load(tmp_path / f"{net}.npz"), load(GOLDEN / f"{net}.npz")
        assert {k: v.tobytes() for k, v in new.items()} == {k: v.tobytes() for k, v in old.items()}
