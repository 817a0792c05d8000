"""Random graphs whose sums are exact, for property tests of every executor: deterministic from a numpy Generator.

Weights and biases are k/64 with small k, so that every current is exact in float32 whatever the order of its sum.
Thresholds and decays are often dyadic too: membranes then meet their threshold exactly and the tie rule decides.

>>> graph = random_graph(np.random.default_rng(1))
>>> x = random_input(graph, np.random.default_rng(2), T=5, N=3)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import (
    Add,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Dendrite,
    Edge,
    Flatten,
    Graph,
    Input,
    Keep,
    Linear,
    MaxPool2d,
    Memory,
    Neuron,
    Node,
    Output,
    Probe,
    Readout,
    Reshape,
    Scope,
    Select,
    SumPool2d,
    Table,
    WeightGrid,
    Window,
    infer,
)
from neuroaccel.graph.clocks import clocks
from neuroaccel.program import ALIF, IF, LI, LIF, CubaLIF, GradedLIF, NeuronSpec

Q = 6  # weights are whole multiples of 2^-Q
NEURONS = ("IF", "LIF", "LIF_euler", "LIF_decay_input", "CubaLIF", "ALIF", "GradedLIF")
RESETS = ("zero", "to_value", "subtract")
TIES = ("gt", "ge")
# size -> (largest number of blocks, channels, side of an image, length of a vector)
SIZES = {"tiny": (1, 2, 5, 6), "small": (3, 3, 8, 12), "medium": (4, 8, 14, 48)}


@dataclass
class Choices:
    """What a random graph may contain; a test of an executor that cannot hold something takes it out."""

    neurons: tuple[str, ...] = NEURONS
    resets: tuple[str, ...] = RESETS
    ties: tuple[str, ...] = TIES
    reset_delays: tuple[int, ...] = (0, 1)
    per_neuron: bool = True  # parameters per neuron
    leak: bool = True  # v_leak and gain
    inputs: tuple[str, ...] = ("binary", "count")
    domains: tuple[str, ...] = ("image", "sequence", "vector", "matrix")
    pools: tuple[str, ...] = ("sum", "avg", "max")
    recurrence: bool = True
    delays: bool = True
    branches: bool = True
    bias: bool = True
    pruned: bool = True
    dendrites: bool = True
    readouts: bool = True
    timings: tuple[str, ...] = ("instant", "pipelined")
    clocks: bool = False  # windows, memories, dropped ticks
    scopes: bool = False  # graphs with a clock of their own


@dataclass
class _Draft:
    """A graph under construction; ``at`` is the node whose emission the next block reads."""

    rng: np.random.Generator
    may: Choices
    at: str
    nodes: dict[str, Node] = field(default_factory=dict)
    loops: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    timing: str = "instant"

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def add(self, name: str, node: Node, *sources: str) -> str:
        """Put a node behind ``sources`` (default: behind the last one) and make it the last."""
        name = f"{name}{len(self.nodes)}"
        self.nodes[name] = node
        self.edges += [Edge(source, name) for source in sources or (self.at,)]
        self.at = name
        return name

    def graph(self) -> Graph:
        first = dict(list(self.nodes.items())[:1])
        return Graph({**first, **self.loops, **self.nodes}, tuple(self.edges), timing=self.timing)  # type: ignore[arg-type]

    def dendrite_here(self) -> bool:
        return self.may.dendrites and self.chance(0.2)

    def pools_here(self) -> bool:
        return bool(self.may.pools) and self.chance(0.15)

    def signal(self) -> Any:
        return infer(self.graph())[self.at]

    def weights(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Weight, bias and grid of a synapse, a part of the weights pruned and of the biases zero."""
        weight = self.rng.integers(-24, 41, shape)
        if self.may.pruned and self.chance(0.6):
            weight[self.rng.random(shape) < self.pick((0.1, 0.5, 0.9))] = 0
        bias = None
        if self.may.bias and self.chance(0.5):
            bias = self.rng.integers(-12, 21, shape[0]) * (self.rng.random(shape[0]) < 0.7)
            bias = (bias / 2**Q).astype(np.float32)
        return {"weight": (weight / 2**Q).astype(np.float32), "bias": bias, "grid": WeightGrid(Q)}


