"""Which events of every sample lie in which span of time: two bisections per tick and sample, events are in order."""

import numpy as np

SIGNATURE = (
    "void(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), i8[::1], i8[::1], i8[:, ::1],"
    " i8[:, ::1])"
)


def kernel(start, t_us, begin, end, first, last):
    """start [N + 1], t_us [n], begin, end [T] -> first, last [T, N]: begin[t] <= t_us[first:last] < end[t].

    begin and end do not decrease.
    """
    for n in range(start.size - 1):
        low, high = start[n], start[n]
        for t in range(begin.size):
            for edge in range(2):
                if edge == 0 and t > 0 and begin[t] == end[t - 1]:
                    low = high
                    continue
                wanted = begin[t] if edge == 0 else end[t]
                here = low if edge == 0 else max(low, high)
                top = start[n + 1]
                while here < top:
                    middle = (here + top) >> 1
                    if np.int64(t_us[middle]) < wanted:
                        here = middle + 1
                    else:
                        top = middle
                if edge == 0:
                    low = here
                else:
                    high = here
            first[t, n] = low
            last[t, n] = high
