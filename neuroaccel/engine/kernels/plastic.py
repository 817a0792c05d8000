"""A Linear whose weights learn: K ticks of N samples; every sample has weights and traces of its own.

A tick may be run in two parts: ``react`` sets the sums, ``learn`` moves traces and weights at its end.
"""

import numpy as np

SIGNATURE = (
    "void(V[:, ::1], i4[:, ::1], i8[::1], V[:, ::1], V[:, ::1], V[:, :, ::1], V[:, :, ::1], V[::1], V[::1], "
    "V[:, ::1], u1[::1], u1[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], b1, b1, b1)"
)
NONE, ALL, SOME = 0, 1, 2


def kernel(
    value,
    index,
    found,
    third,
    post,
    weight,
    trace,
    bias,
    rule,
    current,
    reach,
    touched,
    products,
    zero_input,
    pruned,
    read,
    updates,
    react,
    learn,
    track,
):
    """value [R, lead * in], third [R, 1], post and current [R, lead * out]; weight and trace [N, in, out].

    rule holds the decay, the rate, 2^q, 2^-q, the bound, and below what a trace is 0; the counts are [N].
    """
    samples, inputs, outputs = weight.shape
    lead = value.shape[1] // inputs
    decay, rate, scale, step, bound, least = rule[0], rule[1], rule[2], rule[3], rule[4], rule[5]
    zero = step - step
    for row in range(value.shape[0]):
        n = row % samples
        if react:
            current[row, :] = 0
            touched[row, :] = 0
            for e in range(found[row]):
                address = index[row, e]
                x = value[row, address]
                weights = weight[n, address % inputs]
                start = (address // inputs) * outputs
                target = current[row, start : start + outputs]
                for o in range(outputs):
                    target[o] += weights[o] * x
                if track:
                    marks = touched[row, start : start + outputs]
                    living = 0
                    for o in range(outputs):
                        alive = weights[o] != 0
                        living += alive
                        marks[o] |= alive
                    products[n] += living
                    zero_input[n] -= living
                    read[n] += outputs
            if bias.shape[0] > 0:
                for start in range(0, lead * outputs, outputs):
                    for o in range(outputs):
                        current[row, start + o] += bias[o]
            if track:
                living = 0
                for i in range(inputs):
                    for o in range(outputs):
                        living += weight[n, i, o] != 0
                zero_input[n] += lead * living
                pruned[n] += lead * (inputs * outputs - living)
            reach[row] = SOME if track else ALL if found[row] > 0 else NONE
        if learn:
            gain = rate * third[row, 0]
            moved = 0
            for i in range(inputs):
                traces = trace[n, i]
                for o in range(outputs):
                    faded = decay * traces[o]
                    traces[o] = zero if abs(faded) < least else faded
                for place in range(lead):
                    x = value[row, place * inputs + i]
                    if x != 0:
                        y = post[row, place * outputs : (place + 1) * outputs]
                        for o in range(outputs):
                            product = y[o] * x
                            traces[o] = traces[o] + product
                if gain != 0:
                    weights = weight[n, i]
                    for o in range(outputs):
                        moved += traces[o] != 0
                        change = gain * traces[o]
                        change = np.rint(change * scale) * step
                        new = weights[o] + change
                        new = bound if new > bound else -bound if new < -bound else new
                        weights[o] = new if change != 0 else weights[o]
            if track:
                updates[n] += moved
