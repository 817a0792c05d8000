"""Source of the kernel that runs a convolution and the neurons behind it together, band by band and cell by cell.

A cell is a place of the output with all its channels; states, currents and parameters lie cell by cell. A band of
output rows is brought through all ticks of a block before the next one: its currents never leave the second-level
cache, and states are read once per block. In a tick, a band is passed over in one of three ways:

- *not at all*: no event reaches it and nobody in it is awake (:mod:`neuroaccel.engine.sleep`);
- *due*: only the cells that an event reaches or in which a neuron is awake. A due cell first makes up for the silent
  ticks that it missed, each rounded on its own;
- *straight*: every cell, in one sweep, where events reach most of them anyway or where neurons cannot sleep.

The kernel takes states V[N, size] and ``values`` (parameters, derived values, bounds of the sleep rule) V[size] where
``wide`` names them, else V[1]. ``due`` u1[N, cells] is TOUCHED where an event reaches a cell, AWAKE where a neuron of
it may be awake, else 0; ``waking`` i8[N, bands] counts the latter. ``stamp`` i8[N, cells] is the tick that a cell has
come to, ``clock`` i8[N] counts a sample's ticks. ``driven`` u8[cells * words] has a bit for each neuron that a bias or
leak drives; it is empty where none is, [1] where all are. ``work`` i8[3] counts bands, due cells and straight cells.
With ``ticks`` 0 every cell is brought to the present, and nothing else happens.
"""

from __future__ import annotations

from neuroaccel.engine.sleep import Rule
from neuroaccel.engine.tick_code import FloatTick, fixed_names
from neuroaccel.program import Program

TOUCHED, AWAKE = 1, 2
EIGHTHS = 3  # a band goes straight through all its cells where events reach more of them than these eighths
AHEAD = 4  # how many cells before its turn a cell's states are asked for


def fused_source(program: Program, number: str, wide: frozenset[str], rule: Rule | None) -> str:
    """The module's text.

    Arguments:
        program: one that emits spikes.
        number: ``float32`` or ``float64``.
        wide: names of the parameters, derived values and bounds that are given per neuron.
        rule: when its neurons sleep; ``None`` if they never may.
    """
    tick = FloatTick(program, number)
    bounds = () if rule is None else rule.bounds
    names = dict(tick.names) | {bound: f"bound_{bound}" for bound in bounds}
    values = {name: names[name] for name in (*fixed_names(program), *bounds)}
    lines = [f"above = {tick.above()}", *tick.lines(), "moved = above | fired"]
    if rule is not None:
        lines += rule.lines(names, number)
    silent = [line for a in program.body for line in tick.assign(a.target, a.op, a.args)]
    shared = (
        f"{tick.current!r}, {tick.states!r}, {[v for name, v in values.items() if name in wide]!r}, "
        f"{[v for name, v in values.items() if name not in wide]!r}"
    )
    masks = ["fired", "moved", *(["asleep"] if rule is not None else [])]
    vectors = [
        f"STEP = {chr(10).join(lines)!r}",
        f"SKIP = {chr(10).join(silent)!r}",
        f"CONSTANTS = {tick.constants!r}",
        f"step = cell_step(STEP, {shared}, {masks!r}, CONSTANTS)",
        f"step_row = row_step(STEP, {shared}, {masks[:2]!r}, CONSTANTS)",
        f"skip = cell_skip(SKIP, {shared}, CONSTANTS)",
    ]
    rows, flat, whole, word = "V[:, ::1]", "V[::1]", "i8[::1]", "u8[::1]"
    arguments = {"value": rows, "index_in": "i4[:, ::1]", "found_in": whole, "weight": flat, "masks": word}
    arguments |= {"rows": "i8[:, ::1]", "columns": "i8[:, ::1]", "bias": flat, "shape": whole, "starts": whole}
    arguments |= {"events": whole, "numbers": flat, "sums": flat, "bits": word, "seen": "u1[:, ::1]", "places": whole}
    arguments |= {"pixels": "i4[::1]", "codes": "i4[::1]", "tally": "i4[::1]"}
    arguments |= {"due": "u1[:, ::1]", "stamp": "i8[:, ::1]", "waking": "i8[:, ::1]", "clock": whole, "driven": word}
    arguments |= {f"state_{s}": rows for s in tick.states} | {f"all_{v}": flat for v in values.values()}
    arguments |= {"emitted": rows, "index": "i4[:, ::1]", "found": whole, "updates": whole, "spikes": whole}
    arguments |= {"kept": "V[:, :, :]", "current": rows, "work": whole, "ticks": "i8", "track": "b1"}
    states = [f"state_{s}[sample], at" for s in tick.states]
    gathered = [f"all_{v}, at" for name, v in values.items() if name in wide]
    scalars = [f"all_{v}[0]" for name, v in values.items() if name not in wide]
    keep = [f"kept[{j}, row, at + k] = state_{s}[sample, at + k]" for j, s in enumerate(tick.states)]
    body = DRIVER.replace("<skip>", ", ".join([*states, *gathered, "count", "gap", *scalars]))
    body = body.replace("<step>", ", ".join(["sums, here", *states, *gathered, "count", "0", *scalars]))
    row = ", ".join(["sums, here", *states, *gathered, "fired_bits, 0", "moved_bits, 0", "count", "0", *scalars])
    body = body.replace("<step row>", row)
    body = body.replace("<keep>", f"\n{' ' * 32}".join(keep)).replace("<sleeps>", str(rule is not None))
    prefetch = [f"prefetch_row(state_{s}[sample], ahead, width)" for s in tick.states]
    body = body.replace("<prefetch>", f"\n{' ' * 20}".join(prefetch))
    body = body.replace("<words>", "fired, moved, asleep" if rule is not None else "fired, moved")
    body = body.replace("<awake>", "full & ~asleep" if rule is not None else "ZERO")
    return "\n".join(
        [
            f'"""Generated: a convolution and the neurons behind it, {number}."""\n',
            "import numpy as np\n",
            "from neuroaccel.engine.kernels.cell_vectors import cell_skip, cell_step, first_of, ones_of, row_step",
            "from neuroaccel.engine.kernels.conv_events import mark, mark_pixels, scatter",
            "from neuroaccel.engine.kernels.conv_lists import by_pixels, in_order",
            "from neuroaccel.engine.kernels.conv_rows import add_rows, fill_row, prefetch_row\n",
            "ZERO, ONE, ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)",
            *tick.constants,
            *vectors,
            f'SIGNATURE = "void({", ".join(arguments.values())})"\n\n',
            f"def kernel({', '.join(arguments)}):{body}",
        ]
    )


