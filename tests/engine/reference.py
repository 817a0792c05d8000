"""The contract once more, slowly: dense matrices, one sample at a time, programs interpreted operation by operation.

Nothing here comes from the engine. Floats are numpy scalars' arithmetic on arrays of the executor's type; integers are
Python integers with a fraction each.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import (
    Add,
    Attention,
    AvgPool2d,
    Constant,
    Conv2d,
    Delay,
    Dendrite,
    Flatten,
    Graph,
    Input,
    Keep,
    Linear,
    MaxPool2d,
    Memory,
    Multiply,
    Neuron,
    Output,
    Probe,
    Readout,
    Reshape,
    Scope,
    Select,
    Synapse,
    Table,
    Window,
    infer,
)
from neuroaccel.graph.clocks import clocks
from neuroaccel.graph.nodes import Pool2d
from neuroaccel.program import Arithmetic, Fixed, Program, resolve


@dataclass(frozen=True)
class Exact:
    """integer · 2^-frac; comparable with 0 so that it can stand in an object array."""

    integer: int
    frac: int

    def at(self, frac: int) -> int:
        return self.integer << (frac - self.frac)

    def __bool__(self) -> bool:
        return self.integer != 0


def exact(value: float, frac: int | None = None) -> Exact:
    """A float as it is, with as few fraction bits as it needs or with ``frac``."""
    numerator, denominator = float(value).as_integer_ratio()
    needed = denominator.bit_length() - 1
    if frac is None:
        return Exact(numerator, needed)
    scaled = numerator * 2**frac if frac >= 0 else numerator // 2**-frac
    assert scaled % denominator == 0, (value, frac)
    return Exact(scaled // denominator, frac)


def convert(x: Exact, to: Fixed | None) -> Exact:
    """Round away excess fraction bits, then wrap or saturate."""
    if to is None:
        return x
    excess = x.frac - to.frac
    value = x.integer
    if excess <= 0:
        value <<= -excess
    else:
        unit = 2**excess
        floor = value // unit
        rest = 2 * (value - floor * unit)
        up = {
            "floor": False,
            "toward_zero": value < 0 and rest > 0,
            "half_up": rest >= unit,
            "half_even": rest > unit or (rest == unit and floor % 2 == 1),
        }[to.rounding]
        value = floor + up
    if not to.low <= value <= to.high:
        assert to.overflow != "error", "what overflows is tested by itself"
        if to.overflow == "saturate":
            value = min(max(value, to.low), to.high)
        else:
            value = (value - to.low) % 2**to.bits + to.low
    return Exact(value, to.frac)


def plus(a: Exact, b: Exact) -> Exact:
    frac = max(a.frac, b.frac)
    return Exact(a.at(frac) + b.at(frac), frac)


def integer_operation(op: str, args: list[Any]) -> Exact:
    if op == "shift":
        x, k = args[0], int(args[1])
        return Exact(x.integer << k if k >= 0 else x.integer >> -k, x.frac)
    if op == "mul":
        return Exact(args[0].integer * args[1].integer, args[0].frac + args[1].frac)
    if op == "floor":
        x = args[0]
        return Exact(x.integer >> x.frac, 0) if x.frac > 0 else x
    if op == "select":
        frac = max(args[1].frac, args[2].frac)
        return Exact(args[1 if args[0] else 2].at(frac), frac)
    frac = max(a.frac for a in args)
    a, b = args[0].at(frac), args[-1].at(frac)
    compare = {"gt": a > b, "ge": a >= b, "lt": a < b, "le": a <= b, "eq": a == b}
    if op in compare:
        return Exact(int(compare[op]), 0)
    value = {"add": a + b, "sub": a - b, "max": max(a, b), "min": min(a, b), "neg": -a, "abs": abs(a), "copy": a}
    return Exact(value.get(op, a), frac)


def float_operation(op: str, args: list[Any], dtype: Any) -> Any:
    if op == "shift":
        return args[0] * dtype(2.0 ** int(args[1]))
    if op == "select":
        return args[1] if args[0] != 0 else args[2]
    if op == "flush":
        return dtype(0) if dtype is np.float32 and abs(args[0]) < np.float32(2.0**-100) else args[0]
    if op in ("gt", "ge", "lt", "le", "eq"):
        name = {"gt": "greater", "ge": "greater_equal", "lt": "less", "le": "less_equal", "eq": "equal"}[op]
        return dtype(getattr(np, name)(*args))
    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum}
    functions |= {"min": np.minimum, "neg": np.negative, "abs": np.abs, "floor": np.floor, "copy": np.positive}
    with np.errstate(all="ignore"):
        return functions[op](*args)


class Cell:
    """One neuron of a population."""

    def __init__(self, node: Neuron, k: int, arithmetic: str) -> None:
        self.program: Program = node.program
        self.integer = arithmetic == "integer"
        self.dtype: Any = np.float64 if arithmetic == "float64" else np.float32
        self.how = node.arithmetic or Arithmetic()
        known = {
            name: np.broadcast_to(value, node.shape).ravel()[k]
            for name, value in resolve(node.program, node.parameters).items()
        }
        self.leaks = any(known[name] != 0 for name in node.program.leak)
        self.values = {name: self.number(value, name) for name, value in known.items()}
        for state in node.program.states:
            fresh = known[state.fresh] if isinstance(state.fresh, str) else state.fresh
            self.values[state.name] = exact(fresh, self.how.state.frac) if self.integer else self.dtype(fresh)

    def number(self, value: Any, name: str = "") -> Any:
        if not self.integer:
            return self.dtype(value)
        fixed = self.how.parameters.get(name)
        return exact(value, fixed.frac if fixed else None)

    def read(self, operand: Any) -> Any:
        return self.values[operand] if isinstance(operand, str) else self.number(operand)

    def compare(self, op: str) -> bool:
        fire = self.program.fire
        if fire is None:
            return False
        args = [self.values[fire.left], self.values[fire.right]]
        result = integer_operation(op, args) if self.integer else float_operation(op, args, self.dtype)
        return bool(result)

    def assign(self, a: Any) -> None:
        args = [a.args[k] if a.op == "shift" and k == 1 else self.read(x) for k, x in enumerate(a.args)]
        value = integer_operation(a.op, args) if self.integer else float_operation(a.op, args, self.dtype)
        if self.integer and a.target in self.program.state_names:
            value = convert(value, self.how.state)
        self.values[a.target] = value

    def tick(self, i: Any) -> tuple[Any, bool, bool]:
        """What it emits, whether it fired, and whether it began the tick at or above its threshold."""
        above = self.compare("ge")
        self.values["i"] = i
        for a in self.program.body:
            self.assign(a)
        fired = self.compare(self.program.fire.op) if self.program.fire else False
        if fired:
            for a in self.program.on_fire:
                self.assign(a)
        emit = self.program.emit
        if emit.kind == "state":
            return self.values[emit.value], fired, above
        sent = self.values[emit.value] if emit.kind == "count" else self.number(1)
        return (sent if fired else self.number(0)), fired, above


@dataclass
class Matrix:
    """A synapse as a matrix: weights [out, in], which pairs lie inside the border, and the row number of each.

    ``order`` is that of the inputs in a sum of floats: rising addresses; in an image row by row, over all channels.
    """

    weight: NDArray[Any]
    inside: NDArray[np.bool_]
    row: NDArray[np.int64]
    bias: NDArray[Any]
    order: NDArray[np.int64]


def branches(node: Dendrite) -> tuple[Synapse, Synapse]:
    """W and V of a dendrite as synapses of their own; the bias belongs to neither."""
    if node.stride is None:
        return Linear(node.weight), Linear(node.gate)
    how: dict[str, Any] = {k: getattr(node, k) for k in ("stride", "padding", "dilation", "groups")}
    return Conv2d(node.weight, **how), Conv2d(node.gate, **how)


def matrix(node: Synapse, source: tuple[int, ...], target: tuple[int, ...]) -> Matrix:
    shape = (int(np.prod(target)), int(np.prod(source)))
    weight, row = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    inside = np.zeros(shape, np.bool_)
    inputs, outputs = np.arange(shape[1]).reshape(source), np.arange(shape[0]).reshape(target)
    bias = np.zeros(node.weight.shape[0], np.float32) if node.bias is None else node.bias
    if isinstance(node, Linear):
        for lead in np.ndindex(*source[:-1]):
            for o, c in np.ndindex(*node.weight.shape):
                at = outputs[lead][o], inputs[lead][c]
                weight[at], inside[at], row[at] = node.weight[o, c], True, c
        return Matrix(weight, inside, row, np.broadcast_to(bias, target).ravel(), np.arange(shape[1]))
    options = (node.stride, node.padding, node.dilation)
    strides, paddings, dilations = options if isinstance(node, Conv2d) else tuple((o,) for o in options)
    per_group = node.weight.shape[1]
    kernel = node.weight.shape[2:]
    for o, c, *taps in np.ndindex(*node.weight.shape):
        channel = o // (node.weight.shape[0] // node.groups) * per_group + c
        for place in np.ndindex(*target[1:]):
            axes = zip(place, strides, paddings, taps, dilations, strict=True)
            at = [p * s - pad + t * d for p, s, pad, t, d in axes]
            if all(0 <= a < size for a, size in zip(at, source[1:], strict=True)):
                pair = outputs[(o, *place)], inputs[(channel, *at)]
                weight[pair], inside[pair] = node.weight[(o, c, *taps)], True
                row[pair] = np.ravel_multi_index((c, *taps), (per_group, *kernel))
    spread = bias.reshape(-1, *(1,) * (len(target) - 1))
    order = np.swapaxes(inputs, 0, 1).ravel() if isinstance(node, Conv2d) else np.arange(shape[1])
    return Matrix(weight, inside, row, np.broadcast_to(spread, target).ravel(), order)


def integer_sum(m: Matrix, o: int, x: list[Exact], how: Arithmetic, rows: int, has_bias: bool) -> Exact:
    size = how.group or rows
    groups: dict[int, list[tuple[Exact, Exact]]] = defaultdict(list)
    for k in np.flatnonzero(m.inside[o]):
        w = exact(m.weight[o, k], how.weight.frac if how.weight else None)
        groups[int(m.row[o, k]) // size].append((w, convert(x[k], how.input)))
    total = Exact(0, 0)
    for group in sorted(groups):
        width = max(v.integer.bit_length() for _, v in groups[group]) if how.bit_serial else 1
        for bit in range(width):
            part = Exact(0, 0)
            for w, v in groups[group]:
                arrived = Exact(v.integer >> bit & 1, 0) if how.bit_serial else v
                if w and arrived:
                    part = plus(part, convert(Exact(w.integer * arrived.integer, w.frac + arrived.frac), how.product))
            part = convert(part, how.group_convert)
            total = plus(total, Exact(part.integer << bit, part.frac) if how.bit_serial else part)
        if how.group:
            total = convert(total, how.accumulator)
    if has_bias:
        total = plus(total, exact(m.bias[o]))
    return convert(total, how.accumulator)


def float_sum(m: Matrix, x: NDArray[Any], has_bias: bool, dtype: Any) -> NDArray[Any]:
    total = np.zeros(len(m.weight), dtype)
    for k in m.order:
        total = total + m.weight[:, k].astype(dtype) * x[k]
    return total + m.bias.astype(dtype) if has_bias else total


class Value:
    """What a node emits for one sample: values (flat) and which of them an event reached."""

    def __init__(self, values: Any, touched: Any) -> None:
        self.values, self.touched = values, np.asarray(touched, np.bool_)


class Reference:
    """One sample of a graph."""

    def __init__(self, graph: Graph, arithmetic: str = "float32", drops: bool = False) -> None:
        self.graph, self.arithmetic = graph, arithmetic
        self.drops = drops  # whether whole runs of this graph may be dropped, as it is in a Scope behind a Keep
        self.integer = arithmetic == "integer"
        self.dtype: Any = np.float64 if arithmetic == "float64" else np.float32
        self.signals = infer(graph)
        self.tick = 0
        self.previous: dict[str, Value] = {}
        self.now: dict[str, Value] = {}
        self.arrived: dict[str, list[Value]] = defaultdict(list)  # of nodes that latch, one per tick
        self.counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.matrices = {
            name: matrix(node, self.signals[graph.into(name)[0].source].shape, self.signals[name].shape)
            for name, node in graph.nodes.items()
            if isinstance(node, Synapse)
        }
        self.gates: dict[str, Matrix] = {}
        for name, node in graph.nodes.items():
            if isinstance(node, Dendrite):
                shapes = self.signals[graph.into(name)[0].source].shape, self.signals[name].shape
                self.matrices[name], self.gates[name] = (matrix(part, *shapes) for part in branches(node))
        self.cells = {
            name: [Cell(node, k, arithmetic) for k in range(node.size)]
            for name, node in graph.nodes.items()
            if isinstance(node, Neuron)
        }
        self.running: dict[str, Any] = {}
        self.clock = {name: clock or () for name, clock in clocks(graph).items()}
        self.runs: dict[Any, bool] = {}  # clock -> whether it runs in this tick
        self.kept: dict[str, list[Value]] = defaultdict(list)  # of Memories and Windows, since the beginning
        self.ticks: dict[str, int] = defaultdict(int)  # that a node has run on
        self.carried: dict[str, Reference] = {}  # inner graphs of scopes
        self.recorded: dict[str, list[dict[str, Any]]] = {}  # scope -> what its neurons did, step by step
        self.currents: dict[str, Any] = {}
        self.inputs: dict[str, Any] = {}  # of the tick to come, set by who asks for it
        self.columns()

    def size(self, name: str) -> int:
        return self.signals[name].size

    def array(self, values: Any) -> Any:
        if not self.integer:
            return np.asarray(values, self.dtype)
        out = np.empty(len(values), object)
        out[:] = values
        return out

    def number(self, x: float) -> Any:
        return exact(x) if self.integer else self.dtype(x)

    def add(self, a: Any, b: Any) -> Any:
        return self.array([plus(x, y) for x, y in zip(a, b, strict=True)]) if self.integer else a + b

    def biased(self, name: str) -> NDArray[np.bool_]:
        """Where a non-zero bias is part of what a node emits."""
        node = self.graph.nodes[name]
        if isinstance(node, Synapse):
            return self.matrices[name].bias != 0
        if isinstance(node, Dendrite):
            return self.spread(name) != 0
        if isinstance(node, (Attention, Input, Constant, Neuron, Table, Readout, Memory, Window, Scope)):
            return np.zeros(self.size(name), np.bool_)
        flags = np.any([self.biased(edge.source) for edge in self.graph.into(name, "in")], axis=0)
        if isinstance(node, Multiply):
            gate = self.graph.into(name, "gate")[0].source
            spread = self.biased(gate).reshape(self.signals[gate].shape)
            return flags | np.broadcast_to(spread, self.signals[name].shape).ravel()
        return self.moved(name, flags, flags) if isinstance(node, (Pool2d, Select)) else flags

    def moved(self, name: str, values: Any, flags: Any) -> Any:
        """Flags through a node that moves elements about."""
        node = self.graph.nodes[name]
        shape = self.signals[self.graph.into(name)[0].source].shape
        if isinstance(node, Select):
            return flags.reshape(shape).take(node.indices, axis=node.axis).ravel()
        return np.array([any(flags[k] for k in window) for window in self.windows(name)])

    def windows(self, name: str) -> list[list[int]]:
        node = self.graph.nodes[name]
        assert isinstance(node, Pool2d)
        source = self.signals[self.graph.into(name)[0].source].shape
        places = np.arange(int(np.prod(source))).reshape(source)
        found = []
        for c, oy, ox in np.ndindex(*self.signals[name].shape):
            ys = [oy * node.stride[0] - node.padding[0] + k for k in range(node.kernel[0])]
            xs = [ox * node.stride[1] - node.padding[1] + k for k in range(node.kernel[1])]
            inside = [(y, x) for y in ys for x in xs if 0 <= y < source[1] and 0 <= x < source[2]]
            found.append([int(places[c, y, x]) for y, x in inside])
        return found

    def port(self, name: str, port: str = "in") -> Value:
        total: Value | None = None
        for edge in self.graph.into(name, port):
            if edge.recurrent:
                zero = self.array([self.number(0)] * self.size(edge.source))
                value = self.previous.get(edge.source, Value(zero, [False] * len(zero)))
            else:
                value = self.now[edge.source]
            if total is None:
                total = value
            else:
                total = Value(self.add(total.values, value.values), total.touched | value.touched)
        assert total is not None
        return total

    def sums(self, name: str) -> Value:
        node, m, x = self.graph.nodes[name], self.matrices[name], self.port(name)
        assert isinstance(node, Synapse)
        nonzero, living = np.array([bool(v) for v in x.values]), m.inside & (m.weight != 0)
        counts = self.counts[name]
        counts["products"] += int(living[:, nonzero].sum())
        counts["zero_input"] += int(living[:, ~nonzero].sum())
        counts["pruned"] += int((m.inside & ~living).sum())
        touched, has_bias = living[:, nonzero].any(axis=1), node.bias is not None
        if not self.integer:
            return Value(float_sum(m, x.values, has_bias, self.dtype), touched)
        rows, how = int(np.prod(node.weight.shape[1:])), node.arithmetic or Arithmetic()
        sums = [integer_sum(m, o, list(x.values), how, rows, has_bias) for o in range(len(m.weight))]
        return Value(self.array(sums), touched)

    def spread(self, name: str) -> NDArray[Any]:
        """A dendrite's bias, neuron by neuron."""
        node, shape = self.graph.nodes[name], self.signals[name].shape
        assert isinstance(node, Dendrite)
        bias = np.zeros(len(node.weight), np.float32) if node.bias is None else node.bias
        lead = bias if node.stride is None else bias.reshape(-1, *(1,) * (len(shape) - 1))
        return np.broadcast_to(lead, shape).ravel()

    def dendrite(self, name: str) -> Value:
        x, counts = self.port(name), self.counts[name]
        assert not self.integer
        nonzero = np.array([bool(v) for v in x.values])
        total, hit, possible = [], [], []
        for m in (self.matrices[name], self.gates[name]):
            living = m.inside & (m.weight != 0)
            counts["products"] += int(living[:, nonzero].sum())
            counts["zero_input"] += int(living[:, ~nonzero].sum())
            counts["pruned"] += int((m.inside & ~living).sum())
            hit.append(living[:, nonzero].any(axis=1))
            possible.append(living.any(axis=1))
            total.append(float_sum(m, x.values, False, self.dtype))
        both, ever = hit[0] & hit[1], possible[0] & possible[1]
        counts["interactions"] += int(both.sum())
        counts["zero_input"] += int((ever & ~both).sum())
        counts["pruned"] += int((~ever).sum())
        y, z = total
        product = y * z
        current = product + y
        return Value(current + self.spread(name).astype(self.dtype), hit[0] | hit[1])

    def neurons(self, name: str) -> Value:
        x, biased = self.port(name), self.biased(self.graph.into(name)[0].source)
        for edge in self.graph.into(name)[1:]:
            biased = biased | self.biased(edge.source)
        self.currents[name] = x.values
        sent = []
        analog = self.signals[name].kind == "analog"
        for k, cell in enumerate(self.cells[name]):
            emitted, fired, above = cell.tick(x.values[k])
            self.counts[name]["updates_driven"] += bool(x.touched[k] or biased[k] or cell.leaks or above or fired)
            self.counts[name]["spikes"] += bool(emitted) and not analog
            sent.append(emitted)
        return Value(self.array(sent), [bool(v) for v in sent])

    def pool(self, name: str) -> Value:
        node, x = self.graph.nodes[name], self.port(name)
        out = []
        for window in self.windows(name):
            total = self.number(0)
            for k in window:
                total = plus(total, x.values[k]) if self.integer else total + x.values[k]
            if isinstance(node, MaxPool2d):
                total = self.number(1 if total else 0)
            if isinstance(node, AvgPool2d):
                area = node.kernel[0] * node.kernel[1]
                bits = area.bit_length() - 1
                total = Exact(total.integer, total.frac + bits) if self.integer else total / self.dtype(area)
            out.append(total)
        return Value(self.array(out), self.moved(name, x.values, x.touched))

    def readout(self, name: str) -> Value:
        node, x = self.graph.nodes[name], self.port(name).values
        assert isinstance(node, Readout)
        if self.integer:  # a readout is a real number
            x = np.array([v.integer * 2.0**-v.frac for v in x])
        old = self.running.get(name)
        if node.how == "max_membrane":
            new = x if old is None else np.maximum(old, x)
        elif node.how == "last_membrane" or old is None:
            new = x
        else:
            new = old + x
        self.running[name] = new
        out = new / new.dtype.type(self.ticks[name] + 1) if node.how == "mean_membrane" else new
        return Value(out, out != 0)

    def delayed(self, name: str) -> Value:
        node = self.graph.nodes[name]
        assert isinstance(node, Delay)
        ticks = np.broadcast_to(node.ticks, self.signals[name].shape).ravel()
        values, touched = [], []
        for k, d in enumerate(ticks):
            past = self.arrived[name][-d] if len(self.arrived[name]) >= d else None
            values.append(past.values[k] if past else self.number(0))
            touched.append(past.touched[k] if past else False)
        return Value(self.array(values), touched)

    def times(self, a: Any, b: Any) -> Any:
        return Exact(a.integer * b.integer, a.frac + b.frac) if self.integer else a * b

    def attention(self, name: str, node: Attention) -> Value:
        assert node.how == "counts"
        q, k, v = (self.port(name, port).values for port in "qkv")
        keys, each = len(k) // len(q), len(q) // node.heads
        mask = self.port(name, "mask").values if self.graph.into(name, "mask") else [self.number(1)] * keys
        total, counts = [self.number(0)] * len(q), self.counts[name]
        for key, head in np.ndindex(keys, node.heads):
            features = range(head * each, (head + 1) * each)
            if not mask[key]:
                counts["gated"] += 2 * each
                continue
            score = self.number(0)
            for d in features:
                x = k[key * len(q) + d]
                counts["products" if q[d] and x else "zero_input"] += 1
                score = plus(score, self.times(q[d], x)) if self.integer else score + q[d] * x
            for d in features:
                x = v[key * len(q) + d]
                counts["products" if score and x else "zero_input"] += 1
                more = self.times(score, x)
                total[d] = plus(total[d], more) if self.integer else total[d] + more
        smaller = Exact(1, node.shift) if self.integer else self.dtype(2.0**-node.shift)
        values = self.array([self.times(x, smaller) for x in total])
        return Value(values, [bool(x) for x in values])

    def emission(self, name: str) -> Value:
        node = self.graph.nodes[name]
        if isinstance(node, Synapse):
            return self.sums(name)
        if isinstance(node, Dendrite):
            return self.dendrite(name)
        if isinstance(node, Neuron):
            return self.neurons(name)
        if isinstance(node, Pool2d):
            return self.pool(name)
        if isinstance(node, Readout):
            return self.readout(name)
        if isinstance(node, Constant):
            values = self.array([self.number(v) for v in node.value.ravel()])
            return Value(values, node.value.ravel() != 0)
        if isinstance(node, Attention):
            return self.attention(name, node)
        x = self.port(name)
        if isinstance(node, Select):
            shape = self.signals[self.graph.into(name)[0].source].shape
            values = x.values.reshape(shape).take(node.indices, axis=node.axis).ravel()
            return Value(values, self.moved(name, values, x.touched))
        if isinstance(node, Table):
            places = [int(float(v.integer) if self.integer else v) - node.low for v in x.values]
            values = self.array([self.number(node.values[min(max(p, 0), len(node.values) - 1)]) for p in places])
            return Value(values, [bool(v) for v in values])
        if isinstance(node, Multiply):
            gate = self.port(name, "gate")
            shape = self.signals[self.graph.into(name, "gate")[0].source].shape
            places = np.broadcast_to(np.arange(len(gate.values)).reshape(shape), self.signals[name].shape).ravel()
            pairs = zip(x.values, gate.values[places], strict=True)
            values = [Exact(a.integer * b.integer, a.frac + b.frac) if self.integer else a * b for a, b in pairs]
            return Value(self.array(values), x.touched & gate.touched[places])
        if isinstance(node, (Memory, Window)):
            width = node.capacity if isinstance(node, Memory) else node.width
            zeros = [self.number(0)] * (width * len(x.values))
            held = [v for past in self.kept[name][-width:] for v in past.values]
            values = self.array([*zeros, *held][-len(zeros) :])
            return Value(values, [bool(v) for v in values])
        assert isinstance(node, (Add, Flatten, Reshape, Probe, Output, Keep))
        return x

    def scope(self, name: str) -> Value:
        node = self.graph.nodes[name]
        assert isinstance(node, Scope)
        drops = self.drops or self.dropping(name)
        inner = self.carried.get(name) if node.state == "carry" else None
        if inner is None:
            inner = self.carried[name] = Reference(node.graph, self.arithmetic, drops)
        entering = {port: self.port(name, port).values for port in node.port_names}
        steps: list[Any] = []
        for step in range(node.ticks):
            for port, values in entering.items():
                each = len(values) // node.ticks
                value = values[step * each : (step + 1) * each] if node.input == "slice" else values
                inner.inputs[port] = inner.rounded(port, value)
            inner.step()
            self.recorded.setdefault(name, []).append(inner.moment())
            steps.append(inner.now[node.graph.outputs[0]].values)
        if node.state == "reset":
            for inside, columns in inner.all_counts().items():
                for column, count in columns.items():
                    self.counts[f"{name}/{inside}"][column] += count
        if node.output == "all":
            values = self.array([v for step in steps for v in step])
        else:
            values = steps[-1] if node.output == "last" else steps[0]
            for step in steps[1:] if node.output == "sum" else []:
                values = self.add(values, step)
        return Value(values, [bool(v) for v in values])

    def rounded(self, port: str, values: Any) -> Any:
        """What enters an Input, on its grid."""
        node = self.graph.nodes[port]
        assert isinstance(node, Input)
        if node.grid is None:
            return values
        if len(values) and isinstance(values[0], Exact):
            fixed = Fixed(32, node.grid.frac, rounding="half_even")
            return [
                Exact(min(max(convert(v, fixed).integer, node.grid.low), node.grid.high), fixed.frac) for v in values
            ]
        unit = 2.0**node.grid.frac
        whole = np.clip(np.rint(np.asarray(values, np.float64) * unit), node.grid.low, node.grid.high)
        return (whole / unit).astype(self.dtype)

    def moment(self) -> dict[str, Any]:
        """(what, node, ...) -> values: what the neurons did in this tick, those of scopes for every step."""
        found: dict[Any, Any] = {}
        for name, node in self.graph.nodes.items():
            if isinstance(node, Neuron):
                found["spikes", name] = [_real(self.now[name].values)]
                found["currents", name] = [_real(self.currents[name])]
                for state in node.program.state_names:
                    found["states", name, state] = [_real(cell.values[state] for cell in self.cells[name])]
            if isinstance(node, Scope):
                for key, rows in self.stood(name, node).items():
                    found[key[0], f"{name}/{key[1]}", *key[2:]] = rows
        return found

    def stood(self, name: str, node: Scope) -> dict[Any, Any]:
        """What the neurons in a scope did; where it did not run they stand and give nothing."""
        steps = self.recorded.pop(name, None)
        if steps is None:
            fresh = Reference(node.graph, self.arithmetic)
            inner = self.carried.get(name, fresh) if node.state == "carry" else fresh
            inner.now = {n: inner.nothing(n) for n in inner.graph.nodes}
            inner.currents = {n: inner.nothing(n).values for n in inner.graph.nodes}
            inner.recorded = {}
            steps = [inner.moment()] * node.ticks
        return {key: [row for step in steps for row in step[key]] for key in steps[0]}

    def nothing(self, name: str) -> Value:
        zero = self.array([self.number(0)] * self.size(name))
        return Value(zero, [False] * len(zero))

    def dropping(self, name: str) -> bool:
        return any(part[0] == "keep" for part in self.clock[name])

    def stands(self, name: str) -> bool:
        """Whether a node shows a running value even when its clock does not run."""
        node = self.graph.nodes[name]
        if self.clock[name] == ():
            return False
        if isinstance(node, Readout):
            return True
        passes = isinstance(node, (Output, Probe, Flatten, Reshape, Select, Add))
        return passes and all(self.stands(e.source) and not e.recurrent for e in self.graph.into(name))

    def decide(self, name: str) -> None:
        """Whether the clock of a Window or Keep runs."""
        node, edges = self.graph.nodes[name], self.graph.into(name, "in")
        before = self.clock[name][:-1]
        runs = self.runs[before]
        if isinstance(node, Keep):
            runs = runs and bool(self.port(name, "mask").values[0])
        elif runs:
            assert isinstance(node, Window)
            assert edges
            self.kept[name].append(self.port(name))
            late = len(self.kept[name]) - node.width
            runs = late >= 0 and late % node.stride == 0
        self.runs[self.clock[name]] = runs

    def idle(self, name: str) -> Value:
        """What a node gives in a tick in which its clock does not run."""
        node, zero = self.graph.nodes[name], self.nothing(name)
        if isinstance(node, Neuron):
            passes = self.clock[name]
            while passes and passes[-1][0] == "keep":
                passes = passes[:-1]
            self.currents[name] = zero.values
            if self.runs[passes]:  # a silent step: what it sends goes nowhere
                for cell in self.cells[name]:
                    cell.tick(self.number(0))
        if not self.stands(name):
            return zero
        if isinstance(node, Readout):
            running = self.running.get(name)
            if running is None:
                running = np.zeros(self.size(name), np.float64 if self.integer else self.dtype)
            if node.how == "mean_membrane" and self.ticks[name]:
                running = running / running.dtype.type(self.ticks[name])
            return Value(running, running != 0)
        return self.emission(name)

    def step(self) -> None:
        """One tick; ``now`` holds what every node emits."""
        graph = self.graph
        self.now, self.runs = {}, {(): True}
        latching = [name for name in graph.nodes if graph.latches(name)]
        for name in latching:
            if isinstance(graph.nodes[name], Delay):
                self.now[name] = self.delayed(name)
            else:
                self.now[name] = self.arrived[name][-1] if self.arrived[name] else self.nothing(name)
        for name in graph.order:
            node = graph.nodes[name]
            if isinstance(node, (Window, Keep)):
                self.decide(name)
            runs = self.runs[self.clock[name]]
            if isinstance(node, Input):
                x = np.asarray(self.inputs[name]).ravel()
                values = [v if isinstance(v, Exact) else exact(v) for v in x] if self.integer else x
                self.now[name] = Value(self.array(values), [bool(v) for v in values])
            elif not runs:
                self.now[name] = self.idle(name)
            elif isinstance(node, Scope):
                self.now[name] = self.scope(name)
            elif name not in latching:
                if isinstance(node, Memory):
                    self.kept[name].append(self.port(name))
                self.now[name] = self.emission(name)
        for name in latching:
            if self.runs[self.clock[name]]:
                delay = isinstance(graph.nodes[name], Delay)
                self.arrived[name].append(self.port(name) if delay else self.emission(name))
        for name, node in graph.nodes.items():
            runs = self.runs[self.clock[name]]
            if runs:
                self.previous[name] = self.now[name]
            self.ticks[name] += runs
            if not isinstance(node, Output):
                counted = self.signals[name].kind != "analog"
                self.counts[name]["events_out"] += sum(bool(v) for v in self.now[name].values) if counted else 0
                if self.drops or self.dropping(name):
                    self.counts[name]["ticks_run"] += runs
        self.tick += 1

    def columns(self) -> None:
        """Counts start at 0, those of nodes that will never run too."""
        for name, node in self.graph.nodes.items():
            if isinstance(node, Output):
                continue
            columns = ["events_out"]
            columns += ["ticks_run"] if self.drops or self.dropping(name) else []
            columns += ["updates_driven", "spikes"] if isinstance(node, Neuron) else []
            columns += ["products", "zero_input", "pruned"] if isinstance(node, (Synapse, Dendrite)) else []
            columns += ["products", "gated", "zero_input"] if isinstance(node, Attention) else []
            columns += ["interactions"] if isinstance(node, Dendrite) else []
            for column in columns:
                self.counts[name][column] = 0
            if isinstance(node, Scope):
                inner = Reference(node.graph, self.arithmetic, self.drops or self.dropping(name))
                for inside, zeros in inner.all_counts().items():
                    self.counts[f"{name}/{inside}"].update(zeros)

    def all_counts(self) -> dict[str, dict[str, int]]:
        """Node -> column -> count, nodes of scopes among them."""
        found: dict[str, dict[str, int]] = {name: dict(columns) for name, columns in self.counts.items()}
        for name, inner in self.carried.items():
            node = self.graph.nodes[name]
            assert isinstance(node, Scope)
            if node.state == "carry":
                found |= {f"{name}/{inside}": columns for inside, columns in inner.all_counts().items()}
        return found


