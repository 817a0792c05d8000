"""From a neuron program to the source of its kernel: blocks of neurons, their samples, their ticks, neurons innermost.

The generated function runs K ticks of N samples of a population; row ``t·N + n`` of the arrays with R = K·N rows is
sample n at tick t::

    kernel(current, reach, touched, driven, states..., values..., address, emitted, index, found,
           updates, spikes, kept, ticks, track) -> code

``current`` V[R, size]; ``reach`` u1[R] says whom events touched: 0 nobody, 1 everybody, 2 those whose ``touched``
u1[R, size] is 1 (it is read only then); ``driven`` u1[size], or [1] for all alike, marks neurons that a bias or leak
moves at every tick. States are V[N, size], ``values`` (:func:`fixed_names`) V[size] where ``wide`` names them, else
V[1]. ``emitted`` V[R, size], ``index`` i4[R, size] and ``found`` i8[R] hold the previous emission on entry, which is
cleared, and list the non-zero emissions after. ``address`` i4[size] says where in them a neuron's emission belongs; it
is empty where neurons lie in that order anyway. ``kept`` V[states, R, size] takes the states after every tick, or has
no rows. ``updates`` and ``spikes`` i8[N] are added to where ``track``. The function returns 0, or in integer arithmetic
1 + the flat index [R, size] of the earliest value that may not leave its format and does.

The innermost loop has no branch and becomes vector code. A block's states and values are kept in one array at fixed
places, which stays in the first-level cache over all ticks: between several arrays the compiler would have to prove
that none overlaps another, and gives up beyond a few. The loop leaves a byte per neuron, of which eight are looked at
together, or 64 as the bits of a word: silent stretches cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from neuroaccel.engine.fixed import Format
from neuroaccel.engine.tick_code import FloatTick, IntegerTick, Tick, fixed_names
from neuroaccel.program import Fixed, Program

__all__ = ["BLOCK", "fixed_names", "float_source", "integer_source"]

BLOCK = 1024
# Bits of a neuron's byte: it was at work (by the ledger's rule), it emitted, a value of it left its format.
MOVED, SENT, FAILED = 1, 2, 4


def spread(bit: int) -> str:
    """A bit in each of the eight bytes of a word."""
    return f"np.uint64(0x{bit * 0x0101010101010101:016x})"


HEADER = f"""import numpy as np

from neuroaccel.engine.kernels.bits import listed

MOVED_BITS = {spread(MOVED)}
FAILED_BITS = {spread(FAILED)}
PAIRS = np.uint64(0x00ff00ff00ff00ff)
FOURS = np.uint64(0x0001000100010001)
EIGHT = np.uint64(8)
TOP = np.uint64(48)
ZERO = np.uint64(0)
"""


class Places:
    """Fixed places in the array of a block."""

    def __init__(self) -> None:
        self.count = 0

    def new(self) -> int:
        self.count += 1
        return self.count - 1


def at(place: int, where: str = "k") -> str:
    """A neuron's number at a place."""
    return f"w[np.uint64({place * BLOCK}) + {where}]"


def indent(lines: list[str], by: int) -> list[str]:
    return [" " * 4 * by + line for line in lines]


def moved_words() -> list[str]:
    """Add the moved among ``words[:full]`` to ``moved``: bytes are summed within words, no more than 128 at a time."""
    return [
        "total = ZERO",
        "for j in range(full):",
        "    total += words[j] & MOVED_BITS",
        "total = (total & PAIRS) + ((total >> EIGHT) & PAIRS)",
        "moved += np.int64((total * FOURS) >> TOP)",
    ]


def _inner(tick: Tick, state: list[int], wide: dict[str, int], sent: int) -> list[str]:
    """One neuron, one tick."""
    lines = [f"{tick.current} = x_row[k]"]
    lines += [f"{s} = {at(place)}" for s, place in zip(tick.states, state, strict=True)]
    lines += [f"{v} = {at(place)}" for v, place in wide.items()]
    lines += [f"above = {tick.above()}", *tick.lines(), f"sent = {tick.sent()}"]
    lines += [f"{at(place)} = {s}" for s, place in zip(tick.states, state, strict=True)]
    if tick.program.emit.kind == "spike":
        byte = f"{MOVED | SENT} if fired else ({MOVED} if above else 0)"
    else:
        lines.append(f"{at(sent)} = sent")
        byte = f"({SENT} if sent != zero else 0) | ({MOVED} if above | fired else 0)"
    if tick.can_fail:
        byte = f"({byte}) | ({FAILED} if failed else 0)"
    return [*lines, f"flags[k] = np.uint8({byte})"]


def _after(tick: Tick, state: list[int], sent: int) -> list[str]:
    """What follows the innermost loop of a tick: failures, counts, emission, records."""
    kind, lines = tick.program.emit.kind, []
    if tick.can_fail:
        lines += ["group = ZERO", "for j in range(full):", "    group |= words[j]"]
        lines += ["if group & FAILED_BITS != ZERO:", "    for k in range(n):", f"        if flags[k] & {FAILED} != 0:"]
        lines += ["            code = min(code, 1 + row * size + first + np.int64(k))"]
    lines += ["if track:"]
    lines += ["    if reach[row] == 1 or all_driven:", "        moved += np.int64(n)", "    else:"]
    lines += ["        if reach[row] == 2:", "            marks = touched[row, first:last]"]
    lines += ["            for k in range(n):", "                flags[k] |= marks[k]"]
    lines += ["        if some_driven:", "            marks = driven[first:last]"]
    lines += ["            for k in range(n):", "                flags[k] |= marks[k]"]
    lines += indent(moved_words(), 2)
    lines += [f"events = listed(flags, full, {SENT}, near)", "begun = found[row]", "found[row] = begun + events"]
    if kind != "state":
        lines += ["spiked += events"]
    value = "one" if kind == "spike" else at(sent, "np.uint64(near[e])")
    lines += ["if placed:", "    for e in range(events):", "        place = address[first + near[e]]"]
    lines += ["        index[row, begun + e] = place"]
    lines += [] if kind == "state" else [f"        emitted[row, place] = {value}"]
    lines += ["else:", "    for e in range(events):", "        index[row, begun + e] = first + near[e]"]
    lines += [] if kind == "state" else [f"        emitted[row, first + near[e]] = {value}"]
    if kind == "state":
        lines += ["if placed:", "    for k in range(n):"]
        lines += [f"        emitted[row, address[np.uint64(first) + k]] = {at(sent)}"]
        lines += ["else:", "    y_row = emitted[row, first:last]", "    for k in range(n):"]
        lines += [f"        y_row[k] = {at(sent)}"]
    lines += ["if keep:"]
    for j, place in enumerate(state):
        lines += [
            f"    v_row = kept[{j}, row, first:last]",
            "    for k in range(n):",
            f"        v_row[k] = {at(place)}",
        ]
    return lines


