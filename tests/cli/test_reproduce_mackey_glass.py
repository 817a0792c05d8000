"""neuroaccel reproduce mackey-glass."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from neuroaccel.cli.reproduce import register
from neuroaccel.errors import InputError
from neuroaccel.training import mackey_glass, mackey_glass_table


def reproduce(*options: str | Path) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["mackey-glass", *map(str, options)])


def test_rows_and_table_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(mackey_glass.quick(mackey_glass.Protocol()), train_time=3.0, test_time=1.0)
    monkeypatch.setattr(mackey_glass_table, "Protocol", lambda: small)
    done = reproduce("--runs", tmp_path, "--seeds", "1", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["protocol"] == "mackey-glass"
    assert {row["arm"] for row in said["rows"]} == set(mackey_glass.ARMS)
    written = Path(said["files"]["json"]).read_bytes()
    again = reproduce("--runs", tmp_path, "--seeds", "1")
    assert "| mackey-glass-17 |" in again.stdout
    assert Path(said["files"]["json"]).read_bytes() == written


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--set", "train.epochs=2"], "--set"), (["--device", "cuda"], "--device"), (["--seeds", "31"], "31 seeds")],
)
def test_what_means_nothing_is_refused(options: list[str], word: str, tmp_path: Path) -> None:
    done = reproduce("--runs", tmp_path, *options)
    assert isinstance(done.exception, InputError)
    assert word in str(done.exception)
    assert list(tmp_path.iterdir()) == []
