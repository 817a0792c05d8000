"""The first place where two executors part: tick, node, neuron and operation, and how near the threshold was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import Graph, Trace, Traced, traced
from neuroaccel.program import resolve
from neuroaccel.verify.tick import before_firing

Value = int | float
Array = NDArray[Any]
STATE = "state "


@dataclass(frozen=True)
class Divergence:
    """Where two executors part first.

    Arguments:
        tick, sample, node, index: where; ``index`` is the neuron's place in its layer.
        operation: ``current``, ``state`` and its name, ``spike``, or ``output``.
        expression: the program's line that computes it.
        expected, found: the reference's value and the other's.
        distance: how far the reference's comparison was from firing, left side minus right side; ``None`` where there
            is no comparison or the membrane before firing is not known.
        position: of the node in the order of execution.
        names: of the reference and of the other executor.
    """

    tick: int
    sample: int
    node: str
    index: tuple[int, ...]
    operation: str
    expression: str
    expected: Value
    found: Value
    distance: float | None
    position: int
    names: tuple[str, str] = ("the reference", "the other")

    @property
    def order(self) -> tuple[int, ...]:
        """Sorts divergences: the earliest first."""
        return (self.tick, self.position, self.sample, *self.index)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; values that JSON cannot hold become ``null``."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        data = {key: plain(value) for key, value in asdict(self).items() if key not in ("position", "names")}
        return {**data, "index": list(self.index), "text": str(self)}

    def __str__(self) -> str:
        where = f"tick {self.tick}, sample {self.sample}, '{self.node}'[{', '.join(map(str, self.index))}]"
        text = (
            f"{where}: {self.operation} ({self.expression}) is {self.expected!r} in {self.names[0]} "
            f"and {self.found!r} in {self.names[1]}"
        )
        if self.distance is None:
            return text
        side = "on" if self.distance == 0 else "above" if self.distance > 0 else "below"
        away = "" if self.distance == 0 else f"{abs(self.distance):.9g} "
        return f"{text}; the membrane stood {away}{side} its threshold"


def different(a: Array, b: Array) -> NDArray[np.bool_]:
    """Where values differ: −0 equals 0, a NaN differs from everything."""
    return np.asarray(a != b)


def recordings(graph: Graph, trace: Trace, name: str) -> Iterator[tuple[str, Array | None]]:
    """What a trace should hold of a neuron layer, in the order of its computation: (operation, values)."""
    node = traced(graph)[name].node
    yield "current", trace.currents.get(name)
    for state in node.program.state_names:
        yield f"{STATE}{state}", trace.states.get(name, {}).get(state)
    yield "spike", trace.spikes.get(name)


def first_divergence(
    graph: Graph, a: Trace, b: Trace, names: tuple[str, str] = ("the reference", "the other"), first_sample: int = 0
) -> Divergence | None:
    """The first tick, then the first node in the order of execution, then the first neuron where two traces part.

    Arguments:
        graph: what the reference ran.
        a, b: the traces of the reference and of the other executor.
        names: what to call the two.
        first_sample: number of the traces' first sample, where they hold a part of a run.

    Returns:
        The divergence, ``None`` where currents, states, emissions and outputs are the same.
    """
    best: Divergence | None = None
    place = {name: position for position, name in enumerate(graph.order)}
    layers = traced(graph)
    order = sorted([*layers, *graph.outputs], key=lambda name: layers[name].position if name in layers else place[name])
    for name in order:
        if name in layers:
            found = _in_neuron(graph, a, b, name, layers[name], best)
        elif name in a.outputs and name in b.outputs:
            found = _in_output(a.outputs[name], b.outputs[name], name, place[name])
        else:
            continue
        if found is not None and (best is None or found.order < best.order):
            best = found
    if best is None:
        return None
    fields = {**vars(best), "names": names, "sample": best.sample + first_sample}
    return Divergence(**fields)


def _at(mask: NDArray[np.bool_]) -> tuple[int, ...] | None:
    """(tick, sample, *index) of the first difference."""
    if not mask.any():
        return None
    ticks = mask.reshape(len(mask), -1).any(axis=1)
    t = int(ticks.argmax())
    rest = np.unravel_index(int(mask[t].argmax()), mask.shape[1:])
    return (t, *(int(k) for k in rest))


def _number(value: Any) -> Value:
    plain: Value = value.item()
    return plain


def _in_output(a: Array, b: Array, name: str, position: int) -> Divergence | None:
    if a.shape != b.shape or (at := _at(different(a, b))) is None:
        return None
    return Divergence(at[0], at[1], name, at[2:], "output", "value", _number(a[at]), _number(b[at]), None, position)


def _in_neuron(
    graph: Graph, a: Trace, b: Trace, name: str, layer: Traced, best: Divergence | None
) -> Divergence | None:
    pairs = {
        operation: (x, y)
        for (operation, x), (_, y) in zip(recordings(graph, a, name), recordings(graph, b, name), strict=True)
        if x is not None and y is not None and x.shape == y.shape
    }
    if not pairs:
        return None
    if best is not None:  # only what is not later than the best counts
        last = (best.tick + 1) * layer.steps
        pairs = {operation: (x[:last], y[:last]) for operation, (x, y) in pairs.items()}
    masks = {operation: different(x, y) for operation, (x, y) in pairs.items()}
    at = _at(np.logical_or.reduce(list(masks.values())))
    if at is None:
        return None
    parted = [operation for operation in pairs if masks[operation][at]]
    scene = _Scene(layer, pairs, at)
    operation, expression = scene.operation(parted)
    x, y = pairs[operation]
    return Divergence(
        at[0] // layer.steps,
        at[1],
        name,
        at[2:],
        operation,
        expression,
        _number(x[at]),
        _number(y[at]),
        scene.distance(),
        layer.position,
    )


class _Scene:
    """One neuron at the tick at which two executors part; everything before is the same in both."""

    def __init__(self, layer: Traced, pairs: Mapping[str, tuple[Array, Array]], at: tuple[int, ...]) -> None:
        node = layer.node
        self.graph, self.name, self.node, self.program = layer.graph, layer.name, node, node.program
        self.pairs, self.at = pairs, at
        self.begins = at[0] == 0 or (layer.fresh > 0 and at[0] % layer.fresh == 0)
        index = at[2:]
        self.values = {
            key: value[index] if value.ndim else value for key, value in resolve(self.program, node.parameters).items()
        }
        self.before = self._before()

    def _states(self) -> list[tuple[str, tuple[Array, Array]]]:
        """States that both recorded: name → values of the reference and of the other."""
        keys = {name: f"{STATE}{name}" for name in self.program.state_names}
        return [(name, self.pairs[key]) for name, key in keys.items() if key in self.pairs]

    def _before(self) -> dict[str, float] | None:
        """The reference's states before it fired, ``None`` in integers, or where not every state was recorded."""
        t, *rest = self.at
        states = {name: values[0] for name, values in self._states()}
        if "current" not in self.pairs or len(states) < len(self.program.states):
            return None
        number = states[self.program.membrane].dtype
        if number not in (np.float32, np.float64):
            return None
        if not self.begins:
            old = {name: value[(t - 1, *rest)] for name, value in states.items()}
        else:
            old = {s.name: self.values[s.fresh] if isinstance(s.fresh, str) else s.fresh for s in self.program.states}
        current = self.pairs["current"][0][self.at]
        return before_firing(self.program, self.values, old, current, number == np.float64)

    def _recorded(self, side: int) -> dict[str, float] | None:
        """States before firing of an executor whose neuron stayed silent: those after the tick."""
        spike = self.pairs.get("spike")
        if self.program.emit.kind == "state" or spike is None or spike[side][self.at] != 0:
            return None
        fixed = self.node.arithmetic.state if self.node.arithmetic is not None else None
        unit = 1.0 if fixed is None else 2.0**-fixed.frac
        return {name: float(values[side][self.at]) * unit for name, values in self._states()}

    def operation(self, parted: list[str]) -> tuple[str, str]:
        """Which operation made the difference, the first in the order of the program, and the program's line for it."""
        if "current" in parted:
            sources = ", ".join(e.source for e in self.graph.into(self.name, "in"))
            return "current", f"i, the sum of {sources}"
        fire = self.program.fire
        spiked = "spike" in parted and self.program.emit.kind != "state" and fire is not None
        # A spike that only one of the two sends also changes what on_fire sets: that is not where they part.
        names = [name for name in self._in_order() if (self._brought(name) if spiked else f"{STATE}{name}" in parted)]
        if names:
            lines = [a for a in (*self.program.on_fire, *self.program.body) if a.target == names[0]]
            return f"{STATE}{names[0]}", str(lines[-1]) if lines else names[0]
        if spiked and fire is not None:
            return "spike", f"{fire.left} {'>' if fire.op == 'gt' else '>='} {fire.right}"
        return "spike", str(self.program.emit.value or "emission")

    def _in_order(self) -> list[str]:
        """States in the order in which the body finishes them; those that only ``on_fire`` sets come last."""
        last = {a.target: k for k, a in enumerate(self.program.body)}
        return sorted(self.program.state_names, key=lambda name: last.get(name, len(last)))

    def _brought(self, name: str) -> bool:
        """Whether two executors, of which one fired, brought different values of a state to the comparison.

        What ``on_fire`` does not set is recorded as it was. A silent neuron's recorded states are those before firing;
        the reference's are computed again where it fired. If the other one fired, what it held is not known.
        """
        x, y = self.pairs.get(f"{STATE}{name}", (None, None))
        if x is None or y is None:
            return False
        if all(a.target != name for a in self.program.on_fire):
            return bool(different(x[self.at], y[self.at]))
        silent = self._recorded(1)
        return silent is not None and self.before is not None and silent[name] != self.before[name]

    def distance(self) -> float | None:
        """Left minus right side of the reference's comparison."""
        fire = self.program.fire
        if fire is None:
            return None
        states = self.before or self._recorded(0) or self._recorded(1)
        if states is None:
            return None
        sides = []
        for side in (fire.left, fire.right):
            value = states.get(side, self.values.get(side))
            if value is None:
                return None
            sides.append(float(value))
        return sides[0] - sides[1]
