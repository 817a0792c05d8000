"""Linear in float32 on events of value 1, for pruned weights: a target at a time, in up to 256 rows at once.

What a row's events are is turned into a bit per row and input; a living weight is then added to 16 rows by one masked
addition. The order of every sum is that of rising addresses.
"""

import numpy as np
from numba import njit

from neuroaccel.engine.kernels.linear_vector import line_adder, turn_16

SIGNATURE = "void(i4[:, ::1], i8[::1], i8[::1], u4[::1], V[::1], V[::1], V[:, ::1])"
MOST = 256  # rows
TILE = 64  # targets whose sums are turned together
LINE = MOST + 16  # lines a power of two apart would push each other out of the first-level cache
add_16, add_8, add_4 = line_adder(16), line_adder(8), line_adder(4)


@njit(nogil=True)
def add(groups, columns, weights, first, last, masks, stride, out):
    if groups > 8:
        add_16(columns, weights, first, last, masks, stride, out)
    elif groups > 4:
        add_8(columns, weights, first, last, masks, stride, out)
    else:
        add_4(columns, weights, first, last, masks, stride, out)


def kernel(index, found, starts, columns, weight, bias, current):
    """index [R, inputs]; starts [outputs + 1], columns and weight: the living ones of W -> current [R, outputs]."""
    outputs, rows = current.shape[1], found.shape[0]
    masks = np.zeros((index.shape[1], MOST // 16), np.uint16)
    sums = np.empty((TILE, LINE), np.float32)
    for start in range(0, rows, MOST):
        lot = min(rows - start, MOST)
        if start > 0:
            masks[:] = 0
        for r in range(lot):
            bit, group = np.uint16(1 << (r & 15)), r >> 4
            for e in range(found[start + r]):
                masks[index[start + r, e], group] |= bit
        groups = (lot + 15) // 16
        for first in range(0, outputs, TILE):
            last = min(first + TILE, outputs)
            for o in range(first, last):
                add(
                    groups, columns.ctypes.data, weight.ctypes.data, starts[o], starts[o + 1], masks.ctypes.data,
                    2 * (MOST // 16), sums.ctypes.data + 4 * LINE * (o - first),
                )  # fmt: skip
            whole, square = lot // 16 * 16, (last - first) // 16 * 16
            for r in range(0, whole, 16):
                for k in range(0, square, 16):
                    at = 4 * ((start + r) * outputs + first + k)
                    turn_16(sums.ctypes.data + 4 * (k * LINE + r), 4 * LINE, current.ctypes.data + at, 4 * outputs)
            for r in range(lot):
                out = current[start + r, first:last]
                for k in range(square if r < whole else 0, last - first):
                    out[k] = sums[k, r]
        if bias.shape[0] > 0:
            for r in range(start, start + lot):
                for o in range(outputs):
                    current[r, o] += bias[o]
