"""From a neuron program to the source of its kernel: one loop over neurons, every operation rounded on its own.

The generated function runs one tick of a population::

    kernel(current, touched, driven, states..., parameters..., emitted, index, found, updates, spikes, track)

``current``, states, ``emitted`` are ``[N, size]``, parameters ``[size]``; ``index`` and ``found`` list the non-zero
emissions. ``driven`` marks neurons that a bias or leak moves at every tick, ``touched`` those that an event reached.
It returns 0, or in integer arithmetic 1 + the flat index of the first neuron whose state may not overflow and does.
"""

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


class _Writer(ABC):
    """What both arithmetics share: names and the frame of the function."""

    def __init__(self, program: Program, number: str) -> None:
        self.program, self.number = program, number
        self.constants: list[str] = []
        names = [*program.state_names, *fixed_names(program), INPUT, *(a.target for a in program.body)]
        # A program's name may be a Python keyword, or not ASCII.
        self.names = {name: f"x{k}_{re.sub('[^A-Za-z0-9_]', '', name)}" for k, name in enumerate(dict.fromkeys(names))}

    def constant(self, prefix: str, value: str) -> str:
        """A global of the module, which numba freezes with its type."""
        name = f"{prefix}{len(self.constants)}"
        self.constants.append(f"{name} = {value}")
        return name

    @abstractmethod
    def assign(self, target: str, op: str, args: tuple[Operand, ...]) -> list[str]:
        """Lines of one assignment."""

    @abstractmethod
    def compare(self, left: str, op: str, right: str) -> str:
        """A condition."""

    @abstractmethod
    def count(self, name: str) -> str:
        """A value as the count that it is."""

    def emission(self) -> str:
        emit = self.program.emit
        if emit.kind == "state":
            return self.names[str(emit.value)]
        return f"{'one' if emit.kind == 'spike' else self.count(str(emit.value))} if fired else zero"

    def body(self, states: list[str], values: list[str]) -> list[str]:
        p, name = self.program, self.names
        lines = [f"{name[INPUT]} = current[n, k]"]
        lines += [f"{name[s]} = {array}[n, k]" for s, array in zip(p.state_names, states, strict=True)]
        lines += [f"{name[v]} = {array}[k]" for v, array in zip(fixed_names(p), values, strict=True)]
        # "At or above threshold" is asked of the states that the tick begins with, whatever the tie rule.
        above = "" if p.fire is None else f" or {self.compare(p.fire.left, 'ge', p.fire.right)}"
        lines.append(f"moves = track and (touched[n, k] != 0 or driven[k] != 0{above})")
        for a in p.body:
            lines += [f"# {a}", *self.assign(a.target, a.op, a.args)]
        lines.append("fired = " + ("False" if p.fire is None else self.compare(p.fire.left, p.fire.op, p.fire.right)))
        lines += ["if fired:", "    moves = track"]
        for a in p.on_fire:
            lines += [f"    {line}" for line in (f"# {a}", *self.assign(a.target, a.op, a.args))]
        lines += [f"{array}[n, k] = {name[s]}" for s, array in zip(p.state_names, states, strict=True)]
        lines += [f"sent = {self.emission()}", "emitted[n, k] = sent"]
        return [
            *lines,
            "if sent != zero:",
            "    index[n, events] = k",
            "    events += 1",
            "if moves:",
            "    moved += 1",
        ]

    def source(self, header: str) -> str:
        """The module's text."""
        p = self.program
        states = [f"state_{self.names[s]}" for s in p.state_names]
        values = [f"all_{self.names[v]}" for v in fixed_names(p)]
        vector, flags = "V[:, ::1]", "u1[:, ::1]"
        signature = [vector, flags, "u1[::1]", *[vector] * len(states), *["V[::1]"] * len(values)]
        signature += [vector, "i4[:, ::1]", *["i8[::1]"] * 3, "b1"]
        arguments = ["current", "touched", "driven", *states, *values]
        arguments += ["emitted", "index", "found", "updates", "spikes", "track"]
        loop = "\n".join(f"            {line}" for line in self.body(states, values))
        # An analog emission is no spike.
        spikes = "" if p.emit.kind == "state" else "        if track:\n            spikes[n] += events\n"
        constants = "\n".join(self.constants)
        return (
            f'"""Generated from a neuron program, {self.number}."""\n\n{header}\n'
            f'SIGNATURE = "i8({", ".join(signature)})"\n{constants}\n\n\n'
            f"def kernel({', '.join(arguments)}):\n"
            "    for n in range(current.shape[0]):\n"
            "        events, moved = 0, 0\n"
            "        for k in range(current.shape[1]):\n"
            f"{loop}\n"
            "        found[n] = events\n        updates[n] += moved\n"
            f"{spikes}    return 0\n"
        )