def _dendrite(d: _Draft, shape: tuple[int, ...], **how: Any) -> Dendrite:
    """A Dendrite with a weight of that shape; at times whole channels of W, of V, or of both are pruned."""
    w, v = d.weights(shape), d.weights(shape)
    if d.may.pruned and d.chance(0.3):
        gone = d.rng.random((2, shape[0])) < 0.4
        w["weight"][gone[0]] = 0
        v["weight"][gone[0 if d.chance(0.5) else 1]] = 0
    return Dendrite(w["weight"], v["weight"], w["bias"], grid=WeightGrid(Q), gate_grid=WeightGrid(Q), **how)


def _value(d: _Draft, low: float, high: float, shape: tuple[int, ...], dyadic: float = 0.5) -> Any:
    """A float32 parameter: scalar or per neuron, dyadic (so that ties happen) or not."""
    size = shape if d.may.per_neuron and d.chance(0.4) else ()
    value = d.rng.uniform(low, high, size)
    if d.chance(dyadic):
        value = np.clip(np.rint(value * 16) / 16, low, high)
    return np.asarray(value, np.float32)


def _spec(d: _Draft, shape: tuple[int, ...], kind: str) -> NeuronSpec:
    def value(low: float, high: float) -> Any:
        return _value(d, low, high, shape)

    beta, threshold = value(0.25, 1.0), value(0.125, 1.5)
    if kind == "GradedLIF":
        return GradedLIF(beta, threshold, bits=int(d.rng.integers(1, 4)))
    how: dict[str, Any] = {"tie": d.pick(d.may.ties), "reset": d.pick(d.may.resets)}
    how["reset_delay"] = d.pick(d.may.reset_delays)
    if how["reset"] == "to_value":
        how["v_reset"] = value(-0.5, 0.25)
    leak = {"v_leak": value(-0.25, 0.5)} if d.may.leak and d.chance(0.3) else {}
    gain = {"gain": value(0.25, 2.0)} if d.may.leak and d.chance(0.3) else {}
    if kind == "IF":
        return IF(threshold, **how, **gain)
    if kind == "LIF_euler":
        resistance = {"resistance": value(0.5, 4.0)} if d.may.leak and d.chance(0.5) else {}
        return LIF(threshold=threshold, form="euler", rate=value(0.125, 1.0), **how, **leak, **resistance)
    if kind == "LIF_decay_input":
        return LIF(threshold=threshold, form="decay_input", tau=value(1.0, 4.0), **how)
    if kind == "CubaLIF":
        return CubaLIF(value(0.25, 1.0), beta, threshold, **how, **leak, **gain)
    if kind == "ALIF":
        return ALIF(beta, threshold, rho=value(0.25, 1.0), kappa=value(0.0, 0.5), **how, **gain)
    return LIF(beta, threshold, **how, **leak, **gain)


def neuron(spec: NeuronSpec, shape: tuple[int, ...]) -> Neuron:
    """The node of a population with the given spec."""
    values = {name: np.asarray(value, np.float32) for name, value in spec.values.items()}
    return Neuron(spec.program, values, shape)


