# y [B, oh · ow · ONTO] of images x [B, high · wide · INTO]: every pixel's values add their taps to the ROWS padded
# output rows that it reaches. weight [INTO, ROWS, LENGTH], taps turned round; blank: a padded row of biases.
# The b-th image enters from row order[0, b] and leaves to row order[1, b].
import numpy as np

from neuroaccel.kernels.sources.tap_values import tap_values

# A layer's own take their place.
INTO = 1
ONTO = 1
ROWS = 1
LENGTH = 1

SIGNATURE = "void(V[:, ::1], V[::1], V[::1], V[:, ::1], i8[::1], i8[:, ::1], i8, i8)"
U = np.uint64


def kernel(x, weight, blank, y, form, order, start, stop):
    high, wide, rows, line = U(form[0]), U(form[1]), U(form[2]), U(form[3])
    above, left = U(form[6]), U(form[7])
    padded = U(blank.shape[0])
    height = high + U(ROWS - 1)
    raw = np.empty(np.int64(padded * height) + 16, np.float32)
    out = raw[(64 - raw.ctypes.data % 64) // 4 :]  # a vector should not cross a cache line
    raw_weight = np.empty(weight.shape[0] + 16, np.float32)
    taps = raw_weight[(64 - raw_weight.ctypes.data % 64) // 4 :]
    for j in range(U(weight.shape[0])):
        taps[j] = weight[j]
    for b in range(start, stop):
        image = x[order[0, b]]
        result = y[order[1, b]]
        for iy in range(height):
            row = out[np.int64(iy * padded) : np.int64(iy * padded + padded)]
            for j in range(padded):
                row[j] = blank[j]
        k = U(0)
        for iy in range(high):
            to = iy * padded
            for _ in range(wide):
                tap_values(out, to, padded, taps, image, k)
                to += U(ONTO)
                k += U(INTO)
        for oy in range(rows):
            at = (oy + above) * padded + left
            done = out[np.int64(at) : np.int64(at + line)]
            row = result[np.int64(oy * line) : np.int64(oy * line + line)]
            for j in range(line):
                row[j] = done[j]
