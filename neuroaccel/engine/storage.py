"""How the weights of a Linear lie in memory: panels of columns, narrow numbers, CSR rows, a bit per living weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.operation import Array
from neuroaccel.engine.schedule import PANEL, Storage

Float32 = NDArray[np.float32]


def narrowest(weight: Float32, whole: bool) -> tuple[Storage, float]:
    """The smallest storage that holds every weight exactly, and what an int8 weight of 1 stands for.

    Arguments:
        weight: of any shape.
        whole: int8 may be used: sums are exact in any order, and inputs are 0 or 1.
    """
    if whole:
        step = common_step(weight)
        if np.abs(weight).max(initial=0) <= 127 * step:
            return "i1", step
    if not (np.ascontiguousarray(weight).view(np.uint32) & 0xFFFF).any():
        return "bf16", 1.0
    return "f4", 1.0


def common_step(weight: Float32) -> float:
    """The largest power of two of which every weight is a whole multiple; 1 where all are 0."""
    mantissa, exponent = np.frexp(weight[weight != 0].astype(np.float64))
    if not mantissa.size:
        return 1.0
    bits = np.abs(np.ldexp(mantissa, 24)).astype(np.int64)
    lowest = np.frexp((bits & -bits).astype(np.float64))[1] - 1
    return float(np.ldexp(1.0, int((exponent - 24 + lowest).min())))


def stored(weight: Float32, storage: Storage, step: float) -> Array:
    """Weights as they are kept: themselves, the upper halves of their bits, or whole multiples of ``step``."""
    if storage == "bf16":
        return (np.ascontiguousarray(weight).view(np.uint32) >> 16).astype(np.uint16)
    return (weight / np.float32(step)).astype(np.int8) if storage == "i1" else weight


def panels(rows: Array) -> Array:
    """``[in, out]`` as one panel ``[in, 128]`` behind the other, the rest in panels of 64, 32 and 16 columns.

    The last one is filled up with zeros. The memory begins at a page's boundary.
    """
    inputs, outputs = rows.shape
    columns = -(-outputs // 16) * 16
    size = inputs * columns * rows.itemsize
    # numpy asks for huge pages from 4 MB on; a boundary of 2 MB lets all of it lie in them.
    boundary = 1 << 21 if size >= 1 << 22 else 4096
    memory = np.zeros(size + boundary, np.uint8)
    start = -memory.ctypes.data % boundary
    flat: Array = memory[start : start + size].view(rows.dtype)
    at = column = 0
    while column < columns:
        width = next(w for w in (PANEL, 64, 32, 16) if w <= columns - column)
        panel = flat[at : at + inputs * width].reshape(inputs, width)
        part = rows[:, column : column + width]
        panel[:, : part.shape[1]] = part
        at, column = at + inputs * width, column + width
    return flat


def csr(rows: Float32) -> tuple[NDArray[np.int64], NDArray[np.uint32], Float32]:
    """The living weights of ``[in, out]``: where each row begins, their columns, themselves."""
    source, target = np.nonzero(rows)
    starts = np.searchsorted(source, np.arange(len(rows) + 1)).astype(np.int64)
    return starts, target.astype(np.uint32), np.ascontiguousarray(rows[source, target])


def bit_masks(alive: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """``[in, out]`` as uint64 ``[in, words]``: bit k of word w is column 64 · w + k; words come in eights."""
    inputs, outputs = alive.shape
    words = -(-outputs // 512) * 8
    room = np.zeros((inputs, 64 * words), np.bool_)
    room[:, :outputs] = alive
    octets = np.packbits(room, axis=1, bitorder="little").reshape(inputs, words, 8)
    return octets.view("<u8").reshape(inputs, words).astype(np.uint64)
