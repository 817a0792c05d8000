"""Samples shared among threads: every thread runs a session of its own, and no result depends on their number."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from neuroaccel.errors import InputError


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(batch: int, threads: int | None) -> list[tuple[int, int]]:
    """First and last sample (not included) of every thread, as even as they can be.

    Raises:
        InputError: fewer than one thread, or than one sample.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1")
    if batch < 1:
        raise InputError(f"a run needs at least one sample, not {batch}")
    count = min(batch, threads or processors())
    edges = [batch * k // count for k in range(count + 1)]
    return list(itertools.pairwise(edges))


def in_threads(work: Callable[..., None], parts: Sequence[tuple[Any, ...]]) -> None:
    """Run ``work(*part)`` for every part at once, this thread among those that work.

    Raises:
        BaseException: what the first part at fault raised, once all have ended.
    """
    if len(parts) == 1:
        work(*parts[0])
        return
    with ThreadPoolExecutor(len(parts) - 1, thread_name_prefix="neuroaccel-engine") as pool:
        others = [pool.submit(work, *part) for part in parts[1:]]
        try:
            work(*parts[0])
        finally:
            errors = [other.exception() for other in others]
    for error in errors:
        if error is not None:
            raise error
