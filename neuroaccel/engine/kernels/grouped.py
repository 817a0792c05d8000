"""Integer sums with converted products, partial sums of groups of rows, and inputs applied bit by bit."""

from numba import njit

from neuroaccel.engine.kernels.convert import converted

SIGNATURE = (
    "i8(i8[:, ::1], i8[:, ::1], i8[:, :, :, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1],"
    " i8[:, ::1], u1[:, ::1])"
)


@njit(nogil=True)
def partial_sum(value, weight, geometry, target, first, last, bit, product):
    """Sum of the rows [first, last) of one target; bit < 0 takes the whole input. Second: a product overflowed.

    Rows are counted in C-order over the weight's axes [in / groups, Ky, Kx]; rows in the border bring nothing.
    """
    height, width = geometry[0], geometry[1]
    o, oy, ox = target
    taps_y, taps_x = weight.shape[2], weight.shape[3]
    channel0 = (o // (weight.shape[0] // geometry[2])) * weight.shape[1]
    total = 0
    for row in range(first, last):
        c, ky, kx = row // (taps_y * taps_x), row // taps_x % taps_y, row % taps_x
        y = oy * geometry[3] - geometry[5] + ky * geometry[7]
        x = ox * geometry[4] - geometry[6] + kx * geometry[8]
        w = weight[o, c, ky, kx]
        if w == 0 or y < 0 or y >= height or x < 0 or x >= width:
            continue
        arrived = value[(channel0 + c) * geometry[9] + y * geometry[10] + x * geometry[11]]
        if bit >= 0:
            arrived = (arrived >> bit) & 1
        if arrived != 0:
            p = w * arrived
            if product.shape[0] > 0:
                p, failed = converted(p, product)
                if failed:
                    return total, True
            total += p
    return total, False


@njit(nogil=True)
def touches(value, weight, geometry, target):
    """Whether an event reaches the target through a living weight."""
    silent = geometry[:0]
    for row in range(weight.shape[1] * weight.shape[2] * weight.shape[3]):
        total, _ = partial_sum(value, weight, geometry, target, row, row + 1, -1, silent)
        if total != 0:
            return True
    return False


def kernel(value, original, weight, geometry, bias, product, group, accumulator, plan, current, touched):
    """value (in the input's format), original (as it arrived) [N, in]; weight [O, in / groups, Ky, Kx]; bias [O].

    geometry: H, W, groups, stride y, x, padding y, x, dilation y, x, input strides c, y, x, OH, OW, output strides o,
    y, x. product, group, accumulator: conversions as `converted` takes them, empty for none. plan: rows of a group,
    bits of an input (0: whole), left shift of a partial sum, whether groups are converted one by one. The bias is
    aligned already.
    Returns 0, or 1 + the flat index of the first sum in which something overflowed that may not.
    """
    rows = weight.shape[1] * weight.shape[2] * weight.shape[3]
    size, bits, up, by_group = plan[0], plan[1], plan[2], plan[3]
    exact = accumulator.shape[0] == 0
    for n in range(value.shape[0]):
        for o in range(weight.shape[0]):
            for oy in range(geometry[12]):
                for ox in range(geometry[13]):
                    target = (o, oy, ox)
                    at = o * geometry[14] + oy * geometry[15] + ox * geometry[16]
                    failure = 1 + n * current.shape[1] + at
                    total = 0
                    for first in range(0, rows, size):
                        last = min(first + size, rows)
                        for bit in range(max(bits, 1)):
                            part, failed = partial_sum(
                                value[n], weight, geometry, target, first, last, bit if bits > 0 else -1, product
                            )
                            if not failed and group.shape[0] > 0:
                                part, failed = converted(part, group)
                            if failed:
                                return failure
                            total += (part << bit) << up
                        if by_group > 0 and not exact:
                            total, failed = converted(total, accumulator)
                            if failed:
                                return failure
                            total = total << accumulator[0]
                    total += bias[o]
                    if not exact:
                        total, failed = converted(total, accumulator)
                        if failed:
                            return failure
                    current[n, at] = total
                    touched[n, at] = touches(original[n], weight, geometry, target)
    return 0
