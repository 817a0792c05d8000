"""Locks on files that end with the process that holds them, and with the arrays that were read under them."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

log = logging.getLogger("neuroaccel")


def lock_file(lock: Path, wait: bool) -> int | None:
    """Make a file, lock it, and return its handle; None: another process has it, and ``wait`` is not set.

    Who holds the lock may remove the file: whoever waited for it then makes a new one.
    """
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                _flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    os.close(handle)
                    return None
                log.info("%s: another process is making it; waiting", lock)
                _flock(handle, fcntl.LOCK_EX)
            if _is(lock, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def hold(path: Path, alone: bool = False) -> int | None:
    """Lock a file that is there, together with other readers or alone, and return its handle; None: it cannot be."""
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    for _ in range(100):
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            _flock(handle, how | fcntl.LOCK_NB)
            if _is(path, handle):
                return handle
        except BlockingIOError:
            if alone:
                os.close(handle)
                return None
            time.sleep(0.001)  # somebody is removing it: a moment later it is gone
        os.close(handle)
    return None


def _flock(handle: int, how: int) -> None:
    """flock, where the file system has it: elsewhere two processes may make the same entry, each a whole one."""
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def keep(handle: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Close a handle, and thereby give up its lock, when the last of the mapped arrays and their views is gone."""
    maps = [source for source in (getattr(array, "_mmap", None) for array in arrays.values()) if source is not None]
    if not maps:
        os.close(handle)
        return
    holder = _Holder(handle, len(maps))
    for source in maps:
        weakref.finalize(source, holder.release)


class _Holder:
    """Closes a handle when it has been released as often as it was given out."""

    def __init__(self, handle: int, count: int) -> None:
        self.handle, self.count = handle, count

    def release(self) -> None:
        self.count -= 1
        if not self.count:
            os.close(self.handle)
