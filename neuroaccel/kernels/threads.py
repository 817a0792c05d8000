"""Our threads: parts of a kernel's neurons on as many threads as torch may use; no result depends on their number."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

GRAIN = 1 << 15  # neuron-steps that are worth a thread
_ALIGN = 64  # neurons: no two threads write to one cache line
_POOL: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    global _POOL
    if _POOL is None:
        _POOL = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="neuroaccel")
    return _POOL


def _forget() -> None:
    global _POOL
    _POOL = None


os.register_at_fork(after_in_child=_forget)  # a forked child has none of our threads


def parts(neurons: int, steps: int) -> list[tuple[int, int]]:
    """Ranges of neurons, one for each thread that is worth its start, for ``steps`` ticks."""
    wanted = max(1, min(torch.get_num_threads(), neurons * steps // GRAIN))
    size = -(-neurons // wanted)
    size = -(-size // _ALIGN) * _ALIGN
    return [(start, min(start + size, neurons)) for start in range(0, neurons, size)] if neurons else []


def spread(work: Callable[[int, int], None], neurons: int, steps: int) -> None:
    """Run ``work(start, stop)`` over all neurons, the last part on the calling thread."""
    ranges = parts(neurons, steps)
    if not ranges:
        return
    waiting = [_pool().submit(work, *part) for part in ranges[:-1]]
    try:
        work(*ranges[-1])
    finally:
        for future in waiting:
            future.result()
