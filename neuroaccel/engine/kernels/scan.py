"""Find the events of a dense value: addresses of its non-zero elements, rising."""

SIGNATURE = "void(V[:, ::1], i4[:, ::1], i8[::1])"


def kernel(value, index, found):
    """value [N, size] -> index [N, size], of which the first found[n] are filled."""
    for n in range(value.shape[0]):
        events = 0
        for k in range(value.shape[1]):
            if value[n, k] != 0:
                index[n, events] = k
                events += 1
        found[n] = events
