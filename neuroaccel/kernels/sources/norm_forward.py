# y = x · scale + shift over rows [start, stop) of x [size], the two given for a row of whole pixels.
SIGNATURE = "void(V[::1], V[:, ::1], V[::1], i8, i8)"


def kernel(x, given, y, start, stop):
    length = given.shape[1]
    scale, shift = given[0], given[1]
    for r in range(start, stop):
        at = r * length
        size = min(length, x.shape[0] - at)
        row, out = x[at : at + size], y[at : at + size]
        for j in range(size):
            out[j] = row[j] * scale[j] + shift[j]
