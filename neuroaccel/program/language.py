"""The neuron language: a neuron is a short straight-line program over named values.

A tick of a neuron with input current ``i`` runs ``body`` in order, every operation rounded on its own; then ``fire``
compares two values; where it holds, ``on_fire`` runs; then the neuron emits. Nothing here computes: executors read the
program and generate their step, their gradient and their energy from it.

Operations
    ``add sub mul div max min`` (two operands), ``neg abs floor copy`` (one), ``gt ge lt le eq`` (compare: 1 or 0),
    ``select`` (condition, value where true, value where false), ``shift`` (value, whole k: value · 2^k, in integer
    arithmetic an arithmetic shift), ``flush`` (float32 only: 0 where abs(x) < 2^-100; any other arithmetic: identity).

An operand is the name of the input ``i``, a state, a parameter, a derived parameter, an earlier target, or a number.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from neuroaccel.errors import ProgramError

Operand = str | float

ARITY = {
    **dict.fromkeys(("add", "sub", "mul", "div", "max", "min", "shift"), 2),
    **dict.fromkeys(("neg", "abs", "floor", "copy", "flush"), 1),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq"), 2),
    "select": 3,
}
COMPARES = frozenset({"gt", "ge", "lt", "le", "eq"})
INPUT = "i"
FLUSH_BELOW = 2.0**-100


@dataclass(frozen=True)
class Assign:
    """``target = op(*args)``."""

    target: str
    op: str
    args: tuple[Operand, ...]

    def __str__(self) -> str:
        return f"{self.target} = {self.op}({', '.join(map(str, self.args))})"


@dataclass(frozen=True)
class State:
    """A value that lives from tick to tick; ``fresh`` is a number or the name of a parameter."""

    name: str
    fresh: float | str = 0.0


@dataclass(frozen=True)
class Parameter:
    """A parameter with its closed interval of admissible values (``None``: unbounded)."""

    name: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Fire:
    """The one comparison that makes a spike: ``left op right``, ``op`` being ``gt`` or ``ge``.

    Both sides are states or parameters, so that "at or above threshold" can be asked before a tick begins.
    """

    left: str
    op: str
    right: str


@dataclass(frozen=True)
class Emit:
    """What leaves the neuron: ``spike`` (1 where it fires), ``count`` (a non-negative whole ``value`` up to
    ``maximum`` where it fires) or ``state`` (the analog ``value``, every tick)."""

    kind: str = "spike"
    value: str | None = None
    maximum: int = 1


@dataclass(frozen=True)
class Program:
    """A neuron, written once.

    Arguments:
        name: what people call it.
        states: values that persist, with their fresh values.
        parameters: values given from outside, scalar or per neuron.
        derived: assignments over parameters, computed once in float64 and rounded to float32.
        body: assignments of every tick, in order.
        fire: the comparison that makes a spike, or ``None`` for a neuron that never does.
        on_fire: assignments to states, run where the neuron fires.
        emit: what leaves the neuron.
        membrane: the state that plots and comparisons call the membrane.
        leak: parameters or derived values that, where not zero, move the neuron without any input.

    ``text`` is :meth:`to_json` as a text, for what takes no objects.

    Raises:
        ProgramError: an unknown operation or name, a wrong number of operands, an emission that nothing computes.
    """

    name: str
    states: tuple[State, ...]
    parameters: tuple[Parameter, ...]
    body: tuple[Assign, ...]
    fire: Fire | None = None
    on_fire: tuple[Assign, ...] = ()
    derived: tuple[Assign, ...] = ()
    emit: Emit = field(default_factory=Emit)
    membrane: str = "v"
    leak: tuple[str, ...] = ()
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "text", json.dumps(self.to_json()))

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.states)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    def parameter(self, name: str) -> Parameter:
        for p in self.parameters:
            if p.name == name:
                return p
        raise ProgramError(f"program '{self.name}' has no parameter '{name}'; it has {', '.join(self.parameter_names)}")

    def operations(self) -> dict[str, int]:
        """Operations of one update: those of the body and, one each, of the comparison; ``on_fire`` is per spike."""
        ops = Counter(a.op for a in self.body)
        if self.fire is not None:
            ops["compare"] += 1
        return dict(ops)

    def operations_on_fire(self) -> dict[str, int]:
        """Operations that only a firing neuron adds."""
        return dict(Counter(a.op for a in self.on_fire))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description; :meth:`from_json` reads it back unchanged."""
        return {
            "name": self.name,
            "states": [[s.name, s.fresh] for s in self.states],
            "parameters": [[p.name, p.low, p.high] for p in self.parameters],
            "derived": [[a.target, a.op, list(a.args)] for a in self.derived],
            "body": [[a.target, a.op, list(a.args)] for a in self.body],
            "fire": None if self.fire is None else [self.fire.left, self.fire.op, self.fire.right],
            "on_fire": [[a.target, a.op, list(a.args)] for a in self.on_fire],
            "emit": [self.emit.kind, self.emit.value, self.emit.maximum],
            "membrane": self.membrane,
            "leak": list(self.leak),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Program:
        """Read what :meth:`to_json` wrote.

        Raises:
            ProgramError: a missing or malformed entry.
        """
        try:
            return Program(
                name=data["name"],
                states=tuple(State(*s) for s in data["states"]),
                parameters=tuple(Parameter(*p) for p in data["parameters"]),
                derived=tuple(Assign(t, op, tuple(args)) for t, op, args in data["derived"]),
                body=tuple(Assign(t, op, tuple(args)) for t, op, args in data["body"]),
                fire=None if data["fire"] is None else Fire(*data["fire"]),
                on_fire=tuple(Assign(t, op, tuple(args)) for t, op, args in data["on_fire"]),
                emit=Emit(*data["emit"]),
                membrane=data["membrane"],
                leak=tuple(data["leak"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProgramError(f"not a neuron program: {error!r}") from error

    @property
    def key(self) -> str:
        """A short hash of everything but the name: equal keys mean equal arithmetic."""
        data = self.to_json()
        del data["name"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        lines = [f"{self.name}({', '.join(self.parameter_names)})"]
        lines += [f"  once     {a}" for a in self.derived]
        lines += [f"  tick     {a}" for a in self.body]
        if self.fire is not None:
            lines.append(f"  fire     {self.fire.left} {'>' if self.fire.op == 'gt' else '>='} {self.fire.right}")
        lines += [f"  on fire  {a}" for a in self.on_fire]
        lines.append(f"  emit     {self.emit.kind}" + (f" {self.emit.value}" if self.emit.value else ""))
        return "\n".join(lines)


def _check_assign(program: Program, a: Assign, known: set[str]) -> None:
    if ARITY.get(a.op) is None:
        raise ProgramError(f"program '{program.name}': unknown operation '{a.op}' in '{a}'; known: {', '.join(ARITY)}")
    if len(a.args) != ARITY[a.op]:
        raise ProgramError(f"program '{program.name}': '{a}' needs {ARITY[a.op]} operands")
    for arg in a.args:
        if isinstance(arg, str) and arg not in known:
            raise ProgramError(f"program '{program.name}': '{a}' reads '{arg}', which nothing has set")
    if a.op == "shift" and (isinstance(a.args[1], str) or a.args[1] != int(a.args[1])):
        raise ProgramError(f"program '{program.name}': '{a}' needs a whole literal shift")
    if not a.target.isidentifier() or a.target == INPUT:
        raise ProgramError(f"program '{program.name}': cannot assign to '{a.target}'")


def _check(program: Program) -> None:
    states, parameters = set(program.state_names), set(program.parameter_names)
    names = [*program.state_names, *program.parameter_names]
    if len(set(names)) != len(names) or INPUT in names or not all(n.isidentifier() for n in names):
        raise ProgramError(f"program '{program.name}': names of states and parameters must be distinct identifiers")
    known = set(parameters)
    for a in program.derived:
        _check_assign(program, a, known)
        if a.target in known | states:
            raise ProgramError(f"program '{program.name}': derived '{a}' takes a name that is there already")
        known.add(a.target)
    fixed = set(known)
    known |= states | {INPUT}
    for a in program.body:
        _check_assign(program, a, known)
        if a.target in fixed:
            raise ProgramError(f"program '{program.name}': '{a}' overwrites a parameter")
        known.add(a.target)
    if unknown := set(program.leak) - fixed:
        raise ProgramError(f"program '{program.name}': leak {sorted(unknown)} is neither parameter nor derived")
    for s in program.states:
        if isinstance(s.fresh, str) and s.fresh not in parameters:
            raise ProgramError(f"program '{program.name}': fresh value '{s.fresh}' of '{s.name}' is no parameter")
    if program.membrane not in states:
        raise ProgramError(f"program '{program.name}': membrane '{program.membrane}' is not a state")
    for a in program.on_fire:
        _check_assign(program, a, known)
        if a.target not in states:
            raise ProgramError(f"program '{program.name}': on_fire may only assign states, not '{a.target}'")
    if program.fire is not None:
        if program.fire.op not in ("gt", "ge"):
            raise ProgramError(f"program '{program.name}': fire compares with gt or ge, not '{program.fire.op}'")
        for side in (program.fire.left, program.fire.right):
            if side not in states | fixed:
                raise ProgramError(f"program '{program.name}': fire compares states and parameters, not '{side}'")
    emit = program.emit
    if emit.kind not in ("spike", "count", "state"):
        raise ProgramError(f"program '{program.name}': emits spike, count or state, not '{emit.kind}'")
    if emit.kind == "spike" and program.fire is None:
        raise ProgramError(f"program '{program.name}' emits spikes but has no fire comparison")
    if emit.kind == "count" and (program.fire is None or emit.value not in known or emit.maximum < 1):
        raise ProgramError(f"program '{program.name}' emits counts: it needs fire, a computed value and a maximum >= 1")
    if emit.kind == "state" and emit.value not in states:
        raise ProgramError(f"program '{program.name}' emits '{emit.value}', which is not a state")
