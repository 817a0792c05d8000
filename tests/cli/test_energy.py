"""neuroaccel energy."""

from __future__ import annotations

import json
from pathlib import Path

from neuroaccel.ledger import FATES
from tests.cli.calling import assert_refused, call


def test_its_json_balances_and_stands_in_the_run(runs: Path) -> None:
    said = call("energy", "tiny", "--samples", "20", "--json").json
    assert {"layers", "totals", "energy_pj", "provenance"} <= set(said)
    assert set(said["energy_pj"]) == {"cmos45", "loihi1-davies2018"}
    assert all(report["mean_pj"][0] > 0 for report in said["energy_pj"].values())
    assert all(entry["source"] for entry in said["provenance"])
    for layer in said["layers"]:
        counts = layer["counts"]
        assert abs(counts.get("nominal", 0) - sum(counts.get(fate, 0) for fate in FATES)) < 1e-6
    assert said["totals"]["samples"] == 20
    assert said["execution"]["executor"] == "engine"
    assert said["execution"]["samples"] == 20
    assert json.loads((runs / "tiny" / "energy.json").read_text()) == said


def test_batches_do_not_change_the_book(runs: Path) -> None:
    """17 samples are a whole batch and one more; the first of them alone has the same counts."""
    whole = call("energy", "tiny", "--samples", "17", "--profile", "cmos45", "--json").json
    part = call("energy", "tiny", "--samples", "1", "--profile", "cmos45", "--json").json
    assert [layer["node"] for layer in whole["layers"]] == [layer["node"] for layer in part["layers"]]
    nominal = [[layer["counts"].get("nominal") for layer in said["layers"]] for said in (whole, part)]
    assert nominal[0] == nominal[1]
    assert set(whole["energy_pj"]) == {"cmos45"}


def test_the_text_shows_both_books_and_every_profile(runs: Path) -> None:
    done = call("energy", "tiny", "--samples", "2")
    assert done.code == 0
    for word in (
        "Algorithm book",
        "balance: nominal",
        "Execution book: engine",
        "cmos45",
        "loihi1-davies2018",
        "dense ANN",
    ):
        assert word in done.out


def test_a_recording_of_ones_own(model: Path, events: Path) -> None:
    said = call("energy", model, "--input", events, "--json").json
    assert said["input"] == {"file": str(events)}
    assert (said["totals"]["samples"], said["totals"]["ticks"]) == (1, 6)
    assert sorted(path.name for path in model.parent.iterdir()) == ["events.npz", "own.safetensors"]


def test_an_unknown_profile_is_refused(runs: Path) -> None:
    assert_refused(call("energy", "tiny", "--profile", "abacus"), "abacus", "cmos45")
    assert not (runs / "tiny" / "energy.json").exists()


def test_strict_refuses_what_nobody_published(model: Path, events: Path) -> None:
    arguments = ("energy", model, "--input", events, "--profile", "cmos45")
    assert call(*arguments).code == 0
    assert_refused(call(*arguments, "--strict"), "published", "static")


def test_more_samples_than_there_are(runs: Path) -> None:
    assert_refused(call("energy", "tiny", "--samples", "100000"), "100000")
