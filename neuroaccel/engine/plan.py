"""Compile a graph for the engine: an operation per node, what it reads, and the order of one tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from neuroaccel.engine.elementwise import Constants, Delayed, Lookup, Pick, Pool, Product, Running, Source, Sum
from neuroaccel.engine.fixed import Format
from neuroaccel.engine.integer_synapses import integer_synapse
from neuroaccel.engine.operation import Latch, Operation, Same, Static
from neuroaccel.engine.populations import Population, emission
from neuroaccel.engine.synapses import Pipelined, float_synapse
from neuroaccel.errors import InputError, ProgramError, UnsupportedNode
from neuroaccel.graph import Edge, Graph, Signal, infer
from neuroaccel.graph import nodes as n

Number = Literal["float32", "float64", "integer"]
# Where a value comes from: a node, the sum of the edges of a port, or a node one tick earlier.
Ref = tuple[Literal["node", "sum", "previous"], str]
T = TypeVar("T")

REASONS: dict[type[n.Node], str] = {
    n.Scope: "it runs a graph at a clock of its own; run its inner graph by itself",
    n.Window: "it changes the clock; cut the input into windows beforehand",
    n.Memory: "it keeps a list of values; keep them outside, and feed them through an Input",
    n.Keep: "it drops ticks of single samples; drop them from the input",
    n.Attention: "attention is not among its kernels; run the parts before and behind it by themselves",
    n.Dendrite: "gated dendrites are not among its kernels; use a Linear or Conv2d",
    n.LayerNorm: "it cannot be computed exactly; use BatchNorm, which folds into weights",
    n.Softmax: "it cannot be computed exactly; put it behind the Output",
}
PLASTIC = "its weights learn while it runs; set Synapse.plastic to None"


@dataclass(frozen=True, eq=False)
class Step:
    """An operation and where its inputs come from."""

    operation: Operation
    sources: tuple[Ref, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """A graph, compiled. It holds nothing that changes; any number of sessions may share it.

    Arguments:
        graph: where it comes from.
        arithmetic: the numbers that it computes with.
        signals: node → what it emits.
        steps: every node, and every port whose edges are summed or copied.
        emit, run, take: the parts of a tick, in order: what latches emits, the others run, what latches takes in.
        held: nodes whose emission a recurrent edge reads one tick later.
        scanned: steps whose events a synapse or pool reads.
        flagged: steps whose touched elements are their non-zero ones, and somebody asks for them.
    """

    graph: Graph
    arithmetic: Number
    signals: dict[str, Signal]
    steps: dict[Ref, Step]
    emit: tuple[Ref, ...]
    run: tuple[Ref, ...]
    take: tuple[Ref, ...]
    held: tuple[str, ...]
    scanned: frozenset[Ref]
    flagged: frozenset[Ref]

    @property
    def has_overflow_errors(self) -> bool:
        """Whether a tick can fail half way."""
        if self.arithmetic != "integer":
            return False
        how = [getattr(node, "arithmetic", None) for node in self.graph.nodes.values()]
        formats = [f for a in how if a for f in (a.input, a.product, a.accumulator, a.group_convert, a.state) if f]
        return any(f.overflow == "error" for f in formats)

    def current_fractions(self) -> dict[str, int]:
        """Neuron → fraction bits of its current; empty in floating point."""
        found = {}
        for name in self.graph.of_type(n.Neuron):
            kind, source = self.steps["node", name].sources[0]
            static = self.steps["node" if kind == "previous" else kind, source].operation.static
            if static.format is not None:
                found[name] = static.format.frac
        return found


def compile_graph(graph: Graph, arithmetic: Number = "float32") -> Plan:
    """Plan a graph's execution; nothing runs yet.

    Arguments:
        graph: the graph; its nodes' :class:`Arithmetic` is followed in ``integer`` and not looked at otherwise.
        arithmetic: ``float32``, ``float64`` (the same float32 weights and parameters, wider sums) or ``integer``.

    Returns:
        The plan.

    Raises:
        GraphError: the graph does not validate.
        UnsupportedNode: a node that the engine cannot hold in this arithmetic; which, why, and what to do.
    """
    return _Compiler(graph, arithmetic).plan()


def refusals(graph: Graph, arithmetic: Number = "float32") -> dict[str, str]:
    """Which nodes of a graph the engine cannot hold, and why.

    Returns:
        node → reason with what to do; empty if the graph runs.
    """
    compiler = _Compiler(graph, arithmetic)
    reasons: dict[str, str] = {}
    for name in graph.order:
        try:
            compiler.operation(name)
        except UnsupportedNode as error:
            reasons[error.node] = error.reason
    return reasons


class _Compiler:
    def __init__(self, graph: Graph, arithmetic: Number) -> None:
        if arithmetic not in get_args(Number):
            raise InputError(f"arithmetic is {', '.join(get_args(Number))}, not '{arithmetic}'")
        self.graph, self.arithmetic = graph, arithmetic
        self.number = "int64" if arithmetic == "integer" else arithmetic
        self.signals = infer(graph)
        self.operations: dict[str, Operation] = {}

    def static(self, name: str) -> Static:
        """What a node emits; a population's depends on nothing else, so that loops can be planned."""
        node = self.graph.nodes[name]
        if isinstance(node, n.Neuron):
            return self.guarded(name, lambda: emission(node, self.number))
        return self.operation(name).static

    def total(self, name: str, port: str) -> Sum:
        statics = [self.static(edge.source) for edge in self.graph.into(name, port)]
        return self.guarded(name, lambda: Sum(name, statics, self.number))

    def port(self, name: str, port: str) -> Static:
        edges = self.graph.into(name, port)
        return self.static(edges[0].source) if len(edges) == 1 else self.total(name, port).static

    def guarded(self, name: str, build: Callable[[], T]) -> T:
        """Turn what integer arithmetic cannot do into a refusal of the node."""
        try:
            return build()
        except (OverflowError, ProgramError) as error:
            raise UnsupportedNode(name, "engine", f"{error}; give it smaller formats, or run it in float32") from error
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise UnsupportedNode(name, "engine", str(error)) from error

    def operation(self, name: str) -> Operation:
        if name not in self.operations:
            node = self.graph.nodes[name]
            for kind, reason in REASONS.items():
                if isinstance(node, kind):
                    raise UnsupportedNode(name, "engine", reason)
            if isinstance(node, n.Synapse) and node.plastic is not None:
                raise UnsupportedNode(name, "engine", PLASTIC)
            ports = [self.port(name, port) for port in n.ports_of(node)]
            self.operations[name] = self.guarded(name, lambda: self.build(name, node, ports))
        return self.operations[name]

    def build(self, name: str, node: n.Node, ports: list[Static]) -> Operation:
        shape, number = self.signals[name].shape, self.number
        if isinstance(node, n.Synapse):
            kind = self.signals[self.graph.into(name, "in")[0].source].kind
            synapse = (
                integer_synapse(name, node, ports[0], shape, kind)
                if number == "int64"
                else float_synapse(name, node, ports[0], shape, number)
            )
            return Pipelined(synapse) if self.graph.latches(name) else synapse
        if isinstance(node, n.Neuron):
            return Population(name, node, ports[0], number)
        if isinstance(node, n.Input):
            return Source(name, Static.plain(shape, self.entering(node)), number)
        if isinstance(node, n.Constant):
            return Constants(name, node, number)
        if isinstance(node, n.Pool2d):
            return Pool(name, node, ports[0], shape, number)
        if isinstance(node, n.Delay):
            return Delayed(name, node, ports[0], number)
        if isinstance(node, n.Select):
            return Pick(name, node, ports[0], number)
        if isinstance(node, n.Multiply):
            return Product(name, ports, number)
        if isinstance(node, n.Table):
            return Lookup(name, node, ports[0], number)
        if isinstance(node, n.Readout):
            return Running(name, node, ports[0], number)
        if isinstance(node, (n.Output, n.Flatten, n.Reshape, n.Probe, n.Add)):
            passed = Static(shape, ports[0].biased, ports[0].format)
            # A readout in integer arithmetic is a real number already.
            readout = number == "int64" and passed.format is None
            if readout and not isinstance(node, n.Output):
                raise ValueError("its input has no integer format; a readout can only lead to an Output")
            return Same(name, passed, "float64" if readout else number)
        raise ValueError(f"the engine does not know {node.kind}")

    def entering(self, node: n.Input) -> Format | None:
        if self.number != "int64":
            return None
        if node.edge != "analog":
            return Format(0, node.maximum)
        if node.grid is None:
            raise ValueError("integer arithmetic needs a grid on an analog Input; give Input.grid")
        return Format(node.grid.frac, max(abs(node.grid.low), abs(node.grid.high)))

    def plan(self) -> Plan:
        graph = self.graph
        steps: dict[Ref, Step] = {}
        emit, run, take = list[Ref](), list[Ref](), list[Ref]()
        for name in graph.order:
            operation = self.operation(name)
            sources = []
            for port in n.ports_of(graph.nodes[name]):
                edges = graph.into(name, port)
                refs = tuple(_source(edge) for edge in edges)
                # What is held is renewed at the end of the tick: who shows it afterwards, or passes it on, has a copy.
                shown = isinstance(operation, (Same, Population)) and edges[0].recurrent
                if len(refs) > 1 or shown:
                    total: Ref = ("sum", f"{name}:{port}")
                    steps[total] = Step(self.total(name, port), refs)
                    (take if isinstance(operation, Latch) else run).append(total)
                    refs = (total,)
                sources.append(refs[0])
            ref: Ref = ("node", name)
            steps[ref] = Step(operation, tuple(sources))
            if isinstance(operation, Latch):
                emit.append(ref)
                take.append(ref)
            else:
                run.append(ref)
        held = tuple(dict.fromkeys(edge.source for edge in graph.edges if edge.recurrent))
        read = {origin(steps, r) for s in steps.values() if s.operation.reads_events for r in s.sources}
        asked = {origin(steps, r) for s in steps.values() if s.operation.passes_touched for r in s.sources}
        return Plan(
            graph,
            self.arithmetic,
            self.signals,
            steps,
            tuple(emit),
            tuple(run),
            tuple(take),
            held,
            frozenset(r for r in read if not steps[r].operation.finds_events),
            frozenset(r for r in asked if steps[r].operation.flags_value),
        )


def _source(edge: Edge) -> Ref:
    return ("previous" if edge.recurrent else "node", edge.source)


def origin(steps: dict[Ref, Step], ref: Ref) -> Ref:
    """The step that fills a buffer: nodes that pass their input on have none of their own."""
    ref = ("node", ref[1]) if ref[0] == "previous" else ref
    while isinstance(steps[ref].operation, Same):
        ref = steps[ref].sources[0]
    return ref
