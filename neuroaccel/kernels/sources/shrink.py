# w [rows · length]: θ moved towards 0 by d1, and 0 where it was within; then times its row's gain, if there are gains;
# then 0 where that is no larger than d2, if CUT is 1. Each operation is rounded on its own.
import numpy as np

# A layer's own takes its place.
CUT = 1

SIGNATURE = "void(V[::1], V[::1], V[::1], V, V, i8, i8, i8)"


def kernel(theta, gain, w, d1, d2, length, start, stop):
    gained = gain.size > 0
    for r in range(start, stop):
        given, out = theta[r * length : (r + 1) * length], w[r * length : (r + 1) * length]
        a = gain[r] if gained else np.float32(1)
        for k in range(length):
            t = given[k]
            low, high = t + d1, t - d1
            s = np.float32(0) if abs(t) <= d1 else t
            s = high if t > d1 else s
            s = low if t < -d1 else s
            s = s * a
            if CUT == 1:
                s = np.float32(0) if abs(s) <= d2 else s
            out[k] = s
