"""Linear in float32 on events, a panel of up to 128 targets at a time, whose sums stay in registers.

Weights lie panel by panel: ``[inputs, 128]``, then the rest in panels of 64, 32 and 16 columns, the last one filled up
with zeros. The rows of a group take turns at a tile of a panel, which therefore stays in the cache; with one row per
group a tick takes its whole event list through panel after panel.

The loader replaces ``STORAGE`` (f4, bf16, i1), ``SCALED`` (rows are multiplied by the input's value), ``AHEAD``.
"""

import numpy as np
from numba import njit

from neuroaccel.engine.kernels.linear_vector import ROW_BYTES, fetch, row_adder

STORAGE = "f4"
SCALED = False
AHEAD = False
WEIGHT = {"f4": "f4", "bf16": "u2", "i1": "i1"}[STORAGE]
SIGNATURE = f"void(V[:, ::1], i4[:, ::1], i8[:, ::1], {WEIGHT}[::1], V[::1], V[:, ::1], i8[::1], V)"
BYTES = ROW_BYTES[STORAGE]
add_128 = row_adder(128, STORAGE, SCALED, AHEAD)
add_64 = row_adder(64, STORAGE, SCALED, AHEAD)
add_32 = row_adder(32, STORAGE, SCALED, AHEAD)
add_16 = row_adder(16, STORAGE, SCALED, AHEAD)


@njit(nogil=True)
def add(width, base, index, first, last, out, value, scale, after, begun):
    if width == 128:
        add_128(base, 128 * BYTES, index, first, last, out, value, scale, after, begun)
    elif width == 64:
        add_64(base, 64 * BYTES, index, first, last, out, value, scale, after, begun)
    elif width == 32:
        add_32(base, 32 * BYTES, index, first, last, out, value, scale, after, begun)
    else:
        add_16(base, 16 * BYTES, index, first, last, out, value, scale, after, begun)


def kernel(value, index, bounds, weight, bias, current, plan, scale):
    """value, index [R, lead * inputs]; bounds [R, lead * tiles + 1] into index -> current [R, lead * outputs].

    plan: inputs, outputs, tile (inputs), group (rows), most events of one go, whether tiles to come are asked for.
    scale: what an i1 weight of 1 stands for.
    """
    inputs, outputs, tile, group, most, streamed = plan
    rows, size = index.shape
    lead = size // inputs
    tiles = -(-inputs // tile)
    tail = np.zeros(128, np.float32)
    weights, events, values, sums = weight.ctypes.data, index.ctypes.data, value.ctypes.data, current.ctypes.data
    for start in range(0, rows, group):
        stop = min(rows, start + group)
        panel, column = weights, 0
        while column < outputs:
            left = (outputs - column + 15) // 16 * 16
            width = 128 if left >= 128 else 64 if left >= 64 else 32 if left >= 32 else 16
            partial = column + width > outputs
            row_bytes = width * BYTES
            after = panel + inputs * row_bytes
            for t in range(tiles):
                coming = panel + (t + 1) * tile * row_bytes
                share = tile * row_bytes // (stop - start) if streamed else 0
                for row in range(start, stop):
                    for line in range((row - start) * share, (row - start + 1) * share, 64):
                        fetch(coming + line)
                    for place in range(lead):
                        first, last = bounds[row, place * tiles + t], bounds[row, place * tiles + t + 1]
                        target = (row * lead + place) * outputs + column
                        begun = min(t, 1)
                        if first == last:
                            if begun == 0:
                                for k in range(column, min(column + width, outputs)):
                                    current[row, place * outputs + k] = 0
                            continue
                        out = sums + 4 * target
                        if partial:
                            out = tail.ctypes.data
                            for k in range(outputs - column):
                                tail[k] = current[row, place * outputs + column + k]
                        skipped = place * inputs * row_bytes
                        while first < last:
                            upto = min(last, first + most)
                            add(
                                width, panel - skipped, events + 4 * row * size, first, upto, out,
                                values + 4 * row * size, scale, after - skipped, begun,
                            )  # fmt: skip
                            first, begun = upto, 1
                        if partial:
                            for k in range(outputs - column):
                                current[row, place * outputs + column + k] = tail[k]
            panel = after
            column += width
        if bias.shape[0] > 0:
            for row in range(start, stop):
                for place in range(0, lead * outputs, outputs):
                    for k in range(outputs):
                        current[row, place + k] += bias[k]
