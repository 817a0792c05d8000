# target[to + r · across + j] += Σ over c < VALUES of value[first + c] · source[(c · ROWS + r) · LENGTH + j], for
# r < ROWS and j < LENGTH: the loop that the vectors of tap_values.py must equal bit for bit.
import numba
import numpy as np

# A layer's own take their place.
ROWS = 1
LENGTH = 1
VALUES = 1


@numba.njit(nogil=True, error_model="numpy", inline="always")
def tap_values(target, to, across, source, value, first):
    total = np.empty(LENGTH, np.float32)
    for r in range(np.uint64(ROWS)):
        at = to + r * across
        for c in range(np.uint64(VALUES)):
            row = (c * np.uint64(ROWS) + r) * np.uint64(LENGTH)
            for j in range(np.uint64(LENGTH)):
                term = value[first + c] * source[row + j]
                total[j] = total[j] + term if c else term
        for j in range(np.uint64(LENGTH)):
            target[at + j] += total[j]
