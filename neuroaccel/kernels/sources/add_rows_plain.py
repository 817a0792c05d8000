# out[at + j] += Σ over events e in [first, last), in order, of value[e] · source[index[e] · WIDTH + j], for a panel of
# WIDTH columns: the loop that the vectors of add_rows.py must equal bit for bit.
import numba
import numpy as np

WIDTH = 64


@numba.njit(nogil=True, error_model="numpy", inline="always")
def add_rows(source, index, value, first, last, out, at):
    total = np.zeros(WIDTH, np.float32)
    for e in range(first, last):
        row = source[index[e] * WIDTH : (index[e] + 1) * WIDTH]
        for j in range(WIDTH):
            total[j] += value[e] * row[j]
    for j in range(WIDTH):
        out[at + j] += total[j]