def _source(tick: Tick, wide: frozenset[str]) -> str:
    program, places = tick.program, Places()
    state = [places.new() for _ in program.states]
    wanted = {tick.names[name]: places.new() for name in fixed_names(program) if name in wide}
    sent = -1 if program.emit.kind == "spike" else places.new()
    inner = _inner(tick, state, wanted, sent)
    kernel = [
        f"samples, size = state_{tick.states[0]}.shape[0], current.shape[1]",
        f"w = np.empty({places.count * BLOCK}, np.{tick.number})",
        f"flags = np.zeros({BLOCK}, np.uint8)",
        "words = flags.view(np.uint64)",
        f"near = np.empty({BLOCK + 8}, np.int32)",
        "keep, placed = kept.shape[1] > 0, address.shape[0] > 0",
        "some_driven = driven.shape[0] > 1",
        "all_driven = not some_driven and driven[0] != 0",
        "never = 1 + ticks * samples * size",
        "code = never",
        *(f"{tick.names[name]} = all_{tick.names[name]}[0]" for name in fixed_names(program) if name not in wide),
        "for row in range(ticks * samples):",
    ]
    if program.emit.kind != "state":
        kernel += ["    for e in range(found[row]):", "        emitted[row, index[row, e]] = zero"]
    kernel += ["    found[row] = 0"]
    kernel += [
        f"for first in range(0, size, {BLOCK}):",
        f"    last = min(first + {BLOCK}, size)",
        "    n = np.uint64(last - first)",
        "    full = (last - first + 63) // 64 * 8",
        "    for k in range(last - first, 8 * full):",
        "        flags[k] = 0",
    ]
    for name, place in wanted.items():
        kernel += [f"    row_in = all_{name}[first:last]", "    for k in range(n):", f"        {at(place)} = row_in[k]"]
    kernel += ["    for sample in range(samples):", "        moved, spiked = 0, 0"]
    for name, place in zip(tick.states, state, strict=True):
        kernel += [f"        row_in = state_{name}[sample, first:last]", "        for k in range(n):"]
        kernel += [f"            {at(place)} = row_in[k]"]
    kernel += [
        "        for t in range(ticks):",
        "            row = t * samples + sample",
        "            x_row = current[row, first:last]",
        "            for k in range(n):",
        *indent(inner, 4),
        *indent(_after(tick, state, sent), 3),
    ]
    for name, place in zip(tick.states, state, strict=True):
        kernel += [f"        row_out = state_{name}[sample, first:last]", "        for k in range(n):"]
        kernel += [f"            row_out[k] = {at(place)}"]
    kernel += ["        if track:", "            updates[sample] += moved", "            spikes[sample] += spiked"]
    kernel += ["return 0 if code == never else code"]
    rows, flat = "V[:, ::1]", "V[::1]"
    arguments = {"current": rows, "reach": "u1[::1]", "touched": "u1[:, ::1]", "driven": "u1[::1]"}
    arguments |= {f"state_{s}": rows for s in tick.states} | {f"all_{v}": flat for v in tick.values}
    arguments |= {"address": "i4[::1]", "emitted": rows, "index": "i4[:, ::1]", "found": "i8[::1]"}
    arguments |= {"updates": "i8[::1]", "spikes": "i8[::1]", "kept": "V[:, :, :]", "ticks": "i8", "track": "b1"}
    constants = "\n".join(tick.constants)
    return (
        f'"""Generated from a neuron program: K ticks, {tick.number}."""\n\n{HEADER}{constants}\n'
        f'SIGNATURE = "i8({", ".join(arguments.values())})"\n\n\n'
        f"def kernel({', '.join(arguments)}):\n" + "\n".join(indent(kernel, 1)) + "\n"
    )


def float_source(program: Program, number: str, wide: frozenset[str] = frozenset()) -> str:
    """Source of a program's kernel in ``float32`` or ``float64``.

    Arguments:
        program: the neuron program.
        number: the arithmetic.
        wide: names of the parameters and derived values that are given per neuron.
    """
    return _source(FloatTick(program, number), wide)


def integer_source(
    program: Program, state: Fixed, formats: Mapping[str, Format], wide: frozenset[str] = frozenset()
) -> str:
    """Source of a program's kernel in integers.

    Arguments:
        program: the neuron program.
        state: the format of its states.
        formats: fraction and largest magnitude of ``i``, of every parameter and of every derived value.
        wide: names of the parameters and derived values that are given per neuron.

    Raises:
        ProgramError: an operation that integers do not have (``div``).
        OverflowError: a value that may not fit into 62 bits; the message names the assignment.
    """
    return _source(IntegerTick(program, state, formats), wide)
