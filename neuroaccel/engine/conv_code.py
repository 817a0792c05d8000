"""Source of the kernel that runs a convolution and the neurons behind it together, band by band and cell by cell.

A cell is a place of the output with all its channels; states, currents and parameters lie cell by cell. A band of output
rows is brought through all ticks of a block before the next one: its currents never leave the second-level cache, and
states are read once per block. In every tick a band is passed over in one of three ways:

- *not at all*: no event reaches it and nobody in it is awake;
- *due*: cells that an event reaches or in which a neuron is awake, by the kernel of :mod:`cell_code`;
- *straight*: every cell, where most of them would be due anyway, or where neurons cannot sleep.

The kernel takes states V[N, size], ``due`` and ``stamp`` as :mod:`cell_code` has them, and per sample and band ``even``,
the tick to which a straight pass brought all cells, and ``waking``, how many cells are awake. ``clock`` i8[N] counts a
sample's ticks. ``work`` i8[3] counts bands that were looked at, and cells that went straight and that might have been
due. With ``ticks`` 0 every cell is brought to the present, and nothing else happens.
"""

from __future__ import annotations

import re

from neuroaccel.engine.cell_code import AWAKE, TOUCHED, settle_source, tick_source
from neuroaccel.engine.codegen import BLOCK, HEADER, MOVED, SENT, Places, at, indent, listed_words, moved_words
from neuroaccel.engine.sleep import Rule
from neuroaccel.engine.tick_code import FloatTick, fixed_names
from neuroaccel.program import Program

# States whose loop the compiler can still prove to touch no other array; beyond, they are copied to one.
MOST_STATES = 2
# A band goes straight where more of its cells than these eighths are due.
EIGHTHS = 5


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
    values = {name: tick.names.get(name, f"bound_{name}") for name in (*fixed_names(program), *bounds)}
    straight = _straight(tick, wide)
    rows, flat, whole, word, byte = "V[:, ::1]", "V[::1]", "i8[::1]", "u8[::1]", "u1[::1]"
    arguments = {"value": rows, "index_in": "i4[:, ::1]", "found_in": whole, "weight": flat, "masks": word}
    arguments |= {"rows": "i8[:, ::1]", "columns": "i8[:, ::1]", "bias": flat, "shape": whole, "ends": whole}
    arguments |= {"addresses": "i4[::1]", "numbers": flat, "sums": flat, "bits": word, "seen": "u1[:, ::1]"}
    arguments |= {"due": "u1[:, ::1]", **dict.fromkeys(("stamp", "even", "waking"), "i8[:, ::1]"), "clock": whole}
    arguments |= {"driven": byte} | {f"state_{s}": rows for s in tick.states}
    arguments |= {f"all_{v}": flat for v in values.values()} | {"address": "i4[::1]", "emitted": rows}
    arguments |= {"index": "i4[:, ::1]", "found": whole, "updates": whole, "spikes": whole, "kept": "V[:, :, :]"}
    arguments |= {"current": rows, "work": whole, "ticks": "i8", "track": "b1"}
    text = _driver(tick, values, wide, rule is not None)
    parts = [
        f'"""Generated: a convolution and the neurons behind it, {number}."""\n',
        HEADER,
        "from numba import njit\n",
        "from neuroaccel.engine.kernels.conv_events import listed, mark, scatter",
        "from neuroaccel.engine.kernels.conv_rows import copy_row, fill_row",
    ]
    if rule is not None:
        parts += [_embedded("due_cells", tick_source(rule, number, wide))]
        parts += [_embedded("settled", settle_source(rule, number, wide))]
    parts += ["\n".join(tick.constants), f'SIGNATURE = "void({", ".join(arguments.values())})"\n', straight]
    return "\n".join(parts) + f"\n\n\ndef kernel({', '.join(arguments)}):\n" + "\n".join(indent(text, 1)) + "\n"


def _embedded(name: str, module: str) -> str:
    """The kernel of a module as a helper under another name, its constants renamed."""
    text = re.sub(r"\bc(\d+)\b", rf"{name}_\1", module[module.index("import numpy as np") :])
    text = text.replace("import numpy as np\n", "", 1)
    return text.replace("def kernel(", f'@njit(nogil=True, error_model="numpy")\ndef {name}(')


