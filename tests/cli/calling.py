"""Calling the command line in this process, and what its tests look at afterwards."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroaccel.cli.main import run
from neuroaccel.engine.events import EventStream


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def call(*arguments: str | Path) -> Done:
    """Run the command line as `neuroaccel ARGUMENTS` would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def assert_refused(done: Done, *words: str, code: int = 2) -> None:
    """One line on standard error that holds the words, nothing on standard output, and this exit code."""
    lines = done.err.strip().splitlines()
    assert done.code == code, done
    assert len(lines) == 1, done.err
    assert lines[0].startswith("neuroaccel: ")
    assert "Traceback" not in done.err
    assert done.out == ""
    for word in words:
        assert word in lines[0]


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too: what must not change when a command is refused."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def stream(shape: tuple[int, ...] = (2, 3, 3), ticks: int = 6, dt: float = 0.01, top: int = 1) -> EventStream:
    """A dense recording whose events have values from 0 to ``top``."""
    dense = np.random.default_rng(9).integers(0, top + 1, size=(ticks, *shape))
    return EventStream.from_dense(dense, dt, "count" if top > 1 else "binary")
