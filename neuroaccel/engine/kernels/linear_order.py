"""Cut event lists into tiles of inputs, after sorting those that are not rising."""

import numpy as np
from numba import njit

from neuroaccel.engine.kernels.linear_vector import trailing_zeros

SIGNATURE = "b1(i4[:, ::1], i8[::1], i8, i8, b1, i4[:, ::1], i8[:, ::1])"


@njit(nogil=True)
def rising(index, found):
    for row in range(index.shape[0]):
        falls = 0
        for e in range(1, found[row]):
            falls += index[row, e] <= index[row, e - 1]
        if falls > 0:
            return False
    return True


@njit(nogil=True)
def sort(index, found, ordered):
    """Every list through a bit per address: a list holds an address once."""
    words = np.zeros((index.shape[1] + 63) // 64, np.uint64)
    for row in range(index.shape[0]):
        for e in range(found[row]):
            address = index[row, e]
            words[address >> 6] |= np.uint64(1) << np.uint64(address & 63)
        e = 0
        for w in range(words.shape[0]):
            word = words[w]
            while word != 0:
                ordered[row, e] = w * 64 + trailing_zeros(word)
                e += 1
                word &= word - np.uint64(1)
            words[w] = 0


def kernel(index, found, inputs, tile, sorted_, ordered, bounds):
    """index [R, lead * inputs], found [R] -> bounds [R, lead * tiles + 1]: where in its list each tile begins.

    Without sorted_ (then lead and tiles are 1) lists stay as they are. Returns whether the lists are now in ordered.
    """
    moved = sorted_ and not rising(index, found)
    if moved:
        sort(index, found, ordered)
    lists = ordered if moved else index
    segments = bounds.shape[1] - 1
    tiles = -(-inputs // tile)
    for row in range(found.shape[0]):
        bounds[row, 0] = 0
        e = 0
        for s in range(1, segments):
            limit = s // tiles * inputs + s % tiles * tile
            while e < found[row] and lists[row, e] < limit:
                e += 1
            bounds[row, s] = e
        bounds[row, segments] = found[row]
    return moved
