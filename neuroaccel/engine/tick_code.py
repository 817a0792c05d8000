"""A neuron program's tick as lines of kernel source: no branch, every operation rounded on its own."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

from neuroaccel.engine.fixed import Format, conversion, format_after, whole
from neuroaccel.errors import ProgramError
from neuroaccel.program import Fixed, Program
from neuroaccel.program.language import COMPARES, FLUSH_BELOW, INPUT, Operand

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARE = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "=="}


def fixed_names(program: Program) -> tuple[str, ...]:
    """Parameters and derived values, in the order in which a kernel takes them."""
    return (*program.parameter_names, *(a.target for a in program.derived))


class Tick(ABC):
    """The lines of one tick, for one kind of arithmetic.

    Arguments:
        program: the neuron.
        number: ``float32``, ``float64`` or ``int64``.

    ``names`` maps the program's names to the source's; ``constants`` are lines that the module needs at its head;
    ``can_fail`` says that a value may leave its format and is then to be reported (``failed`` in the lines).
    """

    can_fail = False

    def __init__(self, program: Program, number: str) -> None:
        self.program, self.number = program, number
        self.constants: list[str] = [f"zero, one = np.{number}(0), np.{number}(1)"]
        names = [*program.state_names, *fixed_names(program), INPUT, *(a.target for a in program.body)]
        # A program's name may be a Python keyword, or not ASCII.
        self.names = {name: f"x{k}_{re.sub('[^A-Za-z0-9_]', '', name)}" for k, name in enumerate(dict.fromkeys(names))}

    @property
    def states(self) -> list[str]:
        return [self.names[s] for s in self.program.state_names]

    @property
    def values(self) -> list[str]:
        return [self.names[v] for v in fixed_names(self.program)]

    @property
    def current(self) -> str:
        return self.names[INPUT]

    @abstractmethod
    def assign(self, target: str, op: str, args: tuple[Operand, ...], where: str = "") -> list[str]:
        """Lines of one assignment; ``where`` names the condition under which it holds."""

    @abstractmethod
    def compare(self, left: str, op: str, right: str) -> str:
        """A condition."""

    @abstractmethod
    def count(self, name: str) -> str:
        """A value as the count that it is."""

    def above(self) -> str:
        """Whether the neuron is at or above threshold, asked of the states that a tick begins with."""
        fire = self.program.fire
        # Whatever the tie rule: "at or above" is the ledger's word.
        return "False" if fire is None else self.compare(fire.left, "ge", fire.right)

    def lines(self) -> list[str]:
        """The body, ``fired``, and what firing does, as selects."""
        p, lines = self.program, ["failed = False"] if self.can_fail else []
        for a in p.body:
            lines += [f"# {a}", *self.assign(a.target, a.op, a.args)]
        lines.append("fired = " + ("False" if p.fire is None else self.compare(p.fire.left, p.fire.op, p.fire.right)))
        for a in p.on_fire:
            lines += [f"# where fired: {a}", *self.assign(a.target, a.op, a.args, "fired")]
        return lines

    def sent(self) -> str:
        """What leaves the neuron."""
        emit = self.program.emit
        if emit.kind == "state":
            return self.names[str(emit.value)]
        return f"{'one' if emit.kind == 'spike' else self.count(str(emit.value))} if fired else zero"


class FloatTick(Tick):
    """float32 or float64: constants are typed globals, for a bare Python float would widen float32 arithmetic."""

    def __init__(self, program: Program, number: str) -> None:
        super().__init__(program, number)
        self.known: dict[str, str] = {}

    def read(self, operand: Operand) -> str:
        if isinstance(operand, str):
            return self.names[operand]
        text = repr(float(operand))
        literal = text if text not in ("inf", "-inf", "nan") else f"'{text}'"
        if text not in self.known:
            self.known[text] = f"c{len(self.known)}"
            self.constants.append(f"{self.known[text]} = np.{self.number}({literal})")
        return self.known[text]

    def compare(self, left: str, op: str, right: str) -> str:
        return f"{self.names[left]} {_COMPARE[op]} {self.names[right]}"

    def count(self, name: str) -> str:
        return self.names[name]

    def assign(self, target: str, op: str, args: tuple[Operand, ...], where: str = "") -> list[str]:
        if op == "shift":
            args = (args[0], 2.0 ** int(args[1]))
        name, expression = self.names[target], self.expression(op, *map(self.read, args))
        if where:
            return [f"new = {expression}", f"{name} = new if {where} else {name}"]
        return [f"{name} = {expression}"]

    def expression(self, op: str, a: str, b: str = "", c: str = "") -> str:
        if op in _INFIX:
            return f"{a} {_INFIX[op]} {b}"
        if op in COMPARES:
            return f"one if {a} {_COMPARE[op]} {b} else zero"
        if op in ("max", "min"):  # as numpy: a NaN on either side comes through
            return f"{a} if ({a} {'>=' if op == 'max' else '<='} {b}) | ({a} != {a}) else {b}"
        if op == "select":
            return f"{b} if {a} != zero else {c}"
        if op == "shift":
            return f"{a} * {b}"
        if op == "flush" and self.number == "float32":
            return f"zero if abs({a}) < {self.read(FLUSH_BELOW)} else {a}"
        return {"neg": f"-{a}", "abs": f"abs({a})", "floor": f"np.floor({a})"}.get(op, a)


class IntegerTick(Tick):
    """int64 with a static number of fraction bits for every name; states are converted at every assignment."""

    def __init__(self, program: Program, state: Fixed, formats: Mapping[str, Format]) -> None:
        super().__init__(program, "int64")
        self.state = state
        self.can_fail = state.overflow == "error"
        self.formats = {**formats, **dict.fromkeys(program.state_names, Format.of(state))}

    def read(self, operand: Operand) -> tuple[str, Format]:
        if isinstance(operand, str):
            return self.names[operand], self.formats[operand]
        value = whole(operand)
        return str(value.values.item()), value.format

    def aligned(self, *operands: tuple[str, Format]) -> tuple[list[str], Format]:
        """The operands at the largest fraction among them, and the format that holds each."""
        frac = max(f.frac for _, f in operands)
        top = max(f.at(frac).magnitude for _, f in operands)
        return [_left(e, frac - f.frac) for e, f in operands], Format(frac, top).check("an aligned operand")

    def compare(self, left: str, op: str, right: str) -> str:
        (a, b), _ = self.aligned(self.read(left), self.read(right))
        return f"{a} {_COMPARE[op]} {b}"

    def count(self, name: str) -> str:
        value, found = self.read(name)
        # A count is whole by its program's promise: only zeros fall off.
        return f"({value} >> {found.frac})" if found.frac > 0 else _left(value, -found.frac)

    def assign(self, target: str, op: str, args: tuple[Operand, ...], where: str = "") -> list[str]:
        expression, found = self.expression(op, args)
        found.check(f"{target} = {op}")
        name = self.names[target]
        if target not in self.program.state_names:
            self.formats[target] = found
            return [f"{name} = {expression}"]
        format_after(found, self.state, f"{target} = {op}")
        lines = [f"new = {expression}", *_converted(found.frac, self.state, f" & {where}" if where else "")]
        return [*lines, f"{name} = new if {where} else {name}" if where else f"{name} = new"]

    def expression(self, op: str, args: tuple[Operand, ...]) -> tuple[str, Format]:
        operands = [self.read(x) for x in (args[:1] if op == "shift" else args)]
        a, fa = operands[0]
        if op == "mul":
            b, fb = operands[1]
            return f"{a} * {b}", Format(fa.frac + fb.frac, fa.magnitude * fb.magnitude)
        if op == "select":
            (b, c), top = self.aligned(*operands[1:])
            return f"{b} if {a} != 0 else {c}", top
        if op in ("add", "sub", "max", "min") or op in COMPARES:
            (a, b), top = self.aligned(*operands)
            if op in COMPARES:
                return f"one if {a} {_COMPARE[op]} {b} else zero", Format(0, 1)
            if op in _INFIX:
                return f"{a} {_INFIX[op]} {b}", Format(top.frac, 2 * top.magnitude)
            return f"{a} if {a} {'>' if op == 'max' else '<'} {b} else {b}", top
        if op == "shift":
            k = int(args[1])
            return (_left(a, k), Format(fa.frac, fa.magnitude << k)) if k >= 0 else (f"{a} >> {min(-k, 63)}", fa)
        if op == "floor" and fa.frac > 0:
            return f"{a} >> {min(fa.frac, 63)}", Format(0, (fa.magnitude >> fa.frac) + 1)
        if op in ("neg", "abs", "floor", "copy", "flush"):
            return {"neg": f"-({a})", "abs": f"abs({a})"}.get(op, a), fa
        raise ProgramError(f"integer arithmetic has no '{op}'")


def _converted(frac: int, fixed: Fixed, where: str) -> list[str]:
    """Lines that bring ``new`` from ``frac`` fraction bits into a format, as ``kernels/convert.py`` but branchless."""
    excess, _, _, low, high, bits = conversion(frac, fixed)
    lines = []
    if excess < 0:
        lines.append(f"new = new << {-excess}")
    elif excess > 0:
        half = 1 << (excess - 1)
        up = {
            "floor": "new",
            "toward_zero": f"(new + ((new >> 63) & {2 * half - 1}))",
            "half_up": f"(new + {half})",
            "half_even": f"(new + ({half - 1} + ((new >> {excess}) & 1)))",
        }[fixed.rounding]
        lines.append(f"new = {up} >> {excess}")
    if fixed.overflow == "wrap":
        return [*lines, f"new = ((new - ({low})) & {(1 << bits) - 1}) + ({low})"]
    if fixed.overflow == "saturate":
        return [*lines, f"new = {low} if new < {low} else new", f"new = {high} if new > {high} else new"]
    return [*lines, f"failed = failed | (((new < {low}) | (new > {high})){where})"]


def _left(expression: str, k: int) -> str:
    return f"({expression} << {k})" if k > 0 else expression
