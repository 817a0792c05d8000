# Events input by input, those of block b of rows from begin[b] on: those of input k stand up to place[b, k], from where
# those of the input before end; rows (within their block) rise.
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

SIGNATURE = "void(V[:, ::1], u8[:, ::1], i8[::1], i8[:, ::1], u2[::1], V[::1], b1, i8, i8)"
BLOCK = 512


def kernel(x, mask, begin, place, index, value, ones, start, stop):
    for b in range(start, stop):
        at = place[b]
        at[:] = 0
        for r in range(b * BLOCK, min(b * BLOCK + BLOCK, mask.shape[0])):
            for w in range(mask.shape[1]):
                bits = mask[r, w]
                while bits != np.uint64(0):
                    at[w * 64 + np.int64(trailing_zeros(bits))] += 1
                    bits &= bits - np.uint64(1)
        following = begin[b]
        for k in range(at.shape[0]):
            count = at[k]
            at[k] = following
            following += count
        for r in range(b * BLOCK, min(b * BLOCK + BLOCK, mask.shape[0])):
            for w in range(mask.shape[1]):
                bits = mask[r, w]
                while bits != np.uint64(0):
                    k = w * 64 + np.int64(trailing_zeros(bits))
                    index[at[k]] = r - b * BLOCK
                    value[at[k]] = np.float32(1) if ones else x[r, k]
                    at[k] += 1
                    bits &= bits - np.uint64(1)
