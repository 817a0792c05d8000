"""Run a tape: whole ticks of a graph, instruction by instruction, one sample after the other.

An instruction is a row of eight whole numbers, an operation and its operands. Places are positions in a sample's
``values`` [S], with ``marks`` [S] (whether an event touched them) beside them; weights and whole numbers that all
samples share lie in ``weights`` with ``living`` beside them, and in ``maps``. A sample counts in ``registers`` where a
ring or a loop stands, and in ``tally`` what the books ask for. Every number is rounded after every operation, and no
vector operation writes where it reads, so that each is a plain loop.
"""

import math

import numpy as np

SIGNATURE = (
    "b1(i8[:, ::1], V[::1], V[::1], u1[::1], i4[::1], V[::1], i8[::1], f8[::1], f8[:, ::1], f8[:, :, ::1],"
    " V[:, :, ::1], V[:, ::1], u1[:, ::1], i8[:, ::1], i8[:, ::1], i8)"
)

# What an Input allows: whole numbers up to a largest one, numbers on a grid, numbers that the type can hold.
WHOLE, GRIDDED, REAL = range(3)

(COPY, ADD, SUB, MUL, DIV, MAX, MIN, NEG, ABS, FLOOR, FLUSH, GT, GE, LT, LE, EQ, SELECT) = range(17)
(GATHER, TABLE, LINEAR, ROUND, PUSH, UNROLL, LOOP, NEXT, SLICE, STACK, TOTAL, RESET, RESTART) = range(17, 30)
(COUNTS, RUNNING, SOFT, NORM, READ, EVENTS, HELD, FANOUT, DRIVEN) = range(30, 39)
(MARK, MARK_COPY, MARK_OR, MARK_AND, MARK_GATHER, MARK_LINEAR) = range(39, 45)


