"""Memory-mapped arrays on their way to another process: as a file and a place in it, not as their content."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroaccel.errors import FileFormatError


@dataclass(frozen=True)
class MappedArray:
    """Where a memory-mapped array lies.

    Arguments:
        path: the file.
        offset: byte of the array's first element.
        dtype: as ``numpy.dtype`` reads it.
        shape: the array's shape, C-contiguous.
    """

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]


def unmapped(value: Any) -> Any:
    """Return a ``MappedArray`` for a contiguous memory-mapped array, and anything else as it is."""
    source = getattr(value, "_mmap", None)
    if not isinstance(value, np.memmap) or source is None or not value.flags.c_contiguous or not value.size:
        return value
    # A slice of a memmap keeps the offset of the whole: only the addresses say where it lies.
    mapped_from = value.offset - value.offset % mmap.ALLOCATIONGRANULARITY
    place = _address(value) - _address(np.frombuffer(source, np.uint8)) + mapped_from
    return MappedArray(str(value.filename), place, value.dtype.str, value.shape)


def remapped(value: Any) -> Any:
    """Open a ``MappedArray`` again, read-only; anything else is returned as it is.

    Raises:
        FileFormatError: the file has been removed, or is too short.
    """
    if not isinstance(value, MappedArray):
        return value
    try:
        return np.memmap(value.path, np.dtype(value.dtype), "r", value.offset, value.shape)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{value.path}: cannot be mapped again by another process ({error})") from error


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
