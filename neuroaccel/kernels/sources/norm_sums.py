# sums [chunks, 2, length], in float64, of x − less[0] and of (x − less[0]) · (z − less[1]); x and z [size] are rows of
# `length` (a number of whole pixels, channels last), the last one maybe shorter. A chunk is `each` rows, and four rows
# are added in float32.
import numpy as np

SIGNATURE = "void(V[::1], V[::1], V[:, ::1], f8[:, :, ::1], i8, i8, i8)"
D = np.float64


def kernel(x, z, less, sums, each, start, stop):
    length = sums.shape[2]
    p, q = less[0], less[1]
    for chunk in range(start, stop):
        one, two = sums[chunk, 0], sums[chunk, 1]
        one[:] = 0
        two[:] = 0
        at = chunk * each * length
        end = min(at + each * length, x.shape[0])
        while at + 4 * length <= end:
            x0, x1 = x[at : at + length], x[at + length : at + 2 * length]
            x2, x3 = x[at + 2 * length : at + 3 * length], x[at + 3 * length : at + 4 * length]
            z0, z1 = z[at : at + length], z[at + length : at + 2 * length]
            z2, z3 = z[at + 2 * length : at + 3 * length], z[at + 3 * length : at + 4 * length]
            for j in range(length):
                a, b, c, d = x0[j] - p[j], x1[j] - p[j], x2[j] - p[j], x3[j] - p[j]
                one[j] += D((a + b) + (c + d))
                two[j] += D((a * (z0[j] - q[j]) + b * (z1[j] - q[j])) + (c * (z2[j] - q[j]) + d * (z3[j] - q[j])))
            at += 4 * length
        while at < end:
            size = min(length, end - at)
            x0, z0 = x[at : at + size], z[at : at + size]
            for j in range(size):
                one[j] += D(x0[j] - p[j])
                two[j] += D((x0[j] - p[j]) * (z0[j] - q[j]))
            at += length
