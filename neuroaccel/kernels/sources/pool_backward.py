# dx [B, high · wide · CHANNELS]: factor times the gradient [B, oh · ow · CHANNELS] of the window that a pixel is in,
# zero where it is in none. The gradient
# has its channels first where FIRST is 1. The b-th gradient is row order[0, b] and goes to row order[1, b].
import numpy as np

# A layer's own take their place.
CHANNELS = 1
DOWN = 1
ACROSS = 1
FIRST = 1

SIGNATURE = "void(V[:, ::1], V[:, ::1], i8, i8, V, i8[:, ::1], i8, i8)"
U = np.uint64


def kernel(grad, dx, high, wide, factor, order, start, stop):
    line = wide * CHANNELS
    plane = U(high // DOWN * (wide // ACROSS))
    row = np.zeros(line, np.float32)
    for b in range(start, stop):
        given, back = grad[order[0, b]], dx[order[1, b]]
        at = U(0)
        for oy in range(high // DOWN):
            to = U(0)
            for _ in range(U(wide // ACROSS)):
                for c in range(U(CHANNELS)):
                    one = (given[at + c * plane] if FIRST == 1 else given[at + c]) * factor
                    for k in range(ACROSS):
                        row[to + U(k * CHANNELS) + c] = one
                at += U(1) if FIRST == 1 else U(CHANNELS)
                to += U(ACROSS * CHANNELS)
            for r in range(DOWN):
                target = back[(oy * DOWN + r) * line : (oy * DOWN + r + 1) * line]
                for j in range(line):
                    target[j] = row[j]
        rest = back[high // DOWN * DOWN * line :]
        for j in range(rest.shape[0]):
            rest[j] = np.float32(0)
