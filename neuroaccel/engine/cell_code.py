"""Kernels for big sparse populations: only cells that are due are looked at, and make up for the ticks they missed.

A cell is ``width`` neurons that lie side by side, at most BLOCK (a pixel's channels); the last one may be shorter. A
cell is due if an event reached it or if it is awake; it is asleep if every neuron of it is asleep by the rule of
:mod:`neuroaccel.engine.sleep`. One tick of one sample, for the cells [first, last)::

    kernel(tick, sample, row, first, last, width, due, current, bits, stamp, states..., values..., bounds...,
           address, emitted, index, found, updates, spikes, track) -> awake

``due`` u1[N, C], C at least the number of cells and a multiple of 8, holds TOUCHED (1) where an event reached a cell:
who adds to ``current`` stores it; AWAKE (2) where the kernel left the cell awake; else 0. It is AWAKE everywhere before
the first tick, and after states were changed from outside. ``current`` V[(last - first) * width] holds the currents,
0 where no event came; the kernel leaves 0 everywhere, so that bands of cells can share an array. ``bits`` u8[(last -
first) * ceil(width / 64)] holds a bit for every neuron that an event reached, and is left 0; empty means: all neurons
of a touched cell. ``stamp`` i8[N, cells] is the last tick that a cell was brought to: before the first tick
``tick`` - 1. States are V[N, size] in the order of cells, ``values`` and ``bounds`` V[1] or V[size]; ``emitted`` V[R,
size], ``index`` i4[R, size], ``found`` i8[R] are appended to at ``row``: who begins a block of ticks clears them.
``address`` i4[size], empty for the same order; ``updates``, ``spikes`` i8[N]. Returns how many cells stay awake: while
it is 0 and no event comes, there is nothing to call the kernel for.

    settle(tick, width, stamp, states..., values...) brings all cells of all samples to the end of ``tick``.

A cell that missed ticks runs the program's body with a current of 0, one rounded step after the other, until a step
changes no bit: whatever ``settle`` and the kernel do is what a kernel without cells would have done.
"""

from __future__ import annotations

from functools import lru_cache

from neuroaccel.engine.codegen import BLOCK, MOVED, SENT, Places, at, indent, listed_words, module, spread
from neuroaccel.engine.sleep import Rule
from neuroaccel.engine.tick_code import FloatTick, fixed_names

TOUCHED, AWAKE = 1, 2
WAKES = 4  # the bit of a neuron's byte
STEPS = 4  # silent ticks from one load of the states to their store


class _Cells:
    """Names and places of one kernel."""

    def __init__(self, rule: Rule, number: str, wide: frozenset[str]) -> None:
        self.rule, self.number = rule, number
        self.tick = FloatTick(rule.program, number)
        self.places = Places()
        self.state = {s: self.places.new() for s in self.tick.states}
        names = self.tick.names | {name: f"bound_{name}" for name in rule.bounds}
        self.names = names
        self.given = [names[name] for name in (*fixed_names(rule.program), *rule.bounds)]
        self.wide = {
            names[name]: self.places.new() for name in (*fixed_names(rule.program), *rule.bounds) if name in wide
        }

    def once(self) -> list[str]:
        return [f"{name} = all_{name}[0]" for name in self.given if name not in self.wide]

    def loaded(self, values: bool = True) -> list[str]:
        places = self.state | (self.wide if values else {})
        return [f"{name} = {at(place, 'z')}" for name, place in places.items()]

    def stored(self) -> list[str]:
        return [f"{at(place, 'z')} = {name}" for name, place in self.state.items()]

    def copied_in(self) -> list[str]:
        """Copy ``n`` neurons from ``here`` to ``z`` = ``there`` on in the block."""
        lines = []
        for name, place in (self.state | self.wide).items():
            source = f"state_{name}[sample, here : here + n]" if name in self.state else f"all_{name}[here : here + n]"
            lines += [f"row_in = {source}", "for k in range(np.uint64(n)):"]
            lines += [f"    {at(place, 'there + k')} = row_in[k]"]
        return lines

    def copied_out(self) -> list[str]:
        lines = []
        for name, place in self.state.items():
            lines += [f"row_out = state_{name}[sample, here : here + n]", "for k in range(np.uint64(n)):"]
            lines += [f"    row_out[k] = {at(place, 'there + k')}"]
        return lines

    def silent(self) -> list[str]:
        """Run ``left`` silent ticks of the ``n`` neurons from ``there`` on: no more than until nothing changes."""
        step = []
        for a in self.rule.program.body:
            step += self.tick.assign(a.target, a.op, a.args)
        keep = [f"old_{s} = {s}" for s in self.state]
        changed = "changed = changed | " + " | ".join(f"differ({s}, old_{s})" for s in self.state)
        lines = []
        for steps in (STEPS, 1):
            inner = ["z = there + k", *self.loaded(), f"{self.tick.current} = zero"]
            inner += [*step * (steps - 1), *keep, *step, changed, *self.stored()]
            lines += [f"while left >= {steps}:", f"    left -= {steps}", "    changed = False"]
            lines += ["    for k in range(np.uint64(n)):", *indent(inner, 2)]
            lines += ["    if not changed:", "        left = 0"]
        return lines

    def arguments(self) -> dict[str, str]:
        return {f"state_{s}": "V[:, ::1]" for s in self.state} | {f"all_{v}": "V[::1]" for v in self.given}

    def source(self, what: str, arguments: dict[str, str], returns: str, lines: list[str]) -> str:
        self.tick.constants += [f"WAKES_BITS = {spread(WAKES)}", f"ANY_BITS = {spread(MOVED | WAKES)}"]
        text = module(self.tick, f"{what}, {self.number}", arguments, returns, lines)
        head = "import numpy as np\n"
        return text.replace(head, f"{head}\nfrom neuroaccel.engine.kernels.bits import differ\n", 1)