DRIVER = f"""
    width, line, words, height = shape[6], shape[7], shape[14], shape[22]
    cells, bands = stamp.shape[1], waking.shape[1]
    keep, partial = kept.shape[1] > 0, masks.shape[0] > 0 and track
    all_due = keep or not <sleeps>
    # Neurons of several cells, or of one, fill whole words.
    code = 0  # bits of a channel's number
    while width > 1 << code:
        code += 1
    straight_too = not keep and not partial and driven.shape[0] <= 1 and (64 % width == 0 or width % 64 == 0)
    fired_bits = np.zeros((height * line * width + 63) // 64, np.uint64)
    moved_bits = np.zeros_like(fired_bits)
    all_driven, some_driven = driven.shape[0] == 1, driven.shape[0] > 1
    for row in range(ticks * clock.shape[0]):
        for e in range(found[row]):
            emitted[row, index[row, e]] = zero
        found[row] = 0
    for sample in range(clock.shape[0]):
        mine, stamps = due[sample], stamp[sample]
        if ticks == 0:
            for cell in range(cells):
                gap = clock[sample] - stamps[cell]
                stamps[cell] = clock[sample]
                if gap > 0:
                    for first in range(cell * width, (cell + 1) * width, 64):
                        at, count = first, min((cell + 1) * width - first, 64)
                        skip(<skip>)
            continue
        by_pixels(value, index_in, found_in, sample, clock.shape[0], ticks, shape, starts, pixels, events, numbers)
        for band in range(bands):
            begin, end = band * height, min((band + 1) * height, cells // line)
            first_cell, lot = begin * line, (end - begin) * line
            marks = mine[first_cell : first_cell + lot]
            for t in range(ticks):
                listed = index[t * clock.shape[0] + sample]
                row, before = t * clock.shape[0] + sample, clock[sample] + t
                if partial:
                    busy = mark(t, ticks, starts, events, masks, rows, columns, shape, begin, end, marks, bits, seen)
                else:
                    busy = mark_pixels(t, ticks, pixels, rows, shape, begin, end, marks, seen)
                if not busy and not all_due and waking[sample, band] == 0:
                    continue
                if busy:
                    scatter(t, ticks, starts, events, numbers, weight, rows, columns, shape, begin, end, sums)
                moves, wakes, begun = 0, 0, found[row]
                work[0] += 1
                hits = 0
                if straight_too:
                    for p in range(lot):
                        hits += marks[p] & {TOUCHED}
                if straight_too and (not <sleeps> or {EIGHTHS} * lot < 8 * hits):
                    work[2] += lot
                    late = False
                    for p in range(lot if <sleeps> else 0):
                        late |= stamps[first_cell + p] != before
                    if <sleeps> and not late:
                        in_time = stamps[first_cell : first_cell + lot]
                        for p in range(lot):
                            in_time[p] = before + 1
                    for p in range(lot if late else 0):
                        cell = first_cell + p
                        gap = before - stamps[cell]
                        stamps[cell] = before + 1
                        if gap > 0:
                            for part in range(words):
                                at, count = cell * width + part * 64, min(width - part * 64, 64)
                                skip(<skip>)
                    here, at, count = 0, first_cell * width, lot * width
                    last = (count + 63) >> 6
                    fired_bits[last - 1] = moved_bits[last - 1] = ZERO
                    if bias.shape[0] > 0:
                        for p in range(lot):
                            add_rows(sums, p * width, 0, bias, 0, 0, 1, width, one)
                    step_row(<step row>)
                    if track:
                        if all_driven:
                            moves = count
                        else:
                            if hits > 0 and width >= 64:
                                for part in range(words):
                                    for p in range(lot):
                                        moved_bits[p * words + part] |= ZERO - np.uint64(marks[p] & {TOUCHED})
                            elif hits > 0:
                                full = ALL >> np.uint64(64 - width)
                                for p in range(lot):
                                    touch = full * np.uint64(marks[p] & {TOUCHED})
                                    moved_bits[p * width >> 6] |= touch << np.uint64(p * width & 63)
                            for w in range(last):
                                moves += ones_of(moved_bits[w])
                    for w in range(last):
                        fired = fired_bits[w]
                        # Channels fill all codes of a cell, or whole words.
                        begins = (first_cell << code) + (w << 6)
                        if width != 1 << code:
                            begins = (first_cell + w // words << code) + (w % words << 6)
                        if begun + 2 <= listed.shape[0]:  # the first two without a branch that nobody can foresee
                            for _ in range(2):
                                listed[begun] = begins + first_of(fired)
                                begun += np.int64(fired != ZERO)
                                fired &= fired - ONE
                        while fired != ZERO:
                            listed[begun] = begins + first_of(fired)
                            fired &= fired - ONE
                            begun += 1
                    # Who is awake is not asked here: it would take longer than to look at all cells once more.
                    fill_row(marks, 0, lot, np.uint8({AWAKE} if <sleeps> else 0))
                    waking[sample, band] = lot
                    if track:
                        updates[sample] += moves
                        spikes[sample] += begun - found[row]
                    found[row] = begun
                    continue
                among = 0
                for p in range(lot):
                    places[among] = p
                    among += np.int64(all_due or marks[p] != 0)
                work[1] += among
                for j in range(among):
                    p = places[j]
                    touched, cell = marks[p] == {TOUCHED}, first_cell + p
                    ahead = (first_cell + places[min(j + {AHEAD}, among - 1)]) * width
                    <prefetch>
                    gap = before - stamps[cell]
                    stamps[cell] = before + 1
                    awake = ZERO
                    if bias.shape[0] > 0:
                        add_rows(sums, p * width, 0, bias, 0, 0, 1, width, one)
                    for part in range(words):
                        at, here = cell * width + part * 64, p * width + part * 64
                        count = min(width - part * 64, 64)
                        full = ALL >> np.uint64(64 - count)
                        if keep:
                            for k in range(count):
                                current[row, at + k] = sums[here + k]
                        if gap > 0:
                            skip(<skip>)
                        <words> = step(<step>)
                        awake |= <awake>
                        if track:
                            if all_driven or (touched and not partial):
                                moved = full
                            else:
                                if partial:
                                    moved |= bits[p * words + part]
                                if some_driven:
                                    moved |= driven[cell * words + part]
                            moves += ones_of(moved)
                        while fired != ZERO:
                            o = part * 64 + first_of(fired)
                            fired &= fired - ONE
                            listed[begun] = cell << code | o
                            begun += 1
                        if keep:
                            for k in range(count):
                                <keep>
                        if partial:
                            bits[p * words + part] = ZERO
                    marks[p] = {AWAKE} if awake != ZERO else 0
                    wakes += marks[p] >> 1
                waking[sample, band] = wakes
                if track:
                    updates[sample] += moves
                    spikes[sample] += begun - found[row]
                found[row] = begun
        clock[sample] += ticks
    for row in range(ticks * clock.shape[0]):
        in_order(index[row], found[row], width, cells, code, codes, tally, emitted[row], one)
"""
