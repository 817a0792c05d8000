"""Convolution on events, row by row: every event adds its taps' weights, in the order of the list; the bias comes last.

Currents are written in the order of cells [OH, OW, O], or with ``turned`` in C-order [O, OH, OW]. Work goes in bands of
output rows whose sums stay in the second-level cache.
"""

import numpy as np

from neuroaccel.engine.kernels.conv_events import listed, mark, scatter
from neuroaccel.engine.kernels.conv_rows import fill_row

SIGNATURE = (
    "void(V[:, ::1], i4[:, ::1], i8[::1], V[::1], u8[::1], i8[:, ::1], i8[:, ::1], V[::1], i8[::1],"
    " i8[::1], i8[::1], V[::1], V[::1], u1[::1], u8[::1], u1[:, ::1], V[:, ::1], u1[:, ::1], u1[::1], b1, b1)"
)
NONE, ALL, SOME = np.uint8(0), np.uint8(1), np.uint8(2)
ZERO, ONE = np.uint64(0), np.uint64(1)


def kernel(
    value,
    index,
    found,
    weight,
    masks,
    rows,
    columns,
    bias,
    shape,
    starts,
    events,
    numbers,
    sums,
    marks,
    bits,
    seen,
    current,
    touched,
    reach,
    turned,
    track,
):
    """value [R, C * H * W] -> current, touched [R, OH * OW * O], reach [R]; the rest as ``conv_events`` has it.

    starts [H + 2], events, numbers: scratch for listed events, the last empty where all values are 1. sums (only if
    turned), marks, bits: scratch for the cells of a band; marks and bits are 0 on entry and on return.
    """
    outputs, line, words, height = shape[6], shape[7], shape[14], shape[22]
    size = current.shape[1]
    cells = size // outputs
    last_row = cells // line
    for r in range(value.shape[0]):
        reach[r] = NONE
        if found[r] > 0:
            listed(value, index, found, r, 1, 1, shape, starts, events, numbers)
        reached = 0
        for begin in range(0, last_row, height):
            end = min(begin + height, last_row)
            here, lot = begin * line, (end - begin) * line
            target = sums[: lot * outputs] if turned else current[r, here * outputs : (here + lot) * outputs]
            target[:] = 0
            if found[r] > 0:
                scatter(0, 1, starts, events, numbers, weight, rows, columns, shape, begin, end, target)
            if bias.shape[0] > 0:
                for p in range(lot):
                    cell = target[p * outputs : (p + 1) * outputs]
                    for o in range(outputs):
                        cell[o] += bias[o]
            if turned:
                for start in range(0, lot, 64):  # tiles that stay in the first-level cache
                    stop = min(start + 64, lot)
                    for o in range(outputs):
                        out = current[r, o * cells + here + start : o * cells + here + stop]
                        for p in range(stop - start):
                            out[p] = target[(start + p) * outputs + o]
            if not track or found[r] == 0:
                continue
            if not mark(0, 1, starts, events, masks, rows, columns, shape, begin, end, marks, bits, seen):
                touched_here = touched[r]
                if turned:
                    for o in range(outputs):
                        fill_row(touched_here, o * cells + here, lot, NONE)
                else:
                    fill_row(touched_here, here * outputs, lot * outputs, NONE)
                continue
            if bits.shape[0] > 0:
                for p in range(lot):
                    for b in range(words):
                        word = bits[p * words + b]
                        bits[p * words + b] = ZERO
                        for o in range(b * 64, min(b * 64 + 64, outputs)):
                            live = np.uint8(word & ONE)
                            word = word >> ONE
                            reached += live
                            touched[r, o * cells + here + p if turned else (here + p) * outputs + o] = live
            else:
                for p in range(lot):
                    reached += marks[p] * outputs
                if turned:
                    for o in range(outputs):
                        out = touched[r, o * cells + here : o * cells + here + lot]
                        for p in range(lot):
                            out[p] = marks[p]
                else:
                    out = touched[r, here * outputs : (here + lot) * outputs]
                    for p in range(lot):
                        fill_row(out, p * outputs, outputs, marks[p])
            marks[:lot] = 0
        if reached > 0:
            reach[r] = ALL if reached == size else SOME
