"""Linear in float32 on events of value 1, for pruned weights: a target at a time, in up to 256 rows at once.

What a row's events are is turned into a bit per row and input; a living weight is then added to 16 rows by one masked
addition. The order of every sum is that of rising addresses.
"""

import numpy as np

from neuroaccel.engine.kernels.lines import MOST, add, mark, turn

SIGNATURE = "void(i4[:, ::1], i8[::1], i8[::1], u4[::1], V[::1], V[::1], V[:, ::1])"
TILE = 64  # targets whose sums are turned together


def kernel(index, found, starts, columns, weight, bias, current):
    """index [R, inputs]; starts [outputs + 1], columns and weight: the living ones of W -> current [R, outputs]."""
    outputs, rows = current.shape[1], found.shape[0]
    masks = np.empty((index.shape[1], MOST // 16), np.uint16)
    # Lines a power of two apart would push each other out of the first-level cache.
    sums = np.empty((TILE, 16 * ((min(rows, MOST) + 15) // 16 + 1 | 1)), np.float32)
    room = np.empty((16, TILE + 16), np.float32)
    for start in range(0, rows, MOST):
        lot = min(rows - start, MOST)
        mark(index, found, start, lot, masks)
        groups = (lot + 15) // 16
        for first in range(0, outputs, TILE):
            count = min(TILE, outputs - first)
            for k in range(count):
                add(
                    groups, columns.ctypes.data, weight.ctypes.data, starts[first + k], starts[first + k + 1],
                    masks.ctypes.data, sums.ctypes.data + 4 * sums.shape[1] * k,
                )  # fmt: skip
            turn(sums, room, current, start, lot, first, count)
        if bias.shape[0] > 0:
            for r in range(start, start + lot):
                for o in range(outputs):
                    current[r, o] += bias[o]
