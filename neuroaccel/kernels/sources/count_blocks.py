# count [blocks of rows]: how many bits are set.
import numpy as np

SIGNATURE = "void(u8[:, ::1], i8[::1])"
BLOCK = 512


def kernel(mask, count):
    for b in range(count.shape[0]):
        found = 0
        for r in range(b * BLOCK, min(b * BLOCK + BLOCK, mask.shape[0])):
            for w in range(mask.shape[1]):
                bits = mask[r, w]
                while bits != np.uint64(0):  # the compiler knows this as one instruction
                    bits &= bits - np.uint64(1)
                    found += 1
        count[b] = found
