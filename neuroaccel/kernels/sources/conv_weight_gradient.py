# total [chunks, INTO, ROWS, LENGTH] of the taps turned round, of the images of each chunk: the padded gradient's rows
# [B, oh · ow · ONTO] at what is not zero in the images x [B, high · wide · INTO], the latter in steps of `channel` and
# `pixel`. The b-th image is row order[0, b], its gradient row order[1, b]. Where FURTHER is 1, the gradient is first
# changed in place: grad += (z − mean) · slope + shift, the three given for a line of pixels. Where it is 2, z has of
# every pixel y and z of ONTO // 2 dendrites, grad what their current has, and the gradient is that of y and z.
import numpy as np

from neuroaccel.kernels.sources.tap_events import tap_events

# A layer's own take their place.
INTO = 1
ONTO = 1
ROWS = 1
LENGTH = 1
FURTHER = 1

SIGNATURE = "void(V[:, ::1], V[:, ::1], V[:, ::1], V[:, ::1], f8[:, ::1], i8[::1], i8[:, ::1], i8, i8, i8)"
U = np.uint64
SOME = 256


def kernel(x, grad, z, less, total, form, order, each, start, stop):
    high, wide, rows, line = U(form[0]), U(form[1]), U(form[2]), U(form[3])
    channel, pixel, above, left = U(form[4]), U(form[5]), U(form[6]), U(form[7])
    padded = (wide + U(LENGTH // ONTO - 1)) * U(ONTO)
    raw = np.zeros(np.int64(padded * (high + U(ROWS))) + 16, np.float32)
    around = raw[(64 - raw.ctypes.data % 64) // 4 :]  # a vector should not cross a cache line
    place = np.empty(form[0] * form[1] + 1, np.uint32)
    value = np.empty(form[0] * form[1] + 1, np.float32)
    sums = np.empty(ROWS * LENGTH, np.float32)
    for chunk in range(start, stop):
        found = total[chunk]
        found[:] = 0
        for b in range(chunk * each, min((chunk + 1) * each, x.shape[0])):
            image = x[order[0, b]]
            given = grad[order[1, b]]
            drive = z[order[1, b]]
            for oy in range(rows):
                at = (oy + above) * padded + left
                target = around[np.int64(at) : np.int64(at + line)]
                if FURTHER != 2:
                    row = given[np.int64(oy * line) : np.int64(oy * line + line)]
                if FURTHER == 1:
                    mean, slope, shift = less[0], less[1], less[2]
                    own = drive[np.int64(oy * line) : np.int64(oy * line + line)]
                    for j in range(line):
                        row[j] += (own[j] - mean[j]) * slope[j] + shift[j]
                if FURTHER == 2:
                    own = drive[np.int64(oy * line) : np.int64(oy * line + line)]
                    for pixel_of in range(line // U(ONTO)):
                        to, at = pixel_of * U(ONTO), (oy * line + pixel_of * U(ONTO)) // U(2)
                        for j in range(U(ONTO // 2)):
                            g = given[at + j]
                            target[to + j] = g * (np.float32(1) + own[to + U(ONTO // 2) + j])
                            target[to + U(ONTO // 2) + j] = g * own[to + j]
                else:
                    for j in range(line):
                        target[j] = row[j]
            for c in range(U(INTO)):
                count = U(0)
                k = c * channel
                for iy in range(high):
                    at = iy * padded
                    for _ in range(wide):
                        value[count] = image[k]
                        place[count] = at
                        count += U(image[k] != np.float32(0))
                        k += pixel
                        at += U(ONTO)
                part = found[np.int64(c) * ROWS * LENGTH : np.int64(c + U(1)) * ROWS * LENGTH]
                first = U(0)
                while first < count:  # some events are added in float32, all of them in float64
                    last = min(first + U(SOME), count)
                    sums[:] = 0
                    tap_events(sums, U(0), U(LENGTH), around, padded, value, place, first, last)
                    for j in range(ROWS * LENGTH):
                        part[j] += sums[j]
                    first = last