def kernel(
    tape,
    numbers,
    weights,
    living,
    maps,
    fresh,
    restarts,
    reals,
    rules,
    entering,
    leaving,
    values,
    marks,
    registers,
    tally,
    ticks,
):
    """Run ticks, unless something enters that its Input does not allow: then nothing has happened, and it says so.

    tape [I, 8]; numbers: 0, 1, the flush bound, room; fresh, restarts: a sample's values and registers as they begin.
    reals: what is computed with in float64, and room for it.
    rules [Inputs, 6]: size, what is allowed, and of whole numbers the largest, of a grid 2^frac, 2^-frac, lowest and
    highest, of others the largest. entering [K, N, A] -> the first A values of every tick; the first B values ->
    leaving [K, N, B].
    """
    zero, one, least = numbers[0], numbers[1], numbers[2]
    end, shown = tape.shape[0], np.uint64(leaving.shape[2])
    for sample in range(values.shape[0]):
        for t in range(ticks):
            first = 0
            for port in range(rules.shape[0]):
                last = first + np.int64(rules[port, 0])
                for k in range(first, last):
                    y = entering[t, sample, k]
                    if rules[port, 1] == WHOLE:
                        if not ((y >= 0) & (y <= rules[port, 2]) & (y == np.floor(y))):
                            return False
                    elif rules[port, 1] == GRIDDED:
                        if not math.isfinite(y):
                            return False
                        y = np.rint(y * rules[port, 2])
                        entering[t, sample, k] = min(max(y, rules[port, 4]), rules[port, 5]) * rules[port, 3]
                    elif not (abs(y) <= rules[port, 2]):
                        return False
                first = last
    for sample in range(values.shape[0]):
        v, m, r, c = values[sample], marks[sample], registers[sample], tally[sample]
        for t in range(ticks):
            row = entering[t, sample]
            for k in range(row.shape[0]):
                v[k] = row[k]
            now = 0
            while now < end:
                i = tape[now]
                now += 1
                op = i[0]
                o, a, b, n = np.uint64(i[1]), np.uint64(i[2]), np.uint64(i[3]), np.uint64(i[4])
                if op == COPY:
                    for k in range(n):
                        v[o + k] = v[a + k]
                elif op == ADD:
                    for k in range(n):
                        v[o + k] = v[a + k] + v[b + k]
                elif op == SUB:
                    for k in range(n):
                        v[o + k] = v[a + k] - v[b + k]
                elif op == MUL:
                    for k in range(n):
                        v[o + k] = v[a + k] * v[b + k]
                elif op == FLUSH:
                    for k in range(n):
                        x = v[a + k]
                        v[o + k] = zero if abs(x) < least else x
                elif op == GT:
                    for k in range(n):
                        v[o + k] = one if v[a + k] > v[b + k] else zero
                elif op == GE:
                    for k in range(n):
                        v[o + k] = one if v[a + k] >= v[b + k] else zero
                elif op < SELECT:  # the rarer ones share a loop, which keeps compilation short
                    for k in range(n):
                        x, z = v[a + k], v[b + k]
                        if op == DIV:
                            x = x / z
                        elif op == MAX:  # as numpy: a NaN on either side comes through
                            x = x if (x >= z) | (x != x) else z
                        elif op == MIN:
                            x = x if (x <= z) | (x != x) else z
                        elif op == NEG:
                            x = -x
                        elif op == ABS:
                            x = abs(x)
                        elif op == FLOOR:
                            x = np.floor(x)
                        elif op == LT:
                            x = one if x < z else zero
                        elif op == LE:
                            x = one if x <= z else zero
                        else:
                            x = one if x == z else zero
                        v[o + k] = x
                elif op == SELECT:
                    d = np.uint64(i[5])
                    for k in range(n):
                        v[o + k] = v[b + k] if v[a + k] != zero else v[d + k]
                elif op == GATHER:
                    places = maps[i[5] : i[5] + i[4]]
                    for k in range(n):
                        v[o + k] = v[a + np.uint64(places[k])]
                elif op == TABLE:
                    last = i[7] - 1
                    for k in range(n):
                        x = np.int64(np.rint(v[a + k])) - i[6]
                        v[o + k] = weights[i[5] + min(max(x, 0), last)]
                elif op == LINEAR:  # b: leading places; every row of the weight is an input's
                    inputs = np.uint64(i[5])
                    for lead in range(b):
                        to, of = o + lead * n, a + lead * inputs
                        for k in range(n):
                            v[to + k] = zero
                        for j in range(inputs):
                            x = v[of + j]
                            if x != zero:
                                w = np.uint64(i[6]) + j * n
                                for k in range(n):
                                    v[to + k] += weights[w + k] * x
                        if i[7] >= 0:
                            w = np.uint64(i[7])
                            for k in range(n):
                                v[to + k] += weights[w + k]
                elif op == ROUND:  # onto a grid: weights hold 2^frac and 2^-frac
                    up, down = np.float64(weights[i[5]]), np.float64(weights[i[5] + 1])
                    for k in range(n):
                        y = np.rint(np.float64(v[a + k]) * up)
                        y = min(max(y, np.float64(i[6])), np.float64(i[7]))
                        v[o + k] = y * down
                elif op == PUSH:  # o: a ring of b rows
                    place = r[i[5]] + 1
                    place = 0 if place == i[3] else place
                    r[i[5]] = place
                    o += np.uint64(place) * n
                    for k in range(n):
                        v[o + k] = v[a + k]
                elif op == UNROLL:  # a: a ring of b + 1 rows, the one behind the newest is no longer of it
                    place = r[i[5]] + 2
                    for _ in range(b):
                        place -= i[3] + 1 if place > i[3] else 0
                        of = a + np.uint64(place) * n
                        for k in range(n):
                            v[o + k] = v[of + k]
                        place += 1
                        o += n
                elif op == LOOP:
                    r[i[5]] = 0
                elif op == NEXT:
                    r[i[5]] += 1
                    if r[i[5]] < i[6]:
                        now = i[7]
                elif op == SLICE:
                    a += np.uint64(r[i[5]]) * n
                    for k in range(n):
                        v[o + k] = v[a + k]
                elif op == STACK:
                    o += np.uint64(r[i[5]]) * n
                    for k in range(n):
                        v[o + k] = v[a + k]
                elif op == TOTAL:
                    if r[i[5]] == 0:
                        for k in range(n):
                            v[o + k] = v[a + k]
                    else:
                        for k in range(n):
                            v[o + k] += v[a + k]
                elif op == RESET:
                    for k in range(n):
                        v[o + k] = fresh[o + k]
                    for k in range(n):
                        m[o + k] = 0
                elif op == RESTART:
                    for k in range(i[1], i[1] + i[4]):
                        r[k] = restarts[k]
                elif op == COUNTS:
                    # maps: K, heads, then of keys and of values: place, rows of the ring, register; mask's place or -1
                    how = maps[i[5] : i[5] + 9]
                    keys, heads = how[0], how[1]
                    each = np.uint64(i[4] // heads)
                    krow = np.int64(r[how[4]]) + 2 if how[4] >= 0 else 0
                    vrow = np.int64(r[how[7]]) + 2 if how[7] >= 0 else 0
                    for k in range(n):
                        v[o + k] = zero
                    done, off = 0, 0
                    for key in range(keys):
                        krow -= how[3] if krow >= how[3] else 0
                        vrow -= how[6] if vrow >= how[6] else 0
                        of, at = np.uint64(how[2] + krow * i[4]), np.uint64(how[5] + vrow * i[4])
                        krow += 1
                        vrow += 1
                        if how[8] >= 0 and v[how[8] + key] == zero:
                            off += 1
                            continue
                        for head in range(heads):
                            score = zero
                            base = np.uint64(head) * each
                            for k in range(base, base + each):
                                x = v[a + k]
                                if x != zero:
                                    z = v[of + k]
                                    if z != zero:
                                        score += x * z
                                        done += 1
                            if score != zero:
                                for k in range(base, base + each):
                                    x = v[at + k]
                                    v[o + k] += score * x
                                    done += x != zero
                    for k in range(n):
                        v[o + k] *= weights[i[6]]
                    if i[7] >= 0:
                        c[i[7]] += done
                        c[i[7] + 1] += 2 * off * i[4]
                        c[i[7] + 2] += 2 * (keys - off) * i[4] - done
                elif op == RUNNING:
                    # b: per head the sum of k v^T over the band. maps: heads, then of keys and of values: place, rows
                    # of the ring, register
                    how = maps[i[5] : i[5] + 7]
                    each = np.uint64(i[4] // how[0])
                    newest_k, newest_v = r[how[3]], r[how[6]]
                    for turn in range(2):
                        krow = newest_k + turn
                        krow = 0 if krow == how[2] else krow
                        vrow = newest_v + turn
                        vrow = 0 if vrow == how[5] else vrow
                        of, at = np.uint64(how[1] + krow * i[4]), np.uint64(how[4] + vrow * i[4])
                        for k in range(n):
                            x = v[of + k]
                            if x != zero:
                                x = x if turn == 0 else -x
                                base, into = at + k // each * each, b + k * each
                                for d in range(each):
                                    v[into + d] += x * v[base + d]
                    for k in range(n):
                        v[o + k] = zero
                    for k in range(n):
                        x = v[a + k]
                        if x != zero:
                            base, into = o + k // each * each, b + k * each
                            for d in range(each):
                                v[base + d] += x * v[into + d]
                    for k in range(n):
                        v[o + k] *= weights[i[6]]
                elif op == SOFT:  # maps as of COUNTS; reals: the scale, then room for a score of every key, a head
                    how = maps[i[5] : i[5] + 9]
                    keys, heads, score = how[0], how[1], i[6] + 1
                    each, total = i[4] // heads, i[6] + 1 + how[0]
                    krow = np.int64(r[how[4]]) + 2 if how[4] >= 0 else 0
                    vrow = np.int64(r[how[7]]) + 2 if how[7] >= 0 else 0
                    done, off = 0, 0
                    for head in range(heads):
                        base, highest, norm = head * each, -math.inf, 0.0
                        for key in range(keys):
                            if how[8] >= 0 and v[how[8] + key] == zero:
                                off += head == 0
                                continue
                            of = how[2] + (krow + key) % how[3] * i[4] + base
                            at = how[5] + (vrow + key) % how[6] * i[4] + base
                            y = 0.0
                            for d in range(each):
                                x, z = v[i[2] + base + d], v[of + d]
                                y += np.float64(x) * np.float64(z)
                                if i[7] >= 0:
                                    done += ((x != zero) & (z != zero)) + (v[at + d] != zero)
                            reals[score + key] = y * reals[i[6]]
                            highest = max(highest, reals[score + key])
                        for d in range(each):
                            reals[total + d] = 0.0
                        for key in range(keys):
                            if how[8] >= 0 and v[how[8] + key] == zero:
                                continue
                            at = how[5] + (vrow + key) % how[6] * i[4] + base
                            y = math.exp(reals[score + key] - highest)
                            norm += y
                            for d in range(each):
                                reals[total + d] += y * np.float64(v[at + d])
                        for d in range(each):
                            v[i[1] + base + d] = reals[total + d] / norm if norm > 0.0 else 0.0
                    if i[7] >= 0:
                        c[i[7]] += done
                        c[i[7] + 1] += 2 * off * i[4]
                        c[i[7] + 2] += 2 * (keys - off) * i[4] - done
                elif op == NORM:  # b: rows; reals: epsilon, weight and bias of a LayerNorm, or room for a softmax
                    for lead in range(i[3]):
                        to, of = i[1] + lead * i[4], i[2] + lead * i[4]
                        mean, highest, norm = 0.0, -math.inf, 0.0
                        for k in range(i[4]):
                            y = np.float64(v[of + k])
                            mean += y
                            highest = max(highest, y)
                        mean /= i[4]
                        for k in range(i[4]):
                            y = np.float64(v[of + k])
                            if i[6] == 1:
                                norm += (y - mean) * (y - mean)
                            else:
                                reals[i[5] + k] = math.exp(y - highest)
                                norm += reals[i[5] + k]
                        spread = math.sqrt(norm / i[4] + reals[i[5]])
                        for k in range(i[4]):
                            if i[6] == 1:
                                y = (np.float64(v[of + k]) - mean) / spread
                                v[to + k] = y * reals[i[5] + 1 + k] + reals[i[5] + 1 + i[4] + k]
                            else:
                                v[to + k] = reals[i[5] + k] / norm
                elif op == READ:  # a running value: b its state; i[6]: 0 sum, 1 mean, 2 maximum, 3 last
                    d, ran, how_ = np.uint64(i[3]), r[i[5]], i[6]
                    r[i[5]] = ran + 1
                    numbers[3] = ran + 1
                    count = numbers[3]
                    for k in range(n):
                        x, z = v[d + k], v[a + k]
                        if how_ == 3:
                            x = z
                        elif how_ == 2:
                            x = x if (ran > 0) & ((x >= z) | (x != x)) else z
                        else:
                            x += z
                        v[d + k] = x
                        v[o + k] = x / count if how_ == 1 else x
                elif op == EVENTS:
                    events = 0
                    for k in range(n):
                        events += v[a + k] != zero
                    c[i[5]] += events
                elif op == HELD:  # a: a ring of b + 1 rows
                    events = 0
                    for k in range(n * (b + np.uint64(1))):
                        events += v[a + k] != zero
                    place = r[i[6]] + 1
                    a += np.uint64(0 if place > i[3] else place) * n
                    for k in range(n):
                        events -= v[a + k] != zero
                    c[i[5]] += events
                elif op == FANOUT:  # maps: living targets of every input, then all targets
                    executed, touched = 0, 0
                    first, second = maps[i[6] : i[6] + i[4]], maps[i[6] + i[4] : i[6] + 2 * i[4]]
                    for k in range(n):
                        if v[a + k] != zero:
                            executed += first[k]
                            touched += second[k]
                    c[i[5]] += executed
                    c[i[5] + 1] += touched
                    c[i[5] + 2] += 1
                elif op == DRIVEN:  # o: whether it fired, b: whether it was above; i[6]: who is driven at every tick
                    moved = 0
                    d = np.uint64(i[6])
                    for k in range(n):
                        moved += (m[a + k] != 0) | (living[d + k] != 0) | (v[o + k] != zero) | (v[b + k] != zero)
                    c[i[5]] += moved
                elif op == MARK:
                    for k in range(n):
                        m[o + k] = v[a + k] != zero
                elif op == MARK_COPY:
                    for k in range(n):
                        m[o + k] = m[a + k]
                elif op in (MARK_OR, MARK_AND):
                    for k in range(n):
                        x, z = m[a + k], m[b + k]
                        m[o + k] = x | z if op == MARK_OR else x & z
                elif op == MARK_GATHER:
                    places = maps[i[5] : i[5] + i[4]]
                    for k in range(n):
                        m[o + k] = m[a + np.uint64(places[k])]
                elif op == MARK_LINEAR:
                    inputs = np.uint64(i[5])
                    for lead in range(b):
                        to, of = o + lead * n, a + lead * inputs
                        for k in range(n):
                            m[to + k] = 0
                        for j in range(inputs):
                            if v[of + j] != zero:
                                w = np.uint64(i[6]) + j * n
                                for k in range(n):
                                    m[to + k] |= living[w + k]
            shows = leaving[t, sample]
            for k in range(shown):
                shows[k] = v[k]
    return True
