# y [M, out] for the rows [start, stop) and one panel of outputs: the bias, and of every block of inputs the sum of the
# weights at its events.
import numpy as np

from neuroaccel.kernels.sources.add_rows import WIDTH, add_rows

SIGNATURE = "void(V[::1], u2[::1], V[::1], i8[:, ::1], V[::1], V[:, ::1], i8, i8, i8, i8)"
BLOCK = 512


def kernel(panels, index, value, place, bias, y, inputs, p, start, stop):
    outputs = y.shape[1]
    rows = y.shape[0]
    first = p * WIDTH
    width = min(WIDTH, outputs - first)
    ends = place.reshape(place.size)
    flat = y.reshape(y.size)
    short = np.empty(WIDTH, np.float32)
    for r in range(start, stop):
        target = y[r, first : first + width]
        if bias.shape[0] > 0:
            for j in range(width):
                target[j] = bias[first + j]
        else:
            for j in range(width):
                target[j] = np.float32(0)
    for b in range(place.shape[0]):
        source = panels[(p * inputs + b * BLOCK) * WIDTH :]
        for r in range(start, stop):
            begin = place[b, r]
            end = ends[b * rows + r + 1] if b * rows + r + 1 < ends.shape[0] else index.shape[0]
            if width == WIDTH:
                add_rows(source, index, value, begin, end, flat, r * outputs + first)
            else:
                target = y[r, first : first + width]
                for j in range(width):
                    short[j] = target[j]
                add_rows(source, index, value, begin, end, short, 0)
                for j in range(width):
                    target[j] = short[j]
