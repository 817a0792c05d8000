"""Source of the kernel that runs a convolution and the neurons behind it together, band by band and cell by cell.

A cell is a place of the output with all its channels; states, currents and parameters lie cell by cell. A band of output
rows is brought through all ticks of a block before the next one: its currents never leave the second-level cache, and
states are read once per block. In every tick a band is passed over in one of three ways:

- *not at all*: no event reaches it and nobody in it is awake;
- *listed*: cells that an event reaches, or in which a neuron is awake (:mod:`neuroaccel.engine.sleep`), are gathered,
  brought to the present by the silent ticks that they missed, each rounded on its own, advanced, and put back;
- *straight*: every cell, where most of them would be listed anyway, or where neurons cannot sleep.

The kernel takes states V[N, states, size] and ``values``: (:func:`tick_code.fixed_names`, then the bounds of the sleep
rule) V[size] where ``wide`` names them, else V[1]. Per sample and band ``level`` i8 says to which tick all cells have come
at least, ``stamp`` i8[N, cells] which came further; ``awake`` u1[N, bands * lot] are the cells with a neuron awake, and
``waking`` i8 how many they are, -1 where that is not known. ``clock`` i8[N] counts ticks. With ``ticks`` 0 every cell is
brought to the present, and nothing else happens.
"""

from __future__ import annotations

from neuroaccel.engine.sleep import Rule
from neuroaccel.engine.tick_code import FloatTick, fixed_names
from neuroaccel.program import Program

BLOCK = 1024  # neurons of a gathered block: it stays in the first-level cache
MOVED, SENT, AWAKE = 1, 2, 4
# Arrays that a loop may write beside others before the compiler stops proving that they do not overlap.
MOST_STATES = 2


def _bits(bit: int) -> str:
    return f"np.uint64(0x{bit * 0x0101010101010101:016x})"


HEAD = f"""import numpy as np
from numba import njit

from neuroaccel.engine.kernels.conv_events import listed, mark, scatter
from neuroaccel.engine.kernels.conv_rows import copy_row

MOVED_BITS, SENT_BITS, AWAKE_BITS = {_bits(MOVED)}, {_bits(SENT)}, {_bits(AWAKE)}
PAIRS, FOURS = np.uint64(0x00ff00ff00ff00ff), np.uint64(0x0001000100010001)
ZERO, ONE, EIGHT, TOP = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(48)
BLOCK = {BLOCK}
"""

COMMON = '''
@njit(nogil=True, error_model="numpy")
def moved_among(words, full):
    """Bytes with MOVED among words[:full], 128 at most: they are summed within words."""
    total = ZERO
    for j in range(full):
        total += words[j] & MOVED_BITS
    total = (total & PAIRS) + ((total >> EIGHT) & PAIRS)
    return np.int64((total * FOURS) >> TOP)


@njit(nogil=True, error_model="numpy")
def sent_among(words, full, near):
    """List the bytes with SENT among words[:full]; returns how many."""
    events = 0
    for start in range(0, full, 8):
        group = ZERO
        for j in range(start, min(start + 8, full)):
            group |= words[j]
        if group & SENT_BITS == ZERO:
            continue
        for j in range(start, min(start + 8, full)):
            word = words[j] & SENT_BITS
            if word != ZERO:
                for k in range(8):
                    near[events] = 8 * j + k
                    events += np.int64((word >> ONE) & ONE)
                    word = word >> EIGHT
    return events


@njit(nogil=True, error_model="numpy")
def reached_cells(lot, groups, words, marks, bits, reached):
    """reached u1[lot]: cells that an event touched; returns how many."""
    count = 0
    for p in range(lot):
        any_of_it = ZERO
        if bits.shape[0] > 0:
            for k in range(p * groups * words, (p + 1) * groups * words):
                any_of_it |= bits[k]
        else:
            for k in range(p * groups, (p + 1) * groups):
                any_of_it |= np.uint64(marks[k])
        reached[p] = any_of_it != ZERO
        count += reached[p]
    return count


@njit(nogil=True, error_model="numpy")
def marked(flags, at, p, width, per_group, words, marks, bits):
    """Set MOVED in the bytes of a cell's neurons that an event touched."""
    groups = width // per_group
    for g in range(groups):
        unit = p * groups + g
        for k in range(per_group):
            if bits.shape[0] > 0:
                live = np.uint8((bits[unit * words + (k >> 6)] >> np.uint64(k & 63)) & ONE)
            else:
                live = marks[unit]
            flags[at + g * per_group + k] |= live


@njit(nogil=True, error_model="numpy")
def chosen(reached, awake, lot, cells):
    """List cells that are reached or awake; returns how many."""
    count = 0
    one, two = reached.view(np.uint64), awake.view(np.uint64)
    for j in range((lot + 7) // 8):
        word = one[j] | two[j]
        if word != ZERO:
            for k in range(8):
                cells[count] = 8 * j + k
                count += np.int64(word & ONE)
                word = word >> EIGHT
    return count
'''


