"""Sources of the multi-step kernels: a block of neurons after the other, its ticks inside, its neurons innermost.

The innermost loop has no branch and runs over contiguous neurons, so that it becomes vector code; a block's state stays
in the first-level cache over all ticks. What lives inside a block is kept in one array at fixed places: between several
arrays the compiler would have to prove, or test at run time, that none overlaps another, and gives up beyond a few.

    forward(x, state, values..., y, end, kept, start, stop)
    backward(gy, gend, x, kept, values..., slopes, gx, gstate, gvalues, start, stop)

``x``, ``y`` and their gradients are ``[T, M]``, states ``[S, M]``, ``kept`` ``[ceil(T / EVERY), S, M]``: the states
before every EVERY-th tick, all that the backward needs beside ``x`` (it recomputes the rest). It is empty where no
gradient will be asked for. A value is ``[1]`` or ``[M]``.
"""

from __future__ import annotations

from functools import lru_cache

from neuroaccel.kernels.adjoint import Adjoint
from neuroaccel.kernels.straight import Constants, Straight, emission, expression, straighten
from neuroaccel.program import Program

EVERY = 8
# Bytes that a block may take in the second-level cache, beside the rows that go by. Long rows are worth more than a
# first-level cache: memory hands them out faster.
ROOM = 640 << 10
SHORTEST, LONGEST = 1024, 32768
HEADER = """import numpy as np

V = np.float32
EVERY = np.uint64(EVERY_TICKS)
ONE = np.uint64(1)
ZERO = np.uint64(0)
"""


class _Places:
    """Fixed places in the array of a block.

    Arguments:
        rows: how many rows of neurons a block keeps at hand, those of the array among them.
    """

    def __init__(self, rows: int) -> None:
        self.count = 0
        length = ROOM // (4 * max(rows, 1))
        self.block = min(max(1 << (length.bit_length() - 1), SHORTEST), LONGEST)

    def new(self) -> int:
        self.count += 1
        return self.count - 1

    def at(self, place: int) -> str:
        return f"w[np.uint64({place * self.block}) + k]"


def _indent(lines: list[str], by: int) -> list[str]:
    return [" " * 4 * by + line for line in lines]


def _tick(tick: Straight, number: Constants) -> list[str]:
    return [f"{line.target} = {expression(line, number)}" for line in tick.lines]


def _header(number: Constants) -> str:
    return HEADER.replace("EVERY_TICKS", str(EVERY)) + number.source()


def _values(tick: Straight, wide: frozenset[str], places: _Places) -> tuple[list[str], list[str], list[str]]:
    """Lines before the blocks (scalars), at a block's begin (a value per neuron), and in the innermost loop."""
    once = [f"{p} = all_{p}[0]" for p in tick.values if p not in wide]
    at = {p: places.new() for p in tick.values if p in wide}
    begin = [
        line
        for p in at
        for line in (f"row = all_{p}[first:last]", "for k in range(n):", f"    {places.at(at[p])} = row[k]")
    ]
    return once, begin, [f"{p} = {places.at(at[p])}" for p in at]


def _frame(places: _Places, once: list[str], block: list[str]) -> list[str]:
    return [
        f"w = np.empty({max(1, places.count) * places.block}, V)",
        *once,
        f"for first in range(start, stop, {places.block}):",
        f"    last = min(first + {places.block}, stop)",
        "    n = np.uint64(last - first)",
        *_indent(block, 1),
    ]


def _source(kind: str, arguments: dict[str, str], lines: list[str], number: Constants) -> str:
    return (
        f'"""Generated from a neuron program: {kind}."""\n\n{_header(number)}\n'
        f'SIGNATURE = "void({", ".join(arguments.values())})"\n\n\n'
        f"def kernel({', '.join(arguments)}):\n" + "\n".join(_indent(lines, 1)) + "\n"
    ).replace("f4", "float32")


@lru_cache(maxsize=1024)
def forward(program: Program, wide: frozenset[str]) -> str:
    """Source of the forward kernel.

    Arguments:
        program: the neuron.
        wide: the values (``p0`` ...) that are given per neuron.
    """
    tick, number = straighten(program), Constants()
    places = _Places(len(tick.start) + len(wide))
    state = [places.new() for _ in tick.start]
    once, begin, read = _values(tick, wide, places)
    inner = [
        "i = x_row[k]",
        *(f"{s} = {places.at(at)}" for s, at in zip(tick.start, state, strict=True)),
        *read,
        *_tick(tick, number),
        f"y_row[k] = {emission(tick, number)}",
        *(f"{places.at(at)} = {s}" for s, at in zip(tick.end, state, strict=True)),
    ]
    block = [*begin]
    for j, at in enumerate(state):
        block += [f"row = state[{j}, first:last]", "for k in range(n):", f"    {places.at(at)} = row[k]"]
    block += ["for t in range(x.shape[0]):", f"    if keep and t % {EVERY} == 0:"]
    for j, at in enumerate(state):
        block += [f"        row = kept[t // {EVERY}, {j}, first:last]", "        for k in range(n):"]
        block += [f"            row[k] = {places.at(at)}"]
    block += ["    x_row = x[t, first:last]", "    y_row = y[t, first:last]", "    for k in range(n):"]
    block += _indent(inner, 2)
    for j, at in enumerate(state):
        block += [f"row = end[{j}, first:last]", "for k in range(n):", f"    row[k] = {places.at(at)}"]
    arguments = {"x": "f4[:, ::1]", "state": "f4[:, ::1]", **{f"all_{p}": "f4[::1]" for p in tick.values}}
    arguments |= {"y": "f4[:, ::1]", "end": "f4[:, ::1]", "kept": "f4[:, :, ::1]", "start": "i8", "stop": "i8"}
    lines = ["keep = kept.shape[0] > 0", *_frame(places, once, block)]
    return _source("forward", arguments, lines, number)


