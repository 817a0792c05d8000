"""Lists of events where no sum depends on their order: by pixels on the way in, by addresses on the way out."""

from numba import njit

from neuroaccel.engine.kernels.conv_events import position


@njit(nogil=True, error_model="numpy")
def by_pixels(value, index, found, sample, samples, ticks, shape, starts, pixels, events, numbers):
    """As ``listed`` of ``conv_events``, but in a row pixel after pixel: neighbours add to sums that are at hand.

    ``pixels`` i4 [H * ticks * W + 2] says where the events of each row, tick and column begin.
    """
    width, gather = shape[5], numbers.shape[0] > 0
    pixels[:] = 0
    count, cursor = pixels[2:], pixels[1:]
    for t in range(ticks):
        r = t * samples + sample
        for e in range(found[r]):
            _, y, z = position(index[r, e], shape)
            count[(y * ticks + t) * width + z] += 1
    total = 0
    for key in range(count.shape[0]):
        total += count[key]
        count[key] = total
    for t in range(ticks):
        r = t * samples + sample
        for e in range(found[r]):
            address = index[r, e]
            c, y, z = position(address, shape)
            key = (y * ticks + t) * width + z
            place = cursor[key]
            cursor[key] = place + 1
            events[place] = c << 32 | z
            if gather:
                numbers[place] = value[r, address]
    # By now a pixel's cursor has come to its end, which is where the next one begins.
    for row in range(starts.shape[0] - 1):
        starts[row] = pixels[row * width]


@njit(nogil=True, error_model="numpy")
def in_order(index, found, width, cells, bits, codes, tally, emitted, one):
    """Turn a row's codes, cell << bits | channel by rising cells, into rising addresses, and set their values."""
    tally[:] = 0
    low = (1 << bits) - 1
    for e in range(found):
        code = index[e]
        codes[e] = code
        tally[(code & low) + 1] += 1
    for o in range(width):
        tally[o + 1] += tally[o]
    for e in range(found):
        code = codes[e]
        o = code & low
        address = o * cells + (code >> bits)
        index[tally[o]] = address
        tally[o] += 1
        emitted[address] = one
