"""The reference executor of neuron programs: one torch operation per program operation, each rounded on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from neuroaccel.neurons.surrogate import floor, spike
from neuroaccel.program.language import COMPARES, FLUSH_BELOW, INPUT, Assign, Operand, Program

State = dict[str, Tensor]
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "gt": torch.gt,
    "ge": torch.ge,
    "lt": torch.lt,
    "le": torch.le,
    "eq": torch.eq,
}
_UNARY: dict[str, Callable[[Tensor], Tensor]] = {"neg": torch.neg, "abs": torch.abs, "floor": floor}


def fresh(program: Program, parameters: Mapping[str, Tensor], like: Tensor) -> State:
    """The state before the first tick, in the shape of ``like`` ([N, ...]): views of the values, not to be written to.

    Filling tensors would take torch's threads, and where other processes run they wait longer for one another than a
    whole sequence takes.
    """
    return {
        s.name: (
            parameters[s.fresh].to(like.dtype) if isinstance(s.fresh, str) else like.new_full((), s.fresh)
        ).expand_as(like)
        for s in program.states
    }


def derive(program: Program, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters and derived values; derived ones are computed in float64 and rounded to float32 once."""
    values = dict(parameters)
    wide: dict[str, Tensor] = {name: value.double() for name, value in parameters.items()}
    for a in program.derived:
        wide[a.target] = _value(a, wide, next(iter(wide.values())))
        values[a.target] = wide[a.target].float().to(next(iter(parameters.values())).dtype)
    return values


def _value(a: Assign, names: Mapping[str, Tensor], like: Tensor) -> Tensor:
    def read(operand: Operand) -> Tensor:
        return names[operand] if isinstance(operand, str) else like.new_tensor(operand)

    if a.op == "copy":
        value = read(a.args[0])
        return value.expand_as(like) if value.dim() < like.dim() else value
    if a.op == "flush":
        x = read(a.args[0])
        # The gradient passes, as where nothing is flushed: a state that is 0 must not hide what it depends on.
        return x - torch.where(x.abs() < FLUSH_BELOW, x, 0.0).detach() if x.dtype == torch.float32 else x
    if a.op == "select":
        condition, yes, no = (read(x) for x in a.args)
        return torch.where(condition != 0, yes, no)
    if a.op == "shift":
        return torch.mul(read(a.args[0]), 2.0 ** float(a.args[1]))
    if a.op in _UNARY:
        return _UNARY[a.op](read(a.args[0]))
    result = _BINARY[a.op](read(a.args[0]), read(a.args[1]))
    return result.to(like.dtype) if a.op in COMPARES else result


def tick(
    program: Program,
    values: Mapping[str, Tensor],
    i: Tensor,
    state: Mapping[str, Tensor],
    surrogate: str,
    slope: float,
    detach_reset: bool,
) -> tuple[Tensor, State]:
    """One tick of a neuron.

    Arguments:
        program: the arithmetic.
        values: parameters and derived values (:func:`derive`).
        i: input current, ``[N, ...]``.
        state: state name → ``[N, ...]``.
        surrogate, slope, detach_reset: training fields; the forward values do not depend on them.

    Returns:
        What is emitted, ``[N, ...]``, and the new state.
    """
    names: dict[str, Tensor] = {**values, **state, INPUT: i}
    for a in program.body:
        names[a.target] = _value(a, names, i)
    if program.fire is None:
        assert program.emit.value is not None
        return names[program.emit.value], {s: names[s] for s in program.state_names}
    fires = spike(names[program.fire.left], names[program.fire.right], program.fire.op, surrogate, slope)
    where = fires != 0
    for a in program.on_fire:
        old, new = names[a.target], _value(a, names, i)
        after = torch.where(where, new, old)
        if not detach_reset:
            # The spike's own gradient through the reset; the added term is exactly 0 forwards.
            after = after + (new - old).detach() * (fires - fires.detach())
        names[a.target] = after
    out = {s: names[s] for s in program.state_names}
    if program.emit.kind == "spike":
        return fires, out
    assert program.emit.value is not None
    emitted = names[program.emit.value]
    return (fires * emitted if program.emit.kind == "count" else emitted), out
