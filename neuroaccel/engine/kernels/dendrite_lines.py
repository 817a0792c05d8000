"""i = (y·z + y) + b of pruned dendrites in float32, on events of value 1, a neuron at a time: see ``linear_lines``.

Both sums of a neuron stay in the first-level cache until their product is made; each operation is rounded.
"""

import numpy as np

from neuroaccel.engine.kernels.lines import MOST, add, integrate_16, mark, turn

SIGNATURE = "void(i4[:, ::1], i8[::1], i8[::1], u4[::1], V[::1], i8[::1], i8[::1], V[::1], V[:, ::1])"
TILE = 64  # neurons whose currents are turned together


def kernel(index, found, starts, columns, weight, y_at, z_at, bias, current):
    """index [R, inputs]; starts, columns and weight: the living ones of W and V -> current [R, outputs].

    A neuron's lines of W and V are at y_at and z_at, -1 where it has none and its sum is 0. bias [outputs].
    """
    outputs, rows = current.shape[1], found.shape[0]
    masks = np.empty((index.shape[1], MOST // 16), np.uint16)
    # Lines a power of two apart would push each other out of the first-level cache.
    length = 16 * ((min(rows, MOST) + 15) // 16 + 1 | 1)
    currents, sums = np.empty((TILE, length), np.float32), np.empty((2, length), np.float32)
    room = np.empty((16, TILE + 16), np.float32)
    for start in range(0, rows, MOST):
        lot = min(rows - start, MOST)
        mark(index, found, start, lot, masks)
        groups = (lot + 15) // 16
        for first in range(0, outputs, TILE):
            count = min(TILE, outputs - first)
            for k in range(count):
                for which in range(2):
                    at = (y_at if which == 0 else z_at)[first + k]
                    add(
                        groups, columns.ctypes.data, weight.ctypes.data,
                        starts[at] if at >= 0 else 0, starts[at + 1] if at >= 0 else 0,
                        masks.ctypes.data, sums.ctypes.data + 4 * length * which,
                    )  # fmt: skip
                y, i = sums.ctypes.data, currents.ctypes.data + 4 * length * k
                for r in range(0, 64 * groups, 64):
                    integrate_16(y + r, y + 4 * length + r, bias[first + k], i + r)
            turn(currents, room, current, start, lot, first, count)