def _straight(tick: FloatTick, wide: frozenset[str]) -> str:
    """Source of a tick of the ``n`` neurons of a few cells; their currents are left 0."""
    gathered = [tick.names[name] for name in fixed_names(tick.program) if name in wide]
    scalars = [tick.names[name] for name in fixed_names(tick.program) if name not in wide]
    named = [*tick.states, *gathered]
    arguments = ["x_row", *(f"row_{s}" for s in named), "flags", "n", *scalars]
    direct = len(named) <= MOST_STATES
    places, lines = Places(), list[str]()
    where = {s: f"row_{s}[k]" if direct else at(places.new()) for s in (tick.current, *named)}
    if direct:
        where[tick.current] = "x_row[k]"
    else:
        lines += [f"w = np.empty({places.count * BLOCK}, np.{tick.number})"]
        for name, row in zip((tick.current, *named), ("x_row", *(f"row_{s}" for s in named)), strict=True):
            lines += ["for k in range(n):", f"    {where[name]} = {row}[k]"]
        lines += ["for k in range(n):", "    x_row[k] = zero"]
    body = [f"{name} = {place}" for name, place in where.items()]
    body += [f"{where[tick.current]} = zero"] if direct else []
    body += [f"above = {tick.above()}", *tick.lines(), *(f"{where[s]} = {s}" for s in tick.states)]
    body += [f"flags[k] = np.uint8({MOVED | SENT} if fired else ({MOVED} if above else 0))"]
    lines += ["for k in range(n):", *indent(body, 1)]
    if not direct:
        for s in tick.states:
            lines += ["for k in range(n):", f"    row_{s}[k] = {where[s]}"]
    head = f'@njit(nogil=True, error_model="numpy")\ndef straight({", ".join(arguments)}):\n'
    return head + "\n".join(indent(lines, 1))


