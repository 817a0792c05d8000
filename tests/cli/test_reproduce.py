"""neuroaccel reproduce: lists protocols, runs one, refuses what it cannot do in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.training.protocol import protocol_names
from tests.cli.calling import assert_refused, call, files_in
from tests.datasets.tonic.miniatures import n_mnist

SMALL = ["train.epochs=1", "data.ticks=4", "data.dt=0.08", "layers.0.channels=2", "layers.4.channels=2"]
CHANGES = [word for change in SMALL for word in ("--set", change)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    n_mnist(root, per_class=10, test=2, classes=2)
    return root


def test_without_a_name_protocols_are_listed_and_whose_data_is_there(folder: Path) -> None:
    done = call("reproduce", "--folder", folder)
    assert done.code == 0, done.err
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip() and line[0] != " "}
    assert set(protocol_names()) <= set(lines)
    assert "not there" not in lines["nmnist"]
    assert "not there" in lines["shd"]
    assert str(folder / "SHD") in done.out
    data = call("reproduce", "--folder", folder, "--json").json
    assert [entry["name"] for entry in data["protocols"]] == protocol_names()
    assert {entry["name"]: entry["ready"] for entry in data["protocols"]}["nmnist"] is True


def test_a_protocol_runs_and_its_results_are_files(folder: Path, tmp_path: Path) -> None:
    arguments = ("reproduce", "nmnist", "--folder", folder, "--seeds", "1", "--runs", tmp_path, *CHANGES)
    done = call(*arguments, "--json")
    assert done.code == 0, done.err
    table = done.json
    assert (table["protocol"], table["seeds_done"], table["complete"]) == ("nmnist", 1, False)
    assert Path(table["files"]["json"]).is_file()
    before = files_in(tmp_path / Path(table["runs"][0]["run"]).relative_to(tmp_path))
    again = call(*arguments)
    assert again.code == 0, again.err
    assert f"{table['runs'][0]['test_accuracy']:.2%}" in again.out
    assert table["files"]["markdown"] in again.out
    assert files_in(Path(table["runs"][0]["run"])) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mnist"], ["unknown protocol 'mnist'", "nmnist"]),
        (["shd", "--set", "train.epoch=3"], ["train.epoch"]),
        (["shd", "--folder", "nowhere"], ["nowhere", "no such folder"]),
        (["shd", "--device", "abacus"], ["abacus"]),
        (["shd", "--seeds", "0"], ["--seeds"]),
        (["--seeds", "2"], ["--seeds", "of which protocol"]),
        (["--overwrite"], ["--overwrite", "of which protocol"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(call("reproduce", *arguments), *words)
    assert files_in(tmp_path) == {}


def test_a_dead_download_is_one_line_of_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tonic.datasets import SHD

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SHD, "base_url", "http://127.0.0.1:1/")
    done = call("reproduce", "shd", "--folder", ".")
    assert_refused(done, "shd_train.h5.zip", "127.0.0.1", "by hand", code=1)
    assert files_in(tmp_path) == {}


def test_an_interrupt_of_lightning_is_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: object, **__: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("neuroaccel.training.reproduce.reproduce", leave)
    assert_refused(call("reproduce", "shd", "--runs", tmp_path), "interrupted", code=130)


def test_help_has_examples() -> None:
    done = call("reproduce", "--help")
    assert done.code == 0
    assert "neuroaccel reproduce shd --folder ~/data" in done.out
