"""Writing a plan down as a tape: what each operation becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuroaccel.engine.attention import Attention, Normalised
from neuroaccel.engine.clocks import Inner, Recall
from neuroaccel.engine.elementwise import Constants, Lookup, Pick, Previous, Product, Running, Source, Sum
from neuroaccel.engine.kernels import tape as op
from neuroaccel.engine.linear import Linear
from neuroaccel.engine.operation import Latch, Operation, Same
from neuroaccel.engine.plan import Plan, Ref, origin
from neuroaccel.engine.populations import Population
from neuroaccel.engine.tape import Draft, Flat, Link, Marks, Path, Products, Register, Ring, Tape
from neuroaccel.engine.tape_neurons import Neurons
from neuroaccel.graph import nodes as n

READOUTS = {"spike_count": 0, "mean_membrane": 1, "max_membrane": 2, "last_membrane": 3}


def obstacles(plan: Plan) -> dict[str, str]:
    """What keeps a plan off a tape: node → why; nodes of a Scope as ``scope/node``."""
    found: dict[str, str] = {}
    if plan.arithmetic == "integer":
        return {name: "a tape holds floating point only" for name in plan.graph.nodes}
    for ref, step in plan.steps.items():
        operation = step.operation
        held = type(operation) in WRITE or isinstance(operation, (Same, Previous))
        if not held or (isinstance(operation, Population) and operation.layout is not None):
            found[ref[1]] = f"a tape has no {type(operation).__name__}"
        if isinstance(operation, Inner):
            found |= {f"{ref[1]}/{name}": why for name, why in obstacles(operation.plan).items()}
    return found


def write(plan: Plan, track: bool) -> Tape:
    """Write a plan down that :func:`obstacles` finds nothing against.

    Arguments:
        plan: the graph, compiled.
        track: whether operations are counted.
    """
    draft = Draft(plan.arithmetic, track)
    writer = Writer(draft, plan, (), True)
    inputs = {name: node for name in plan.graph.inputs if isinstance(node := plan.graph.nodes[name], n.Input)}
    for name in inputs:  # what enters lies in front, then what is shown
        writer.place(("node", name))
    for ref in plan.steps:
        if origin(plan.steps, ref) == ref and not writer.is_ring(ref):
            writer.place(ref)
    shown = draft.size
    writer.tick()
    sizes = {ref: plan.steps[ref].operation.static.size for ref in plan.steps}
    places = {ref: slice(at, at + sizes[ref]) for ref, at in writer.places.items() if at < shown}
    return draft.done(inputs, places, shown, writer.steps)


class Writer:
    """Writes the tick of a graph, or of a Scope's graph.

    Arguments:
        draft: the tape.
        plan: of the graph.
        path: of the Scope.
        kept: whether its states are the session's, not those of a Scope that begins anew.
    """

    def __init__(self, draft: Draft, plan: Plan, path: Path, kept: bool) -> None:
        self.draft, self.plan, self.path, self.kept = draft, plan, path, kept
        self.places: dict[Ref, int] = {}
        self.rings: dict[Ref, Ring] = {}
        self.held: dict[Ref, int] = {}
        self.steps: dict[Path, int] = {(): 1} if not path else {}
        self.marked = self._marked() if draft.track else set()
        self.unrolled = {origin(plan.steps, r) for s in plan.steps.values() for r in self._read(s.operation, s.sources)}

    def _read(self, operation: Operation, sources: tuple[Ref, ...]) -> tuple[Ref, ...]:
        """Sources whose values are wanted as they are; an Attention reads rings."""
        return (sources[0], *sources[3:]) if isinstance(operation, Attention) else sources

    def _marked(self) -> set[Ref]:
        """Steps of which somebody asks what events touched."""
        steps, found = self.plan.steps, set[Ref]()
        # A population counts by them, and what a node gave one tick earlier keeps them in its state.
        asked = [r for s in steps.values() if isinstance(s.operation, (Population, Previous)) for r in s.sources]
        while asked:
            ref = origin(steps, asked.pop())
            if ref not in found:
                found.add(ref)
                passes = isinstance(steps[ref].operation, (Sum, Product, Pick, Previous))
                asked += steps[ref].sources if passes else ()
        return found

    def place(self, ref: Ref) -> int:
        """Where a step's values lie."""
        ref = origin(self.plan.steps, ref)
        if ref not in self.places:
            self.places[ref] = self.draft.place(self.plan.steps[ref].operation.static.size)
        return self.places[ref]

    def tick(self) -> None:
        """Write all steps in the order of a tick."""
        for stage in self.plan.stages:
            for ref in stage.emit:
                self.step(ref, "emit")
            for ref in stage.run:
                self.step(ref, "run" if stage.loop else "")
            for ref in stage.take:
                self.step(ref, "take")

    def step(self, ref: Ref, part: str) -> None:
        """Write one step; of a latch in a loop what it emits, or takes in, else both."""
        step = self.plan.steps[ref]
        operation = step.operation
        if isinstance(operation, Same):
            self.events(ref)
            return
        sources = [self.place(r) if not self.is_ring(r) else -1 for r in step.sources]
        if isinstance(operation, Latch):
            if part != "take":
                self.previous(ref, operation, emit=True)
                self.events(ref)
            if part != "emit":
                self.previous(ref, operation, emit=False)
            return
        WRITE[type(operation)](self, ref, operation, sources)
        if operation.flags_value and origin(self.plan.steps, ref) in self.marked:
            self.draft.add(op.MARK, self.place(ref), self.place(ref), 0, operation.static.size)
        self.events(ref)

    def is_ring(self, ref: Ref) -> bool:
        """Whether nobody needs a Memory's values in their order."""
        ref = origin(self.plan.steps, ref)
        return isinstance(self.plan.steps[ref].operation, Recall) and ref not in self.unrolled

    def events(self, ref: Ref) -> None:
        """Count what a node sends."""
        kind, name = ref
        if not self.draft.track or kind != "node" or isinstance(self.plan.graph.nodes[name], n.Output):
            return
        operation = self.plan.steps[ref].operation
        if "spikes" in operation.columns or self.plan.signals[name].kind == "analog":
            return
        counted = self.draft.count(self.path, name, "events_out")
        if self.is_ring(ref):
            ring = self.rings[origin(self.plan.steps, ref)]
            self.draft.add(op.HELD, 0, ring.place, ring.rows, ring.size, counted, ring.register)
        else:
            self.draft.add(op.EVENTS, 0, self.place(ref), 0, operation.static.size, counted)

    def link(self, ref: Ref, link: Link, operation: Operation) -> None:
        self.draft.link(self.path, ref, link, operation.fresh, self.kept)

    # One method for each kind of operation.

    def source(self, ref: Ref, operation: Source, sources: list[int]) -> None:
        """The values are there."""

    def constants(self, ref: Ref, operation: Constants, sources: list[int]) -> None:
        self.draft.images.append((self.place(ref), operation.values))

    def sum(self, ref: Ref, operation: Sum, sources: list[int]) -> None:
        size, out = operation.static.size, self.place(ref)
        # No vector operation writes where it reads.
        rooms = [self.draft.room(size, k) for k in range(2)]
        total = sources[0]
        for k, source in enumerate(sources[1:], start=2):
            into = out if k == len(sources) else rooms[k % 2]
            self.draft.add(op.ADD, into, total, source, size)
            total = into
        if ref in self.marked:
            self.draft.add(op.MARK_OR, out, sources[0], sources[1], size)
            for source in sources[2:]:
                self.draft.add(op.MARK_OR, out, out, source, size)

    def product(self, ref: Ref, operation: Product, sources: list[int]) -> None:
        size, out, gate = operation.static.size, self.place(ref), sources[1]
        shape, narrow = operation.shapes
        where = np.broadcast_to(np.arange(int(np.prod(narrow))).reshape(narrow), shape).ravel()
        if (where != np.arange(size)).any():
            places = self.draft.map(where)
            gate = self.draft.room(size, 0)
            self.draft.add(op.GATHER, gate, sources[1], 0, size, places)
            if ref in self.marked:
                self.draft.add(op.MARK_GATHER, gate, sources[1], 0, size, places)
        self.draft.add(op.MUL, out, sources[0], gate, size)
        if ref in self.marked:
            self.draft.add(op.MARK_AND, out, sources[0], gate, size)

    def lookup(self, ref: Ref, operation: Lookup, sources: list[int]) -> None:
        table = self.draft.share(operation.values)
        how = (operation.static.size, table, operation.low, len(operation.values))
        self.draft.add(op.TABLE, self.place(ref), sources[0], 0, *how)

    def pick(self, ref: Ref, operation: Pick, sources: list[int]) -> None:
        size, out, first = operation.static.size, self.place(ref), int(operation.places[0])
        if (operation.places == first + np.arange(size)).all():
            self.draft.add(op.COPY, out, sources[0] + first, 0, size)
            if ref in self.marked:
                self.draft.add(op.MARK_COPY, out, sources[0] + first, 0, size)
            return
        places = self.draft.map(operation.places)
        self.draft.add(op.GATHER, out, sources[0], 0, size, places)
        if ref in self.marked:
            self.draft.add(op.MARK_GATHER, out, sources[0], 0, size, places)

    def previous(self, ref: Ref, operation: Latch, emit: bool) -> None:
        size = operation.static.size
        if ref not in self.held:
            self.held[ref] = self.draft.place(size)
            self.link(ref, Flat("@previous", self.held[ref], size), operation)
            self.link(ref, Marks("@previous_touched", self.held[ref], size), operation)
        source = self.place(self.plan.steps[ref].sources[0])
        out, source = (self.place(ref), self.held[ref]) if emit else (self.held[ref], source)
        self.draft.add(op.COPY, out, source, 0, size)
        if self.draft.track:
            self.draft.add(op.MARK_COPY, out, source, 0, size)

    def readout(self, ref: Ref, operation: Running, sources: list[int]) -> None:
        size, state, ticks = operation.static.size, self.draft.place(operation.static.size), self.draft.register()
        self.link(ref, Flat("value", state, size), operation)
        self.link(ref, Register("ticks", ticks), operation)
        self.draft.add(op.READ, self.place(ref), sources[0], state, size, ticks, READOUTS[operation.how])

    def memory(self, ref: Ref, operation: Recall, sources: list[int]) -> None:
        size = operation.static.size // operation.width
        place, register = self.draft.place((operation.width + 1) * size), self.draft.register()
        ring = self.rings[ref] = Ring("line", place, operation.width, size, register)
        self.link(ref, ring, operation)
        self.draft.add(op.PUSH, place, sources[0], ring.rows + 1, size, register)
        if not self.is_ring(ref):
            self.draft.add(op.UNROLL, self.place(ref), place, ring.rows, size, register)

    def linear(self, ref: Ref, operation: Linear, sources: list[int]) -> None:
        draft, out = self.draft, self.place(ref)
        weights = draft.share(operation.matrix.T)
        bias = draft.share(operation.bias) if operation.bias.size else -1
        lead = operation.input_size // operation.inputs
        how = (out, sources[0], lead, operation.outputs, operation.inputs, weights)
        draft.add(op.LINEAR, *how, bias)
        if ref in self.marked:
            draft.add(op.MARK_LINEAR, *how)
        if draft.track:
            counted = draft.count(self.path, ref[1], "products", "weights_read", "ticks")
            fans = draft.map(operation.living, operation.full)
            draft.add(op.FANOUT, 0, sources[0], 0, operation.input_size, counted, fans)

    def attention(self, ref: Ref, operation: Attention, sources: list[int]) -> None:
        draft, node, size = self.draft, operation.node, operation.static.size
        rings, where = [], list[int]()
        for source, place in zip(self.plan.steps[ref].sources[1:3], sources[1:3], strict=True):
            ring = self.rings.get(origin(self.plan.steps, source))
            rings.append(ring)
            where += (place, 1 << 30, -1) if ring is None else (ring.place, ring.rows + 1, ring.register)
        keys, values = rings
        mask = sources[3] if operation.masked else -1
        if node.how == "softmax":
            maps = draft.map([operation.keys, node.heads], where, [mask])
            room = draft.real(operation.scale, *[0.0] * (operation.keys + size // node.heads))
            counted = draft.count(self.path, ref[1], *operation.columns) if draft.track else -1
            draft.add(op.SOFT, self.place(ref), sources[0], 0, size, maps, room, counted)
            return
        factor = draft.share(np.array([operation.factor]))
        exact = self.plan.signals[ref[1]].frac is not None
        if exact and not draft.track and not operation.masked and keys is not None and values is not None:
            total = draft.place(size * size // node.heads)
            self.link(ref, Products(total, node.heads, keys, values), operation)
            maps = draft.map([node.heads], where)
            draft.add(op.RUNNING, self.place(ref), sources[0], total, size, maps, factor)
            return
        maps = draft.map([operation.keys, node.heads], where, [mask])
        counted = draft.count(self.path, ref[1], *operation.columns) if draft.track else -1
        draft.add(op.COUNTS, self.place(ref), sources[0], 0, size, maps, factor, counted)

    def normalised(self, ref: Ref, operation: Normalised, sources: list[int]) -> None:
        node, width = operation.node, operation.static.shape[-1]
        if isinstance(node, n.LayerNorm):
            numbers = [float(x) for x in (node.epsilon, *node.weight, *node.bias)]
        else:
            numbers = [0.0] * width
        rows, reals = operation.static.size // width, self.draft.real(*numbers)
        norm = int(isinstance(node, n.LayerNorm))
        self.draft.add(op.NORM, self.place(ref), sources[0], rows, width, reals, norm)

    def population(self, ref: Ref, operation: Population, sources: list[int]) -> None:
        Neurons(self, ref, operation, sources[0]).write()

    def scope(self, ref: Ref, operation: Inner, sources: list[int]) -> None:
        draft, node, out = self.draft, operation.node, self.place(ref)
        inner = Writer(draft, operation.plan, (*self.path, ref[1]), self.kept and node.state == "carry")
        turn, before = draft.register(), len(draft.fresh)
        entries = zip(operation.ports, sources, strict=True)
        ports = [(port, inner.place(("node", port)), source) for (port, _, _), source in entries]
        if node.input == "repeat":
            for port, place, source in ports:
                self.enter(operation, port, place, source)
        draft.add(op.LOOP, 0, 0, 0, 0, turn)
        begin = len(draft.instructions)
        if node.input == "slice":
            for port, place, source in ports:
                self.enter(operation, port, place, source, turn)
        inner.tick()
        size = operation.plan.signals[operation.result].size
        result = inner.place(("node", operation.result))
        if node.output == "all":
            draft.add(op.STACK, out, result, 0, size, turn)
        elif node.output == "sum":
            draft.add(op.TOTAL, out, result, 0, size, turn)
        draft.add(op.NEXT, 0, 0, 0, 0, turn, node.ticks, begin)
        if node.output == "last":
            draft.add(op.COPY, out, result, 0, size)
        for link, _ in draft.fresh[before:] if node.state == "reset" else ():
            for place, many in link.spans:
                draft.add(op.RESET, place, 0, 0, many)
            for register in link.counted:
                draft.add(op.RESTART, register, 0, 0, 1)
        self.steps |= {inner.path: node.ticks}
        self.steps |= {path: node.ticks * ticks for path, ticks in inner.steps.items()}

    def enter(self, operation: Inner, port: str, place: int, source: int, turn: int = -1) -> None:
        """What enters an Input of a Scope: all of the value, or the entry of a step, on the Input's grid."""
        draft, size = self.draft, operation.plan.signals[port].size
        node = operation.plan.graph.nodes[port]
        assert isinstance(node, n.Input)
        into = place if node.grid is None else draft.room(size, 0)
        if turn < 0:
            draft.add(op.COPY, into, source, 0, size)
        else:
            draft.add(op.SLICE, into, source, 0, size, turn)
        if node.grid is not None:
            factors = draft.share(np.array([2.0**node.grid.frac, 2.0**-node.grid.frac]))
            draft.add(op.ROUND, place, into, 0, size, factors, node.grid.low, node.grid.high)


WRITE: dict[type[Operation], Callable[[Writer, Ref, Any, list[int]], None]] = {
    Source: Writer.source,
    Constants: Writer.constants,
    Sum: Writer.sum,
    Product: Writer.product,
    Lookup: Writer.lookup,
    Pick: Writer.pick,
    Running: Writer.readout,
    Recall: Writer.memory,
    Linear: Writer.linear,
    Attention: Writer.attention,
    Normalised: Writer.normalised,
    Population: Writer.population,
    Inner: Writer.scope,
}
