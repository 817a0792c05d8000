"""Convolution on events: every event scatters its taps, channels contiguous, in the order of addresses; bias last."""

SIGNATURE = (
    "void(V[:, ::1], i4[:, ::1], i8[::1], V[:, :, :, ::1], V[::1], i8[::1], V[::1], u1[::1], V[:, ::1], u1[:, ::1], b1)"
)


def kernel(value, index, found, weight, bias, geometry, sums, flags, current, touched, track):
    """value [N, C * H * W], weight [C, Ky, Kx, O / groups], bias [O] or [0] -> current, touched [N, O * OH * OW].

    geometry: H, W, O, OH, OW, groups, stride y, x, padding y, x, dilation y, x. sums, flags [OH * OW * O]: scratch.
    """
    channels, taps_y, taps_x, per_group = weight.shape
    height, width, outputs, rows, columns, groups = geometry[:6]
    stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x = geometry[6:]
    area, places, in_group = height * width, rows * columns, channels // groups
    for n in range(value.shape[0]):
        sums[:] = 0
        if track:
            flags[:] = 0
        for e in range(found[n]):
            address = index[n, e]
            x = value[n, address]
            channel, place = address // area, address % area
            y0, x0 = place // width + pad_y, place % width + pad_x
            first = (channel // in_group) * per_group
            for ky in range(taps_y):
                y = y0 - ky * dilation_y
                if y < 0 or y % stride_y != 0 or y // stride_y >= rows:
                    continue
                for kx in range(taps_x):
                    z = x0 - kx * dilation_x
                    if z < 0 or z % stride_x != 0 or z // stride_x >= columns:
                        continue
                    start = ((y // stride_y) * columns + z // stride_x) * outputs + first
                    row, target = weight[channel, ky, kx], sums[start : start + per_group]
                    for o in range(per_group):
                        target[o] += row[o] * x
                    if track:
                        marks = flags[start : start + per_group]
                        for o in range(per_group):
                            marks[o] |= row[o] != 0
        for o in range(outputs):
            for p in range(places):
                current[n, o * places + p] = sums[p * outputs + o]
            if bias.shape[0] > 0:
                for p in range(places):
                    current[n, o * places + p] += bias[o]
            if track:
                for p in range(places):
                    touched[n, o * places + p] = flags[p * outputs + o]
