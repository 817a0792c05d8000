# dx = grad · scale + (x − mean) · slope + shift over rows [start, stop) of x [size], the four given for a row of whole
# pixels.
SIGNATURE = "void(V[::1], V[::1], V[:, ::1], V[::1], i8, i8)"


def kernel(grad, x, given, dx, start, stop):
    length = given.shape[1]
    mean, scale, slope, shift = given[0], given[1], given[2], given[3]
    for r in range(start, stop):
        at = r * length
        size = min(length, x.shape[0] - at)
        row, back, out = x[at : at + size], grad[at : at + size], dx[at : at + size]
        for j in range(size):
            out[j] = back[j] * scale[j] + (row[j] - mean[j]) * slope[j] + shift[j]