def _tick(tick: FloatTick, rule: Rule | None, awake: bool) -> list[str]:
    """From ``above`` to the byte of a neuron, on names."""
    lines = [f"above = {tick.above()}", *tick.lines()]
    byte = f"({MOVED | SENT} if fired else ({MOVED} if above else 0))"
    if awake and rule is not None:
        lines += rule.lines(tick.names, tick.number)
        byte += f" | (0 if asleep else {AWAKE})"
    return [*lines, f"flags[k] = np.uint8({byte})"]


def _function(name: str, arguments: list[str], body: list[str]) -> str:
    head = f'\n\n@njit(nogil=True, error_model="numpy")\ndef {name}({", ".join(arguments)}):\n'
    return head + "\n".join(f"    {line}" for line in body)


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
    tick.names |= {bound: f"bound_{bound}" for bound in bounds}
    names = [*fixed_names(program), *bounds]
    values = [tick.names[name] for name in names]
    scalars = [tick.names[name] for name in names if name not in wide]
    gathered = [tick.names[name] for name in names if name in wide]
    states = tick.states
    straight = not wide and len(states) <= MOST_STATES

    def at(place: int) -> str:
        return f"w[np.uint64({place} * BLOCK) + k]"

    places = {s: 1 + j for j, s in enumerate(states)} | {v: 1 + len(states) + j for j, v in enumerate(gathered)}
    load = [f"{name} = {at(place)}" for name, place in places.items()]
    store = [f"{s} = {s} + zero" for s in ()] + [f"{at(places[s])} = {s}" for s in states]
    advance = ["for k in range(n):"]
    advance += [f"    {line}" for line in (f"{tick.current} = {at(0)}", *load, *_tick(tick, rule, True), *store)]
    silent = [line for a in program.body for line in tick.assign(a.target, a.op, a.args)]
    drift = ["for _ in range(ticks):", "    changed = False", "    for k in range(first, last):"]
    drift += [f"        {line}" for line in (f"{tick.current} = zero", *load, *silent)]
    for s in states:
        drift += [f"        changed |= {s} != {at(places[s])}", f"        {at(places[s])} = {s}"]
    # A silent tick that changes nothing changes nothing ever after.
    drift += ["    if not changed:", "        break"]
    functions = [
        _function("advance", ["w", "flags", "n", *scalars], advance),
        _function("drift", ["w", "first", "last", "ticks", *scalars], drift),
    ]
    if straight:
        body = ["for k in range(n):", f"    {tick.current} = x_row[k]", "    x_row[k] = zero"]
        body += [f"    {s} = row_{s}[k]" for s in states]
        body += [f"    {line}" for line in _tick(tick, rule, False)]
        body += [f"    row_{s}[k] = {s}" for s in states]
        functions.append(_function("straight", ["x_row", *(f"row_{s}" for s in states), "flags", "n", *scalars], body))
    return _module(tick, functions, states, values, scalars, gathered, straight)