def _gather(c: _Cells, current: int) -> list[str]:
    """Fill the block with runs of due cells, one cell between two due ones among them; ``count`` cells, ``n`` neurons.

    ``chosen`` [cell] lists them; a run is (first cell, neurons, place in the block) in ``runs``.
    """
    return [
        "count, filled, ways = 0, 0, 0",
        "while count < per and cell < last:",
        "    if mine[cell] == 0:",
        "        if cell & 7 == 0 and eights[cell >> 3] == ZERO:",
        "            cell += 8",
        "        else:",
        "            cell += 1",
        "        continue",
        "    begin = cell",
        "    while count < per and cell < last and (",
        "        mine[cell] != 0 or (cell + 1 < last and count + 1 < per and mine[cell + 1] != 0)",
        "    ):",
        "        chosen[count] = cell",
        "        count += 1",
        "        cell += 1",
        "    here = begin * width",
        "    n = min(cell * width, size) - here",
        "    there = np.uint64(filled)",
        "    runs[3 * ways], runs[3 * ways + 1], runs[3 * ways + 2] = here, n, filled",
        "    ways += 1",
        *indent(c.copied_in(), 1),
        "    row_in = current[here - first * width : here - first * width + n]",
        "    for k in range(np.uint64(n)):",
        f"        {at(current, 'there + k')} = row_in[k]",
        "        row_in[k] = zero",
        "    filled += n",
    ]


def _caught_up(c: _Cells) -> list[str]:
    """Bring the block's cells to the tick before this one, neighbours that missed as many ticks together."""
    return [
        "j = 0",
        "while j < count:",
        "    gap = tick - 1 - stamps[chosen[j]]",
        "    i = j",
        "    while j < count and tick - 1 - stamps[chosen[j]] == gap:",
        "        stamps[chosen[j]] = tick",
        "        j += 1",
        "    if gap > 0:",
        "        there, left = np.uint64(i * width), gap",
        "        n = min(j * width, filled) - i * width",
        *indent(c.silent(), 2),
    ]


def _counted() -> list[str]:
    """Per cell: neurons at work, whether it stays awake, and a clean sheet for the next tick."""
    return [
        "for j in range(count):",
        "    here, begin, end = chosen[j], j * width, min((j + 1) * width, filled)",
        "    mix = ZERO",
        "    if anything:",
        "        for b in range(begin >> 3, (end + 7) >> 3):",
        "            mix |= words[b]",
        "        if (begin | end) & 7 != 0:",  # words that neighbours share
        "            mix = ZERO",
        "            for k in range(begin, end):",
        "                mix |= np.uint64(flags[k])",
        "    touched = mine[here] == 1",
        "    if touched and bits.shape[0] > 0:",
        "        row_bits = bits[(here - first) * parts : (here - first + 1) * parts]",
        "        if mix & MOVED_BITS == ZERO:",
        "            for b in range(parts):",
        "                word = row_bits[b]",
        "                while track and word != ZERO:",
        "                    word = word & (word - ONE)",
        "                    moved += 1",
        "        else:",
        "            for k in range(end - begin):",
        "                reached = (row_bits[k >> 6] >> np.uint64(k & 63)) & ONE",
        f"                moved += np.int64(reached != ZERO or flags[begin + k] & {MOVED} != 0)",
        "        for b in range(parts):",
        "            row_bits[b] = ZERO",
        "    elif touched:",
        "        moved += end - begin",
        "    elif mix & MOVED_BITS != ZERO:",
        "        for k in range(begin, end):",
        f"            moved += flags[k] & {MOVED}",
        "    if mix & WAKES_BITS != ZERO:",
        f"        mine[here] = {AWAKE}",
        "        awake += 1",
        "    else:",
        "        mine[here] = 0",
    ]


def _emitted(kind: str, sent: int) -> list[str]:
    value = "one" if kind == "spike" else at(sent, "np.uint64(near[e])")
    return [
        "for e in range(events):",
        "    j = (near[e] * share) >> 32",
        "    place = chosen[j] * width + near[e] - j * width",
        "    if placed:",
        "        place = np.int64(address[place])",
        "    index[row, begun + e] = place",
        f"    emitted[row, place] = {value}",
        "begun += events",
    ]


