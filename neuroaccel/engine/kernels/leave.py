"""Collect one sample's events from the rows of a block, each row by rising addresses."""

import numpy as np

from neuroaccel.engine.kernels.linear_vector import trailing_zeros

SIGNATURE = "void(i4[:, ::1], i8[::1], V[:, ::1], i8, i8, i4[::1], V[::1])"


def kernel(index, found, value, sample, batch, address, number):
    """index, found, value: rows t * N + n; fills address [events] and number [events], or [0] if nobody asks."""
    asked = number.shape[0] > 0
    words = np.zeros((index.shape[1] + 63) // 64, np.uint64)
    events = 0
    for row in range(sample, found.shape[0], batch):
        begin, last, falls = events, -1, 0
        for e in range(found[row]):
            k = index[row, e]
            falls += k <= last
            last = k
            address[events] = k
            if asked:
                number[events] = value[row, k]
            events += 1
        if falls == 0:
            continue
        # A bit per address puts them in order: a row holds an address once.
        for e in range(begin, events):
            words[address[e] >> 6] |= np.uint64(1) << np.uint64(address[e] & 63)
        e = begin
        for w in range(words.shape[0]):
            word = words[w]
            while word != 0:
                k = w * 64 + trailing_zeros(word)
                address[e] = k
                if asked:
                    number[e] = value[row, k]
                e += 1
                word &= word - np.uint64(1)
            words[w] = 0