def _module(
    tick: FloatTick,
    functions: list[str],
    states: list[str],
    values: list[str],
    scalars: list[str],
    gathered: list[str],
    straight: bool,
) -> str:
    flat, ints, bytes_ = "V[::1]", "i8[::1]", "u1[::1]"
    arguments = {"value": "V[:, ::1]", "index_in": "i4[:, ::1]", "found_in": ints, "weight": flat, "masks": "u8[::1]"}
    arguments |= {"rows": "i8[:, ::1]", "columns": "i8[:, ::1]", "bias": flat, "shape": ints, "ends": ints}
    arguments |= {"events": "i4[::1]", "numbers": flat, "sums": flat, "marks": bytes_, "bits": "u8[::1]"}
    arguments |= {"seen": "u1[:, ::1]", "reached": bytes_, "states": "V[:, :, ::1]", "stamp": "i8[:, ::1]"}
    arguments |= {"level": "i8[:, ::1]", "awake": "u1[:, ::1]", "waking": "i8[:, ::1]", "clock": ints}
    arguments |= {"driven": bytes_} | {f"all_{v}": flat for v in values}
    arguments |= {"emitted": "V[:, ::1]", "index": "i4[:, ::1]", "found": ints, "updates": ints, "spikes": ints}
    arguments |= {"kept": "V[:, :, :]", "current": "V[:, ::1]", "work": ints, "ticks": "i8", "can_sleep": "b1"}
    arguments |= {"track": "b1"}
    given = "".join(f", {s}" for s in scalars)

    def moves(there: bool) -> str:
        lines = []
        for j, s in enumerate(states):
            block, mine = f"w, {1 + j} * BLOCK + local", f"row_{s}, cell * width"
            lines.append(f"copy_row({block}, {mine}, width)" if there else f"copy_row({mine}, {block}, width)")
        for j, v in enumerate(gathered if there else ()):
            lines.append(f"copy_row(w, {1 + len(states) + j} * BLOCK + local, all_{v}, cell * width, width)")
        return "\n".join(lines)

    def put(marker: str, lines: str, text: str) -> str:
        indent = text[: text.index(marker)].rsplit("\n", 1)[1]
        return text.replace(marker, lines.replace("\n", f"\n{indent}"))

    driver = DRIVER
    rows = "\n".join(f"row_{s} = states[sample, {j}]" for j, s in enumerate(states))
    taken = "\n".join(f"{s} = all_{s}[0]" for s in scalars) or "pass"
    for marker, lines in {
        "<values>": taken,
        "<state rows>": rows,
        "<gather>": moves(True),
        "<put back>": moves(False),
        "<keep>": "\n".join(f"copy_row(kept[{j}, row], place, row_{s}, place, size)" for j, s in enumerate(states)),
        "<straight>": "\n".join(
            [
                "straight(sums[at : at + n]",
                *(f"    , row_{s}[place + at : place + at + n]" for s in states),
                f"    , flags, np.uint64(n){given})",
            ]
        )
        if straight
        else "pass",
    }.items():
        while marker in driver:
            driver = put(marker, lines, driver)
    driver = driver.replace("<scalars>", given).replace("<is straight>", str(straight))
    driver = driver.replace("<places>", str(1 + len(states) + len(gathered))).replace("<number>", tick.number)
    constants = "\n".join(tick.constants)
    return (
        f'"""Generated: a convolution and the neurons behind it, {tick.number}."""\n\n{HEAD}{constants}\n'
        f'SIGNATURE = "void({", ".join(arguments.values())})"\n{COMMON}{"".join(functions)}\n\n\n'
        f"def kernel({', '.join(arguments)}):\n{driver}"
    )


