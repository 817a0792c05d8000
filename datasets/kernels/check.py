"""Look at every event of a batch once."""

import numpy as np

SIGNATURE = (
    "i8(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " Array(int32, 1, 'C', readonly=True), i8)"
)


def kernel(start, t_us, address, cells):
    """start [N + 1], t_us, address [n] -> whether an address is outside the cells, or a time negative or out of order.

    Returns the number of samples before the first of which that is so, or -1.
    """
    for n in range(start.size - 1):
        before = np.int32(0)
        wrong = False
        for e in range(start[n], start[n + 1]):
            t = t_us[e]
            a = np.int64(address[e])
            wrong |= (t < before) | (a < 0) | (a >= cells)
            before = t
        if wrong:
            return n
    return -1