@dataclass
class Recording:
    """As the engine's trace: [T, N, *shape]; integers as the real numbers that they stand for."""

    outputs: dict[str, NDArray[Any]]
    spikes: dict[str, NDArray[Any]]
    states: dict[str, dict[str, NDArray[Any]]]
    currents: dict[str, NDArray[Any]]
    counts: dict[str, dict[str, NDArray[np.int64]]]
    nodes: Any


def _real(values: Any) -> list[Any]:
    return [v.integer * 2.0**-v.frac if isinstance(v, Exact) else v for v in values]


def reference(graph: Graph, x: Any, arithmetic: str = "float32") -> Recording:
    """Run a graph over ``[T, N, *shape]``, or Input name -> one of these."""
    inputs = x if isinstance(x, dict) else {graph.inputs[0]: x}
    T, N = inputs[graph.inputs[0]].shape[:2]
    rows: dict[tuple[str, ...], list[list[Any]]] = defaultdict(lambda: [[None] * N for _ in range(T)])
    counts: dict[str, dict[str, Any]] = {}
    for sample in range(N):
        one = Reference(graph, arithmetic)
        for tick in range(T):
            one.inputs = {name: one.rounded(name, value[tick, sample].ravel()) for name, value in inputs.items()}
            one.step()
            for name in graph.outputs:
                rows["outputs", name][tick][sample] = [_real(one.now[name].values)]
            for key, values in one.moment().items():
                rows[key][tick][sample] = values
        for name, columns in one.all_counts().items():
            for column, value in columns.items():
                counts.setdefault(name, {}).setdefault(column, np.zeros(N, np.int64))[sample] = value
    shapes = _shapes(graph)
    found: dict[tuple[str, ...], NDArray[Any]] = {}
    for key, values in rows.items():
        stacked = np.array(values)  # [T, N, steps, size]
        found[key] = np.moveaxis(stacked, 2, 1).reshape(-1, N, *shapes[key[1]])
    states: dict[str, dict[str, NDArray[Any]]] = defaultdict(dict)
    for key, values in found.items():
        if key[0] == "states":
            states[key[1]][key[2]] = values
    pick = {
        what: {key[1]: v for key, v in found.items() if key[0] == what} for what in ("outputs", "spikes", "currents")
    }
    return Recording(pick["outputs"], pick["spikes"], dict(states), pick["currents"], counts, _nodes(graph))


