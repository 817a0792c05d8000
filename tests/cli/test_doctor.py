"""neuroaccel doctor."""

from __future__ import annotations

from importlib.metadata import metadata
from pathlib import Path

import pytest

from neuroaccel import __version__
from tests.cli.calling import call


def checks(*arguments: str) -> dict[str, dict[str, object]]:
    done = call("doctor", "--json", *arguments)
    assert done.code == 0
    return {check["name"]: check for check in done.json["checks"]}


def test_it_reports_everything_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROACCEL_CACHE", str(tmp_path / "data"))
    monkeypatch.setenv("NEUROACCEL_KERNEL_CACHE", str(tmp_path / "kernels"))
    found = checks()
    expected = {"Python", "torch", "Python 3.10", "Lava", "C compiler", "CUDA", "data cache", "kernel cache"}
    extras = set(metadata("neuroaccel").get_all("Provides-Extra") or []) - {"all", "dev"}
    assert expected | {f"extra {name}" for name in extras} <= set(found)
    assert found["neuroaccel"]["found"] == __version__
    assert "not made yet" in str(found["data cache"]["found"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_comes_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEUROACCEL_LAVA_PYTHON", "/nowhere/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    found = checks()
    assert not found["Lava"]["ok"]
    assert "/nowhere/python" in str(found["Lava"]["found"])
    assert found["Lava"]["cure"] == "neuroaccel lava setup"
    assert not found["C compiler"]["ok"]
    assert found["C compiler"]["cure"]
    text = call("doctor").out
    assert "to get it: neuroaccel lava setup" in text


def test_an_extra_is_judged_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=2", 'numpy>=1; extra == "here"', "no-such-package>=1 ; extra == 'gone'", 'ruff; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines)
    found = checks()
    assert found["extra here"]["ok"]
    assert not found["extra gone"]["ok"]
    assert found["extra gone"]["cure"] == 'pip install "neuroaccel[gone]"'
    assert "extra dev" not in found


def test_caches_show_their_size_and_whether_they_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set.npy").write_bytes(bytes(2_500_000))
    monkeypatch.setenv("NEUROACCEL_CACHE", str(tmp_path))
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("NEUROACCEL_KERNEL_CACHE", str(blocked / "kernels"))
    found = checks()
    assert "1 file, 2.5 MB" in str(found["data cache"]["found"])
    assert found["data cache"]["ok"]
    assert not found["kernel cache"]["ok"]
    assert "NEUROACCEL_KERNEL_CACHE" in str(found["kernel cache"]["cure"])
