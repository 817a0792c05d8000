"""The wheel, built once per session from a copy of the sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "neuroaccel": "neuroaccel",
    "datasets": "neuroaccel/datasets",
    "envs": "neuroaccel/envs",
    "hardware": "neuroaccel/hardware",
}


@pytest.fixture(scope="session")
def source_files() -> dict[str, Path]:
    """Every file of the package: name in the wheel -> path in the sources."""
    return {
        f"{installed}/{path.relative_to(ROOT / top).as_posix()}": path
        for top, installed in SOURCES.items()
        for path in sorted((ROOT / top).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy without build/ and egg-info, whose leftovers could put deleted modules into the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for top in SOURCES:
        shutil.copytree(ROOT / top, tree / top, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(tree)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("neuroaccel-*.whl")
    return built
