"""Words of Prophesee's EVT 3.0 into events: a decoder with a state, which words change one part at a time.

Source: Prophesee, EVT 3.0 Format (docs.prophesee.ai, Encoding Formats).
"""

SIGNATURE = "i8(Array(uint16, 1, 'C', readonly=True), i8[::1], i2[::1], i2[::1], i8[::1], u1[::1], i8)"

# Places in the state.
BASE, LOW, ROW, LEFT, POLARITY, TIMED, EVENTS, UNTIMED, UNKNOWN, FIRST_UNKNOWN, TRIGGERS, WORDS = range(12)


def kernel(words, state, x, y, t, p, skip):
    """words [n], state [12] -> x, y, t, p, and how many words were read; all, but where the columns are full.

    Stops at a word of a reserved type unless skip. An event before the first time base has no time and is counted only.
    """
    base, low, row, left = state[BASE], state[LOW], state[ROW], state[LEFT]
    polarity, timed = state[POLARITY], state[TIMED]
    n = 0
    room = len(x) - 12
    at = 0
    while at < len(words) and n <= room:
        word = int(words[at])
        kind = word >> 12
        if kind == 2 or kind == 4 or kind == 5:
            if kind == 2:
                first, valid, polarity_here, width = word & 0x7FF, 1, (word >> 11) & 1, 1
            elif kind == 4:
                first, valid, polarity_here, width = left, word & 0xFFF, polarity, 12
                left += 12
            else:
                first, valid, polarity_here, width = left, word & 0xFF, polarity, 8
                left += 8
            time = base + low
            for bit in range(width):
                if (valid >> bit) & 1:
                    if timed:
                        x[n], y[n], t[n], p[n] = first + bit, row, time, polarity_here
                        n += 1
                    else:
                        state[UNTIMED] += 1
        elif kind == 6:
            low = word & 0xFFF
        elif kind == 0:
            row = word & 0x7FF
        elif kind == 3:
            left, polarity = word & 0x7FF, (word >> 11) & 1
        elif kind == 8:
            high = (word & 0xFFF) << 12
            before = base & 0xFFFFFF
            if not timed:
                base, timed = high, 1
            elif high != before:
                # The 24 bits begin anew every 16.8 s; a small step back is no new round but an error of the file's.
                if high < before - (1 << 23):
                    base += 1 << 24
                base = base - before + high
                low = 0  # the low bits that were are of the time before
        elif kind == 10:
            state[TRIGGERS] += 1
        elif kind != 7 and kind != 14 and kind != 15:
            if state[UNKNOWN] == 0:
                state[FIRST_UNKNOWN] = state[WORDS] + at
            state[UNKNOWN] += 1
            if not skip:
                break
        at += 1
    state[BASE], state[LOW], state[ROW], state[LEFT] = base, low, row, left
    state[POLARITY], state[TIMED] = polarity, timed
    state[EVENTS] = n
    state[WORDS] += at
    return at
