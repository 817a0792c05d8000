"""A program's tick as a straight line: every value named once, so that a gradient can be read off it backwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from neuroaccel.program import Program
from neuroaccel.program.language import COMPARES, FLUSH_BELOW, INPUT, Operand

FIRED = "fired"
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARE = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "=="}


@dataclass(frozen=True)
class Line:
    """``target = op(*args)``; operands are names of earlier values, or numbers.

    Beside the program's operations there are ``fire_gt`` and ``fire_ge`` (the truth of the comparison) and
    ``where_fired`` (new, old).
    """

    target: str
    op: str
    args: tuple[Operand, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(a for a in self.args if isinstance(a, str))


@dataclass(frozen=True)
class Straight:
    """One tick.

    Arguments:
        lines: in order, each target new.
        start: name of every state as the tick begins, in the program's order.
        end: name of every state as it ends.
        values: name of every parameter and derived value, in the order of :func:`value_names`.
        kind: what is emitted: spike, count or state.
        sent: name of the emitted value (of the count where ``kind`` is count, ``fired`` for a spike).
    """

    lines: tuple[Line, ...]
    start: tuple[str, ...]
    end: tuple[str, ...]
    values: tuple[str, ...]
    kind: str
    sent: str


def value_names(program: Program) -> tuple[str, ...]:
    """Parameters and derived values, in the order in which kernels take them."""
    return (*program.parameter_names, *(a.target for a in program.derived))


@lru_cache(maxsize=512)
def straighten(program: Program) -> Straight:
    """The straight line of a program's tick; names are ours, since a program's may be Python keywords."""
    names: dict[str, str] = {INPUT: "i"}
    start = tuple(f"s{k}" for k in range(len(program.states)))
    values = tuple(f"p{k}" for k in range(len(value_names(program))))
    names |= dict(zip(program.state_names, start, strict=True)) | dict(zip(value_names(program), values, strict=True))
    lines: list[Line] = []

    def add(op: str, args: tuple[Operand, ...], target: str = "") -> str:
        lines.append(Line(target or f"t{len(lines)}", op, args))
        return lines[-1].target

    def read(args: tuple[Operand, ...]) -> tuple[Operand, ...]:
        return tuple(names[a] if isinstance(a, str) else float(a) for a in args)

    for a in program.body:
        names[a.target] = add(a.op, read(a.args))
    if program.fire is not None:
        add(f"fire_{program.fire.op}", (names[program.fire.left], names[program.fire.right]), FIRED)
        for a in program.on_fire:
            new = add(a.op, read(a.args))
            names[a.target] = add("where_fired", (new, names[a.target]))
    kind, value = program.emit.kind, program.emit.value
    sent = FIRED if kind == "spike" else names[str(value)]
    return Straight(tuple(lines), start, tuple(names[s] for s in program.state_names), values, kind, sent)


class Constants:
    """Numbers as typed globals of the generated module: a bare Python float would widen float32 arithmetic."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def __call__(self, value: float) -> str:
        text = repr(float(value))
        literal = text if text not in ("inf", "-inf", "nan") else f"'{text}'"
        return self.names.setdefault(f"V({literal})", f"c{len(self.names)}")

    def source(self) -> str:
        return "".join(f"{name} = {text}\n" for text, name in self.names.items())


def expression(line: Line, number: Constants) -> str:
    """The right-hand side of a line, without a branch and rounded once, as the reference computes it."""
    a, b, c = (*(x if isinstance(x, str) else number(x) for x in line.args), "", "", "")[:3]
    op, zero, one = line.op, number(0), number(1)
    if op in INFIX:
        return f"{a} {INFIX[op]} {b}"
    if op in COMPARES:
        return f"{one} if {a} {COMPARE[op]} {b} else {zero}"
    if op in ("max", "min"):  # a NaN on either side comes through
        return f"{a} if ({a} {'>=' if op == 'max' else '<='} {b}) | ({a} != {a}) else {b}"
    if op == "select":
        return f"{b} if {a} != {zero} else {c}"
    if op == "shift":
        return f"{a} * {number(2.0 ** float(line.args[1]))}"
    if op == "flush":
        return f"{zero} if abs({a}) < {number(FLUSH_BELOW)} else {a}"
    if op in ("fire_gt", "fire_ge"):
        return f"{a} {COMPARE[op[5:]]} {b}"
    if op == "where_fired":
        return f"{a} if {FIRED} else {b}"
    return {"neg": f"-{a}", "abs": f"abs({a})", "floor": f"np.floor({a})", "copy": a}[op]


def emission(tick: Straight, number: Constants) -> str:
    """What leaves the neuron; a count is a product, as in the reference, so that zeros have its sign."""
    if tick.kind == "state":
        return tick.sent
    fires = f"({number(1)} if {FIRED} else {number(0)})"
    return fires if tick.kind == "spike" else f"{fires} * {tick.sent}"
