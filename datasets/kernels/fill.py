"""Events into dense frames: a frame is cleared and filled while a core's cache holds it, then never touched again.

Times are not read here: the events of a frame are a range, since they come in the order of time.
"""

import numpy as np

SIGNATURE = "i8(Array(int32, 1, 'C', readonly=True), i8[:, ::1], i8[:, ::1], V[:, :, ::1], i8, i8, V, V)"
BINARY, COUNT, FIRST = 0, 1, 2


def kernel(address, first, last, out, pixels, binning, one, limit):
    """address [n], first, last [T, N] -> out [T, N, P * pixels]; the first event outside it, or -1.

    Counts stop at limit.
    """
    cells = np.uint64(out.shape[2])
    pixels = np.uint64(pixels)
    two = cells > pixels
    none = one - one
    for t in range(out.shape[0]):
        for n in range(out.shape[1]):
            frame = out[t, n]
            frame[:] = 0
            if binning == BINARY:
                for e in range(first[t, n], last[t, n]):
                    a = np.uint64(np.uint32(address[e]))
                    if a >= cells:
                        return e
                    frame[a] = one
            elif binning == COUNT:
                for e in range(first[t, n], last[t, n]):
                    a = np.uint64(np.uint32(address[e]))
                    if a >= cells:
                        return e
                    if frame[a] < limit:
                        frame[a] += one
            else:
                for e in range(first[t, n], last[t, n]):
                    a = np.uint64(np.uint32(address[e]))
                    if a >= cells:
                        return e
                    # Of a pixel's two cells one at most is set. Selections, not branches, which polarity would mislead.
                    other = (a - pixels if a >= pixels else a + pixels) if two else a
                    frame[a] = one if frame[other] == 0 or other == a else none
    return -1
