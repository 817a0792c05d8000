"""Snap weights to grids on which every sum is exact, whatever its order.

All synapses whose currents meet in one target share a grid of currents, 2^-Q. A synapse whose inputs are whole
multiples of 2^-f has its weights rounded to k·2^-(Q−f), its bias to k·2^-Q, with Q the largest for which, over
everything that any target receives,

    Σ \\|k\\|·(largest input) + \\|k_bias\\| < 2^24,

so that float32 holds every partial sum without rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import GraphError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.graph import Graph
from neuroaccel.graph.infer import infer
from neuroaccel.graph.signal import WHOLE, Signal, summed

FINEST = 96
ROOM = 1 << 12  # an input of more steps would leave its weights too few: a current takes all of the 2^24 by itself
PASSING = (n.Add, n.Delay, n.Probe, n.Flatten, n.Reshape, n.Select, n.SumPool2d, n.AvgPool2d, n.Output)


@dataclass(frozen=True)
class _Arrival:
    """A synapse, constant or spike source that reaches a target, and how many of its values one target sums."""

    name: str
    times: int


_Group = list[tuple[str, frozenset[_Arrival]]]


def snap(graph: Graph, weight_bits: int | None = None) -> Graph:
    """The graph on grids that make its currents exact.

    Arguments:
        graph: a valid graph.
        weight_bits: also limit weights to this many bits, sign included (a coarser grid of the same mechanism).

    Returns:
        The same graph with every weight and bias that feeds a target on that target's grid; ``grid`` of a synapse holds
        its q and the largest change. A synapse that reads an analog edge without a grid is left as it is (close).
        Graphs of scopes are snapped likewise; an analog Input of one, if it has no grid, gets that of what enters it
        where this leaves room for weights.

    Raises:
        GraphError: weights that no grid can hold.
    """
    if weight_bits is not None and not 2 <= weight_bits <= 24:
        raise GraphError(f"weight_bits must be 2 to 24, not {weight_bits}")
    for name in graph.of_type(n.Scope):
        # What enters a scope is known once what stands before it is on its grids; that does not depend on the scope.
        signals, node = infer(_level(graph, weight_bits)), graph.nodes[name]
        assert isinstance(node, n.Scope)
        inner = dict(node.graph.nodes)
        for port in node.port_names:
            inner[port] = _entry(inner[port], _input(graph, signals, name, port))
        scope = replace(node, graph=snap(replace(node.graph, nodes=inner), weight_bits))
        graph = replace(graph, nodes={**graph.nodes, name: scope})
    return _level(graph, weight_bits)


def _entry(node: n.Node, source: Signal) -> n.Node:
    """An Input of a scope's graph, on the grid of what enters it."""
    assert isinstance(node, n.Input)
    if node.edge != "analog" or node.grid is not None or source.frac is None or (source.maximum or ROOM) >= ROOM:
        return node
    top = source.maximum or 0
    return replace(node, grid=n.ValueGrid(source.frac, -top, top))


def _level(graph: Graph, weight_bits: int | None) -> Graph:
    """The graph on grids, but for what is in its scopes."""
    signals = infer(graph)
    nodes = dict(graph.nodes)
    for group in _groups(graph, signals):
        synapses = {s for _, arrivals in group for s in arrivals}
        grid = _largest_grid(graph, signals, group, weight_bits)
        for name in sorted({a.name for a in synapses}):
            nodes[name] = _snapped(graph.nodes[name], signals, graph, name, grid, weight_bits)
    for name, node in graph.nodes.items():
        if isinstance(node, n.Dendrite):
            nodes[name] = _snapped_dendrite(node, _input(graph, signals, name), name)
    return Graph(nodes, graph.edges, graph.timing, graph.dt, graph.metadata)


def _input(graph: Graph, signals: Mapping[str, Signal], name: str, port: str = "in") -> Signal:
    """What enters a port: the sum of its edges."""
    return summed(name, [signals[e.source] for e in graph.into(name, port)])


def _can(graph: Graph, signals: Mapping[str, Signal], name: str) -> bool:
    node = graph.nodes[name]
    if isinstance(node, n.Synapse):
        source = _input(graph, signals, name)
        return source.frac is not None and source.maximum is not None and node.arithmetic is None
    return isinstance(node, n.Constant)


def _arrivals(graph: Graph, signals: Mapping[str, Signal], target: str, port: str) -> dict[str, int]:
    """Synapses and constants whose values meet at a target, with how many of each one element sums."""
    found: dict[str, int] = {}
    waiting = [(e.source, 1) for e in graph.into(target, port)]
    while waiting:
        name, times = waiting.pop()
        node = graph.nodes[name]
        if isinstance(node, PASSING):
            if isinstance(node, (n.SumPool2d, n.AvgPool2d)):
                times *= node.kernel[0] * node.kernel[1]
            waiting += [(e.source, times) for e in graph.into(name)]
        elif _can(graph, signals, name):
            found[name] = found.get(name, 0) + times
    return found


def _summing(node: n.Node) -> tuple[str, ...]:
    """The ports of a target at which currents meet; none of what passes them on, and of what weighs them again."""
    if isinstance(node, n.Scope):
        return node.port_names
    return () if isinstance(node, (*PASSING[:-1], n.Synapse, n.Constant, n.Dendrite)) else ("in",)