DRIVER = '''
    width, line, per_group, words, height = shape[6], shape[7], shape[8], shape[14], shape[15]
    groups = width // per_group
    samples, cells_of_all = clock.shape[0], stamp.shape[1]
    last_row = cells_of_all // line
    bands = level.shape[1]
    lots = height * line
    padded = awake.shape[1] // bands
    plain = groups == 1 and bits.shape[0] == 0
    w = np.empty(<places> * BLOCK, np.<number>)
    flags = np.zeros(BLOCK, np.uint8)
    flag_words = flags.view(np.uint64)
    near = np.empty(BLOCK + 8, np.int64)
    cells = np.empty(lots + 8, np.int64)
    at_once = BLOCK // width
    keep = kept.shape[1] > 0
    some_driven = driven.shape[0] > 1
    all_driven = not some_driven and driven[0] != 0
    <values>
    for row in range(ticks * samples):
        for e in range(found[row]):
            emitted[row, index[row, e]] = zero
        found[row] = 0
    for sample in range(samples):
        <state rows>
        if ticks > 0:
            listed(value, index_in, found_in, sample, samples, ticks, rows, shape, ends, events, numbers)
        moved, spiked, first = 0, 0, 0
        for band in range(bands):
            begin, end = band * height, min((band + 1) * height, last_row)
            here, lot = begin * line, (end - begin) * line
            size, place = lot * width, begin * line * width
            here_awake = awake[sample, band * padded : (band + 1) * padded]
            for t in range(max(ticks, 1)):
                row = t * samples + sample
                before = clock[sample] + t
                if ticks > 0:
                    last = ends[band * ticks + t]
                    hits = 0
                    if last > first:
                        scatter(first, last, events, numbers, weight, rows, columns, shape, begin, end, sums)
                        if track or can_sleep:
                            mark(first, last, events, masks, rows, columns, shape, begin, end, marks, bits, seen)
                            if plain:
                                for p in range(lot):
                                    hits += marks[p]
                            else:
                                hits = reached_cells(lot, groups, words, marks, bits, reached)
                        first = last
                    asleep_all = can_sleep and waking[sample, band] == 0 and not keep
                    if asleep_all and hits == 0:
                        continue
                    work[0] += 1
                    hit = marks if plain else reached
                    whole = not can_sleep or keep or waking[sample, band] < 0
                    in_line = not can_sleep or keep or 8 * hits > 5 * lot
                    count = lot
                    if not whole and not in_line:
                        count = chosen(hit, here_awake, lot, cells)
                        in_line = 8 * count > 5 * lot
                    if bias.shape[0] > 0:
                        for p in range(lot):
                            cell_sums = sums[p * width : (p + 1) * width]
                            for o in range(width):
                                cell_sums[o] += bias[o]
                    if keep:
                        copy_row(current[row], place, sums, 0, size)
                else:
                    before = clock[sample]
                    hits, count, whole, in_line, hit = 0, 0, True, True, marks
                # Who is behind the others catches up, where all go on together.
                if in_line and level[sample, band] < before:
                    for p in range(lot):
                        cell = here + p
                        behind = before - max(level[sample, band], stamp[sample, cell])
                        if behind > 0:
                            local = 0
                            <gather>
                            drift(w, np.uint64(0), np.uint64(width), behind<scalars>)
                            <put back>
                    level[sample, band] = before
                if ticks == 0:
                    continue
                if in_line and <is straight>:
                    work[1] += lot
                    n = 0
                    for p in range(0, lot, at_once):
                        few = min(at_once, lot - p)
                        at, n = p * width, few * width
                        for k in range(n, (n + 7) // 8 * 8):
                            flags[k] = 0
                        <straight>
                        full = (n + 7) // 8
                        if track:
                            if all_driven:
                                moved += n
                            else:
                                if some_driven:
                                    for k in range(n):
                                        flags[k] |= driven[place + at + k]
                                if hits > 0:
                                    if not plain:
                                        for j in range(few):
                                            marked(flags, j * width, p + j, width, per_group, words, marks, bits)
                                    elif width % 8 == 0:
                                        for j in range(few):
                                            live = np.uint64(marks[p + j]) * MOVED_BITS
                                            for k in range(j * width // 8, (j + 1) * width // 8):
                                                flag_words[k] |= live
                                    else:
                                        for j in range(few):
                                            live = marks[p + j]
                                            for k in range(j * width, (j + 1) * width):
                                                flags[k] |= live
                                moved += moved_among(flag_words, full)
                        events_here = sent_among(flag_words, full, near)
                        begun = found[row]
                        for e in range(events_here):
                            there = place + at + near[e]
                            there = (there % width) * cells_of_all + there // width
                            emitted[row, there] = one
                            index[row, begun + e] = there
                        found[row] = begun + events_here
                        spiked += events_here
                    level[sample, band] = before + 1
                    waking[sample, band] = -1
                else:
                    if in_line or whole:
                        count = lot
                        for p in range(lot):
                            cells[p] = p
                    work[2] += count
                    wakes = 0
                    for p in range(0, count, at_once):
                        few = min(at_once, count - p)
                        n = few * width
                        for j in range(few):
                            local = j * width
                            near_cell = cells[p + j]
                            cell = here + near_cell
                            copy_row(w, local, sums, near_cell * width, width)
                            <gather>
                            behind = before - max(level[sample, band], stamp[sample, cell])
                            if behind > 0:
                                drift(w, np.uint64(local), np.uint64(local + width), behind<scalars>)
                        for k in range(n, (n + 7) // 8 * 8):
                            flags[k] = 0
                        advance(w, flags, np.uint64(n)<scalars>)
                        full = (n + 7) // 8
                        for j in range(few):
                            local = j * width
                            near_cell = cells[p + j]
                            cell = here + near_cell
                            <put back>
                            stamp[sample, cell] = before + 1
                            up = np.uint8(0)
                            if can_sleep:
                                for k in range(local, local + width):
                                    up |= flags[k]
                                up = (up >> 2) & 1
                                wakes += up
                            here_awake[near_cell] = up
                            if track and not all_driven and (hits > 0 and hit[near_cell] != 0):
                                if plain:
                                    for k in range(local, local + width):
                                        flags[k] |= np.uint8(1)
                                else:
                                    marked(flags, local, near_cell, width, per_group, words, marks, bits)
                            if track and some_driven:
                                for k in range(width):
                                    flags[local + k] |= driven[cell * width + k]
                            if hits > 0 or bias.shape[0] > 0 or not (track or can_sleep):
                                for k in range(near_cell * width, near_cell * width + width):
                                    sums[k] = zero
                        if track:
                            moved += n if all_driven else moved_among(flag_words, full)
                        events_here = sent_among(flag_words, full, near)
                        begun = found[row]
                        for e in range(events_here):
                            there = here + cells[p + near[e] // width]
                            there += near[e] % width * cells_of_all
                            emitted[row, there] = one
                            index[row, begun + e] = there
                        found[row] = begun + events_here
                        spiked += events_here
                    if count == lot:
                        level[sample, band] = before + 1
                    waking[sample, band] = wakes if can_sleep else -1
                if keep:
                    <keep>
                if hits > 0:
                    marks[:] = 0
                    bits[:] = 0
        clock[sample] += ticks
        if track:
            updates[sample] += moved
            spikes[sample] += spiked
'''
