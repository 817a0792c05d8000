"""Reverse mode over a tick's straight line: the lines that turn gradients of what leaves it into those of what enters.

Every derivative is that of the torch reference: the surrogate at the comparison, straight through a floor and a flush,
zero through comparisons of the body, halves where a maximum or minimum ties.
"""

from __future__ import annotations

from collections import defaultdict

from neuroaccel.errors import ProgramError
from neuroaccel.kernels.straight import COMPARE, FIRED, Constants, Line, Straight
from neuroaccel.program.language import COMPARES, Operand


def surrogate(u: str, name: str, number: Constants) -> str:
    """The surrogate's derivative at the value named u; ``slope`` and ``steep`` (π/2 · slope) are arguments."""
    one, zero = number(1), number(0)
    if name == "atan":
        return f"half_slope / ({one} + (steep * {u}) * (steep * {u}))"
    if name == "fast_sigmoid":
        return f"{one} / (({one} + slope * abs({u})) * ({one} + slope * abs({u})))"
    if name == "triangle":
        return f"({one} - slope * abs({u})) if ({one} - slope * abs({u})) > {zero} else {zero}"
    if name == "straight_through":
        return one
    raise ProgramError(f"surrogate '{name}' has no derivative in a kernel")


class Adjoint:
    """Collects the lines.

    Arguments:
        tick: the straight line, whose values are at hand again.
        wanted: values (``p0`` ...) whose gradient is asked for; the input's and the states' always are.
        shape: the surrogate.
        detach_reset: whether the gradient stops at what happens where it fires.
    """

    def __init__(
        self, tick: Straight, wanted: frozenset[str], shape: str, detach_reset: bool, number: Constants
    ) -> None:
        self.tick, self.shape, self.detach_reset, self.number = tick, shape, detach_reset, number
        self.source: list[str] = []
        self.terms: defaultdict[str, list[str]] = defaultdict(list)
        self.active = {"i", *tick.start, *wanted}
        for line in tick.lines:
            reads = line.args[1:] if line.op == "select" else line.args
            if line.op not in COMPARES and self.active & {a for a in reads if isinstance(a, str)}:
                self.active.add(line.target)
            if line.op == "where_fired" and FIRED in self.active:
                self.active.add(line.target)

    def give(self, to: Operand, expression: str) -> None:
        """One more term of a value's gradient."""
        if isinstance(to, str) and to in self.active:
            name = f"g{len(self.source)}"
            self.source.append(f"{name} = {expression}")
            self.terms[to].append(name)

    def total(self, of: str) -> str | None:
        """The gradient of a value once every reader has given its term; ``None`` where nothing reads it."""
        return " + ".join(self.terms[of]) if self.terms[of] else None

    def lines(self, sent: str, end: list[str]) -> list[str]:
        """All lines, given the names of the gradients of the emission and of the states at the tick's end."""
        tick, zero = self.tick, self.number(0)
        for state, name in zip(tick.end, end, strict=True):
            if state in self.active:
                self.terms[state].append(name)
        if tick.kind == "count":
            self.give(FIRED, f"{sent} * {tick.sent}")
            self.give(tick.sent, f"{sent} if {FIRED} else {zero}")
        elif tick.sent in self.active:
            self.terms[tick.sent].append(sent)
        for line in reversed(tick.lines):
            total = self.total(line.target)
            if total is not None:
                grad = f"d_{line.target}"
                self.source.append(f"{grad} = {total}")
                self.back(line, grad)
        return self.source

    def back(self, line: Line, g: str) -> None:
        """Give a line's operands their terms."""
        zero, half = self.number(0), self.number(0.5)
        a, b, c = (*line.args, 0.0, 0.0, 0.0)[:3]
        x, y = (v if isinstance(v, str) else self.number(v) for v in (a, b))
        match line.op:
            case "add":
                self.give(a, g)
                self.give(b, g)
            case "sub":
                self.give(a, g)
                self.give(b, f"-{g}")
            case "mul":
                self.give(a, f"{g} * {y}")
                self.give(b, f"{g} * {x}")
            case "div":
                self.give(a, f"{g} / {y}")
                self.give(b, f"-{g} * (({x} / {y}) / {y})")
            case "max" | "min":
                above = ">" if line.op == "max" else "<"
                self.give(a, f"{g} if {x} {above} {y} else ({half} * {g} if {x} == {y} else {zero})")
                self.give(b, f"{g} if {y} {above} {x} else ({half} * {g} if {x} == {y} else {zero})")
            case "neg":
                self.give(a, f"-{g}")
            case "abs":
                self.give(a, f"{g} if {x} > {zero} else (-{g} if {x} < {zero} else {zero})")
            case "floor" | "copy" | "flush":
                self.give(a, g)
            case "shift":
                self.give(a, f"{g} * {self.number(2.0 ** float(b))}")
            case "select":
                self.give(b, f"{g} if {x} != {zero} else {zero}")
                self.give(c, f"{zero} if {x} != {zero} else {g}")
            case "where_fired":
                self.give(a, f"{g} if {FIRED} else {zero}")
                self.give(b, f"{zero} if {FIRED} else {g}")
                if not self.detach_reset:
                    self.give(FIRED, f"{g} * ({x} - {y})")
            case "fire_gt" | "fire_ge":
                self.source.append(f"u = {x} - {y}")
                self.source.append(f"d_u = {g} * ({surrogate('u', self.shape, self.number)})")
                self.give(a, "d_u")
                self.give(b, "-d_u")
            case op if op not in COMPARE:
                raise ProgramError(f"operation '{op}' has no derivative in a kernel")
