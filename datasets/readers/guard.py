"""Native readers in a process of their own, which may crash, loop or ask for all memory without harm to this one."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import FileFormatError

CHILD = Path(__file__).with_name("child.py")
SECONDS = 5.0  # processor time for one piece of work, which takes milliseconds
SCAN = 20e6  # bytes a second that opening a file gets, for those that must be searched from end to end
MEMORY = 6 << 30  # of address space, of which libraries alone take two or three

Message = tuple[dict[str, Any], dict[str, NDArray[Any]]]


def run(path: Path, work: str, **request: Any) -> Iterator[Message]:
    """Have a file read by ``child.py``.

    Arguments:
        path: the file.
        work: which of its functions.
        request: their arguments.

    Returns:
        Its messages, each with the arrays that came with it.

    Raises:
        FileFormatError: the process refused the file, crashed on it, or did not come to an end.
    """
    size = path.stat().st_size
    asked = {
        "work": work,
        "path": str(path.absolute()),
        "seconds": SECONDS,
        "open_seconds": SECONDS + size / SCAN,
        "memory": MEMORY + 8 * size,
        **request,
    }
    # -P: the names beside child.py are not for it to import.
    command = [sys.executable, "-P", str(CHILD), json.dumps(asked)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None
        ended = False
        try:
            while (line := process.stdout.readline()).endswith(b"\n"):
                message = json.loads(line)
                if message.pop("end", False):
                    ended = True
                    break
                arrays = [(name, _array(process.stdout, *shape)) for name, *shape in message.pop("arrays")]
                if any(array is None for _, array in arrays):
                    break
                yield message, {name: array for name, array in arrays if array is not None}
            if not ended:
                raise _error(path, process.wait(), said)
        finally:
            process.stdout.close()
            if process.poll() is None and not ended:
                process.kill()
            process.wait()


def _array(pipe: IO[bytes], dtype: str, shape: list[int]) -> NDArray[Any] | None:
    """An array from the pipe, None where it ends before."""
    array = np.empty(shape, np.dtype(dtype))
    wanted, got = memoryview(array.reshape(-1).view(np.uint8).data), 0
    while got < len(wanted):
        more = pipe.readinto(wanted[got:])  # type: ignore[attr-defined]
        if not more:
            return None
        got += more
    return array if math.prod(shape) == array.size else None


def _error(path: Path, code: int, said: IO[bytes]) -> FileFormatError:
    said.seek(0)
    lines = said.read()[-4096:].decode("utf-8", "replace").splitlines()
    refused = [line.removeprefix("REFUSED ") for line in lines if line.startswith("REFUSED ")]
    if refused:
        return FileFormatError(f"{path}: {refused[-1]}")
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return FileFormatError(f"{path}: its reader did not come to an end and was stopped; the file is damaged")
    if code < 0:
        name = signal.Signals(-code).name
        return FileFormatError(f"{path}: its reader crashed ({name}); the file is damaged")
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
    return FileFormatError(f"{path}: its reader failed ({last[:300]})")
