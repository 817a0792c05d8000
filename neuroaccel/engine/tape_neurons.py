"""Writing a population down as part of a tape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuroaccel.engine.codegen import fixed_names
from neuroaccel.engine.kernels import tape as op
from neuroaccel.engine.plan import Ref
from neuroaccel.engine.populations import Population
from neuroaccel.engine.tape import Flat
from neuroaccel.program.language import INPUT, Operand

if TYPE_CHECKING:
    from neuroaccel.engine.tape_writer import Writer

INSTRUCTIONS = {
    **dict(add=op.ADD, sub=op.SUB, mul=op.MUL, div=op.DIV, max=op.MAX, min=op.MIN, neg=op.NEG, abs=op.ABS),
    **dict(floor=op.FLOOR, copy=op.COPY, gt=op.GT, ge=op.GE, lt=op.LT, le=op.LE, eq=op.EQ),
}


class Neurons:
    """A population's tick: its program, assignment by assignment, each on all neurons."""

    def __init__(self, writer: Writer, ref: Ref, operation: Population, current: int) -> None:
        self.writer, self.ref, self.operation, self.current = writer, ref, operation, current
        self.draft, self.size = writer.draft, operation.static.size
        self.program, self.written = operation.program, list[list[int]]()
        self.rooms = 0
        values = zip(fixed_names(self.program), operation.parameters, strict=True)
        self.names = {name: self.draft.constant(value, self.size) for name, value in values}
        self.names[INPUT] = current
        self.states = {}
        for state in self.program.states:
            place = self.draft.place(self.size)
            self.states[state.name] = self.names[state.name] = place
            writer.link(ref, Flat(state.name, place, self.size), operation)

    def room(self) -> int:
        self.rooms += 1
        return self.draft.room(self.size, self.rooms - 1)

    def read(self, operand: Operand) -> int:
        return self.names[operand] if isinstance(operand, str) else self.draft.constant(operand, self.size)

    def compute(self, name: str, args: tuple[Operand, ...]) -> int:
        """One operation on all neurons; where its result lies."""
        out = self.room()
        if name == "shift":
            factor = self.draft.constant(2.0 ** int(args[1]), self.size)
            self.written.append([op.MUL, out, self.read(args[0]), factor, self.size])
        elif name == "select":
            chosen, a, b = map(self.read, args)
            self.written.append([op.SELECT, out, chosen, a, self.size, b])
        elif name == "flush":
            flush = op.FLUSH if self.draft.dtype == np.float32 else op.COPY
            self.written.append([flush, out, self.read(args[0]), 0, self.size])
        else:
            a, b = self.read(args[0]), self.read(args[1]) if len(args) > 1 else 0
            self.written.append([INSTRUCTIONS[name], out, a, b, self.size])
        return out

    def write(self) -> None:
        program, draft, size, out = self.program, self.draft, self.size, self.writer.place(self.ref)
        fire, emit, track = program.fire, program.emit, draft.track
        zero = draft.constant(0.0, size)
        above = self.compute("ge", (fire.left, fire.right)) if fire is not None and track else zero
        for a in program.body:
            self.names[a.target] = self.compute(a.op, a.args)
        fired = self.compute(fire.op, (fire.left, fire.right)) if fire is not None else zero
        for a in program.on_fire:
            new = self.compute(a.op, a.args)
            place = self.room()
            self.written.append([op.SELECT, place, fired, new, size, self.names[a.target]])
            self.names[a.target] = place
        if emit.kind == "count":
            self.written.append([op.SELECT, out, fired, self.names[str(emit.value)], size, zero])
        else:
            sent = fired if emit.kind == "spike" else self.names[str(emit.value)]
            self.written.append([op.COPY, out, sent, 0, size])
        for name, place in self.states.items():
            if self.names[name] != place:
                self.written.append([op.COPY, place, self.names[name], 0, size])
        for row in self.written:
            draft.add(*row)
        if track:
            counted = draft.count(self.writer.path, self.ref[1], "updates_driven")
            driven = draft.share(np.broadcast_to(self.operation.driven, (size,)))
            draft.add(op.DRIVEN, fired, self.current, above, size, counted, driven)
            if emit.kind != "state":
                counted = draft.count(self.writer.path, self.ref[1], "spikes")
                draft.add(op.EVENTS, 0, out, 0, size, counted)