def _shapes(graph: Graph, prefix: str = "") -> dict[str, tuple[int, ...]]:
    found = {prefix + name: signal.shape for name, signal in infer(graph).items()}
    for name, node in graph.nodes.items():
        if isinstance(node, Scope):
            found |= _shapes(node.graph, f"{prefix}{name}/")
    return found


def _nodes(graph: Graph, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        found[prefix + name] = node
        if isinstance(node, Scope):
            found |= _nodes(node.graph, f"{prefix}{name}/")
    return found


def same_trace(trace: Any, expected: Recording, real: Any = lambda values, name, what: values) -> None:
    """Assert that a trace equals the reference, bit for bit."""
    for what in ("outputs", "spikes", "currents"):
        assert set(getattr(trace, what)) == set(getattr(expected, what))
        for name, values in getattr(expected, what).items():
            values_found = real(getattr(trace, what)[name], name, what)
            np.testing.assert_array_equal(values_found, values, err_msg=f"{what} of {name}")
    for name, states in expected.states.items():
        for state, values in states.items():
            values_found = real(trace.states[name][state], name, "states")
            np.testing.assert_array_equal(values_found, values, err_msg=f"state {state} of {name}")


def same(found: Any, expected: Recording, graph: Graph | None = None) -> None:
    """Assert that an engine's result equals the reference, bit for bit and count for count.

    ``graph`` is given for integer arithmetic: its formats tell what recorded integers stand for.
    """

    def real(values: NDArray[Any], name: str, what: str) -> NDArray[Any]:
        if graph is None or what == "outputs":
            return values
        node = expected.nodes[name]
        assert isinstance(node, Neuron)
        assert node.arithmetic is not None
        assert node.arithmetic.state is not None
        assert values.dtype.kind in "iu"
        frac = node.arithmetic.state.frac
        if what == "currents":
            frac = found.current_fractions[name]
        if what == "spikes" and node.program.emit.kind != "state":
            frac = 0
        return np.ldexp(values.astype(np.float64), -frac)

    same_trace(found.trace, expected, real)
    assert set(found.counts) == {name for name, node in expected.nodes.items() if not isinstance(node, Output)}
    for name, columns in found.counts.items():
        assert set(columns) == set(expected.counts[name]), name
        for column, values in columns.items():
            np.testing.assert_array_equal(values, expected.counts[name][column], err_msg=f"{column} of {name}")
