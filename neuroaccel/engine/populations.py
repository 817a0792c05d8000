"""Neurons: a program's kernel with its parameters and states."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neuroaccel.engine import cache, codegen
from neuroaccel.engine.fixed import Format, Whole, in_format, whole
from neuroaccel.engine.operation import Array, Operation, Static, Work, refuse_overflow
from neuroaccel.graph import nodes as n
from neuroaccel.program import resolve
from neuroaccel.program.language import INPUT


class Population(Operation):
    """A neuron node: parameters per neuron, states as arrays, one generated kernel."""

    finds_events: ClassVar[bool] = True
    flags_value: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("updates_driven", "spikes")

    def __init__(self, name: str, node: n.Neuron, port: Static, number: str) -> None:
        super().__init__(name, emission(node, number), number)
        self.program = node.program
        known = resolve(node.program, node.parameters)
        driven = port.biased.copy()
        for leak in node.program.leak:
            driven |= np.broadcast_to(known[leak] != 0, node.shape).ravel()
        self.driven = driven.astype(np.uint8)
        if number == "int64":
            values, source = self._integers(node, port, known)
        else:
            values = {key: value.astype(number) for key, value in known.items()}
            source = codegen.float_source(node.program, number)
        self.parameters = [
            np.array(np.broadcast_to(values[key], node.shape), order="C").ravel()
            for key in codegen.fixed_names(node.program)
        ]
        self.fresh = {s.name: self._fresh(node, values, s.fresh) for s in node.program.states}
        self.kernel = cache.compile_source(f"neuron_{node.program.key}_{number}", source, number)

    def _fresh(self, node: n.Neuron, values: dict[str, Array], fresh: float | str) -> Array:
        if node.arithmetic is not None and node.arithmetic.state is not None and self.dtype.kind == "i":
            real = resolve(node.program, node.parameters)[fresh] if isinstance(fresh, str) else fresh
            value: Array = in_format(real, node.arithmetic.state).values
        else:
            value = values[fresh] if isinstance(fresh, str) else np.asarray(fresh, self.dtype)
        return np.array(np.broadcast_to(value, node.shape), order="C")

    def _integers(self, node: n.Neuron, port: Static, known: dict[str, Array]) -> tuple[dict[str, Array], str]:
        state = node.arithmetic.state if node.arithmetic else None
        if node.arithmetic is None or state is None:
            raise ValueError("its states have no integer format; give Arithmetic.state")
        if port.format is None:
            raise ValueError("its input has no integer format; a readout can only lead to an Output")
        integers: dict[str, Whole] = {}
        for key, value in known.items():
            fixed = node.arithmetic.parameters.get(key)
            try:
                integers[key] = whole(value) if fixed is None else in_format(value, fixed)
            except (ValueError, OverflowError) as error:
                raise ValueError(f"parameter '{key}': {error}") from error
        formats = {key: value.format for key, value in integers.items()} | {INPUT: port.format}
        source = codegen.integer_source(node.program, state, formats)
        return {key: value.values for key, value in integers.items()}, source

    def run(self, work: Work) -> None:
        port, out, counts = work.ports[0], work.out, work.counts
        states = [work.flat(name) for name in self.program.state_names]
        sent = (out.value, out.index, out.found, counts["updates_driven"], counts["spikes"], work.track)
        code = self.kernel(port.value, port.touched, self.driven, *states, *self.parameters, *sent)
        refuse_overflow(self.name, "a state", code, self.static.size)


def emission(node: n.Neuron, number: str) -> Static:
    """What is known of a population's emission: nothing else of the graph is needed, so feedback can be planned."""
    if number != "int64":
        return Static.plain(node.shape)
    emit = node.program.emit
    if emit.kind != "state":
        return Static.plain(node.shape, Format(0, emit.maximum if emit.kind == "count" else 1))
    if node.arithmetic is None or node.arithmetic.state is None:
        raise ValueError("its states have no integer format; give Arithmetic.state")
    return Static.plain(node.shape, Format.of(node.arithmetic.state))
