"""Graph nodes → Lava processes: what each becomes, when it starts, and which wires add up at its port.

Every wire is flat, in the graph's C-order; only a Conv sees ``(W, H, C)``. Sums, reshapes and probes are wiring and not
processes. A synapse's bias is a constant source of its own, summed with it into the neuron. A Dendrite is two synapses,
W and V, and a process that makes i = (y·z + y) + b of their currents.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import UnsupportedNode
from neuroaccel.graph import (
    Add,
    AvgPool2d,
    Constant,
    Conv1d,
    Conv2d,
    Delay,
    Dendrite,
    Flatten,
    Graph,
    Input,
    Linear,
    Neuron,
    Node,
    Output,
    Probe,
    Readout,
    Reshape,
    Select,
    Signal,
    SumPool2d,
    Synapse,
    infer,
    sha256,
)
from neuroaccel.graph.nodes import Pool2d
from neuroaccel.graph.retime import pipelined, schedule
from neuroaccel.graph.signal import summed
from neuroaccel.hardware.lava.loihi import SYNAPSE, quantise
from neuroaccel.hardware.lava.stock import stock_fixed, stock_float
from neuroaccel.program import resolve

FORMAT = 1
WHO = "Lava"
LARGEST_CONV = 127  # Lava's Conv keeps stride, padding, dilation and groups in int8
WIRING = (Add, Flatten, Reshape, Probe)
ADVICE = {
    "MaxPool2d": "Lava has no pooling; use SumPool2d, or a convolution with stride",
    "Attention": "run it in the engine",
    "Scope": "export the graph inside it by itself",
}


@dataclass(frozen=True)
class Network:
    """What a bundle says: the description (JSON) and the arrays, ``NODE/FIELD`` → values in the graph's layout."""

    description: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def network_of(graph: Graph, *, fixed: bool) -> Network:
    """The Lava processes of a graph.

    Arguments:
        graph: an instant or pipelined graph; in fixed point a float graph is quantised first.
        fixed: Loihi's integers instead of float64.

    Raises:
        UnsupportedNode: a node that Lava or this mapping does not hold.
        GraphError: a value that Loihi's integers would clip.
    """
    exported = graph
    integer = [k for k, n in graph.nodes.items() if isinstance(n, (Neuron, Synapse)) and n.arithmetic is not None]
    if fixed and not integer:
        exported = quantise(graph)[0]
    elif integer and not fixed:
        raise UnsupportedNode(integer[0], WHO, "it carries integer arithmetic; export it with fixed=True")
    draft = _Draft(exported, fixed)
    description = draft.describe()
    description["graph_sha256"] = sha256(exported)
    description["source_sha256"] = sha256(graph)
    return Network(description, draft.arrays)


