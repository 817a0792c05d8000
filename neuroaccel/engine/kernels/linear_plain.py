"""Linear on events: every event adds one contiguous row of W^T, in the order of its list; the bias comes last.

This is the plain loop that the other kernels of a Linear equal bit for bit, and what float64 and int64 run.
"""

SIGNATURE = "void(V[:, ::1], i4[:, ::1], i8[::1], V[:, ::1], V[::1], V[:, ::1])"


def kernel(value, index, found, weight, bias, current):
    """value [R, lead * in], weight [in, out], bias [out] or [0] -> current [R, lead * out]."""
    inputs, outputs = weight.shape
    lead = value.shape[1] // inputs
    for row in range(value.shape[0]):
        current[row, :] = 0
        for e in range(found[row]):
            address = index[row, e]
            x = value[row, address]
            weights = weight[address % inputs]
            start = (address // inputs) * outputs
            target = current[row, start : start + outputs]
            for o in range(outputs):
                target[o] += weights[o] * x
        if bias.shape[0] > 0:
            for start in range(0, lead * outputs, outputs):
                for o in range(outputs):
                    current[row, start + o] += bias[o]
