"""How long ago every address had its last event, as a decay: one exponential per event, one product per cell."""

import math

import numpy as np

SIGNATURE = (
    "i8(Array(int32, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), i8[:, ::1], i8[:, ::1],"
    " V[:, :, ::1], i8, f8)"
)
TINY = np.float32(2.0**-100)  # below it a value is 0, so that no product becomes denormal


def kernel(t_us, address, first, last, out, step_us, tau_us):
    """t_us, address [n], first, last [T, N] -> out [T, N, cells]; the first event outside it, or -1."""
    cells = out.shape[2]
    decay = np.float32(math.exp(-np.float64(step_us) / tau_us))
    for n in range(out.shape[1]):
        for t in range(out.shape[0]):
            frame = out[t, n]
            if t == 0:
                frame[:] = 0
            else:
                before = out[t - 1, n]
                for a in range(cells):
                    value = before[a] * decay
                    frame[a] = value if value >= TINY else np.float32(0)
            end = (t + 1) * step_us
            for e in range(first[t, n], last[t, n]):
                a = np.int64(address[e])
                if a < 0 or a >= cells:
                    return e
                value = np.float32(math.exp((np.float64(t_us[e]) - np.float64(end)) / tau_us))
                frame[a] = value if value >= TINY else np.float32(0)
    return -1
