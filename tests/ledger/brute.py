"""The algorithm book by nested Python loops over every tick, sample, output and weight: slow, and nothing to trust."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from neuroaccel.graph import Graph, infer
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import clocks, ticks_of
from neuroaccel.program import resolve

Index = tuple[int, ...]
Values = Mapping[str, Any]
MOVES = (n.Flatten, n.Reshape, n.Select, n.Pool2d)


def products(node: Any, weight: Any, shape: Index) -> Iterator[tuple[Index, Index, float]]:
    """(output, input, weight) of every product inside the border."""
    if isinstance(node, n.Linear) or (isinstance(node, n.Dendrite) and node.stride is None):
        for lead in itertools.product(*map(range, shape[:-1])):
            for o, i in itertools.product(range(weight.shape[0]), range(weight.shape[1])):
                yield (*lead, o), (*lead, i), weight[o, i]
        return
    if isinstance(node, n.Conv1d):
        options = [(node.stride, node.padding, node.dilation)]
    else:
        options = list(zip(node.stride, node.padding, node.dilation, strict=True))
    outputs, inputs = weight.shape[:2]
    kernel = weight.shape[2:]
    sizes = [(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, (t, p, d) in zip(shape[1:], kernel, options, strict=True)]
    for o in range(outputs):
        group = o // (outputs // node.groups)
        for at in itertools.product(*map(range, sizes)):
            for c in range(inputs):
                for tap in itertools.product(*map(range, kernel)):
                    where = [a * t - p + k * d for a, k, (t, p, d) in zip(at, tap, options, strict=True)]
                    if all(0 <= w < s for w, s in zip(where, shape[1:], strict=True)):
                        yield (o, *at), (group * inputs + c, *where), weight[(o, c, *tap)]


class Brute:
    """Counts of one graph from recorded values; everything by index."""

    def __init__(self, graph: Graph, emissions: Values, states: Mapping[str, Values]) -> None:
        self.graph, self.emissions, self.states = graph, emissions, states
        self.signals = infer(graph)
        self.ticks, self.samples = emissions[graph.inputs[0]].shape[:2]
        self.memo: dict[tuple[str, int, int], Any] = {}
        self.clock = clocks(graph)
        self.nominal = ticks_of(graph, self.ticks)

    def rows(self, name: str, s: int) -> list[int]:
        """The ticks at which a node runs."""
        return self.of_clock(self.clock[name] or (), s)

    def of_clock(self, clock: Any, s: int) -> list[int]:
        if clock == ():
            return list(range(self.ticks))
        before = self.of_clock(clock[:-1], s)
        kind, *how = clock[-1]
        if kind == "window":
            return before[how[0] - 1 :: how[1]]
        return [t for t in before if self.emissions[how[0]][t, s].flat[0] != 0]

    def earlier(self, name: str, t: int, s: int, runs: int) -> int:
        """The tick at which a node ran so many runs ago, −1 if there was none."""
        rows = self.rows(name, s)
        at = rows.index(t) - runs
        return rows[at] if at >= 0 else -1

    def columns(self) -> dict[str, dict[str, list[int]]]:
        out: dict[str, dict[str, list[int]]] = {}
        for name, node in self.graph.nodes.items():
            out[name] = {}
            for s in range(self.samples):
                for key, value in self.node(name, node, s).items():
                    out[name].setdefault(key, []).append(int(value))
            if isinstance(node, n.Scope):
                out |= self.scope(name, node)
        return out

    def scope(self, name: str, node: n.Scope) -> dict[str, dict[str, list[int]]]:
        head = f"{name}/"
        inner = {k[len(head) :]: v for k, v in self.emissions.items() if k.startswith(head)}
        states = {k[len(head) :]: v for k, v in self.states.items() if k.startswith(head)}
        total: dict[str, dict[str, Any]] = {}
        assert node.state == "reset" or self.clock[name] == ()
        rows = {tuple(self.rows(name, s)) for s in range(self.samples)}
        assert len(rows) == 1, "a scope behind a Keep is tested elsewhere"
        runs = [(0, self.ticks * node.ticks)]
        if node.state == "reset":
            runs = [(t * node.ticks, (t + 1) * node.ticks) for t in rows.pop()]
        for a, b in runs:

            def cut(v: Any, a: int = a, b: int = b) -> Any:
                each = len(v) // (self.ticks * node.ticks)  # scopes in scopes make more steps
                return v[a * each : b * each]

            part = Brute(
                node.graph,
                {k: cut(v) for k, v in inner.items()},
                {k: {x: cut(y) for x, y in v.items()} for k, v in states.items()},
            ).columns()
            for k, each in part.items():
                for c, v in each.items():
                    total.setdefault(head + k, {}).setdefault(c, np.zeros(self.samples, np.int64))
                    total[head + k][c] = total[head + k][c] + np.array(v)
        return {k: {c: v.tolist() for c, v in each.items()} for k, each in total.items()}

    def value(self, name: str, port: str, t: int, s: int) -> Any:
        """What reaches a port: the sum of its edges; a recurrent edge brings the tick before."""
        total = None
        for e in self.graph.into(name, port):
            at = self.earlier(name, t, s, 1) if e.recurrent else t
            v = self.emissions[e.source][at, s] if at >= 0 else np.zeros_like(self.emissions[e.source][0, s])
            total = v if total is None else total + v
        return total

    def node(self, name: str, node: Any, s: int) -> dict[str, int]:
        count: dict[str, int] = {}
        signal = self.signals[name]
        if signal.kind != "analog" and not isinstance(node, (n.Output, n.Probe, n.Constant, n.Scope)):
            events = sum(int(v != 0) for t in self.rows(name, s) for v in self.emissions[name][t, s].flat)
            count["event_bytes"] = events * (1 + len(self.graph.out_of(name))) * 4
        if isinstance(node, (n.Synapse, n.Dendrite)):
            count |= self.synapse(name, node, s)
        elif isinstance(node, n.Attention):
            count |= self.attention(name, node, s)
        elif isinstance(node, n.Neuron):
            count |= self.neuron(name, node, s)
        elif isinstance(node, n.Add):
            count["elementwise"] = len(self.rows(name, s)) * signal.size * (len(self.graph.into(name)) - 1)
        elif isinstance(node, (n.Readout, n.Multiply, n.Table, n.LayerNorm, n.Softmax)):
            count["elementwise"] = len(self.rows(name, s)) * signal.size
        if count.get("nominal") is not None:
            # Every tick makes as many products as another one; those that a Keep dropped make none.
            dropped = self.nominal[name] - len(self.rows(name, s))
            per_tick = self.per_tick(name, node)
            count["dropped"] = dropped * per_tick
            count["nominal"] += dropped * per_tick
        return count

    def per_tick(self, name: str, node: Any) -> int:
        """Products inside the border of one tick."""
        if isinstance(node, n.Attention):
            return 2 * self.signals[self.graph.into(name, "k")[0].source].size
        shape = self.signals[self.graph.into(name, "in")[0].source].shape
        if isinstance(node, n.Dendrite):
            return 2 * sum(1 for _ in products(node, node.weight, shape)) + self.signals[name].size
        return sum(1 for _ in products(node, node.weight, shape))

    def synapse(self, name: str, node: Any, s: int) -> dict[str, int]:
        binary = len(self.graph.into(name, "in")) == 1
        binary = binary and self.signals[self.graph.into(name, "in")[0].source].kind == "binary"
        count = dict.fromkeys(("nominal", "pruned", "zero_input", "synaptic_events", "macs"), 0)
        reads = 0
        for t in self.rows(name, s):
            x = self.value(name, "in", t, s)
            hits, living = [], []
            for weight in [node.weight, node.gate] if isinstance(node, n.Dendrite) else [node.weight]:
                hits.append(set())
                living.append(set())
                for o, i, w in products(node, weight, x.shape):
                    count["nominal"] += 1
                    if w != 0:
                        living[-1].add(o)
                    if w == 0:
                        count["pruned"] += 1
                    elif x[i] == 0:
                        count["zero_input"] += 1
                    else:
                        count["synaptic_events" if binary else "macs"] += 1
                        reads += 1
                        hits[-1].add(o)
            if isinstance(node, n.Dendrite):
                for o in itertools.product(*map(range, self.signals[name].shape)):
                    count["nominal"] += 1
                    if o not in living[0] or o not in living[1]:
                        count["pruned"] += 1
                    elif o in hits[0] and o in hits[1]:
                        count["macs"] += 1
                    else:
                        count["zero_input"] += 1
        count["executed"] = count["synaptic_events"] + count["macs"]
        count["weight_bytes"] = math.ceil(reads * node.weight_bits / 8)
        a = node.arithmetic
        if a is not None and a.group_convert is not None:
            bits = 1
            if a.bit_serial:
                source = self.signals[self.graph.into(name, "in")[0].source]
                bits = a.input.bits if a.input else source.maximum.bit_length()
            groups = math.ceil(math.prod(node.weight.shape[1:]) / a.group)
            arrays = 2 if isinstance(node, n.Dendrite) else 1
            count["adc_conversions"] = len(self.rows(name, s)) * self.signals[name].size * groups * bits * arrays
        return count

    def attention(self, name: str, node: n.Attention, s: int) -> dict[str, int]:
        count = {"nominal": 0, "macs": 0, "zero_input": 0, "gated": 0}
        for t in self.rows(name, s):
            q, k, v = (self.value(name, p, t, s) for p in ("q", "k", "v"))
            mask = self.value(name, "mask", t, s)
            keys, width = k.shape
            per_head = width // node.heads
            for head, key in itertools.product(range(node.heads), range(keys)):
                features = range(head * per_head, (head + 1) * per_head)
                score = sum(float(q[d]) * float(k[key, d]) for d in features)
                for d in features:
                    for done in (
                        q[d] != 0 and k[key, d] != 0,
                        (node.how == "softmax" or score != 0) and v[key, d] != 0,
                    ):
                        count["nominal"] += 1
                        living = mask is None or mask[key] != 0
                        count["gated" if not living else "macs" if done else "zero_input"] += 1
            if node.how == "softmax":
                count["elementwise"] = count.get("elementwise", 0) + node.heads * keys
        count["executed"] = count["macs"]
        return count

    def neuron(self, name: str, node: n.Neuron, s: int) -> dict[str, int]:
        values = resolve(node.program, node.parameters)
        program, spiking = node.program, node.program.emit.kind != "state"
        driven = spikes = 0

        def one(side: str, t: int, index: Index) -> float:
            if side not in program.state_names:
                return float(np.broadcast_to(values[side], node.shape)[index])
            if t > 0:
                return float(self.states[name][side][t - 1, s][index])
            fresh = next(x.fresh for x in program.states if x.name == side)
            return float(np.broadcast_to(values[fresh], node.shape)[index]) if isinstance(fresh, str) else float(fresh)

        for t in self.rows(name, s):
            reached = self.arrives(name, t, s) | self.biased_in(name)
            for index in itertools.product(*map(range, node.shape)):
                spike = spiking and self.emissions[name][t, s][index] != 0
                leak = any(np.broadcast_to(values[k], node.shape)[index] != 0 for k in program.leak)
                high = program.fire is not None and one(program.fire.left, t, index) >= one(
                    program.fire.right, t, index
                )
                driven += bool(reached[index] or spike or leak or high)
                spikes += bool(spike)
        bits = node.arithmetic.state.bits if node.arithmetic is not None and node.arithmetic.state is not None else 32
        count = {
            "updates_driven": driven,
            "updates_nominal": self.nominal[name] * node.size,
            "spikes": spikes,
            "state_bytes": math.ceil(driven * 2 * len(program.states) * bits / 8),
        }
        if program.emit.kind == "count":
            count["graded_bits"] = spikes * math.ceil(math.log2(program.emit.maximum + 1))
        return count

    def arrives(self, name: str, t: int, s: int, port: str = "in") -> Any:
        """Which elements of a node's input are reached by a living event at tick t."""
        last = self.earlier(name, t, s, 1) if any(e.recurrent for e in self.graph.into(name, port)) else t
        masks = [self.sends(e.source, last if e.recurrent else t, s) for e in self.graph.into(name, port)]
        return np.logical_or.reduce(masks)

    def sends(self, name: str, t: int, s: int) -> Any:
        """Which elements of what a node sends on were reached."""
        node: Any = self.graph.nodes[name]
        out = np.zeros(self.signals[name].shape, bool)
        if t < 0:
            return out
        if (name, t, s) in self.memo:
            return self.memo[name, t, s]
        if isinstance(node, (n.Synapse, n.Dendrite)):
            at = self.earlier(name, t, s, 1) if self.graph.timing == "pipelined" else t
            if at >= 0:
                x = self.value(name, "in", at, s)
                for weight in [node.weight, node.gate] if isinstance(node, n.Dendrite) else [node.weight]:
                    for o, i, w in products(node, weight, x.shape):
                        out[o] |= bool(w != 0 and x[i] != 0)
        elif isinstance(node, (n.Add, n.Probe, n.Keep)):
            out = self.arrives(name, t, s)
        elif isinstance(node, n.Multiply):
            out = self.arrives(name, t, s) & self.arrives(name, t, s, "gate")
        elif isinstance(node, n.Delay):
            for index in itertools.product(*map(range, out.shape)):
                at = self.earlier(name, t, s, int(np.broadcast_to(node.ticks, out.shape)[index]))
                out[index] = at >= 0 and self.arrives(name, at, s)[index]
        elif isinstance(node, MOVES):
            out = self.moved(node, self.arrives(name, t, s), out.shape)
        else:
            out = self.emissions[name][t, s] != 0
        self.memo[name, t, s] = out
        return out

    def moved(self, node: Any, before: Any, shape: Index) -> Any:
        """A mask behind a node that only moves values."""
        if isinstance(node, (n.Flatten, n.Reshape)):
            return before.reshape(shape)
        if isinstance(node, n.Select):
            return np.take(before, node.indices, axis=node.axis)
        out = np.zeros(shape, bool)
        for c, y, x in itertools.product(*map(range, shape)):
            for a, b in itertools.product(range(node.kernel[0]), range(node.kernel[1])):
                row, column = y * node.stride[0] + a - node.padding[0], x * node.stride[1] + b - node.padding[1]
                if 0 <= row < before.shape[1] and 0 <= column < before.shape[2]:
                    out[c, y, x] |= before[c, row, column]
        return out

    def biased_in(self, name: str, port: str = "in") -> Any:
        """Which elements of a node's input carry a bias, at every tick."""
        return np.logical_or.reduce([self.biased(e.source) for e in self.graph.into(name, port)])

    def biased(self, name: str) -> Any:
        """Which elements of what a node sends on carry a bias."""
        node: Any = self.graph.nodes[name]
        out = np.zeros(self.signals[name].shape, bool)
        if isinstance(node, (n.Synapse, n.Dendrite)) and node.bias is not None:
            last = isinstance(node, n.Linear) or (isinstance(node, n.Dendrite) and node.stride is None)
            for index in itertools.product(*map(range, out.shape)):
                out[index] = bool(node.bias[index[-1 if last else 0]] != 0)
        elif isinstance(node, (n.Add, n.Probe, n.Delay, n.Keep)):
            out = self.biased_in(name)
        elif isinstance(node, n.Multiply):
            out = self.biased_in(name) | self.biased_in(name, "gate")
        elif isinstance(node, MOVES):
            out = self.moved(node, self.biased_in(name), out.shape)
        return out
