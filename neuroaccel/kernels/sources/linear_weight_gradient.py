# gradient [out, in] of the weights, for one panel of outputs and one block of inputs: of every block of rows the sum of
# grad's rows at an input's events. And bias [out], the sum of all of grad's rows, with the first block of inputs.
import numpy as np

from neuroaccel.kernels.sources.add_rows import WIDTH, add_rows

SIGNATURE = "void(V[:, ::1], u2[::1], V[::1], i8[:, ::1], V[::1], V[::1], V[:, ::1], V[::1], i8, i8)"
BLOCK = 512
TILE = 16


def kernel(grad, index, value, place, source, tile, gradient, bias, p, b):
    rows = grad.shape[0]
    outputs, inputs = gradient.shape
    first = p * WIDTH
    width = min(WIDTH, outputs - first)
    begin = b * BLOCK
    count = min(BLOCK, inputs - begin)
    ends = place.reshape(place.size)
    tile[:] = np.float32(0)
    source[:] = np.float32(0)
    sums = np.zeros((2, WIDTH), np.float32)
    for c in range(place.shape[0]):
        for r in range(c * BLOCK, min(c * BLOCK + BLOCK, rows)):
            row = grad[r, first : first + width]
            target = source[(r - c * BLOCK) * WIDTH : (r - c * BLOCK) * WIDTH + width]
            for j in range(width):
                target[j] = row[j]
                sums[0, j] += row[j]
        for j in range(WIDTH):
            sums[1, j] += sums[0, j]
            sums[0, j] = np.float32(0)
        for k in range(count):
            at = c * inputs + begin + k
            start = ends[at - 1] if at > 0 else 0  # the events before it end there
            if start < ends[at]:
                add_rows(source, index, value, start, ends[at], tile, k * WIDTH)
    whole = count // TILE * TILE if width == WIDTH else 0
    for i in range(0, whole, TILE):
        for j in range(0, WIDTH, TILE):
            for o in range(TILE):  # counts that the compiler knows
                for k in range(TILE):
                    gradient[first + j + o, begin + i + k] = tile[(i + k) * WIDTH + j + o]
    for o in range(width):
        for k in range(whole, count):
            gradient[first + o, begin + k] = tile[k * WIDTH + o]
    if b == 0:
        bias[first : first + width] = sums[1, :width]
