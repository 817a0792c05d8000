"""Put the events of a stream into an Input's rows."""

SIGNATURE = "void(i8[::1], i4[::1], V[::1], i8, i8, i8, V[:, ::1], i4[:, ::1], i8[::1])"


def kernel(indptr, address, values, first, sample, batch, out, index, found):
    """Events of the ticks from ``first`` on, as many as there are rows; values [n], or [0] where all are 1.

    Rows hold their previous events on entry, in ``index`` and ``found``. A value that a grid rounded to 0 is no event.
    """
    for t in range(out.shape[0] // batch):
        row = t * batch + sample
        for e in range(found[row]):
            out[row, index[row, e]] = 0
        start, stop = indptr[first + t], indptr[first + t + 1]
        if values.shape[0] > 0:
            events = 0
            for e in range(start, stop):
                if values[e] != 0:
                    k = address[e]
                    index[row, events] = k
                    out[row, k] = values[e]
                    events += 1
            found[row] = events
        else:
            for e in range(start, stop):
                k = address[e]
                index[row, e - start] = k
                out[row, k] = 1
            found[row] = stop - start
