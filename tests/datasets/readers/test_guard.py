"""The process that native readers run in: it may crash, loop, eat memory or talk, and this one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroaccel.datasets.readers import guard
from neuroaccel.errors import FileFormatError

CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
LOOP = "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"
TALK = "import sys; sys.stderr.write('x' * 1000000 + '\\nREFUSED so it is\\n'); sys.exit(3)"
QUIET = "pass"
HALF = 'print(\'{"arrays": [["x", "<i8", [1000]]]}\', flush=True); print(\'too short\')'


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (CRASH, "crashed.*SIGSEGV"),
        (LOOP, "did not come to an end"),
        (TALK, "so it is"),
        (QUIET, "failed"),
        (HALF, "failed"),
    ],
)
def test_whatever_it_does_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(guard, "CHILD", child)
    path = tmp_path / "a.bin"
    path.write_bytes(b"1")
    with pytest.raises(FileFormatError, match=rf"a\.bin: .*{message}"):
        list(guard.run(path, "events"))


def test_who_leaves_early_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    mark = tmp_path / "alive"
    child.write_text(
        "import os, pathlib, sys, time\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\n"
        "print('{\"arrays\": []}', flush=True)\ntime.sleep(1000)\n"
    )
    monkeypatch.setattr(guard, "CHILD", child)
    path = tmp_path / "a.bin"
    path.write_bytes(b"1")
    messages = guard.run(path, "events")
    assert next(messages) == ({}, {})
    messages.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{mark.read_text()}").exists()
