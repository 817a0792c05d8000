"""Parts of a kernel's neurons on as many threads as torch may use, its own or ours; no result depends on their number.

Ours work where torch's cannot be had (:mod:`neuroaccel.kernels.team`), such as in a forked child. A waking one is often
put on the processor of the one that woke it, and then both take turns for longer than a kernel lasts. Where the system
lets us, a worker is therefore kept off the processor that its caller is on. There are more parts than threads, each
taken by whoever is free.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

import torch

from neuroaccel.kernels import team

GRAIN = 1 << 15  # neuron-steps that are worth a thread
PARTS = 2  # for each thread
_ALIGN = 64  # neurons: no two threads write to one cache line
Work = Callable[[int, int], None]


class _Job:
    """Parts of one piece of work, for any number of threads to take from."""

    def __init__(self, work: Work, ranges: list[tuple[int, int]]) -> None:
        self.work, self.count = work, len(ranges)
        self.left = deque(ranges)
        self.done = threading.Semaphore(0)
        self.errors: list[BaseException] = []

    def help(self) -> None:
        """Take parts until none is left."""
        while True:
            try:
                part = self.left.popleft()
            except IndexError:
                return
            try:
                self.work(*part)
            except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits
                self.errors.append(error)
            finally:
                self.done.release()

    def wait(self) -> None:
        """Until all parts are done, by whomever."""
        for _ in range(self.count):
            self.done.acquire()
        if self.errors:
            raise self.errors[0]


class _Worker:
    """A thread that helps with one job after the other."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self.avoided = -1
        self.thread = threading.Thread(target=self._loop, name="neuroaccel", daemon=True)
        self.thread.start()

    def _loop(self) -> None:
        while True:
            job: _Job | None = self.jobs.get()
            assert job is not None
            job.help()
            job = None  # its arrays are free again while the thread waits

    def avoid(self, processor: int, allowed: set[int]) -> None:
        """Keep the thread off a processor, if that leaves it another."""
        others = allowed - {processor}
        if processor == self.avoided or not others:
            return
        with contextlib.suppress(OSError):  # a thread may be refused its place; it runs all the same
            os.sched_setaffinity(self.thread.native_id or 0, others)
            self.avoided = processor


_WORKERS: list[_Worker] = []
_BUSY = threading.Lock()


def _forget() -> None:
    global _BUSY
    _WORKERS.clear()
    _BUSY = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # a forked child has none of our threads


def _place() -> Callable[[], int] | None:
    """The function that tells a thread's processor, where there is one and threads can be placed."""
    try:
        current: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
    except (AttributeError, OSError, TypeError):
        return None
    return current if hasattr(os, "sched_setaffinity") else None


_PLACE = _place()


def threads_for(neurons: int, steps: int) -> int:
    """Threads that are worth their start for so many neurons over so many ticks."""
    return max(1, min(torch.get_num_threads(), neurons * steps // GRAIN))


def parts(neurons: int, threads: int) -> list[tuple[int, int]]:
    """Ranges of neurons, about :data:`PARTS` for each thread."""
    size = -(-neurons // (PARTS * threads))
    size = -(-size // _ALIGN) * _ALIGN
    return [(start, min(start + size, neurons)) for start in range(0, neurons, size)] if neurons else []


def spread(work: Work, neurons: int, steps: int) -> None:
    """Run ``work(start, stop)`` over all neurons, with the calling thread among those that work.

    Raises:
        BaseException: what a part raised, once all have ended.
    """
    threads = threads_for(neurons, steps)
    if threads == 1:
        work(0, neurons)
    else:
        share(work, parts(neurons, threads), threads)


def share(work: Work, ranges: list[tuple[int, int]], threads: int) -> None:
    """Run ``work(*range)`` for every range, each once, on so many threads or fewer.

    Raises:
        BaseException: what a part raised, once all have ended.
    """
    # A second caller meanwhile works alone: the processors are busy anyway.
    if threads == 1 or len(ranges) < 2 or not _BUSY.acquire(blocking=False):
        for part in ranges:
            work(*part)
        return
    try:
        job, count = _Job(work, ranges), min(threads, len(ranges))
        if team.available():
            team.together(job.help, count)
        else:
            _call(job, count - 1)
            job.help()
        job.wait()
    finally:
        _BUSY.release()


def _call(job: _Job, helpers: int) -> None:
    while len(_WORKERS) < helpers:
        _WORKERS.append(_Worker())
    if _PLACE is not None:
        here, allowed = _PLACE(), os.sched_getaffinity(0)
        for worker in _WORKERS[:helpers]:
            worker.avoid(here, allowed)
    for worker in _WORKERS[:helpers]:
        worker.jobs.put(job)