@lru_cache(maxsize=1024)
def backward(program: Program, wide: frozenset[str], wanted: frozenset[str], surrogate: str, detach_reset: bool) -> str:
    """Source of the backward kernel.

    Arguments:
        program: the neuron.
        wide: the values (``p0`` ...) that are given per neuron.
        wanted: those whose gradient is asked for; ``gvalues`` ``[len(wanted), M]`` takes them in order, in float64.
        surrogate, detach_reset: the neuron's training fields.
    """
    tick, number = straighten(program), Constants()
    states = range(len(tick.start))
    places = _Places((2 + EVERY) * len(states) + len(wide) + len(wanted))
    gradient = [places.new() for _ in states]
    once, begin, read = _values(tick, wide, places)
    asked = [p for p in tick.values if p in wanted]
    sums = {p: places.new() for p in asked}
    ahead = [places.new() for _ in states]
    adjoint = Adjoint(tick, wanted, surrogate, detach_reset, number)
    zero = number(0)
    # A row of the stash: the states that a tick began with.
    stashed = [f"row[np.uint64({j * places.block}) + k]" for j in states]
    redo = [
        "i = x_row[k]",
        *(f"{s} = {places.at(at)}" for s, at in zip(tick.start, ahead, strict=True)),
        *read,
        *(f"{place} = {s}" for s, place in zip(tick.start, stashed, strict=True)),
        *_tick(tick, number),
        *(f"{places.at(at)} = {s}" for s, at in zip(tick.end, ahead, strict=True)),
    ]
    undo = [
        "i = x_row[k]",
        *(f"{s} = {place}" for s, place in zip(tick.start, stashed, strict=True)),
        *read,
        "d_sent = gy_row[k]",
        *(f"d_end{j} = {places.at(at)}" for j, at in enumerate(gradient)),
        *_tick(tick, number),
        *adjoint.lines("d_sent", [f"d_end{j}" for j in states]),
        f"gx_row[k] = {adjoint.total('i') or zero}",
        *(f"{places.at(at)} = {adjoint.total(s) or zero}" for s, at in zip(tick.start, gradient, strict=True)),
        *(f"{places.at(at)} += {total}" for p, at in sums.items() if (total := adjoint.total(p))),
    ]
    block = [*begin]
    for j, at in enumerate(gradient):
        block += [f"row = gend[{j}, first:last]", "for k in range(n):", f"    {places.at(at)} = row[k]"]
    for at in range(len(asked)):
        block += [f"wide = gvalues[{at}, first:last]", "for k in range(n):", "    wide[k] = 0"]
    block += ["for chunk in range(kept.shape[0] - 1, -1, -1):", f"    begin = chunk * {EVERY}"]
    block += [f"    ticks = min({EVERY}, x.shape[0] - begin)"]
    for j, at in enumerate(ahead):
        block += [
            f"    row = kept[chunk, {j}, first:last]",
            "    for k in range(n):",
            f"        {places.at(at)} = row[k]",
        ]
    for at in sums.values():
        block += ["    for k in range(n):", f"        {places.at(at)} = {zero}"]
    block += ["    for t in range(ticks):", "        row = stash[t]", "        x_row = x[begin + t, first:last]"]
    block += ["        for k in range(n):", *_indent(redo, 3)]
    block += [
        "    for t in range(ticks - 1, -1, -1):",
        "        row = stash[t]",
        "        x_row = x[begin + t, first:last]",
    ]
    block += ["        gy_row = gy[begin + t, first:last]", "        gx_row = gx[begin + t, first:last]"]
    block += ["        for k in range(n):", *_indent(undo, 3)]
    # A few ticks are added in float32, all of them in float64.
    for j, at in enumerate(sums.values()):
        block += [
            f"    wide = gvalues[{j}, first:last]",
            "    for k in range(n):",
            f"        wide[k] += {places.at(at)}",
        ]
    for j, at in enumerate(gradient):
        block += [f"row = gstate[{j}, first:last]", "for k in range(n):", f"    row[k] = {places.at(at)}"]
    matrix = "f4[:, ::1]"
    arguments = {"gy": matrix, "gend": matrix, "x": matrix, "kept": "f4[:, :, ::1]"}
    arguments |= {f"all_{p}": "f4[::1]" for p in tick.values}
    arguments |= {"slopes": "f4[::1]", "gx": matrix, "gstate": matrix, "gvalues": "f8[:, ::1]"}
    arguments |= {"start": "i8", "stop": "i8"}
    lines = [
        "slope, half_slope, steep = slopes[0], slopes[1], slopes[2]",
        f"stash = np.empty(({EVERY}, {len(tick.start) * places.block}), V)",
        *_frame(places, once, block),
    ]
    return _source("backward", arguments, lines, number)
