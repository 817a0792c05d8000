"""Events to other addresses of a sensor, or of another one: one look into a table per event."""

import numpy as np

SIGNATURE = (
    "i8(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " Array(int32, 1, 'C', readonly=True), Array(int32, 2, 'C', readonly=True), i8[::1], i4[::1], i4[::1])"
)


def kernel(start, t_us, address, table, new_start, new_t_us, new_address):
    """start [N + 1], t_us, address [n], table [N, cells] -> new_start [N + 1], new_t_us, new_address [n].

    The table is below 0 for events that go; how many remain is new_start[N]. Returns the first event outside it, or -1.
    """
    cells = np.uint64(table.shape[1])
    kept = 0
    new_start[0] = 0
    for n in range(start.size - 1):
        for e in range(start[n], start[n + 1]):
            a = np.uint64(np.uint32(address[e]))
            if a >= cells:
                return e
            to = table[n, a]
            # Written always and counted where it stays: no branch that a random event would mislead.
            new_t_us[kept] = t_us[e]
            new_address[kept] = to
            kept += np.int64(to >= 0)
        new_start[n + 1] = kept
    return -1
