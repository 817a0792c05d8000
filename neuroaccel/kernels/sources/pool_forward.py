# y [B, oh · ow · CHANNELS] of images x [B, high · wide · CHANNELS]: factor times the sum over windows of DOWN × ACROSS
# pixels, side by side; what is left of a row or column at the end is left out. y has its channels first where FIRST is
# 1. The b-th image enters from row order[0, b] and leaves to row order[1, b].
import numpy as np

# A layer's own take their place.
CHANNELS = 1
DOWN = 1
ACROSS = 1
FIRST = 1

SIGNATURE = "void(V[:, ::1], V[:, ::1], i8, i8, V, i8[:, ::1], i8, i8)"
U = np.uint64


def kernel(x, y, high, wide, factor, order, start, stop):
    line = wide * CHANNELS
    plane = U(high // DOWN * (wide // ACROSS))
    sums = np.empty(line, np.float32)
    for b in range(start, stop):
        image, result = x[order[0, b]], y[order[1, b]]
        to = U(0)
        for oy in range(high // DOWN):
            row = image[oy * DOWN * line : (oy * DOWN + 1) * line]
            for j in range(line):
                sums[j] = row[j]
            for r in range(1, DOWN):
                row = image[(oy * DOWN + r) * line : (oy * DOWN + r + 1) * line]
                for j in range(line):
                    sums[j] += row[j]
            at = U(0)
            for _ in range(U(wide // ACROSS)):
                for c in range(U(CHANNELS)):
                    total = sums[at + c]
                    for k in range(1, ACROSS):
                        total += sums[at + U(k * CHANNELS) + c]
                    if FIRST == 1:
                        result[to + c * plane] = total * factor
                    else:
                        result[to + c] = total * factor
                at += U(ACROSS * CHANNELS)
                to += U(1) if FIRST == 1 else U(CHANNELS)
