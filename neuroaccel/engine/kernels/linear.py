"""Linear on events: every event adds one contiguous row of W^T, in the order of addresses; the bias comes last."""

SIGNATURE = "void(V[:, ::1], i4[:, ::1], i8[::1], V[:, ::1], V[::1], V[:, ::1], u1[:, ::1], b1)"


def kernel(value, index, found, weight, bias, current, touched, track):
    """value [N, lead * in], weight [in, out], bias [out] or [0] -> current, touched [N, lead * out]."""
    inputs, outputs = weight.shape
    lead = value.shape[1] // inputs
    for n in range(value.shape[0]):
        current[n, :] = 0
        if track:
            touched[n, :] = 0
        for e in range(found[n]):
            address = index[n, e]
            x = value[n, address]
            row = weight[address % inputs]
            start = (address // inputs) * outputs
            target = current[n, start : start + outputs]
            for o in range(outputs):
                target[o] += row[o] * x
            if track:
                flags = touched[n, start : start + outputs]
                for o in range(outputs):
                    flags[o] |= row[o] != 0
        if bias.shape[0] > 0:
            for start in range(0, lead * outputs, outputs):
                for o in range(outputs):
                    current[n, start + o] += bias[o]
