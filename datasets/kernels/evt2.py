"""Words of Prophesee's EVT 2.0 into events, and the pairs of DAT, which have no other words.

Source: Prophesee, EVT 2.0 Format and DAT Format (docs.prophesee.ai, Data Encoding Formats).
"""

SIGNATURE = "void(Array(uint32, 1, 'C', readonly=True), i8[::1], i2[::1], i2[::1], i8[::1], u1[::1], i8, i8)"

# Places in the state.
BASE, TIMED, EVENTS, UNTIMED, UNKNOWN, FIRST_UNKNOWN, TRIGGERS, WORDS = range(8)


def kernel(words, state, x, y, t, p, skip, pairs):
    """words [n], state [8] -> x, y, t, p. Stops at a word of a reserved type unless skip.

    An event before the first time base has no time and is counted only. With pairs the words are DAT's: time, place.
    """
    base, timed = state[BASE], state[TIMED]
    n = 0
    if pairs:
        for at in range(0, len(words) - 1, 2):
            time = int(words[at])
            # 32 bits of µs begin anew after 71 minutes; a small step back is an error of the file's.
            before = base & 0xFFFFFFFF
            if time < before - (1 << 31):
                base += 1 << 32
            base = base - before + time
            place = int(words[at + 1])
            x[n], y[n], t[n], p[n] = place & 0x3FFF, (place >> 14) & 0x3FFF, base, place >> 28
            n += 1
    else:
        for at in range(len(words)):
            word = int(words[at])
            kind = word >> 28
            if kind <= 1:
                if timed:
                    x[n], y[n] = (word >> 11) & 0x7FF, word & 0x7FF
                    t[n], p[n] = base + ((word >> 22) & 63), kind
                    n += 1
                else:
                    state[UNTIMED] += 1
            elif kind == 8:
                # The upper 28 bits of time begin anew after 4.8 hours; a small step back is an error of the file's.
                before = base & ((1 << 34) - 1)
                value = (word & 0xFFFFFFF) << 6
                if timed and value < before - (1 << 33):
                    base += 1 << 34
                base = base - before + value
                timed = 1
            elif kind == 10:
                state[TRIGGERS] += 1
            elif kind != 14 and kind != 15:
                if state[UNKNOWN] == 0:
                    state[FIRST_UNKNOWN] = state[WORDS] + at
                state[UNKNOWN] += 1
                if not skip:
                    break
    state[BASE], state[TIMED], state[EVENTS] = base, timed, n
    state[WORDS] += len(words)
