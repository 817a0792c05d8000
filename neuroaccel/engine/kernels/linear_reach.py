"""Which targets of a Linear the events of a row reach through living weights, 512 at a time."""

import numpy as np

from neuroaccel.engine.kernels.linear_vector import spread, unite

SIGNATURE = "void(i4[:, ::1], i8[::1], i8[:, ::1], u8[:, ::1], i8, i8, u1[::1], u1[:, ::1])"
NONE, ALL, SOME = 0, 1, 2
# After so many events it is worth a look whether all targets are reached.
LOOK = 16


def kernel(index, found, bounds, masks, inputs, outputs, reach, touched):
    """masks [inputs, words]: a bit per living weight; bounds [R, lead + 1] into index, one stretch per place.

    Sets reach [R], and where it is SOME touched [R, lead * outputs].
    """
    words = masks.shape[1]
    lead = bounds.shape[1] - 1
    size = index.shape[1]
    stride = words * 8
    seen = np.zeros((lead, words), np.uint64)
    every = np.zeros(words, np.uint64)
    for o in range(outputs):
        every[o >> 6] |= np.uint64(1) << np.uint64(o & 63)
    room = np.zeros(64, np.uint8)
    rows_of_bits, events, unions = masks.ctypes.data, index.ctypes.data, seen.ctypes.data
    for row in range(found.shape[0]):
        some, missing = np.uint64(0), np.uint64(0)
        for place in range(lead):
            target = seen[place]
            target[:] = 0
            base = rows_of_bits - place * inputs * stride
            first, last = bounds[row, place], bounds[row, place + 1]
            while first < last:
                upto = min(last, first + LOOK)
                for w in range(0, words, 8):
                    unite(base + 8 * w, stride, events + 4 * row * size, first, upto, unions + 8 * (place * words + w))
                lacks = np.uint64(0)
                for w in range(words):
                    lacks |= every[w] & ~target[w]
                if lacks == 0:
                    break
                first = upto
            for w in range(words):
                some |= target[w]
                missing |= every[w] & ~target[w]
        reach[row] = ALL if missing == 0 else NONE if some == 0 else SOME
        if reach[row] == SOME:
            for place in range(lead):
                begin = place * outputs
                for w in range(outputs // 64):
                    spread(seen[place, w], touched.ctypes.data + row * lead * outputs + begin + 64 * w)
                rest = outputs % 64
                if rest > 0:
                    spread(seen[place, outputs // 64], room.ctypes.data)
                    for k in range(rest):
                        touched[row, begin + outputs - rest + k] = room[k]
