"""Put the events of a stream into an Input's rows."""

SIGNATURE = "void(i8[::1], i4[::1], V[::1], i8, i8, i8, V[:, ::1], i4[:, ::1], i8[::1])"


def kernel(indptr, address, values, first, sample, batch, out, index, found):
    """Events of the ticks from ``first`` on, as many as there are rows; values: their own, or [0] where all are 1."""
    begin = indptr[first]
    for t in range(out.shape[0] // batch):
        row = t * batch + sample
        for e in range(found[row]):
            out[row, index[row, e]] = 0
        start, stop = indptr[first + t], indptr[first + t + 1]
        for e in range(start, stop):
            k = address[e]
            index[row, e - start] = k
            if values.shape[0] > 0:
                out[row, k] = values[e - begin]
            else:
                out[row, k] = 1
        found[row] = stop - start
