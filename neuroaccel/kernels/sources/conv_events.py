# y [B, oh · ow · ONTO] of images x [B, INTO · high · wide], the latter in steps of `channel` and `pixel`: what is not
# zero adds its taps to the ROWS padded output rows that it reaches. weight [INTO, ROWS, LENGTH], taps turned round;
# blank: a padded row of biases. The b-th image enters from row order[0, b] and leaves to row order[1, b].
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from neuroaccel.kernels.sources.tap_events import tap_events

# A layer's own take their place.
INTO = 1
ONTO = 1
ROWS = 1
LENGTH = 1

SIGNATURE = "void(V[:, ::1], V[::1], V[::1], V[:, ::1], i8[::1], i8[:, ::1], i8, i8)"
U = np.uint64


def kernel(x, weight, blank, y, form, order, start, stop):
    high, wide, rows, line = U(form[0]), U(form[1]), U(form[2]), U(form[3])
    channel, pixel, above, left = U(form[4]), U(form[5]), U(form[6]), U(form[7])
    padded, size = U(blank.shape[0]), U(x.shape[1])
    height = high + U(ROWS - 1)
    raw = np.empty(np.int64(padded * height) + 16, np.float32)
    out = raw[(64 - raw.ctypes.data % 64) // 4 :]  # a vector should not cross a cache line
    raw_weight = np.empty(weight.shape[0] + 16, np.float32)
    taps = raw_weight[(64 - raw_weight.ctypes.data % 64) // 4 :]
    for j in range(U(weight.shape[0])):
        taps[j] = weight[j]
    reaches = np.empty(x.shape[1], np.uint32)  # of every element of an image: where in out, and where in taps
    begins = np.empty(x.shape[1], np.uint32)
    for iy in range(high):
        for ix in range(wide):
            for c in range(U(INTO)):
                k = (iy * wide + ix) * pixel + c * channel
                reaches[k] = iy * padded + ix * U(ONTO)
                begins[k] = c * U(ROWS * LENGTH)
    found = np.empty(x.shape[1], np.uint32)
    value = np.empty(x.shape[1], np.float32)
    place = np.empty(x.shape[1], np.uint32)
    for b in range(start, stop):
        image = x[order[0, b]]
        result = y[order[1, b]]
        count = U(0)
        for word in range(size // U(64)):
            part = image[np.int64(word * U(64)) : np.int64(word * U(64) + U(64))]
            bits = U(0)
            for bit in range(64):
                bits |= U(part[bit] != np.float32(0)) << U(bit)
            while bits != U(0):
                found[count] = word * U(64) + U(trailing_zeros(bits))
                count += U(1)
                bits &= bits - U(1)
        for rest in range(size // U(64) * U(64), size):
            if image[rest] != np.float32(0):
                found[count] = np.uint32(rest)
                count += U(1)
        for e in range(count):
            element = U(found[e])
            value[e] = image[element]
            place[e] = begins[element]
            found[e] = reaches[element]
        for iy in range(height):
            row = out[np.int64(iy * padded) : np.int64(iy * padded + padded)]
            for j in range(padded):
                row[j] = blank[j]
        first = U(0)
        while first < count:
            to = found[first]
            last = first + U(1)
            while last < count and found[last] == to:
                last += U(1)
            tap_events(out, U(to), padded, taps, U(LENGTH), value, place, first, last)
            first = last
        for oy in range(rows):
            at = (oy + above) * padded + left
            done = out[np.int64(at) : np.int64(at + line)]
            row = result[np.int64(oy * line) : np.int64(oy * line + line)]
            for j in range(line):
                row[j] = done[j]
