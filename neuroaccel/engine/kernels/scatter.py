"""Put the events of a block into a recording that holds zeros."""

SIGNATURE = "void(V[:, ::1], i4[:, ::1], i8[::1], V[:, :, ::1], i8, i8, i8)"


def kernel(value, index, found, out, first, sample, batch):
    """value, index, found: rows t * batch + n -> out [T, N, size] from tick ``first`` and sample ``sample`` on."""
    for row in range(found.shape[0]):
        t, n = first + row // batch, sample + row % batch
        for e in range(found[row]):
            k = index[row, e]
            out[t, n, k] = value[row, k]
