"""The wheel in a clean environment: real dependencies under the pins, the command line run from another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run without the variables that would let this environment or this folder leak into the other one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of the programs of a new environment that holds the wheel and what pip chose for it, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    made = run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], folder)
    assert made.returncode == 0, made.stderr
    python = folder / "venv" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--disable-pip-version-check",
        "--no-compile",
    ]
    done = run([*pip, "--constraint", str(ROOT / "constraints.txt"), str(wheel)], folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield python.parent
    shutil.rmtree(folder)  # 1.6 GB, which pytest would keep for three sessions


def test_everything_comes_from_the_new_environment(clean: Path, tmp_path: Path) -> None:
    code = (
        "import json, neuroaccel, neuroaccel.datasets, neuroaccel.hardware\n"
        "print(json.dumps([m.__file__ for m in (neuroaccel, neuroaccel.datasets, neuroaccel.hardware)]))"
    )
    done = run([str(clean / "python"), "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(Path(file).is_relative_to(clean.parent / "lib") for file in json.loads(done.stdout))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--help"], "Usage: neuroaccel"), (["recipes", "list"], "saccade-digits"), (["doctor"], "Lava")],
    ids=["help", "recipes", "doctor"],
)
def test_command_line_runs_from_another_folder(
    clean: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    done = run([str(clean / "neuroaccel"), *arguments], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "asking for information left files behind"