@dataclass
class _Draft:
    """The bundle while it is made."""

    graph: Graph
    fixed: bool
    processes: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    wires: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, node in self.graph.nodes.items():
            known = (Input, Output, Readout, Constant, Delay, Select, SumPool2d, AvgPool2d, Neuron, *WIRING)
            if not isinstance(node, (*known, Linear, Conv1d, Conv2d, Dendrite)):
                raise UnsupportedNode(name, WHO, ADVICE.get(node.kind, f"there is no mapping of {node.kind}"))
        self.plan = schedule(self.graph)
        self.running = pipelined(self.graph, self.plan, split_bias=False) if self.instant else self.graph
        self.signals = infer(self.running)

    @property
    def instant(self) -> bool:
        return self.graph.timing == "instant"

    @cached_property
    def names(self) -> set[str]:
        return set(self.running.nodes)

    def lag(self, name: str) -> int:
        """First step at which a node's input means something."""
        return self.plan.arrives.get(name, 0)

    def describe(self) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        targets: list[tuple[str, str]] = []
        for name in self.running.order:
            self.node(name, self.running.nodes[name], targets)
        for name in self.running.outputs:
            outputs[name] = self.output(name)
        for target, process in targets:
            entry = next(p for p in self.processes if p["name"] == process)
            entry["sources"] = self.distinct(process, target)
        return {
            "format": FORMAT,
            "model": "fixed" if self.fixed else "float",
            "timing": self.graph.timing,
            "dt": self.graph.dt,
            "inputs": {n: {"shape": list(self.signals[n].shape)} for n in self.running.inputs if n in self.wires},
            "outputs": outputs,
            "latency": {n: self.lag(n) for n in self.running.outputs},
            "warm_up": max((self.lag(n) for n in self.graph.nodes), default=0),
            "processes": self.processes,
        }

    def add(self, name: str, kind: str, shape: tuple[int, ...], *, start: int = 0, **more: Any) -> dict[str, Any]:
        """One process; ``arrays`` among ``more`` go into the weights file."""
        arrays = more.pop("arrays", {})
        for key, value in arrays.items():
            self.arrays[f"{name}/{key}"] = np.asarray(value)
        entry = {
            "name": name,
            "type": kind,
            "start": start,
            "shape": list(shape),
            "size": int(np.prod(shape, dtype=np.int64)),
            "sources": [],
            "arrays": {key: f"{name}/{key}" for key in arrays},
            **more,
        }
        self.processes.append(entry)
        return entry

    def fresh_name(self, wish: str) -> str:
        taken = self.names | {p["name"] for p in self.processes}
        while wish in taken:
            wish += "_"
        return wish

    def node(self, name: str, node: Node, targets: list[tuple[str, str]]) -> None:
        """Make the process of a node, if it is one; what enters it is wired when all are made."""
        shape = self.signals[name].shape
        self.wires[name] = [name]
        if isinstance(node, (Output, Readout)):
            self.wires[name] = []
            if isinstance(node, Readout) and not all(
                isinstance(self.running.nodes[e.target], Output) for e in self.running.out_of(name)
            ):
                raise UnsupportedNode(name, WHO, "a readout can only lead to an Output")
        elif isinstance(node, WIRING):
            self.wires[name] = []
        elif isinstance(node, Input):
            if self.running.out_of(name):
                self.add(name, "source", shape)
            else:
                del self.wires[name]
        elif isinstance(node, Constant):
            self.add(name, "constant", shape, along=None, arrays={"value": node.value})
        else:
            if isinstance(node, Synapse):
                self.synapse(name, node)
            elif isinstance(node, Dendrite):
                targets += [(name, branch) for branch in self.dendrite(name, node)]
                return
            elif isinstance(node, Neuron):
                self.neuron(name, node)
            elif isinstance(node, Delay):
                ticks = np.broadcast_to(np.asarray(node.ticks, dtype=np.int32), shape).reshape(-1)
                self.add(name, "delay", shape, arrays={"ticks": ticks})
            else:
                self.relay(name, node)
            targets.append((name, name))

    def port(self, name: str) -> Signal:
        """What enters a node's port ``in``."""
        return summed(name, [self.signals[e.source] for e in self.running.into(name, "in")])

    def synapse(self, name: str, node: Synapse) -> None:
        if node.plastic is not None:
            raise UnsupportedNode(name, WHO, "its weights learn; freeze them before export")
        if self.fixed and node.arithmetic != SYNAPSE:
            raise UnsupportedNode(name, WHO, "its integer arithmetic is not Loihi's; quantise the float graph")
        shape = self.signals[name].shape
        self.sums(name, node, self.port(name), shape)
        if node.bias is None or not np.any(node.bias):
            return
        bias = self.fresh_name(f"{name}_bias")
        axis = len(shape) - 1 if isinstance(node, Linear) else 0
        self.add(bias, "constant", shape, start=self.lag(name) + 1, along=axis)["arrays"] = {"value": f"{name}/bias"}
        self.arrays[f"{name}/bias"] = node.bias
        self.wires[name].append(bias)

    def sums(self, name: str, node: Synapse, port: Signal, shape: tuple[int, ...]) -> None:
        """Lava's own Dense or Conv with a synapse's weights."""
        # With 0 message bits Lava takes every value for a spike of 1.
        bits = {"binary": 0, "count": max(1, (port.maximum or 1).bit_length()), "analog": 24}[port.kind]
        if isinstance(node, Linear):
            repeat = int(np.prod(port.shape[:-1], dtype=np.int64))
            self.add(name, "dense", shape, arrays={"weight": node.weight}, repeat=repeat, message_bits=bits)
        else:
            self.conv(name, node, port.shape, shape, bits)

    def dendrite(self, name: str, node: Dendrite) -> list[str]:
        """The process that multiplies, and before it W and V, whose names it returns."""
        if self.fixed:
            raise UnsupportedNode(
                name, WHO, "Loihi's integers have no product of two currents; export it with fixed=False"
            )
        if node.arithmetic is not None:
            raise UnsupportedNode(name, WHO, "it carries integer arithmetic, which has no format for y·z; remove it")
        port, shape, branches = self.port(name), self.signals[name].shape, []
        for part, weight in (("w", node.weight), ("v", node.gate)):
            synapse: Synapse = Linear(weight)
            if node.stride is not None:
                how = {"padding": node.padding, "dilation": node.dilation, "groups": node.groups}
                synapse = Conv2d(weight, stride=node.stride, **how)  # type: ignore[arg-type]
            branches.append(self.fresh_name(f"{name}_{part}"))
            self.sums(branches[-1], synapse, port, shape)
        bias = np.zeros(len(node.weight), np.float32) if node.bias is None else node.bias
        along = bias if node.stride is None else bias.reshape(-1, 1, 1)
        arrays = {"bias": np.broadcast_to(along, shape).reshape(-1)}
        # Its synapses carry the tick: until then there is no bias either.
        self.add(name, "dendrite", shape, start=self.lag(name) + 1, arrays=arrays)["sources"] = list(branches)
        return branches

    def conv(self, name: str, node: Node, source: tuple[int, ...], shape: tuple[int, ...], bits: int) -> None:
        """Conv1d is a Conv2d of height 1."""
        assert isinstance(node, (Conv1d, Conv2d))
        if isinstance(node, Conv1d):
            kernel, size = (1, node.weight.shape[2]), (source[0], 1, source[1])
            stride, padding, dilation = (1, node.stride), (0, node.padding), (1, node.dilation)
        else:
            kernel, size = node.weight.shape[2:], (source[0], source[1], source[2])
            stride, padding, dilation = node.stride, node.padding, node.dilation
        largest = max(*stride, *padding, *dilation, *kernel, node.groups)
        if largest > LARGEST_CONV:
            raise UnsupportedNode(
                name,
                WHO,
                f"its stride, padding, dilation, kernel or groups reach {largest}, Lava's Conv {LARGEST_CONV}",
            )
        self.add(
            name,
            "conv",
            shape,
            arrays={"weight": node.weight},
            shape_in=list(size),
            kernel=list(kernel),
            stride=list(stride),
            padding=list(padding),
            dilation=list(dilation),
            groups=node.groups,
            message_bits=bits,
        )

    def neuron(self, name: str, node: Neuron) -> None:
        emit = {"spike": "uint8", "count": "int32", "state": "int64" if self.fixed else "float64"}
        common: dict[str, Any] = {
            "start": self.lag(name),
            "states": list(node.program.state_names),
            "membrane": node.program.membrane,
            "emits": emit[node.program.emit.kind],
        }
        if self.fixed and node.arithmetic is None:
            raise UnsupportedNode(name, WHO, "it has no integer arithmetic; quantise the float graph")
        stock = stock_fixed(node) if self.fixed else stock_float(node)
        if stock is not None:
            found, arrays = stock
            self.add(name, "lif", node.shape, **common, **found, arrays=arrays)
            return
        values = {k: np.asarray(node.parameters[k], np.float32) for k in node.program.parameter_names}
        integer: dict[str, Any] | None = None
        if self.fixed:
            assert node.arithmetic is not None
            if node.program.derived or any(a.op == "div" for a in (*node.program.body, *node.program.on_fire)):
                raise UnsupportedNode(name, WHO, "its program divides or derives values; integers do not")
            if missing := set(values) - set(node.arithmetic.parameters):
                raise UnsupportedNode(name, WHO, f"its arithmetic gives {', '.join(sorted(missing))} no format")
            formats = {k: asdict(v) for k, v in node.arithmetic.parameters.items() if k in values}
            state = None if node.arithmetic.state is None else asdict(node.arithmetic.state)
            integer = {"state": state, "formats": formats}
        else:
            values = dict(resolve(node.program, values))
        flat = {k: v.reshape(-1) if v.ndim else v for k, v in values.items()}
        program = node.program.to_json()
        self.add(name, "program", node.shape, **common, program=program, integer=integer, arrays=flat)

    def relay(self, name: str, node: Node) -> None:
        """Select and pools: which entries of what arrives make each value."""
        source = self.port(name).shape
        flat = np.arange(int(np.prod(source, dtype=np.int64))).reshape(source)
        divide = 1
        if isinstance(node, Select):
            index = np.take(flat, node.indices, axis=node.axis).reshape(-1, 1)
        else:
            assert isinstance(node, Pool2d)
            if isinstance(node, AvgPool2d):
                divide = node.kernel[0] * node.kernel[1]
                if divide & (divide - 1) or self.fixed:
                    raise UnsupportedNode(name, WHO, "its mean is not exact; lower() folds it into the next synapse")
            index = _windows(flat, node, self.signals[name].shape)
        size_in = flat.size
        arrays = {"index": index.astype(np.int64)}
        self.add(name, "relay", self.signals[name].shape, size_in=size_in, divide=divide, arrays=arrays)

    def incoming(self, name: str) -> list[str]:
        """Processes whose values add up at a node's port, once per path."""
        arrived: list[str] = []
        for edge in self.running.into(name, "in"):
            source = self.running.nodes[edge.source]
            if edge.recurrent:
                raise UnsupportedNode(name, WHO, f"edge '{edge.name}' is recurrent in a pipelined graph; use a Delay")
            arrived += self.incoming(edge.source) if isinstance(source, WIRING) else self.wires[edge.source]
        return arrived

    def distinct(self, process: str, name: str) -> list[str]:
        """The same, each process once: Lava connects two ports once, so a second path gets a relay."""
        arrived = self.incoming(name)
        out = []
        for source, times in Counter(arrived).items():
            out.append(source)
            for _ in range(times - 1):
                entry = next(p for p in self.processes if p["name"] == source)
                copy = self.fresh_name(f"{source}_again_{process}")
                index = np.arange(entry["size"]).reshape(-1, 1)
                shape = tuple(entry["shape"])
                made = self.add(copy, "relay", shape, size_in=entry["size"], divide=1, arrays={"index": index})
                made["sources"] = [source]
                out.append(copy)
        return out

    def output(self, name: str) -> dict[str, Any]:
        """Where an Output's values come from: a neuron's emission or a sink, and how they are read out."""
        edges = self.running.into(name)
        how, at = None, name
        if len(edges) == 1 and isinstance(readout := self.running.nodes[edges[0].source], Readout):
            how, at = readout.how, edges[0].source
        shape = list(self.signals[name].shape)
        arrived = self.incoming(at)
        if len(arrived) == 1 and isinstance(self.running.nodes.get(arrived[0]), Neuron):
            return {"from": "neuron", "name": arrived[0], "readout": how, "shape": shape}
        sink = self.fresh_name(f"{name}_sink")
        entry = self.add(sink, "sink", tuple(shape), start=self.lag(at))
        entry["sources"] = self.distinct(sink, at)
        return {"from": "sink", "name": sink, "readout": how, "shape": shape}


def _windows(flat: NDArray[np.int64], node: Pool2d, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Indices of every pooling window, −1 in the padding: ``[outputs, window]``."""
    pad = ((0, 0), (node.padding[0], node.padding[0]), (node.padding[1], node.padding[1]))
    padded = np.pad(flat, pad, constant_values=-1)
    taps = []
    for y, x in itertools.product(range(node.kernel[0]), range(node.kernel[1])):
        rows = padded[:, y : y + node.stride[0] * shape[1] : node.stride[0]][:, : shape[1]]
        taps.append(rows[:, :, x : x + node.stride[1] * shape[2] : node.stride[1]][:, :, : shape[2]].reshape(-1))
    return np.stack(taps, axis=1)
