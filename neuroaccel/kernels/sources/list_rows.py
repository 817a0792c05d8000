# Events row by row: those of row r in block b of inputs stand from place[b, r] on, inputs (within their block) rising.
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

SIGNATURE = "void(V[:, ::1], u8[:, ::1], i8[:, ::1], u2[::1], V[::1], b1, i8, i8)"
WORDS = 8


def kernel(x, mask, place, index, value, ones, start, stop):
    words = mask.shape[1]
    for b in range(place.shape[0]):
        for r in range(start, stop):
            at = place[b, r]
            for w in range(b * WORDS, min(b * WORDS + WORDS, words)):
                bits = mask[r, w]
                while bits != np.uint64(0):
                    k = np.int64(trailing_zeros(bits))
                    index[at] = (w - b * WORDS) * 64 + k
                    value[at] = np.float32(1) if ones else x[r, w * 64 + k]
                    at += 1
                    bits &= bits - np.uint64(1)