class _Float(_Writer):
    """float32 or float64: constants are typed globals, for a bare Python float would widen float32 arithmetic."""

    def read(self, operand: Operand) -> str:
        if isinstance(operand, str):
            return self.names[operand]
        return self.constant("c", f"np.{self.number}({float(operand)!r})")

    def compare(self, left: str, op: str, right: str) -> str:
        return f"{self.names[left]} {_COMPARE[op]} {self.names[right]}"

    def count(self, name: str) -> str:
        return self.names[name]

    def assign(self, target: str, op: str, args: tuple[Operand, ...]) -> list[str]:
        if op == "shift":
            args = (args[0], 2.0 ** int(args[1]))
        return [f"{self.names[target]} = {self.expression(op, *map(self.read, args))}"]

    def expression(self, op: str, a: str, b: str = "", c: str = "") -> str:
        if op in _INFIX:
            return f"{a} {_INFIX[op]} {b}"
        if op in COMPARES:
            return f"one if {a} {_COMPARE[op]} {b} else zero"
        if op in ("max", "min"):  # as numpy: a NaN on either side comes through
            return f"{a} if {a} {'>=' if op == 'max' else '<='} {b} or {a} != {a} else {b}"
        if op == "select":
            return f"{b} if {a} != zero else {c}"
        if op == "shift":
            return f"{a} * {b}"
        if op == "flush" and self.number == "float32":
            return f"zero if abs({a}) < {self.read(FLUSH_BELOW)} else {a}"
        return {"neg": f"-{a}", "abs": f"abs({a})", "floor": f"np.floor({a})"}.get(op, a)


class _Integer(_Writer):
    """int64 with a static number of fraction bits for every name; states are converted at every assignment."""

    def __init__(self, program: Program, state: Fixed, formats: Mapping[str, Format]) -> None:
        super().__init__(program, "int64")
        self.state = state
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

    def assign(self, target: str, op: str, args: tuple[Operand, ...]) -> list[str]:
        expression, found = self.expression(op, args)
        found.check(f"{target} = {op}")
        name = self.names[target]
        if target not in self.program.state_names:
            self.formats[target] = found
            return [f"{name} = {expression}"]
        format_after(found, self.state, f"{target} = {op}")
        how = self.constant("h", repr(conversion(found.frac, self.state)))
        lines = [f"{name}, failed = converted({expression}, {how})"]
        if self.state.overflow == "error":
            lines += ["if failed:", "    return 1 + n * current.shape[1] + k"]
        return lines

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
            return f"{op}({a}, {b})", top
        if op == "shift":
            k = int(args[1])
            return (_left(a, k), Format(fa.frac, fa.magnitude << k)) if k >= 0 else (f"{a} >> {min(-k, 63)}", fa)
        if op == "floor" and fa.frac > 0:
            return f"{a} >> {min(fa.frac, 63)}", Format(0, (fa.magnitude >> fa.frac) + 1)
        if op in ("neg", "abs", "floor", "copy", "flush"):
            return {"neg": f"-({a})", "abs": f"abs({a})"}.get(op, a), fa
        raise ProgramError(f"integer arithmetic has no '{op}'")


def _left(expression: str, k: int) -> str:
    return f"({expression} << {k})" if k > 0 else expression


def float_source(program: Program, number: str) -> str:
    """Source of a program's kernel in ``float32`` or ``float64``."""
    header = f"import numpy as np\n\nzero, one = np.{number}(0), np.{number}(1)\n"
    return _Float(program, number).source(header)


def integer_source(program: Program, state: Fixed, formats: Mapping[str, Format]) -> str:
    """Source of a program's kernel in integers.

    Arguments:
        program: the neuron program.
        state: the format of its states.
        formats: fraction and largest magnitude of ``i``, of every parameter and of every derived value.

    Raises:
        ProgramError: an operation that integers do not have (``div``).
        OverflowError: a value that may not fit into 62 bits; the message names the assignment.
    """
    header = "import numpy as np\n\nfrom neuroaccel.engine.kernels.convert import converted\n"
    return _Integer(program, state, formats).source(f"{header}\nzero, one = np.int64(0), np.int64(1)\n")
