"""torch's own threads, where they are GNU OpenMP's: work is given to those instead of to threads beside them.

OpenMP's threads spin for milliseconds after each of torch's operations, in wait of the next. Threads of ours share
their processors with them for as long, and take turns; torch's own begin at once.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_RUN: list[Callable[[], None]] = []  # what the team is at, if anything


def _run(_: Any) -> None:
    _RUN[0]()


_ENTER = _Entry(_run)


def _parallel() -> Callable[[Any, Any, int, int], None] | None:
    """OpenMP's entry point in the library that torch has loaded."""
    if "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info() or not hasattr(os, "RTLD_NOLOAD"):
        return None
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        try:
            entry = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
        except (OSError, AttributeError):
            continue
        entry.argtypes, entry.restype = (_Entry, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
        return entry
    return None


_PARALLEL = _parallel()


def _forget() -> None:
    global _PARALLEL
    _PARALLEL = None  # a forked child has none of these threads, and OpenMP does not know
    _RUN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def available() -> bool:
    """Whether there is a team."""
    return _PARALLEL is not None


def together(run: Callable[[], None], threads: int) -> None:
    """Call ``run`` once on each of so many threads, the calling one among them, and wait for all; it must not raise.

    Only one caller at a time may do so.
    """
    assert _PARALLEL is not None
    _RUN[:] = [run]
    try:
        _PARALLEL(_ENTER, None, threads, 0)
    finally:
        _RUN.clear()