@lru_cache(maxsize=256)
def tick_source(rule: Rule, number: str, wide: frozenset[str]) -> str:
    """Source of the kernel of one tick.

    Arguments:
        rule: the program with the rule of its sleep.
        number: ``float32`` or ``float64``.
        wide: the parameters, derived values and bounds that are given per neuron.
    """
    c = _Cells(rule, number, wide)
    kind = rule.program.emit.kind
    current = c.places.new()
    sent = -1 if kind == "spike" else c.places.new()
    inner = ["z = k", f"{c.tick.current} = {at(current)}", *c.loaded(), f"above = {c.tick.above()}", *c.tick.lines()]
    inner += [f"sent = {c.tick.sent()}", *c.stored(), *rule.lines(c.names, number)]
    if kind == "spike":
        inner.append(f"byte = {MOVED | SENT} if fired else ({MOVED} if above else 0)")
    else:
        inner.append(f"{at(sent)} = sent")
        inner.append(f"byte = ({SENT} if sent != zero else 0) | ({MOVED} if above | fired else 0)")
    inner.append(f"flags[k] = np.uint8(byte | (0 if asleep else {WAKES}))")
    lines = [
        "size, per, parts = emitted.shape[1], BLOCK_LENGTH // width, (width + 63) // 64",
        f"w = np.empty({c.places.count * BLOCK}, np.{number})",
        f"flags = np.zeros({BLOCK}, np.uint8)",
        "words = flags.view(np.uint64)",
        f"near = np.empty({BLOCK + 8} + 4 * per, np.int64)",
        f"chosen, runs = near[{BLOCK + 8} : {BLOCK + 8} + per], near[{BLOCK + 8} + per :]",
        "mine, stamps = due[sample], stamp[sample]",
        "eights = mine.view(np.uint64)",
        "placed = address.shape[0] > 0",
        # k * share >> 32 is k // width: exact for k and width up to BLOCK (Granlund and Montgomery 1994).
        "share = ((1 << 32) + width - 1) // width",
        "moved, awake, begun, cell = 0, 0, found[row], first",
        *c.once(),
        "while cell < last:",
        *indent(_gather(c, current), 1),
        "    if count == 0:",
        "        break",
        *indent(_caught_up(c), 1),
        "    full = (filled + 63) // 64 * 8",
        "    for k in range(filled, 8 * full):",
        "        flags[k] = 0",
        "    for k in range(np.uint64(filled)):",
        *indent(inner, 2),
        "    group = ZERO",
        "    for j in range(full):",
        "        group |= words[j]",
        "    anything = group & ANY_BITS != ZERO",
        "    if group & SENT_BITS != ZERO:",
        *indent([*listed_words(), *_emitted(kind, sent)], 2),
        *indent(_counted(), 1),
        "    for way in range(ways):",
        "        here, n, there = runs[3 * way], runs[3 * way + 1], np.uint64(runs[3 * way + 2])",
        *indent(c.copied_out(), 2),
        "if track:",
        "    updates[sample] += moved",
        "    spikes[sample] += begun - found[row]",
        "found[row] = begun",
        "return awake",
    ]
    arguments = {**dict.fromkeys(("tick", "sample", "row", "first", "last", "width"), "i8"), "due": "u1[:, ::1]"}
    arguments |= {"current": "V[::1]", "bits": "u8[::1]", "stamp": "i8[:, ::1]"} | c.arguments()
    arguments |= {"address": "i4[::1]", "emitted": "V[:, ::1]", "index": "i4[:, ::1]", "found": "i8[::1]"}
    arguments |= {"updates": "i8[::1]", "spikes": "i8[::1]", "track": "b1"}
    c.tick.constants.append(f"BLOCK_LENGTH = {BLOCK}")
    return c.source("one tick of the cells that are due", arguments, "i8", lines)


@lru_cache(maxsize=256)
def settle_source(rule: Rule, number: str, wide: frozenset[str]) -> str:
    """Source of the kernel that brings all cells to one tick; arguments as of :func:`tick_source`."""
    c = _Cells(rule, number, wide)
    first_state = f"state_{c.tick.states[0]}"
    lines = [
        f"size, per, cells = {first_state}.shape[1], {BLOCK} // width, stamp.shape[1]",
        f"w = np.empty({c.places.count * BLOCK}, np.{number})",
        "there = ZERO",
        *c.once(),
        f"for sample in range({first_state}.shape[0]):",
        "    cell = 0",
        "    while cell < cells:",
        "        left, begin = tick - stamp[sample, cell], cell",
        "        while cell < cells and cell - begin < per and tick - stamp[sample, cell] == left:",
        "            stamp[sample, cell] = tick",
        "            cell += 1",
        "        if left > 0:",
        "            here = begin * width",
        "            n = min(cell * width, size) - here",
        *indent([*c.copied_in(), *c.silent(), *c.copied_out()], 3),
    ]
    arguments = {"tick": "i8", "width": "i8", "stamp": "i8[:, ::1]"} | c.arguments()
    return c.source("cells brought to one tick", arguments, "void", lines)
