"""The README's Python example runs as it stands, in at most 20 lines, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.safetensors").is_file()
    assert done.stdout.splitlines()[-1].startswith("True")


def test_its_commands_and_files_exist() -> None:
    root = Path(__file__).parents[1]
    for script in set(re.findall(r"`?(scripts/[\w/]+)", README)):
        assert (root / script).is_file(), script
    for path in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (root / path).is_file(), path
    commands = set(re.findall(r"neuroaccel ([a-z]+)\b", README)) - {"is"}
    text = subprocess.run(
        [sys.executable, "-m", "neuroaccel", "--help"], capture_output=True, text=True, check=False
    ).stdout
    for command in commands:
        assert command in text, command
