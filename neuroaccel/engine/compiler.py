"""Compile a graph for the engine: choose an operation for every node, and where its inputs come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, get_args

from neuroaccel.engine.attention import Attention, Normalised
from neuroaccel.engine.clocks import Inner, Kept, Recall, Windowed
from neuroaccel.engine.conv_population import ConvPopulation, Counted
from neuroaccel.engine.convolution import Convolution
from neuroaccel.engine.delayed_synapses import DelayedSynapses, Group, MergedDelay, MergedLinear, groups
from neuroaccel.engine.delays import Delayed, DelayedEvents
from neuroaccel.engine.dendrite import INTEGERS, Dendrite
from neuroaccel.engine.elementwise import (
    Constants,
    Lookup,
    Pick,
    Pool,
    Previous,
    Product,
    Running,
    Source,
    Sum,
)
from neuroaccel.engine.fixed import Format
from neuroaccel.engine.integer_synapses import integer_synapse
from neuroaccel.engine.linear import Linear
from neuroaccel.engine.operation import Latch, Learner, Operation, Same, Static
from neuroaccel.engine.pipelined import Pipelined
from neuroaccel.engine.plan import Number, Plan, Ref, Stage, Step, components, origin
from neuroaccel.engine.plastic import PlasticLinear
from neuroaccel.engine.pooling import EventPool
from neuroaccel.engine.populations import Population, emission
from neuroaccel.engine.synapses import bias_flags
from neuroaccel.errors import InputError, ProgramError, UnsupportedNode
from neuroaccel.graph import Edge, Graph, Signal, infer
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import Clock, clocks, standing_nodes
from neuroaccel.graph.rules import exact_sums
from neuroaccel.graph.signal import summed

T = TypeVar("T")

PLASTIC_CONV = "its weights learn, and only those of a Linear do; set Synapse.plastic to None"
PLASTIC_INTEGER = "weights learn in floating point only; run it in float32, or set Synapse.plastic to None"


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


def recompiled(plan: Plan, graph: Graph) -> Plan:
    """Plan a graph that differs in weights only, with operations that can go on where those of ``plan`` are.

    Raises:
        UnsupportedNode: as of :func:`compile_graph`.
    """
    return _Compiler(graph, plan.arithmetic, plan).plan()


def refusals(graph: Graph, arithmetic: Number = "float32") -> dict[str, str]:
    """Which nodes of a graph the engine cannot hold, and why.

    Returns:
        node → reason with what to do, nodes of a Scope as ``scope/node``; empty if the graph runs.
    """
    compiler = _Compiler(graph, arithmetic)
    reasons: dict[str, str] = {}
    for name in graph.order:
        node = graph.nodes[name]
        if isinstance(node, n.Scope):
            reasons |= {f"{name}/{inner}": why for inner, why in refusals(node.graph, arithmetic).items()}
        try:
            compiler.operation(name)
        except UnsupportedNode as error:
            reasons[error.node] = error.reason
    return reasons


class _Compiler:
    def __init__(self, graph: Graph, arithmetic: Number, earlier: Plan | None = None) -> None:
        if arithmetic not in get_args(Number):
            raise InputError(f"arithmetic is {', '.join(get_args(Number))}, not '{arithmetic}'")
        self.graph, self.arithmetic, self.earlier = graph, arithmetic, earlier
        self.number = "int64" if arithmetic == "integer" else arithmetic
        self.signals, self.clocks = infer(graph), clocks(graph)
        self.operations: dict[str, Operation] = {}
        self.components = components(graph)
        self.groups = self.worth_merging() if earlier is None else earlier.groups
        self.merged = {name: group for group in self.groups for name in group.members}

    def worth_merging(self) -> list[Group]:
        """Branches that one operation is to run."""
        looped = {name for names, loop in self.components if loop for name in names}
        timed = {name for name, clock in self.clocks.items() if clock}
        return groups(self.graph, self.signals, looped | timed) if self.number == "float32" else []

    def static(self, name: str) -> Static:
        """What a node emits; a population's depends on nothing else, so that loops can be planned."""
        node = self.graph.nodes[name]
        if isinstance(node, n.Neuron):
            return self.guarded(name, lambda: emission(node, self.number))
        return self.operation(name).static

    def total(self, name: str, port: str, terms: int = 0) -> Sum:
        """The sum of a port's edges, or in floating point of ``terms`` terms: some of the edges come as one."""
        statics = [self.static(edge.source) for edge in self.graph.into(name, port)]
        whole = self.guarded(name, lambda: Sum(name, statics, self.number))
        return whole if terms in (0, len(statics)) else Sum(name, [whole.static] * terms, self.number)

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
            if isinstance(node, n.Synapse) and node.plastic is not None:
                if not isinstance(node, n.Linear):
                    raise UnsupportedNode(name, "engine", PLASTIC_CONV)
                if self.number == "int64":
                    raise UnsupportedNode(name, "engine", PLASTIC_INTEGER)
            ports = [self.port(name, port) for port in self.graph.ports(name)]
            self.operations[name] = self.guarded(name, lambda: self.build(name, node, ports))
        return self.operations[name]

    def build(self, name: str, node: n.Node, ports: list[Static]) -> Operation:
        shape, number = self.signals[name].shape, self.number
        if name in self.merged:
            if isinstance(node, n.Linear):
                return MergedLinear(name, node, self.merged[name], ports[0], Static.plain(shape))
            return MergedDelay(name, self.merged[name], ports[0], number)
        if isinstance(node, (n.Synapse, n.Dendrite)):
            make = self.dendrite if isinstance(node, n.Dendrite) else self.synapse
            synapse = make(name, node, ports[0])  # type: ignore[arg-type]
            return Pipelined(synapse) if self.graph.latches(name) else synapse
        if isinstance(node, n.Neuron):
            private = self.private(name)
            conv = None if private is None else self.operation(private)
            layout = conv.address if isinstance(conv, Convolution) and conv.cells else None
            return Population(name, node, ports[0], number, layout)
        if isinstance(node, n.Input):
            return Source(name, Static.plain(shape, self.entering(node)), number)
        if isinstance(node, n.Constant):
            return Constants(name, node, number)
        if isinstance(node, n.Pool2d):
            analog = any(signal.kind == "analog" for signal in self.arriving(name))
            return (Pool if analog else EventPool)(name, node, ports[0], shape, number)
        if isinstance(node, n.Delay):
            delayed = Delayed if summed(name, self.arriving(name)).kind == "analog" else DelayedEvents
            return delayed(name, node, ports[0], number)
        if isinstance(node, n.Select):
            return Pick(name, node, ports[0], number)
        if isinstance(node, n.Multiply):
            return Product(name, ports, number)
        if isinstance(node, n.Table):
            return Lookup(name, node, ports[0], number)
        if isinstance(node, n.Attention):
            return Attention(name, node, ports, number)
        if isinstance(node, (n.LayerNorm, n.Softmax)):
            return Normalised(name, node, ports[0], number)
        if isinstance(node, n.Readout):
            return Running(name, node, ports[0], number)
        if isinstance(node, n.Window):
            return Windowed(name, node, ports[0], number)
        if isinstance(node, n.Memory):
            return Recall(name, node.capacity, ports[0], number)
        if isinstance(node, n.Keep):
            return Kept(name, ports[0], number)
        if isinstance(node, n.Scope):
            try:
                return Inner(name, node, self.within(name, node.graph), ports, shape)
            except UnsupportedNode as error:
                raise UnsupportedNode(f"{name}/{error.node}", error.executor, error.reason) from error
        if isinstance(node, (n.Output, n.Flatten, n.Reshape, n.Probe, n.Add)):
            passed = Static(shape, ports[0].biased, ports[0].format)
            # A readout in integer arithmetic is a real number already.
            readout = number == "int64" and passed.format is None
            if readout and not isinstance(node, n.Output):
                raise ValueError("its input has no integer format; a readout can only lead to an Output")
            return Same(name, passed, "float64" if readout else number)
        raise ValueError(f"the engine does not know {node.kind}")

    def within(self, name: str, graph: Graph) -> Plan:
        """The plan of a scope."""
        earlier = None if self.earlier is None else self.earlier.inner[name]
        return compile_graph(graph, self.arithmetic) if earlier is None else recompiled(earlier.plan, graph)

    def synapse(self, name: str, node: n.Synapse, port: Static) -> Operation:
        shape, kind = self.signals[name].shape, summed(name, self.arriving(name)).kind
        if self.number == "int64":
            return integer_synapse(name, node, port, shape, kind)
        if isinstance(node, n.Linear) and node.plastic is not None:
            return PlasticLinear(name, node, port, shape, self.number)
        target = Static(shape, bias_flags(node, shape))
        weight = node.weight.astype(self.number)
        bias = None if node.bias is None else node.bias.astype(self.number)
        if isinstance(node, n.Linear):
            return Linear(name, node, port, target, weight, bias, kind, self.signals[name].frac is not None)
        # Neurons in the order of cells list their spikes so, and float sums that are not exact would follow.
        exact, readers = self.signals[name].frac is not None, self.graph.out_of(name)
        cells = exact and self.private(readers[0].target) == name
        return Convolution(name, node, port, target, weight, bias, cells, kind == "binary")

    def dendrite(self, name: str, node: n.Dendrite, port: Static) -> Operation:
        if self.number == "int64":
            raise ValueError(INTEGERS)
        source = summed(name, self.arriving(name))
        exact = exact_sums(node, source)
        return Dendrite(name, node, port, self.signals[name].shape, self.number, source.kind, exact)

    def arriving(self, name: str) -> list[Signal]:
        return [self.signals[edge.source] for edge in self.graph.into(name, "in")]

    def private(self, name: str) -> str | None:
        """The convolution whose current a population alone reads, and reads alone: they may agree on an order."""
        edges = self.graph.into(name, "in")
        if not isinstance(self.graph.nodes[name], n.Neuron) or len(edges) != 1 or edges[0].recurrent:
            return None
        if self.clocks[name]:  # between the two stands who says which samples run
            return None
        source = edges[0].source
        convolves = isinstance(self.graph.nodes[source], (n.Conv1d, n.Conv2d)) and not self.graph.latches(source)
        return source if convolves and len(self.graph.out_of(source)) == 1 else None

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
        sums: dict[str, list[Ref]] = {}
        late: dict[str, list[Ref]] = {}  # of the ports that are read at the end of the tick
        for name in graph.order:
            operation = self.operation(name)
            sources = []
            sums[name] = []
            late[name] = []
            for port in (*graph.ports(name), *graph.late_ports(name)):
                before = late[name] if port in n.LATE_PORTS else sums[name]
                refs = tuple(_source(edge) for edge in graph.into(name, port))
                for group in [g for g in self.groups if (g.target, g.port) == (name, port)]:
                    merged: Ref = ("delayed", group.key)
                    steps[merged] = Step(self.delayed(group), (("node", group.source),))
                    before.append(merged)
                    refs = (merged, *(ref for ref in refs if ref[1] not in group.members))
                if len(refs) > 1:
                    total: Ref = ("sum", f"{name}:{port}")
                    steps[total] = Step(self.total(name, port, len(refs)), refs)
                    before.append(total)
                    refs = (total,)
                sources.append(refs[0])
            steps["node", name] = Step(operation, tuple(sources))
            synapse = self.beside(name)
            if synapse is not None:
                entering = steps["node", synapse.name].sources
                steps["node", synapse.name] = Step(Counted(synapse), entering)
                assert isinstance(operation, Population)
                steps["node", name] = Step(ConvPopulation(synapse, operation), entering)
        for name in dict.fromkeys(edge.source for edge in graph.edges if edge.recurrent):
            operation = self.operation(name)
            steps["previous", name] = Step(Previous(name, operation.static, operation.dtype), (("node", name),))
        read = {origin(steps, r) for s in steps.values() if s.operation.reads_events for r in s.sources}
        asked = {origin(steps, r) for s in steps.values() if s.operation.passes_touched for r in s.sources}
        return Plan(
            graph,
            self.arithmetic,
            self.signals,
            steps,
            tuple(
                _stage(names, loop, steps, sums, late) for names, loop in self.components if names[0] not in self.merged
            ),
            frozenset(r for r in read if not steps[r].operation.finds_events),
            frozenset(r for r in asked if steps[r].operation.flags_value),
            self.timed(steps),
            {name: clock for name, clock in self.clocks.items() if self.drops(name, clock)},
        )

    def beside(self, name: str) -> Convolution | None:
        """The convolution that runs together with a population, if one does."""
        source = self.private(name)
        synapse = None if source is None or self.clocks[name] else self.operation(source)
        population = self.operation(name)
        if not isinstance(synapse, Convolution) or not isinstance(population, Population):
            return None
        return synapse if synapse.cells and ConvPopulation.suits(synapse, population) else None

    def delayed(self, group: Group) -> DelayedSynapses:
        shape, scaled = self.signals[group.branches[0].linear].shape, self.signals[group.source].kind != "binary"
        return DelayedSynapses(group, self.graph, self.static(group.source), Static.plain(shape), scaled)

    def drops(self, name: str, clock: Clock) -> bool:
        """Whether ticks of a node can be dropped, and somebody counts them."""
        return not isinstance(self.graph.nodes[name], n.Output) and any(part[0] == "keep" for part in clock or ())

    def timed(self, steps: dict[Ref, Step]) -> dict[Ref, tuple[Clock, Clock]]:
        """Steps that go by a clock: what is behind a Window or Keep, and what makes clocks.

        What stands (a Readout's running value and what passes it on) has a row at every tick, but for the Readout.
        """
        graph, own = self.graph, self.clocks
        stands = standing_nodes(graph)
        found: dict[Ref, tuple[Clock, Clock]] = {}
        for ref, step in steps.items():
            if ref[0] == "delayed":  # none of its nodes has a clock
                continue
            name = ref[1].rsplit(":", 1)[0] if ref[0] == "sum" else ref[1]
            entering = [own[e.source] for e in graph.into(name) if own[e.source] is not None]
            before = entering[0] if ref[0] != "previous" and entering else own[name]
            makes = isinstance(step.operation, (Windowed, Kept, Inner))
            shown = name in stands and not isinstance(step.operation, (Running, Previous))
            if (before or makes) and not shown:
                found[ref] = (before or (), own[name] or ())
        return found


def _stage(
    names: tuple[str, ...],
    looped: bool,
    steps: dict[Ref, Step],
    sums: dict[str, list[Ref]],
    late: dict[str, list[Ref]],
) -> Stage:
    held: list[Ref] = [("previous", name) for name in names if ("previous", name) in steps]
    nodes: dict[str, Ref] = {name: ("node", name) for name in names}
    everything = {name: (*sums[name], *late[name], nodes[name]) for name in names}
    if not looped:
        return Stage((*(r for name in names for r in everything[name]), *held))
    latches = {name for name in names if isinstance(steps["node", name].operation, Latch)}
    learns = {name for name in names if isinstance(steps["node", name].operation, Learner)}
    taking = {name: (*late[name], nodes[name]) if name in learns else everything[name] for name in latches | learns}
    return Stage(
        tuple(r for name in names if name not in latches for r in (*sums[name], nodes[name])),
        (*(nodes[name] for name in names if name in latches), *held),
        (*(r for name in names if name in taking for r in taking[name]), *held),
        True,
    )


def _source(edge: Edge) -> Ref:
    return ("previous" if edge.recurrent else "node", edge.source)
