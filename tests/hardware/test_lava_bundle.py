"""The bundle as an artifact, and everything that can go wrong between it and Lava's processes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.errors import ExecutorFailure, ExecutorUnavailable, FileFormatError, InputError
from neuroaccel.graph import Graph, Input, Linear, Neuron, Output, chain, sha256
from neuroaccel.hardware.lava import compare_lava, export_lava, find_environment, load_bundle, quantise, run_bundle
from neuroaccel.hardware.lava import environment as places
from neuroaccel.hardware.lava.run import read_out
from neuroaccel.program import LIF


def net(seed: int = 1) -> Graph:
    rng = np.random.default_rng(seed)
    spec = LIF(0.75, 0.5)
    population = Neuron(spec.program, {k: np.float32(v) for k, v in spec.values.items()}, (3,))
    weight, bias = (rng.integers(-16, 33, shape).astype(np.float32) / 32 for shape in ((3, 4), (3,)))
    return chain({"x": Input((4,)), "w": Linear(weight, bias), "n": population, "y": Output()})


def with_array(bundle: Path, key: str, index: tuple[int, ...], change: float) -> None:
    """Change one value of a bundle's weights file."""
    with np.load(bundle / "weights.npz") as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    arrays[key][index] += change
    np.savez(bundle / "weights.npz", **arrays)