def _driver(tick: FloatTick, values: dict[str, str], wide: frozenset[str], sleeps: bool) -> list[str]:
    """The kernel's lines."""
    states = [f"state_{s}" for s in tick.states]
    given = [f"all_{v}" for v in values.values()]
    program_values = {name: values[name] for name in fixed_names(tick.program)}
    scalars = [v for name, v in program_values.items() if name not in wide]
    gathered = [v for name, v in program_values.items() if name in wide]
    band = [f"{s}[sample, place : place + size].reshape(1, size)" for s in states]
    band += [f"{v}[place : place + size]" if name in wide else v for (name, _), v in zip(values.items(), given, strict=True)]
    few = [f"{s}[sample, at : at + n]" for s in states] + [f"all_{v}[at : at + n]" for v in gathered]
    settle = [
        "if even[sample, band] != before:",
        "    part = stamp[sample, here : here + lot].reshape(1, lot)",
        f"    settled(before, width, part, {', '.join(band)})",
    ]
    text = DRIVER if sleeps else re.sub(r"(?m)^ *#if sleeps\n(?:.*\n)*? *#end\n", "", DRIVER)
    text = re.sub(r"(?m)^ *#(if sleeps|end)\n", "", text)
    text = text.replace("<straight cells>", f"sums[at - place : at - place + n], {', '.join(few)}, flags, np.uint64(n)")
    text = text.replace("<after>", str(AWAKE if sleeps else 0))
    text = text.replace("<scalars>", "".join(f", {v}" for v in scalars))
    text = text.replace("<values>", "\n".join(f"{v} = all_{v}[0]" for v in scalars))
    text = text.replace("<states and values>", ", ".join((*states, *given)))
    keep = [f"kept[{j}, row, place + k] = {s}[sample, place + k]" for j, s in enumerate(states)]
    whole = {"settle": settle, "moved": moved_words(), "listed": listed_words(), "kept": keep}
    lines = []
    for line in text.strip().split("\n"):
        marker = line.strip().removeprefix("<").removesuffix(">")
        lines += indent(whole[marker], (len(line) - len(line.lstrip())) // 4) if marker in whole else [line]
    return lines


DRIVER = f"""
width, line, height = shape[6], shape[7], shape[15]
cells, bands = stamp.shape[1], even.shape[1]
partial = masks.shape[0] > 0
flags = np.zeros({BLOCK}, np.uint8)
words = flags.view(np.uint64)
near = np.empty({BLOCK + 8}, np.int64)
per = {BLOCK} // width
keep = kept.shape[1] > 0
some_driven = driven.shape[0] > 1
all_driven = not some_driven and driven[0] != 0
<values>
for row in range(ticks * clock.shape[0]):
    for e in range(found[row]):
        emitted[row, index[row, e]] = zero
    found[row] = 0
for sample in range(clock.shape[0]):
    if ticks > 0:
        listed(value, index_in, found_in, sample, clock.shape[0], ticks, rows, shape, ends, addresses, numbers)
    first = 0
    for band in range(bands):
        begin, end = band * height, min((band + 1) * height, cells // line)
        here, lot = begin * line, (end - begin) * line
        place, size = here * width, lot * width
        mine = due[sample, here : here + lot]
        #if sleeps
        if ticks == 0:
            before = clock[sample]
            <settle>
            even[sample, band] = before
        #end
        for t in range(ticks):
            row, before = t * clock.shape[0] + sample, clock[sample] + t
            last, hits = ends[band * ticks + t], 0
            if last > first:
                scatter(first, last, addresses, numbers, weight, rows, columns, shape, begin, end, sums)
                mark(first, last, addresses, masks, rows, columns, shape, begin, end, mine, bits, seen)
                first = last
                for p in range(lot):
                    hits += mine[p] & {TOUCHED}
            #if sleeps
            elif waking[sample, band] == 0 and not keep:
                continue
            #end
            work[0] += 1
            #if sleeps
            if 8 * hits <= {EIGHTHS} * lot and not keep:
                work[2] += waking[sample, band] + hits
                waking[sample, band] = due_cells(
                    before + 1, sample, row, here, here + lot, width, due, sums, bits, stamp, <states and values>,
                    address, emitted, index, found, updates, spikes, track)
                continue
            <settle>
            #end
            work[1] += lot
            if bias.shape[0] > 0:
                for p in range(lot):
                    add_bias = sums[p * width : p * width + width]
                    for o in range(width):
                        add_bias[o] += bias[o]
            if keep:
                copy_row(current[row], place, sums, 0, size)
            begun, moved = found[row], 0
            for p in range(0, lot, per):
                few = min(per, lot - p)
                n, at = few * width, place + p * width
                full = (n + 63) // 64 * 8
                for k in range(n, 8 * full):
                    flags[k] = 0
                straight(<straight cells><scalars>)
                if track:
                    if all_driven:
                        moved += n
                    else:
                        if some_driven:
                            for k in range(n):
                                flags[k] |= driven[at + k]
                        if hits > 0 and partial:
                            for j in range(few):
                                if mine[p + j] & {TOUCHED} != 0:
                                    of_cell = bits[(p + j) * shape[14] : (p + j + 1) * shape[14]]
                                    for k in range(width):
                                        live = of_cell[k >> 6] >> np.uint64(k & 63)
                                        flags[j * width + k] |= np.uint8(live & ONE)
                        elif hits > 0 and width & 7 == 0:
                            for j in range(few):
                                live = np.uint64(mine[p + j] & {TOUCHED}) * MOVED_BITS
                                for k in range(j * width >> 3, (j + 1) * width >> 3):
                                    words[k] |= live
                        elif hits > 0:
                            for j in range(few):
                                live = mine[p + j] & np.uint8({TOUCHED})
                                for k in range(j * width, (j + 1) * width):
                                    flags[k] |= live
                        <moved>
                <listed>
                for e in range(events):
                    target = address[at + near[e]]
                    emitted[row, target] = one
                    index[row, begun + e] = target
                begun += events
            if track:
                updates[sample] += moved
                spikes[sample] += begun - found[row]
            found[row] = begun
            if keep:
                for k in range(size):
                    <kept>
            if hits > 0 and partial:
                bits[: lot * shape[14]] = ZERO
            fill_row(due[sample], here, lot, np.uint8(<after>))
            #if sleeps
            even[sample, band] = before + 1
            waking[sample, band] = lot
            part = stamp[sample, here : here + lot]
            part[:] = before + 1
            #end
    clock[sample] += ticks
"""
