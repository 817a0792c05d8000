"""Events spread over the two frames that are nearest in time, by how near they are."""

import numpy as np

SIGNATURE = (
    "i8(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " Array(int32, 1, 'C', readonly=True), V[:, :, ::1], i8, b1)"
)


def kernel(start, t_us, address, out, cells, signed):
    """start [N + 1], t_us, address [n] of 2 * pixels or fewer cells -> out [T, N, ...]; the first bad event, or -1.

    signed: out has one channel, polarity 0 counts as -1 (of a sensor that has two); else a channel per polarity.
    """
    ticks, size = out.shape[0], out.shape[2]
    folded = signed and cells > size
    out[:] = 0
    for n in range(start.size - 1):
        begin, end = start[n], start[n + 1]
        if begin == end:
            continue
        origin = np.int64(t_us[begin])
        span = np.int64(t_us[end - 1]) - origin
        scale = np.float64(ticks - 1) / np.float64(span) if span > 0 else 0.0
        for e in range(begin, end):
            a = np.int64(address[e])
            since = np.int64(t_us[e]) - origin
            # The times are bounded by the first and the last one only where they are in order.
            if a < 0 or a >= cells or since < 0 or since > span:
                return e
            place = min(np.float64(since) * scale, np.float64(ticks - 1))
            tick = np.int64(place)
            right = place - np.float64(tick)
            left = 1.0 - right
            if folded:
                bright = np.int64(a >= size)
                a -= bright * size
                sign = np.float64(2 * bright - 1)
                left, right = sign * left, sign * right
            out[tick, n, a] += np.float32(left)
            if tick + 1 < ticks:
                out[tick + 1, n, a] += np.float32(right)
    return -1
