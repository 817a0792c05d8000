"""Memory for results that is used again: fresh pages cost more than the arithmetic that fills them.

A buffer is lent as a tensor over an array that only torch refers to. That array dies with the tensor's storage, thus
when the last holder of the memory is gone, whoever that is (a view, a saved tensor of autograd, a numpy array); only
then is the buffer lent again. So nobody ever sees a buffer change that he still holds.
"""

from __future__ import annotations

import math
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IDLE_BYTES = 1 << 28  # memory that idles at most, beside the largest buffer
SMALL = 1 << 16  # bytes; below, the allocator is as fast
HEAP_BYTES = 28 << 20  # below 32 MiB, up to which glibc learns
_ALIGNED = 64
_LOCK = threading.RLock()


@dataclass(eq=False)
class _Buffer:
    memory: NDArray[np.uint8]
    lent: weakref.ref[NDArray[Any]] | None = None

    @property
    def idle(self) -> bool:
        return self.lent is None or self.lent() is None


_BUFFERS: list[_Buffer] = []  # the one lent last comes last


def empty(*shape: int) -> Tensor:
    """An uninitialised contiguous float32 tensor on the CPU, its memory used again where nobody holds it."""
    size = 4 * math.prod(shape)
    if size < SMALL:
        return torch.empty(shape, dtype=torch.float32)
    with _LOCK:
        buffer = _take(size)
        lease = buffer.memory[:size]
        buffer.lent = weakref.ref(lease)
    return torch.from_numpy(lease).view(torch.float32).view(shape)


def keep_heap() -> None:
    """Have the C library keep what torch frees, where it is glibc.

    At first that returns all that is above 256 KiB to the system, and later twice the largest block that a program has
    ever freed: until then every temporary of an optimiser costs its pages anew, a sixth of a training step and more.
    One larger block, whose pages nobody touches, is freed here for that; ``MALLOC_TRIM_THRESHOLD_`` in the environment
    has its way, as always.
    """
    torch.empty(HEAP_BYTES, dtype=torch.uint8)


def idle_bytes() -> int:
    """Memory in buffers that nobody holds."""
    with _LOCK:
        return sum(b.memory.nbytes for b in _BUFFERS if b.idle)


def release(most: int = 0) -> None:
    """Give idle memory back to the system, the longest unused first, until at most so many bytes idle."""
    with _LOCK:
        total = idle_bytes()
        for buffer in [b for b in _BUFFERS if b.idle]:
            if total <= most:
                return
            _BUFFERS.remove(buffer)
            total -= buffer.memory.nbytes


def _take(size: int) -> _Buffer:
    # The last one lent may still be in the caches.
    for buffer in reversed(_BUFFERS):
        if size <= buffer.memory.nbytes <= size + size // 4 and buffer.idle:
            _BUFFERS.remove(buffer)
            break
    else:
        release(IDLE_BYTES)
        # numpy asks for huge pages where the system has them, torch does not.
        raw = np.empty(size + _ALIGNED, np.uint8)
        start = -raw.ctypes.data % _ALIGNED
        buffer = _Buffer(raw[start : start + size])
    _BUFFERS.append(buffer)
    return buffer
