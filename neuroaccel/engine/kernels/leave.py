"""Collect one sample's events from the rows of a block."""

SIGNATURE = "b1(i4[:, ::1], i8[::1], V[:, ::1], i8, i8, i4[::1], V[::1])"


def kernel(index, found, value, sample, batch, address, number):
    """index, found, value: rows t * N + n; fills address and number [events]; returns whether every row was rising."""
    rising = True
    events = 0
    for row in range(sample, found.shape[0], batch):
        last = -1
        for e in range(found[row]):
            k = index[row, e]
            rising = rising and k > last
            last = k
            address[events] = k
            number[events] = value[row, k]
            events += 1
    return rising
