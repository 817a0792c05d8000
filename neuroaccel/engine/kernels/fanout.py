"""Count what events set in motion: products through living weights, and weights read."""

SIGNATURE = "void(i4[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1])"


def kernel(index, found, full, living, products, read, ticks):
    """index, found: events of rows t * N + n; full, living [size]; adds to products, read and ticks, each [N]."""
    batch = products.shape[0]
    for row in range(found.shape[0]):
        executed, touched = 0, 0
        for e in range(found[row]):
            k = index[row, e]
            executed += living[k]
            touched += full[k]
        products[row % batch] += executed
        read[row % batch] += touched
        ticks[row % batch] += 1
