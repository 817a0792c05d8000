"""Events that leave some ticks after they came: a ring of event lists, one for every tick to come."""

SIGNATURE = (
    "void(V[:, ::1], i4[:, ::1], i8[::1], i8[::1], i4[:, :, ::1], V[:, :, ::1], i8[:, ::1], i8[::1],"
    " V[:, ::1], i4[:, ::1], i8[::1], i8, b1, b1)"
)


def kernel(
    value, index, found, delays, ring_index, ring_value, ring_found, clock, out, out_index, out_found, ticks, emit, take
):
    """value, index, found: what arrives, rows t * N + n; delays [size] or [1].

    ring_index, ring_value [N, L, size], ring_found [N, L]: what is due at the ticks whose number modulo L is the slot;
    clock [N]: ticks of a sample so far. emit: out, out_index, out_found are set; take: what arrives is taken in and the
    tick ends.
    """
    batch, length = ring_found.shape
    one = delays.shape[0] == 1
    for t in range(ticks):
        for n in range(batch):
            row, slot = t * batch + n, clock[n] % length
            if emit:
                for e in range(out_found[row]):
                    out[row, out_index[row, e]] = 0
                for e in range(ring_found[n, slot]):
                    k = ring_index[n, slot, e]
                    out_index[row, e] = k
                    out[row, k] = ring_value[n, slot, e]
                out_found[row] = ring_found[n, slot]
            if take:
                ring_found[n, slot] = 0
                for e in range(found[row]):
                    k = index[row, e]
                    due = (clock[n] + (delays[0] if one else delays[k])) % length
                    at = ring_found[n, due]
                    ring_index[n, due, at] = k
                    ring_value[n, due, at] = value[row, k]
                    ring_found[n, due] = at + 1
                clock[n] += 1