@pytest.mark.parametrize("fixed", [False, True])
def test_an_exported_bundle_holds_its_graph(tmp_path: Path, fixed: bool) -> None:
    graph = net()
    bundle = export_lava(graph, tmp_path / "bundle", fixed=fixed)
    assert compare_lava(graph, bundle) == []
    stated = load_bundle(bundle).description
    assert stated["source_sha256"] == sha256(graph)
    if fixed:
        integers = quantise(graph)[0]
        assert stated["graph_sha256"] == sha256(integers)
        assert compare_lava(integers, bundle) == []
    assert {p.name for p in bundle.iterdir()} == {
        "graph.json", "weights.npz", "run_bundle.py", "processes.py", "interpreter.py"
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"], "a temporary folder was left behind"


@pytest.mark.parametrize(("fixed", "unit"), [(False, 2.0**-5), (True, 2.0)])
def test_one_weight_changed_by_one_unit_is_found(tmp_path: Path, fixed: bool, unit: float) -> None:
    graph = net()
    bundle = export_lava(graph, tmp_path / "bundle", fixed=fixed)
    with_array(bundle, "w/weight", (2, 1), unit)
    (found,) = compare_lava(graph, bundle)
    assert found.startswith("node 'w': weight[2, 1] is ")
    with_array(bundle, "w/weight", (2, 1), -unit)
    with_array(bundle, "w/bias", (1,), unit)
    (found,) = compare_lava(graph, bundle)
    assert found.startswith("node 'w': bias[1] is ")


def test_other_graphs_thresholds_and_code_are_found(tmp_path: Path) -> None:
    graph = net()
    bundle = export_lava(graph, tmp_path / "bundle")
    assert any("the bundle states graph" in line for line in compare_lava(net(2), bundle))
    description = json.loads((bundle / "graph.json").read_text())
    next(p for p in description["processes"] if p["name"] == "n")["vth"] += 0.25
    (bundle / "graph.json").write_text(json.dumps(description))
    assert compare_lava(graph, bundle) == ["node 'n': vth is 0.75 in the bundle, 0.5 in the graph"]
    export_lava(graph, bundle)
    (bundle / "processes.py").write_text("import os\n")
    assert compare_lava(graph, bundle) == ["the bundle's processes.py is not the one that this version writes"]


def test_a_bundle_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    bundle = export_lava(net(), tmp_path / "bundle")
    export_lava(net(2), bundle)
    assert compare_lava(net(2), bundle) == []
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("years of work")
    with pytest.raises(InputError, match="thesis exists and is no Lava bundle"):
        export_lava(net(), other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "thesis"]
    assert (other / "chapter1.tex").read_text() == "years of work"


def test_a_truncated_or_foreign_bundle_is_one_readable_error(tmp_path: Path) -> None:
    bundle = export_lava(net(), tmp_path / "bundle")
    content = (bundle / "weights.npz").read_bytes()
    for broken in (content[: len(content) // 2], b"PK", b""):
        (bundle / "weights.npz").write_bytes(broken)
        with pytest.raises(FileFormatError, match="not a readable Lava bundle"):
            compare_lava(net(), bundle)
    (bundle / "weights.npz").write_bytes(content)
    (bundle / "graph.json").write_text('{"format": 1}')
    with pytest.raises(FileFormatError, match="processes"):
        load_bundle(bundle)
    with pytest.raises(FileFormatError, match=r"'graph.json' is missing"):
        load_bundle(tmp_path / "nowhere")


def test_the_runner_stands_alone(tmp_path: Path) -> None:
    """Run as a user would, with Lava's Python and nothing of this package."""
    export_lava(net(), tmp_path / "bundle")
    x = np.ones((5, 4, 4), np.uint8)
    np.savez(tmp_path / "in.npz", x=x)
    command = [str(find_environment()), "-I", "-c", _AS_SCRIPT, "bundle", "--input", "in.npz", "--output", "out.npz"]
    done = subprocess.run([*command, "--samples", "2"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as out:
        assert sorted(out.files) == ["currents/n", "spikes/n", "states/n/v"]
        assert out["spikes/n"].shape == (5, 2, 3)
        weight, bias = (getattr(net().nodes["w"], k) for k in ("weight", "bias"))
        assert np.array_equal(out["currents/n"][:, 0], np.tile(weight.sum(axis=1) + bias, (5, 1)))


_AS_SCRIPT = (
    "import sys, runpy; sys.path.insert(0, 'bundle'); runpy.run_path('bundle/run_bundle.py', run_name='__main__')"
)


def test_a_runner_that_hangs_is_ended_after_the_timeout(tmp_path: Path) -> None:
    bundle = export_lava(net(), tmp_path / "bundle")
    (bundle / "run_bundle.py").write_text("import time\nprint('sleeping', flush=True)\ntime.sleep(600)\n")
    started = time.monotonic()
    with pytest.raises(ExecutorFailure, match=r"(?s)within the timeout of 0.5 seconds.*sleeping"):
        run_bundle(bundle, np.zeros((3, 1, 4)), timeout_s=0.5)
    assert time.monotonic() - started < 300, "the runner's sleep was waited for"


def breaking(bundle: Path, statement: str) -> None:
    """Let every LIF of a bundle execute a statement at its fourth step."""
    source = (bundle / "processes.py").read_text()
    before = "    def run_spk(self):\n        if self.tick <= 0:\n            self.u[:] = 0\n"
    assert source.count(before) == 1
    broken = before.replace("        if", f"        if self.time_step == 4:\n            {statement}\n        if", 1)
    (bundle / "processes.py").write_text(source.replace(before, broken))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise ZeroDivisionError('in a child')", r"(?s)code 3: process 'n':.*ZeroDivisionError: in a child"),
        ("os._exit(1)", r"code 3: a Lava process ended without a word"),
        ("import time; time.sleep(600)", r"within the timeout of 5 seconds: no result after 5 seconds"),
    ],
)
def test_a_child_that_fails_dies_or_hangs_does_not_hang_us(tmp_path: Path, statement: str, message: str) -> None:
    bundle = export_lava(net(), tmp_path / "bundle")
    breaking(bundle, statement)
    with pytest.raises(ExecutorFailure, match=message):
        run_bundle(bundle, np.zeros((6, 1, 4)), timeout_s=5.0 if "sleep" in statement else 120.0)


def test_inputs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    bundle = export_lava(net(), tmp_path / "bundle")
    with pytest.raises(ExecutorFailure, match=r"input 'x' has shape \[6, 1, 5\]"):
        run_bundle(bundle, np.zeros((6, 1, 5)))
    with pytest.raises(ExecutorFailure, match=r"the input file has no array 'x'|nothing to run"):
        run_bundle(bundle, {"z": np.zeros((6, 1, 4))})


def test_a_missing_environment_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(places.VARIABLE, raising=False)
    monkeypatch.setattr(places, "candidates", lambda: iter([tmp_path / "bin" / "python"]))
    with pytest.raises(ExecutorUnavailable, match=r"python3.10 -m venv .venv-lava .*lava-nc==0.10.0.*NEUROACCEL_LAVA"):
        find_environment()
    monkeypatch.setenv(places.VARIABLE, str(tmp_path / "python"))
    with pytest.raises(ExecutorUnavailable, match=r"which is no Python 3.10 with lava-nc"):
        find_environment()
    with pytest.raises(ExecutorUnavailable, match="does not start"):
        run_bundle(export_lava(net(), tmp_path / "bundle"), np.zeros((2, 1, 4)), python=tmp_path / "python")


def test_a_missing_python_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    with pytest.raises(ExecutorUnavailable, match=r"no Python 3.10, which Lava needs; install it"):
        places.make_environment(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_half_made_environment_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new"
    maker = "import sys, pathlib; pathlib.Path(sys.argv[1]).mkdir(); sys.exit('no space left')"
    monkeypatch.setattr(places, "find_python310", lambda: [str(find_environment()), "-c", maker])
    with pytest.raises(ExecutorFailure, match="failed with code 1: no space left"):
        places.make_environment(target)
    assert not target.exists()


def test_readouts_run_over_time() -> None:
    values = np.array([[[-2.0]], [[4.0]], [[1.0]]])
    expected = {"last_membrane": [-2, 4, 1], "max_membrane": [-2, 4, 4], "mean_membrane": [-2, 1, 1]}
    for how, running in expected.items():
        assert read_out(values, how).ravel().tolist() == running
    assert read_out(np.array([[[1]], [[0]], [[1]]], np.uint8), "spike_count").ravel().tolist() == [1, 1, 2]
