"""`neuroaccel decision energy`: what a decision costs, beside the dense twin's."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.decision.costs import macs_per_decision
from tests.cli.calling import assert_refused, call
from tests.decision.runs import run_of, untrained


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for model in ("dt", "snn-dt"):
        run_of(untrained(model), folder / model)
    return folder


def test_a_spiking_run_by_layer_and_beside_its_twin(runs: Path) -> None:
    options = ("--decisions", "5", "--profile", "cmos45", "--profile", "loihi1-davies2018", "--runs", runs)
    found = call("decision", "energy", "snn-dt", *options, "--json").json
    assert (found["run"], found["model"], found["decisions"], found["context_full"]) == ("snn-dt", "snn-dt", 5, True)
    layers = found["layers"]
    for column in ("synaptic_events", "macs"):
        assert sum(layer[column] for layer in layers) == pytest.approx(found[column])
    assert sum(layer["spikes"] for layer in layers) + found["spikes_phase"] == pytest.approx(found["spikes"])
    assert 0 < found["spikes"] <= found["spikes_context"]
    assert found["synaptic_events"] > 0
    ours = found["energy_pj"]["cmos45"]
    assert 0 < ours["mean_pj"][0] == pytest.approx(sum(row["total_pj"][0] for row in ours["rows"]))
    twin = untrained("dt").config
    assert {row["macs"] for row in ours["dense"]} == {
        macs_per_decision(twin, cached=cached).total for cached in (True, False)
    }
    assert all(row["total_pj"][0] > 0 for row in ours["dense"])
    assert all(row["total_pj"] is None for row in found["energy_pj"]["loihi1-davies2018"]["dense"])
    assert found["proxies_pj"]["proxy_spike_5pJ"] == pytest.approx(5 * found["spikes"])
    assert "proxies_pj" not in ours
    assert {c["profile"] for c in found["provenance"]} == {"cmos45", "loihi1-davies2018"}


def test_as_text(runs: Path) -> None:
    done = call("decision", "energy", "snn-dt", "--decisions", "4", "--runs", runs)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "4 decisions with a full context" in lines[0]
    head = next(line for line in lines if line.startswith("node"))
    assert head.split() == ["node", "role", "spikes", "synaptic_events", "macs", "energy"]
    assert any(line.startswith("block0.counts/qkv") for line in lines)
    assert sum(line.startswith("dense DT, ") for line in lines) == 8
    # The paper's proxy comes last, and under its own name.
    assert lines.index(next(x for x in lines if x.startswith("proxy_spike_5pJ"))) > lines.index(head)


def test_of_a_dense_run_only_its_own_macs(runs: Path) -> None:
    found = call("decision", "energy", "dt", "--runs", runs, "--json").json
    assert "spikes" not in found
    assert "proxies_pj" not in found
    model = untrained("dt").model
    assert found["energy_pj"]["cmos45"]["dense"][0]["macs"] == macs_per_decision(model).total  # type: ignore[arg-type]
    assert call("decision", "energy", "dt", "--runs", runs).out.startswith("Energy per decision: cmos45")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), ["nobody", "snn-dt"]),
        (("snn-dt", "--profile", "abacus"), ["abacus", "cmos45"]),
        (("snn-dt", "--profile", "cmos45", "--profile", "cmos45"), ["cmos45", "twice"]),
        (("snn-dt", "--decisions", "0"), ["--decisions"]),
        (("snn-dt", "--target", "inf"), ["target"]),
    ],
    ids=str,
)
def test_what_cannot_be_counted_is_one_line(runs: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    assert_refused(call("decision", "energy", *arguments, "--runs", runs), *words)
