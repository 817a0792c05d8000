"""The README's Python examples run as they stand, each in at most 20 lines, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run(tmp_path: Path) -> None:
    """One goes on where the other ended."""
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(examples) == 3
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 20 for code in examples)
    done = subprocess.run(
        [sys.executable, "-c", "".join(examples)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.safetensors").is_file()
    lines = done.stdout.splitlines()
    assert any(line.startswith("True [('torch'") for line in lines)  # the verification
    assert lines[-1].split()[0] == "40"  # 20 ticks by step, 20 more by play


def test_its_commands_and_files_exist() -> None:
    root = Path(__file__).parents[1]
    for script in set(re.findall(r"`?(scripts/[\w/]+)", README)):
        assert (root / script).is_file(), script
    for path in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (root / path).is_file(), path
    commands = set(re.findall(r"neuroaccel ([a-z]+)\b", README)) - {"is", "import"}
    text = subprocess.run(
        [sys.executable, "-m", "neuroaccel", "--help"], capture_output=True, text=True, check=False
    ).stdout
    for command in commands:
        assert command in text, command
