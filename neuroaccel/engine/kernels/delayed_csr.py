"""Synapses with delays: an event's currents go into a ring of sums at once, each to the tick at which it is due.

The loader replaces ``SCALED`` (weights are multiplied by the input's value).
"""

import numpy as np

from neuroaccel.engine.kernels.bits import differ
from neuroaccel.engine.kernels.delayed_vector import BRANCHES, giver, ring_adder, tally

SCALED = False
SIGNATURE = (
    "void(V[:, ::1], i4[:, ::1], i8[::1], i8[::1], u4[::1], V[::1], i8[::1], u4[:, ::1], V[:, ::1], i8[::1],"
    " i4[:, :, ::1], V[:, :, ::1], i8[:, ::1], u4[:, :, ::1], V[:, ::1], u1[::1], u1[:, ::1],"
    " i8[:, ::1], i8[:, ::1], i8[:, ::1], i8, b1, b1)"
)
NONE, SOME = 0, 2
LANES = 16
add, give, give_flagged = ring_adder(SCALED), giver(False), giver(True)


def kernel(
    value,
    index,
    found,
    starts,
    places,
    weight,
    delays,
    living,
    due,
    clock,
    past_index,
    past_value,
    past_found,
    under_way,
    out,
    reach,
    touched,
    events,
    products,
    read,
    ticks,
    at_once,
    track,
):
    """value, index, found: events, rows t * N + n -> out [R, outputs], and with ``track`` reach [R] and touched.

    starts [inputs + 1], places, weight: CSR of W^T, of all branches; a place is delay * outputs + target. due
    [N, L * outputs]: sums, -0.0 where there is none; those of tick c of a sample begin at c * outputs, modulo its size.
    clock [N]. past_* [N, S, ..]: the events of the last S ticks, those of tick c in slot c modulo S. ``at_once``: some
    delay is 0.

    Counts, with ``track``: delays [D] of the branches, their living weights [inputs, D rounded up to 8], under_way
    [N, S, the same]: the products that the events of the past lead to; adds those that are due to events and products,
    each [N, D]. All weights of an event's row are read.
    """
    batch, slots = past_found.shape
    outputs, size, branches = out.shape[1], due.shape[1], delays.shape[0]
    whole = outputs - outputs % LANES
    columns, weights, fan_out, wide = places.ctypes.data, weight.ctypes.data, living.ctypes.data, living.shape[1]
    for n in range(batch):
        ring = due.ctypes.data + 4 * n * size
        slot, start = clock[n] % slots, clock[n] * outputs % size
        for t in range(ticks):
            row = t * batch + n
            for step in range(2):
                if (step == 0) != at_once:
                    to, flags = out.ctypes.data + 4 * row * outputs, touched.ctypes.data + row * outputs
                    some = np.int64(0)
                    if track:
                        some = give_flagged(ring + 4 * start, to, flags, whole)
                    else:
                        give(ring + 4 * start, to, flags, whole)
                    for k in range(whole, outputs):
                        total = due[n, start + k]
                        due[n, start + k] = np.float32(-0.0)
                        out[row, k] = total + np.float32(0)
                        if track:
                            touched[row, k] = differ(total, np.float32(-0.0))
                            some |= np.int64(touched[row, k])
                    if track:
                        reach[row] = SOME if some != 0 else NONE
                else:
                    for e in range(found[row]):
                        source = index[row, e]
                        first, last = starts[source], starts[source + 1]
                        add(columns, weights, first, last, ring, start, size, value[row, source])
            past_found[n, slot] = found[row]
            if t >= ticks - slots:
                for e in range(found[row]):
                    past_index[n, slot, e] = index[row, e]
                    past_value[n, slot, e] = value[row, index[row, e]]
            if track:
                events_of_row, sums = index.ctypes.data + 4 * row * index.shape[1], under_way[n, slot].ctypes.data
                for d in range(0, wide, BRANCHES):
                    tally(fan_out + 4 * d, 4 * wide, events_of_row, found[row], sums + 4 * d)
                for d in range(branches):
                    came = slot - delays[d]
                    came += slots if came < 0 else 0
                    events[n, d] += past_found[n, came]
                    products[n, d] += under_way[n, came, d]
            slot = slot + 1 if slot + 1 < slots else 0
            start = start + outputs if start + outputs < size else 0
        clock[n] += ticks
        if track:
            for d in range(branches):
                read[n, d] = events[n, d] * outputs
