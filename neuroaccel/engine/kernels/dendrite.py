"""i = (y·z + y) + b of every neuron, from the sums y = W·x and z = V·x that lie side by side; each operation rounded.

``sums`` holds, place by place, the sums of those rows of W and of V that have a living weight: a neuron's own are at
``y_at`` and ``z_at``, -1 where it has none and its sum is 0. ``plain`` says that none is missing and y, then z, lie in
the order of neurons.
"""

import numpy as np

SIGNATURE = (
    "void(V[:, ::1], u1[:, ::1], u1[::1], i8[::1], i8[::1], i8[::1], V[::1], b1, b1, b1,"
    " V[:, ::1], u1[:, ::1], u1[::1], i8[::1], b1)"
)
NONE, ALL, SOME = np.uint8(0), np.uint8(1), np.uint8(2)
TILE = 64  # places whose sums stay in the first-level cache


def kernel(
    sums, hit, reached, found, y_at, z_at, bias, plain, turned, made, current, touched, reach, interactions, track
):  # fmt: skip
    """sums, hit [R, places * width], reached, found [R] -> current, touched [R, places * outputs], reach [R].

    bias [outputs] is 0 where there is none, and never -0. With turned current lies as [outputs, places]; with made it
    is there already, and sums are not. With track
    interactions [N] gets how many products y·z had a living event in both factors.
    """
    outputs, rows, batch = y_at.shape[0], sums.shape[0], interactions.shape[0]
    places = current.shape[1] // outputs
    width = sums.shape[1] // places
    zero = sums.dtype.type(0)
    both, without = 0, 0
    for o in range(outputs):
        both += y_at[o] >= 0 and z_at[o] >= 0
        without += y_at[o] < 0 and z_at[o] < 0
    for r in range(rows):
        line, out = sums[r], current[r]
        if made:
            pass
        elif found[r] == 0:
            for p in range(places):
                for o in range(outputs):
                    out[o * places + p if turned else p * outputs + o] = bias[o]
        elif plain and not turned:
            for p in range(places):
                ys = line[p * width : p * width + outputs]
                zs = line[p * width + outputs : (p + 1) * width]
                into = out[p * outputs : (p + 1) * outputs]
                for o in range(outputs):
                    into[o] = (ys[o] * zs[o] + ys[o]) + bias[o]
        else:
            for start in range(0, places, TILE):
                stop = min(start + TILE, places)
                for o in range(outputs):
                    a, b = y_at[o], z_at[o]
                    step = 1 if turned else outputs
                    at = o * places + start if turned else start * outputs + o
                    for p in range(start, stop):
                        y = line[p * width + a] if a >= 0 else zero
                        z = line[p * width + b] if b >= 0 else zero
                        out[at] = (y * z + y) + bias[o]
                        at += step
        if not track:
            reach[r] = ALL if found[r] > 0 else NONE
            continue
        if reached[r] == NONE:
            reach[r] = NONE
            continue
        if reached[r] == ALL:
            interactions[r % batch] += both * places
            if without == 0:
                reach[r] = ALL
                continue
        reach[r] = SOME
        flags, marks = hit[r], touched[r]
        some = reached[r] == SOME
        products = 0
        for p in range(places):
            for o in range(outputs):
                a, b = y_at[o], z_at[o]
                one = np.uint8(a >= 0 and (not some or flags[p * width + a] != 0))
                two = np.uint8(b >= 0 and (not some or flags[p * width + b] != 0))
                marks[o * places + p if turned else p * outputs + o] = one | two
                products += one & two
        if some:
            interactions[r % batch] += products
