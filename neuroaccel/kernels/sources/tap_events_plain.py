# target[to + r · across + j] += value[e] · source[place[e] + r · stride + j] over events e in [first, last), in order,
# for r < ROWS and j < LENGTH: the loop that the vectors of tap_events.py must equal bit for bit.
import numba
import numpy as np

# A layer's own take their place.
ROWS = 1
LENGTH = 1


@numba.njit(nogil=True, error_model="numpy", inline="always")
def tap_events(target, to, across, source, stride, value, place, first, last):
    for e in range(first, last):
        for r in range(np.uint64(ROWS)):
            at = to + r * across
            row = np.uint64(place[e]) + r * stride
            for j in range(np.uint64(LENGTH)):
                target[at + j] += value[e] * source[row + j]
