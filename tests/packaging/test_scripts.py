"""scripts/demo and scripts/test where a Python is missing: one clear line, nothing half-made; re-runs cost nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    *("bash", "basename", "cat", "cksum", "dirname", "env", "grep"),
    *("head", "ls", "mkdir", "printf", "rm", "tail", "touch"),
)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout and a PATH with the shell's tools and no Python at all."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def run(machine: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine / "bin"), "HOME": str(machine)}
    command = ["bash", f"scripts/{script}", *arguments]
    where = machine / "checkout"
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=60)


def pretend_environment(machine: Path) -> None:
    """.venv as the scripts leave it, with a neuroaccel and a pytest that only say how they were called."""
    checkout = machine / "checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "pyvenv.cfg").write_text("home = nowhere\n")
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("neuroaccel", "pytest"):
        program = checkout / ".venv" / "bin" / name
        program.write_text(f'#!/usr/bin/env bash\necho "{name} $*"\n')
        program.chmod(0o755)
    stamp = '. scripts/_environment; stamp_of "$venv" "$root/constraints.txt" "$root/pyproject.toml" >"$venv/stamp"'
    environment = {"PATH": os.environ["PATH"], "HOME": str(machine)}
    subprocess.run(["bash", "-c", stamp, "scripts/x"], cwd=checkout, env=environment, check=True)


@pytest.mark.parametrize("script", ["demo", "test"])
def test_without_python_311_there_is_one_line_and_nothing_is_made(machine: Path, script: str) -> None:
    done = run(machine, script)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"scripts/{script}: Python 3.11 or newer is missing")
    assert "get it with" in line
    assert not (machine / "checkout" / ".venv").exists()


def test_without_python_310_the_tests_fail_in_one_line(machine: Path) -> None:
    pretend_environment(machine)
    done = run(machine, "test")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("scripts/test: Python 3.10 is missing")
    assert "pytest" not in done.stdout


def test_without_python_310_the_demo_says_so_and_goes_on(machine: Path) -> None:
    pretend_environment(machine)
    done = run(machine, "demo")
    assert done.returncode == 0, done.stderr
    assert "Python 3.10 is missing" in done.stdout + done.stderr
    called = [line for line in done.stdout.splitlines() if line.startswith("neuroaccel ")]
    assert [line.split()[1] for line in called] == ["train", "evaluate", "energy", "verify", "export", "export"]
    assert "installing" not in done.stdout


@pytest.mark.parametrize("script", ["demo", "test"])
def test_help_says_what_it_does_and_does_nothing(machine: Path, script: str) -> None:
    done = run(machine, script, "--help")
    assert done.returncode == 0
    assert ".venv-lava" in done.stdout
    assert not (machine / "checkout" / ".venv").exists()
