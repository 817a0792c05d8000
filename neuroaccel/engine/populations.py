"""Neurons: a program's kernel with its parameters and states."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache, codegen
from neuroaccel.engine.fixed import Format, Whole, in_format, whole
from neuroaccel.engine.operation import Array, Operation, Static, Work, refuse_overflow
from neuroaccel.engine.sleep import sleep_rule
from neuroaccel.graph import nodes as n
from neuroaccel.program import resolve
from neuroaccel.program.evaluate import evaluate
from neuroaccel.program.language import INPUT, Assign


class Population(Operation):
    """A neuron node: parameters, states as arrays, one generated kernel.

    Arguments:
        name, node: the node.
        port: what is known of its input.
        number: ``float32``, ``float64`` or ``int64``.
        layout: int32, place → address in C-order: currents and states lie in that order of places; None for C-order.
    """

    finds_events: ClassVar[bool] = True
    flags_value: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("updates_driven", "spikes")

    def __init__(
        self, name: str, node: n.Neuron, port: Static, number: str, layout: NDArray[np.int32] | None = None
    ) -> None:
        super().__init__(name, emission(node, number), number)
        self.program, self.layout = node.program, layout
        self.address = np.zeros(0, np.int32) if layout is None else layout
        known = resolve(node.program, node.parameters)
        self.known: dict[str, Array] = dict(known)
        driven = port.biased.copy()
        for leak in node.program.leak:
            driven |= np.broadcast_to(known[leak] != 0, node.shape).ravel()
        self.rule = sleep_rule(node.program) if number != "int64" and not driven.any() else None
        flags = driven.astype(np.uint8)
        # One flag for all is not read per neuron.
        self.driven = flags[:1] if (flags == flags[0]).all() else self._placed(flags)
        formats: dict[str, Format] = {}
        if number == "int64":
            values, formats = self._integers(node, port, known)
        else:
            values = {key: value.astype(number) for key, value in known.items()}
        flat = {key: self.parameter(values[key]) for key in codegen.fixed_names(node.program)}
        self.wide = frozenset(key for key, value in flat.items() if len(value) > 1)
        self.parameters = list(flat.values())
        self.fresh = {s.name: self._fresh(node, values, s.fresh) for s in node.program.states}
        self.source = self._source(node, number, formats)

    @cached_property
    def kernel(self) -> cache.Kernel:
        """Compiled by :meth:`prepare`, for another operation or a tape may run these neurons."""
        text = cache.stamped(self.source)
        return cache.compile_source(f"neuron_{self.program.key}_{self.dtype.name}", text, self.dtype.name)

    def prepare(self) -> None:
        _ = self.kernel

    def _placed(self, flat: Array) -> Array:
        """Values ``[..., size]`` from C-order into the order of places."""
        return flat if self.layout is None else np.ascontiguousarray(flat[..., self.layout])

    @property
    def can_sleep(self) -> bool:
        """Whether its neurons can be left alone while nothing reaches them; see :mod:`neuroaccel.engine.sleep`."""
        return self.rule is not None

    def parameter(self, value: Array) -> Array:
        """``[size]`` in the order of places, or ``[1]`` where all neurons have the same."""
        flat = np.ascontiguousarray(value).ravel()
        if (flat.view(np.uint8).reshape(len(flat), -1) == flat[:1].view(np.uint8)).all():
            return flat[:1].copy()
        return self._placed(np.array(np.broadcast_to(value, self.static.shape), order="C").ravel())

    def _source(self, node: n.Neuron, number: str, formats: dict[str, Format]) -> str:
        if number != "int64":
            return codegen.float_source(node.program, number, self.wide)
        assert node.arithmetic is not None
        assert node.arithmetic.state is not None
        return codegen.integer_source(node.program, node.arithmetic.state, formats, self.wide)

    def _fresh(self, node: n.Neuron, values: dict[str, Array], fresh: float | str) -> Array:
        if node.arithmetic is not None and node.arithmetic.state is not None and self.dtype.kind == "i":
            real = resolve(node.program, node.parameters)[fresh] if isinstance(fresh, str) else fresh
            value: Array = in_format(real, node.arithmetic.state).values
        else:
            value = values[fresh] if isinstance(fresh, str) else np.asarray(fresh, self.dtype)
        return np.array(np.broadcast_to(value, self.static.shape), order="C")

    def _integers(
        self, node: n.Neuron, port: Static, known: dict[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Format]]:
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
        return {key: value.values for key, value in integers.items()}, formats

    def inward(self, key: str, value: Array) -> Array:
        return value if self.layout is None else self._placed(value.reshape(len(value), -1))

    def outward(self, key: str, value: Array) -> Array:
        if self.layout is None:
            return value
        out = np.empty_like(value)
        out[:, self.layout] = value
        return out.reshape(len(value), *self.static.shape)

    @cached_property
    def rests(self) -> bool:
        """Whether fresh neurons stay exactly as they are, and silent, as long as nothing enters."""
        fire = self.program.fire
        if not self.can_sleep or fire is None:
            return False
        fresh = {key: value.astype(np.float64) for key, value in self.fresh.items()}
        names: dict[str, Any] = {**self.known, **fresh, INPUT: np.zeros(self.static.shape)}
        for step in self.program.body:
            names[step.target] = evaluate(step, names)
        same = all(
            np.broadcast_to(names[key], value.shape).tobytes() == value.tobytes() for key, value in fresh.items()
        )
        fires = evaluate(Assign("fires", fire.op, (fire.left, fire.right)), names)
        return same and not fires.any()

    def silence(self, work: Work) -> bool:
        if not self.rests or work.kept.shape[1]:
            return False
        for key, fresh in self.placed.items():
            if not np.array_equal(work.flat(key).view(self.bits), np.broadcast_to(fresh, work.flat(key).shape)):
                return False
        work.out.hush()
        return True

    @cached_property
    def placed(self) -> dict[str, Array]:
        """Fresh states in the order of places, as bits."""
        return {key: self.inward(key, fresh[None]).reshape(1, -1).view(self.bits) for key, fresh in self.fresh.items()}

    @property
    def bits(self) -> np.dtype[Any]:
        """The unsigned type that is as wide as a state: bits differ where 0 and -0 are equal."""
        return np.dtype(f"u{self.dtype.itemsize}")

    def run(self, work: Work) -> None:
        work.given = work.given or self._given(work)
        code = self.kernel(*work.given)
        if code and self.layout is not None:
            row, place = divmod(code - 1, self.static.size)
            code = 1 + row * self.static.size + int(self.layout[place])
        refuse_overflow(self.name, "a state", code, work)

    def _given(self, work: Work) -> tuple[Any, ...]:
        port, out, counts = work.ports[0], work.out, work.counts
        states = [work.flat(name) for name in self.program.state_names]
        kept = work.kept if work.kept.shape[1] else np.empty((len(states), 0, 0), self.dtype)
        return (
            *(port.value, port.reach, port.touched, self.driven, *states, *self.parameters, self.address),
            *(out.value, out.index, out.found, counts["updates_driven"], counts["spikes"]),
            *(kept, work.ticks, work.track),
        )

    def explain(self) -> str:
        order = "in C-order" if self.layout is None else "cell by cell"
        wide = f"; per neuron: {', '.join(sorted(self.wide))}" if self.wide else ""
        return f"every neuron at every tick, {order}, blocks of {codegen.BLOCK} over all ticks of a call{wide}"


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
