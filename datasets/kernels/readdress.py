"""Events to other addresses, all of which exist: one look into a table per event."""

import numpy as np

SIGNATURE = (
    "i8(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " Array(int32, 2, 'C', readonly=True), i4[::1])"
)


def kernel(start, address, table, new_address):
    """start [N + 1], address [n], table [N, cells] -> new_address [n]; the first event outside the table, or -1."""
    cells = np.uint64(table.shape[1])
    for n in range(start.size - 1):
        for e in range(start[n], start[n + 1]):
            a = np.uint64(np.uint32(address[e]))
            if a >= cells:
                return e
            new_address[e] = table[n, a]
    return -1
