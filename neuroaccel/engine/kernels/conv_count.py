"""Count the products of a convolution's events where no weight is 0: taps inside the border, rows times columns."""

from neuroaccel.engine.kernels.conv_events import position

SIGNATURE = "void(i4[:, ::1], i8[::1], i8[:, ::1], i8[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1])"


def kernel(index, found, rows, columns, shape, products, read, ticks):
    """index [K * N, size] of found [K * N] events; adds to products, read and ticks [N]; else as ``conv_events``."""
    samples = products.shape[0]
    for r in range(found.shape[0]):
        taps = 0
        for e in range(found[r]):
            _, y, z = position(index[r, e], shape)
            taps += rows[y, 1] * columns[z, 1]
        products[r % samples] += taps * shape[8]
        read[r % samples] += taps * shape[8]
        ticks[r % samples] += 1
