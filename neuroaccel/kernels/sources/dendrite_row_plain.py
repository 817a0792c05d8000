# i[to + k] = (y[at + k] · z[at + k] + y[at + k]) + bias[k] for k < LENGTH: what the vectors of dendrite_row.py must
# equal bit for bit.
import numba
import numpy as np

# A layer's own takes its place.
LENGTH = 1


@numba.njit(nogil=True, error_model="numpy", inline="always")
def current_of(y, z, bias, i, at, to):
    for k in range(np.uint64(LENGTH)):
        product = y[at + k] * z[at + k]
        i[to + k] = (product + y[at + k]) + bias[k]
