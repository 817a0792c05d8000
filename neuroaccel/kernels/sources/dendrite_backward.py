# Of g [rows · LENGTH]: y becomes g · (1 + z), and z becomes g · y. Rows of y and z [LENGTH] lie `step` apart.
import numpy as np

SIGNATURE = "void(V[::1], V[::1], V[::1], i8, i8, i8, i8)"


def kernel(g, y, z, length, step, start, stop):
    for r in range(start, stop):
        a, b = y[r * step : r * step + length], z[r * step : r * step + length]
        grad = g[r * length : (r + 1) * length]
        for k in range(length):
            before = a[k]
            a[k] = grad[k] * (np.float32(1) + b[k])
            b[k] = grad[k] * before
