"""Bring integers into a fixed-point format: round away excess fraction bits, then wrap, saturate or report."""

from numba import njit

SIGNATURE = "i8(i8[:, ::1], i8[::1])"

FLOOR, TOWARD_ZERO, HALF_UP = 0, 1, 2  # 3 is half_even
WRAP, SATURATE = 0, 1  # 2 is error


@njit(nogil=True)
def converted(x, how):
    """One value; how: excess bits (negative: shift left), rounding, overflow, low, high, bits. Second: out of range."""
    excess, rounding, overflow, low, high, bits = how[0], how[1], how[2], how[3], how[4], how[5]
    if excess < 0:
        x = x << -excess
    elif excess > 0:
        down = x >> excess
        rest = x - (down << excess)
        half = 1 << (excess - 1)
        if (
            (rounding == TOWARD_ZERO and x < 0 and rest != 0)
            or (rounding == HALF_UP and rest >= half)
            or (rounding > HALF_UP and (rest > half or (rest == half and down & 1 == 1)))
        ):
            down += 1
        x = down
    if low <= x <= high:
        return x, False
    if overflow == WRAP:
        return ((x - low) & ((1 << bits) - 1)) + low, False
    if overflow == SATURATE:
        return (low if x < low else high), False
    return x, True


def kernel(value, how):
    """value [N, size], in place; returns 0, or 1 + the flat index of the first value that may not overflow and does."""
    for n in range(value.shape[0]):
        for k in range(value.shape[1]):
            value[n, k], failed = converted(value[n, k], how)
            if failed:
                return 1 + n * value.shape[1] + k
    return 0
