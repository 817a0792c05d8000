# x [M, in] -> mask [M, words]: bit k of word w says that input 64 w + k is not zero; count [blocks, M]: how many are so
# in a block of inputs; other [M]: how many are neither 0 nor 1.
import numpy as np

SIGNATURE = "void(V[:, ::1], u8[:, ::1], i4[:, ::1], i4[::1], i8, i8)"
WORDS = 8


def kernel(x, mask, count, other, start, stop):
    inputs, words = x.shape[1], mask.shape[1]
    for r in range(start, stop):
        row = x[r]
        strange = 0
        for k in range(inputs):
            strange += (row[k] != np.float32(0)) & (row[k] != np.float32(1))
        other[r] = strange
        for w in range(words):
            bits = np.uint64(0)
            if (w + 1) * 64 <= inputs:
                part = row[w * 64 : (w + 1) * 64]
                for k in range(64):
                    bits |= np.uint64(part[k] != np.float32(0)) << np.uint64(k)
            else:
                for k in range(w * 64, inputs):
                    bits |= np.uint64(row[k] != np.float32(0)) << np.uint64(k - w * 64)
            mask[r, w] = bits
        for b in range(count.shape[0]):
            found = 0
            for w in range(b * WORDS, min(b * WORDS + WORDS, words)):
                bits = mask[r, w]
                while bits != np.uint64(0):  # the compiler knows this as one instruction
                    bits &= bits - np.uint64(1)
                    found += 1
            count[b, r] = found