def _conv(d: _Draft, shape: tuple[int, ...], channels: int) -> Node:
    groups = d.pick([g for g in (1, 1, 2, 3) if shape[0] % g == 0])
    out = groups * int(d.rng.integers(1, max(2, channels // groups) + 1))
    options = []
    for side in shape[1:]:
        kernel, dilation = int(d.rng.integers(1, min(side, 4) + 1)), int(d.rng.integers(1, 3))
        dilation = dilation if (kernel - 1) * dilation < side else 1
        padding = int(d.rng.integers(0, kernel))
        options.append((kernel, int(d.rng.integers(1, 3)), padding, dilation))
    kernels, strides, paddings, dilations = zip(*options, strict=True)
    if len(kernels) == 2 and d.dendrite_here():
        how = {"stride": strides, "padding": paddings, "dilation": dilations, "groups": groups}
        return _dendrite(d, (out, shape[0] // groups, *kernels), **how)
    weights = d.weights((out, shape[0] // groups, *kernels))
    if len(kernels) == 1:
        return Conv1d(**weights, stride=strides[0], padding=paddings[0], dilation=dilations[0], groups=groups)
    return Conv2d(**weights, stride=strides, padding=paddings, dilation=dilations, groups=groups)


def _pool(d: _Draft, kind: str, shape: tuple[int, ...]) -> None:
    how = d.pick([p for p in d.may.pools if p != "max" or kind == "binary"] or [None])
    if how is None or min(shape[1:]) < 2:
        return
    # The mean is over 1, 2 or 4 values: it stays on a grid, and what reads it stays exact.
    kernel = d.pick([(2, 2), (1, 2), (2, 1)] if how == "avg" else [(2, 2), (1, 2), (3, 2), (2, 3), (3, 3)])
    kernel = tuple(min(k, side) for k, side in zip(kernel, shape[1:], strict=True))
    stride = tuple(int(d.rng.integers(1, k + 1)) for k in kernel)
    padding = tuple(int(d.rng.integers(0, k // 2 + 1)) for k in kernel)
    node = {"sum": SumPool2d, "avg": AvgPool2d, "max": MaxPool2d}[how]
    d.add(f"{how}pool", node(kernel, stride, padding))  # type: ignore[arg-type]


def _delay(d: _Draft, shape: tuple[int, ...]) -> Delay:
    return Delay(d.rng.integers(1, 4, shape if d.chance(0.5) else ()).astype(np.int32))


def _recurrence(d: _Draft, source: str, target: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Feed a population's emission back as a current, through a synapse and perhaps a delay."""
    (before, after), name = shapes, f"back{len(d.loops)}"
    if before == after and len(before) == 3 and d.chance(0.7):
        weights = d.weights((after[0], before[0], 3, 3))
        d.loops[name] = Conv2d(**weights, padding=(1, 1))
    elif len(before) == len(after) and before[:-1] == after[:-1]:
        d.loops[name] = Linear(**d.weights((after[-1], before[-1])))
    else:
        return
    if d.may.delays and d.chance(0.3):
        d.loops[f"{name}_delay"] = _delay(d, before)
        d.edges += [Edge(source, f"{name}_delay"), Edge(f"{name}_delay", name)]
    else:
        # In pipelined timing the synapse itself carries the tick.
        d.edges.append(Edge(source, name, recurrent=d.timing == "instant"))
    d.edges.append(Edge(name, target))


def _block(d: _Draft, channels: int, length: int) -> tuple[str, tuple[int, ...]]:
    """Synapse (two of them in parallel at times), pool or delay at times, neurons, feedback at times."""
    signal = d.signal()
    start, shape = d.at, signal.shape
    if len(shape) in (2, 3) and d.chance(0.75):
        node = _conv(d, shape, channels)
        d.add("dendrite" if isinstance(node, Dendrite) else "conv", node)
        # Sums of a dendrite's currents depend on their order.
        if len(shape) == 3 and not isinstance(node, Dendrite) and d.pools_here():
            _pool(d, "analog", d.signal().shape)
    else:
        if len(shape) > 1 and d.chance(0.6):
            d.add("flatten", Flatten() if d.chance(0.7) else Reshape((signal.size,)))
            start, shape = d.at, (signal.size,)
        size = (int(d.rng.integers(1, length + 1)), shape[-1])
        node = _dendrite(d, size) if d.dendrite_here() else Linear(**d.weights(size))
        d.add("dendrite" if isinstance(node, Dendrite) else "linear", node)
    current, population = d.at, d.signal().shape
    sources = [current]
    if d.may.branches and d.chance(0.3) and isinstance(d.nodes[current], (Linear, Conv1d, Conv2d)):
        node = d.nodes[current]
        options = {k: v for k, v in vars(node).items() if k in ("stride", "padding", "dilation", "groups")}
        sources.append(d.add("second", type(node)(**d.weights(node.weight.shape), **options), start))
        if d.chance(0.5):
            sources = [d.add("sum", Add(), *sources)]
    if d.may.delays and d.chance(0.2) and len(sources) == 1:
        sources = [d.add("delay", _delay(d, population), *sources)]
    name = d.add("neuron", neuron(_spec(d, population, d.pick(d.may.neurons)), population), *sources)
    if d.may.recurrence and d.chance(0.35):
        _recurrence(d, name, name, (population, population))
    return name, population


def _between(d: _Draft) -> None:
    """What may stand between two populations."""
    signal = d.signal()
    if len(signal.shape) == 3 and d.may.pools and d.chance(0.6):
        _pool(d, signal.kind, signal.shape)
    if d.may.delays and d.chance(0.15):
        d.add("delay", _delay(d, d.signal().shape))
    if d.may.branches and d.chance(0.1):
        axis = int(d.rng.integers(len(signal.shape)))
        side = d.signal().shape[axis]
        indices = tuple(int(i) for i in d.rng.integers(0, side, int(d.rng.integers(1, side + 1))))
        d.add("select", Select(indices, axis))
    if d.may.branches and d.chance(0.1):
        d.add("probe", Probe())
    if d.may.clocks and d.chance(0.6):
        _clock(d)
    if d.may.scopes and d.chance(0.4):
        _scope(d, 2, 6)


def _merge(d: _Draft) -> None:
    """Make the first axis of an image, sequence or vector of what came in front of it."""
    shape = d.signal().shape
    d.add("merged", Reshape((shape[0] * shape[1], *shape[2:])))


def _clock(d: _Draft) -> None:
    """Turn ticks into fewer, remember some, or drop some."""
    kind = d.pick(("window", "memory", "keep", "keep"))
    if kind != "keep":
        width = int(d.rng.integers(1, 4))
        d.add(kind, Memory(width) if kind == "memory" else Window(width, int(d.rng.integers(1, 4))))
        _merge(d)
        return
    signal, source = d.signal(), d.at
    if signal.kind == "analog":
        return
    # One value of what is there, through a table, says which ticks are kept.
    d.add("flat", Reshape((signal.size,)))
    d.add("one", Select((int(d.rng.integers(signal.size)),)))
    values = (d.rng.random(signal.maximum + 1) < 0.5).astype(np.float32)
    values[int(d.rng.integers(2))] = 1
    mask = d.add("mask", Table(values))
    for _ in range(1 + d.chance(0.2)):
        d.add("keep", Keep(), source)
        d.edges.append(Edge(mask, d.at, "mask"))
        if d.chance(0.5):
            break
        # A second mask on the first one's clock.
        source, first = d.at, mask
        mask = d.add("kept_mask", Keep(), first)
        d.edges.append(Edge(first, mask, "mask"))
        d.at = source


def _scope(d: _Draft, channels: int, length: int) -> None:
    """A small graph of its own, several steps per tick."""
    signal = d.signal()
    if signal.kind == "analog":
        return
    sliced = len(signal.shape) > 1 and signal.shape[0] <= 4 and d.chance(0.5)
    ticks = signal.shape[0] if sliced else int(d.rng.integers(1, 4))
    inner = _Draft(d.rng, replace(d.may, scopes=d.chance(0.2)), at="in")
    inner.timing = d.pick(d.may.timings)
    inner.nodes["in"] = Input(signal.shape[1:] if sliced else signal.shape, signal.kind, signal.maximum)
    _block(inner, channels, min(length, 6))
    if d.chance(0.2):
        _between(inner)
    inner.add("out", Output())
    output = d.pick(("all", "last", "sum"))
    how = {"input": "slice" if sliced else "repeat", "state": d.pick(("carry", "reset")), "output": output}
    d.add("scope", Scope(inner.graph(), ticks, port_names=("in",), **how), d.at)
    d.edges[-1] = replace(d.edges[-1], port="in")
    if output == "all":
        _merge(d)


def random_graph(rng: np.random.Generator, size: str = "small", **choices: Any) -> Graph:
    """A valid random graph with one Input ``x`` and at least one Output.

    Arguments:
        rng: where chance comes from; equal generators give equal graphs.
        size: ``tiny``, ``small`` or ``medium``.
        choices: fields of :class:`Choices`, to leave things out.

    Returns:
        A validated graph in which every signal is exact.
    """
    may = Choices(**choices)
    blocks, channels, side, length = SIZES[size]
    d = _Draft(rng, may, at="x")
    d.timing = d.pick(may.timings)
    domain = "image" if "image" in may.domains and d.chance(0.4) else d.pick(may.domains)
    shape: tuple[int, ...] = {
        "image": (int(rng.integers(1, channels + 1)), int(rng.integers(2, side + 1)), int(rng.integers(2, side + 1))),
        "sequence": (int(rng.integers(1, channels + 1)), int(rng.integers(2, length + 1))),
        "vector": (int(rng.integers(1, length + 1)),),
        "matrix": (int(rng.integers(1, 4)), int(rng.integers(1, length + 1))),
    }[domain]
    edge = d.pick(may.inputs)
    d.nodes["x"] = Input(shape, edge, int(rng.integers(2, 8)) if edge == "count" else 1)
    populations = []
    for block in range(int(rng.integers(1, blocks + 1))):
        if block or (may.clocks and d.chance(0.3)):
            _between(d)
        populations.append(_block(d, channels, length))
    one_clock = len({clocks(d.graph())[name] for name, _ in populations}) == 1
    if may.recurrence and len(populations) > 1 and one_clock and d.chance(0.3):
        _recurrence(d, populations[-1][0], populations[0][0], (populations[-1][1], populations[0][1]))
    _finish(d, length)
    return d.graph().validate()


def _finish(d: _Draft, length: int) -> None:
    """Readouts and outputs."""
    last = d.at
    d.add("out", Output())
    if not d.may.readouts:
        return
    if d.chance(0.5) and d.nodes[last].program.emit.kind != "state":  # type: ignore[attr-defined]
        d.add("readout", Readout("spike_count"), last)
        d.add("out", Output())
    if d.chance(0.5):
        d.at = last
        width = d.signal().shape[-1]
        d.add("linear", Linear(**d.weights((int(d.rng.integers(1, length + 1)), width))))
        shape = d.signal().shape
        beta = _value(d, 0.25, 1.0, shape)
        leak = {"v_leak": _value(d, -0.25, 0.5, shape)} if d.may.leak and d.chance(0.3) else {}
        d.add("integrator", neuron(LI(beta, **leak), shape))
        d.add("readout", Readout(d.pick(("mean_membrane", "max_membrane", "last_membrane"))))
        d.add("out", Output())


def random_input(graph: Graph, rng: np.random.Generator, T: int, N: int) -> NDArray[np.float32]:
    """Values for the graph's one Input, float32 ``[T, N, *shape]``: sparse, with silent ticks and busy ones."""
    (name,) = graph.inputs
    node = graph.nodes[name]
    assert isinstance(node, Input)
    rate = rng.choice([0.0, 0.05, 0.2, 0.5, 1.0], (T, N), p=[0.1, 0.3, 0.3, 0.2, 0.1])
    events = rng.random((T, N, *node.shape)) < rate.reshape(T, N, *(1,) * len(node.shape))
    if node.edge == "analog":
        grid = node.grid
        low, high, frac = (-64, 64, Q) if grid is None else (grid.low, grid.high, grid.frac)
        return (events * rng.integers(low, high + 1, events.shape) * 2.0**-frac).astype(np.float32)
    return (events * rng.integers(1, node.maximum + 1, events.shape)).astype(np.float32)