def _groups(graph: Graph, signals: Mapping[str, Signal]) -> list[_Group]:
    """Targets whose grids must agree because a synapse feeds several of them; each target as its arrivals."""
    groups: list[_Group] = []
    for target, port in [(name, port) for name in graph.order for port in _summing(graph.nodes[name])]:
        arrivals = frozenset(_Arrival(name, times) for name, times in _arrivals(graph, signals, target, port).items())
        if not any(isinstance(graph.nodes[a.name], n.Synapse) for a in arrivals):
            continue
        names = {a.name for a in arrivals}
        touching = [g for g in groups if any(names & {a.name for a in other} for _, other in g)]
        groups = [g for g in groups if g not in touching]
        groups.append([*(arrival for g in touching for arrival in g), (target, arrivals)])
    return groups


def _bound(node: n.Node, source: Signal | None, frac: int, exponent: int) -> NDArray[np.float64]:
    """Largest \\|sum\\| per output unit, in units of 2^-Q, of a node on the grid Q = ``exponent``."""
    if isinstance(node, n.Constant):
        return np.abs(np.rint(node.value.astype(np.float64) * 2.0**exponent)).reshape(-1)
    assert isinstance(node, n.Synapse)
    assert source is not None
    weights = np.abs(np.rint(node.weight.astype(np.float64) * 2.0 ** (exponent - frac)))
    if node.plastic is not None:
        weights = np.maximum(weights, np.floor(node.plastic.bound * 2.0 ** (exponent - frac)))
    total: NDArray[np.float64] = weights.reshape(len(weights), -1).sum(axis=1) * float(source.maximum or 1)
    if node.bias is not None:
        total = total + np.abs(np.rint(node.bias.astype(np.float64) * 2.0**exponent))
    return total


def _largest_grid(graph: Graph, signals: Mapping[str, Signal], group: _Group, weight_bits: int | None) -> int:
    """The largest Q for which no target of the group can reach 2^24."""

    indexed = any(isinstance(graph.nodes[target], n.Table) for target, _ in group)

    def fits(exponent: int) -> bool:
        if indexed and exponent > 0:  # a table is indexed by whole numbers
            return False
        for _, arrivals in group:
            totals = []
            for a in arrivals:
                node = graph.nodes[a.name]
                source = _input(graph, signals, a.name) if isinstance(node, n.Synapse) else None
                frac = (source.frac or 0) if source is not None else 0
                learnt = node.grid if isinstance(node, n.Synapse) and node.plastic is not None else None
                if learnt is not None and exponent - frac > learnt.q:  # what it learns is rounded to its grid
                    return False
                totals.append(_bound(node, source, frac, exponent) * a.times)
                if weight_bits is not None and isinstance(node, n.Synapse):
                    largest = float(np.abs(np.rint(node.weight.astype(np.float64) * 2.0 ** (exponent - frac))).max())
                    if largest > 2 ** (weight_bits - 1) - 1:
                        return False
            same = len({t.shape for t in totals}) == 1
            if not (sum(totals).max() if same else sum(t.max() for t in totals)) < WHOLE:  # type: ignore[union-attr]
                return False
        return True

    low, high = -FINEST, FINEST
    if not fits(low):
        names = ", ".join(sorted({a.name for _, arrivals in group for a in arrivals}))
        raise GraphError(f"the weights of {names} are too large for any grid")
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _round(values: NDArray[np.float32], exponent: int) -> NDArray[np.float32]:
    snapped = np.rint(values.astype(np.float64) * 2.0**exponent) * 2.0**-exponent
    return np.asarray(snapped + 0.0, dtype=np.float32)


def _change(before: NDArray[np.float32] | None, after: NDArray[np.float32] | None) -> float:
    if before is None or after is None or before.size == 0:
        return 0.0
    return float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max())


def _snapped(
    node: n.Node, signals: Mapping[str, Signal], graph: Graph, name: str, exponent: int, weight_bits: int | None
) -> n.Node:
    if isinstance(node, n.Constant):
        return replace(node, value=_round(node.value, exponent))
    assert isinstance(node, n.Synapse)
    frac = _input(graph, signals, name).frac or 0
    weight = _round(node.weight, exponent - frac)
    bias = None if node.bias is None else _round(node.bias, exponent)
    earlier = node.grid.largest_change if node.grid is not None else 0.0
    change = max(_change(node.weight, weight), _change(node.bias, bias), earlier)
    return replace(
        node,
        weight=weight,
        bias=bias,
        grid=n.WeightGrid(exponent - frac, change),
        weight_bits=weight_bits or node.weight_bits,
    )


def _snapped_dendrite(node: n.Dendrite, source: Signal, name: str) -> n.Dendrite:
    """W and V on a grid each; the bias is added after the product and needs none."""
    if source.frac is None or source.maximum is None:
        return node
    grids = []
    for values in (node.weight, node.gate):
        alone = n.Linear(values.reshape(len(values), -1))
        exponent = FINEST
        while _bound(alone, source, source.frac, exponent).max() >= WHOLE:
            exponent -= 1
            if exponent < -FINEST:
                raise GraphError(f"the weights of '{name}' are too large for any grid")
        grids.append(exponent - source.frac)
    weight, gate = _round(node.weight, grids[0]), _round(node.gate, grids[1])
    return replace(
        node,
        weight=weight,
        gate=gate,
        grid=n.WeightGrid(grids[0], _change(node.weight, weight)),
        gate_grid=n.WeightGrid(grids[1], _change(node.gate, gate)),
    )
