"""Linear in float32 on events through the living weights only: one CSR row for every event.

The loader replaces ``SCALED`` (rows are multiplied by the input's value).
"""

from neuroaccel.engine.kernels.linear_vector import sparse_adder

SCALED = False
SIGNATURE = "void(V[:, ::1], i4[:, ::1], i8[::1], i8[::1], u4[::1], V[::1], V[::1], V[:, ::1])"
add = sparse_adder(SCALED)


def kernel(value, index, found, starts, targets, weight, bias, current):
    """value, index [R, lead * inputs]; starts [inputs + 1], targets and weight: W^T -> current [R, lead * outputs]."""
    inputs = starts.shape[0] - 1
    lead = index.shape[1] // inputs
    outputs = current.shape[1] // lead
    columns, weights, sums = targets.ctypes.data, weight.ctypes.data, current.ctypes.data
    for row in range(found.shape[0]):
        current[row, :] = 0
        for e in range(found[row]):
            address = index[row, e]
            place = address // inputs if lead > 1 else 0
            source = address - place * inputs
            out = sums + 4 * (row * lead + place) * outputs
            add(columns, weights, starts[source], starts[source + 1], out, value[row, address])
        if bias.shape[0] > 0:
            for place in range(0, lead * outputs, outputs):
                for k in range(outputs):
                    current[row, place + k] += bias[k]
