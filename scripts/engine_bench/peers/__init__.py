"""Simulators with an environment of their own: how to get it, and how to run a script in it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
PINS = ("brian2==2.9.0", "nest-simulator==3.10.0", "numpy<2.4")  # Brian2 2.9 breaks with numpy 2.4


def environment() -> Path:
    """The interpreter of .venv-peers, made or brought up to date where its stamp is not that of the pins.

    Raises:
        RuntimeError: it cannot be made; the message names the log.
    """
    folder, log = ROOT / ".venv-peers", ROOT / ".cache" / "install.venv-peers.log"
    stamp, python = folder / "stamp", folder / "bin" / "python"
    wanted = " ".join((*PINS, sys.version))
    if stamp.is_file() and stamp.read_text() == wanted and python.exists():
        return python
    print(f"    installing {', '.join(PINS)} into {folder.name} (log: .cache/{log.name})", flush=True)
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as stream:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--disable-pip-version-check", *PINS],
        ):
            if subprocess.run(command, stdout=stream, stderr=stream, check=False).returncode:
                raise RuntimeError(f"Brian2 and NEST cannot be installed, see .cache/{log.name}")
    stamp.write_text(wanted)
    return python


def lava() -> Path | None:
    """The interpreter of .venv-lava, which scripts/demo makes; None where it is not there."""
    python = ROOT / ".venv-lava" / "bin" / "python"
    return python if python.exists() else None


def run(python: Path, script: str, work: Mapping[str, Any]) -> dict[str, Any]:
    """Run a script of this folder on a work, and read the JSON line that it prints last.

    Arguments:
        python: the interpreter.
        script: its file name.
        work: arrays and numbers, which it finds in the .npz file named by its one argument.

    Returns:
        ``who``, ``seconds`` (one per run) and ``spikes`` (ticks and neurons, two rows).

    Raises:
        RuntimeError: it failed; the message has the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work.npz"
        np.savez(path, **{key: np.asarray(value) for key, value in work.items()})
        command = [str(python), str(Path(__file__).with_name(script)), str(path)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} failed: {' / '.join((done.stderr or done.stdout).strip().splitlines()[-3:])}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
