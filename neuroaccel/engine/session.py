"""A running graph: ticks one by one or in blocks, with a state that can be taken out and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.engine import cache, streams
from neuroaccel.engine.by_node import ByNode
from neuroaccel.engine.clocks import Clockwork, Records
from neuroaccel.engine.compiler import compile_graph, recompiled
from neuroaccel.engine.events import EventStream
from neuroaccel.engine.inputs import Feed, Fill, by_name, is_stream
from neuroaccel.engine.operation import Array, Buffer
from neuroaccel.engine.plan import Number, Plan, Ref, origin
from neuroaccel.engine.taped import Taped, by_tape
from neuroaccel.engine.weights import replaced
from neuroaccel.engine.works import Works
from neuroaccel.errors import InputError, StateError
from neuroaccel.graph import Graph, Input, Neuron


class Session(Works):
    """A graph at work on N samples.

    Arguments:
        plan: the compiled graph.
        batch: N.
        counts: whether operations are counted.
        record: ``True`` keeps every neuron's states for every tick of the last block; of neurons in scopes it keeps all
            that :func:`~neuroaccel.engine.run.run` records, ``"spikes"`` their emissions.
        block: most ticks that it runs at once; the default is the plan's own measure.
        dropped: whether samples of it can stand still, as those of a Scope behind a Keep do.
        prepared: whether kernels are loaded now, not when they are first asked for.
        tape: whether it may run by tape, where :func:`~neuroaccel.engine.taped.by_tape` finds that worth while.

    ``counts`` holds node → column → int64 ``[N]``, of every sample since its last reset (empty if not counted); it is
    not part of the state. ``weights_read`` holds, per synapse, how many weights its kernel read.
    """

    def __init__(
        self,
        plan: Plan,
        batch: int = 1,
        counts: bool = True,
        record: bool | Literal["spikes"] = False,
        block: int | None = None,
        dropped: bool = False,
        tape: bool = False,
        prepared: bool = True,
    ) -> None:
        if batch < 1:
            raise InputError(f"a session needs at least one sample, not {batch}")
        super().__init__(plan, batch, counts, record, block, dropped)
        self._ticks = 1  # of the last block
        self._ran = 0  # ticks since it was made
        ordinary = bool(not tape or record or by_tape(plan, batch))
        if ordinary and prepared:
            for step in plan.steps.values():
                step.operation.prepare()
        self.inner: dict[str, Session] = {
            name: Session(
                operation.plan,
                batch,
                counts,
                record,
                None,
                dropped or name in plan.dropping,
                False,
                ordinary and prepared,
            )
            for name, operation in plan.inner.items()
        }
        self._clockwork = Clockwork(self)
        self._taped = None if ordinary else Taped(self)
        self._by_node = ByNode(self)

    @cached_property
    def outlets(self) -> dict[str, streams.Outlet]:
        """What gathers the events that reach its Outputs."""
        return {name: streams.Outlet(self, name) for name in self.plan.graph.outputs}

    @property
    def kind(self) -> tuple[int, bool, bool | str, int]:
        """What it was opened with: N, whether it counts, what it records, most ticks at once."""
        return self.batch, self._track, self.watches, self.block

    def within(self, path: str) -> tuple[Session, str]:
        """The session that runs a node, and the node's name in it; ``scope/node`` is a node of a scope."""
        name, _, rest = path.partition("/")
        return (self, path) if path in self.plan.graph.nodes else self.inner[name].within(rest)

    def ticks_run(self, name: str) -> int:
        """On how many ticks a node's operation has run since the session began."""
        ref: Ref = ("node", name)
        self._settle()
        return self._clockwork.ran[ref] if ref in self.plan.timed else self._ran

    def begin(self, first_sample: int = 0) -> Session:
        """Fresh, with other samples.

        Arguments:
            first_sample: number of the first of them, for messages.
        """
        self.reset()
        self._now.sample = first_sample
        self._ran = 0
        self._clockwork.ran.clear()
        for inner in self.inner.values():
            inner.begin(first_sample)
        return self

    @overload
    def step(self, values: EventStream) -> dict[str, EventStream]: ...

    @overload
    def step(self, values: list[EventStream]) -> dict[str, list[EventStream]]: ...

    @overload
    def step(self, values: Any) -> dict[str, Any]: ...

    def step(self, values: Any) -> Any:
        """Run one tick on dense values, or all ticks of event streams; goes on from the present state.

        A stream holds at most one event per address and tick: what becomes of several is settled before, by the policy
        that binned it. ``binary`` makes them one event, ``count`` adds them up, ``first`` keeps a pixel's first one.

        Arguments:
            values: ``[N, *shape]`` of the one Input, for one tick; or its EventStream (of one sample), or a list of one
                stream for every sample, of any number of ticks; for several Inputs a dict of them by name.

        Returns:
            Output name → ``[N, *shape]``; in integer arithmetic the real numbers (float64) that the integers stand for.
            For streams, Output name → EventStream, or a list of one for every sample: all that reached the Output, with
            the dt that entered; binary outputs without values, counts as int32, analog ones as float32, rounded to it
            in wider arithmetic.

        Raises:
            InputError: values that their Input does not allow, or in integer arithmetic an overflow where a format
                declares it an error. The session's state is then what it was before; of streams no tick has run.
            EventsError: streams of another shape or dt; an analog output that is not finite in float32, whose ticks
                have run.
            StateError: something else than bad input broke off an earlier tick in the middle.
        """
        if self._taped is not None and not self._torn and self._taped.step(values):
            self._went_on(1)
            return self._taped.outputs()
        given = by_name(self.plan.graph, values)
        if any(is_stream(value) for value in given.values()):
            return streams.step(self, given)
        feeds = {}
        for name, value in given.items():
            node = self.plan.graph.nodes[name]
            assert isinstance(node, Input)
            feeds[name] = Feed.of_tick(name, node, value, self.tick)
        self._run(self.check(feeds, 0, 1), 1)
        return {name: self.output(name)[0] for name in self.plan.graph.outputs}

    def blocks(self, feeds: Mapping[str, Feed], ticks: int, start: int = 0) -> Iterator[tuple[int, int]]:
        """Run sequences, from one tick to another (not included), block by block.

        Yields:
            The first and the last tick (not included) of each block that has run.

        Raises:
            InputError: as of :meth:`step`; blocks before the one at fault have run then, if it is a dense one's.
        """
        for first in range(start, ticks, self.block):
            last = min(first + self.block, ticks)
            if self._taped is not None and not self._torn and self._taped.block(feeds, first, last):
                self._went_on(last - first)
            else:
                self._run(self.check(feeds, first, last), last - first)
            yield first, last

    def check(self, feeds: Mapping[str, Feed], first: int, last: int) -> dict[str, Fill]:
        """Check some ticks of sequences, the first of which would be the next one to run.

        Returns:
            Input → what puts them into its buffer.

        Raises:
            InputError: as of :meth:`step`.
        """
        fills = {}
        for name, feed in feeds.items():
            if feed.batch != self.batch:
                raise InputError(f"input '{name}' has {feed.batch} samples, the session {self.batch}")
            fills[name] = feed.check(first, last, self.tick, self._buffers["node", name].value.dtype)
        return fills

    def _run(self, fills: Mapping[str, Fill], ticks: int) -> None:
        """Run a block, or leave everything as it was."""
        if self._torn:
            raise StateError(f"a block from tick {self.tick} on was broken off; reset the session, or restore a state")
        moment, self._torn = self.moment(), True
        self._by_node.listed = set()
        for name, fill in fills.items():
            if fill(self._by_node.work(("node", name), ticks).out):
                self._by_node.listed.add(("node", name))
        try:
            self._go(ticks)
        except InputError:
            self.rewind(moment)
            raise
        self._torn = False
        self._went_on(ticks)

    def _go(self, ticks: int) -> None:
        if self._taped is None:
            self._by_node.run(ticks)
            return
        rows = {name: self._by_node.work(("node", name), ticks).out.value for name in self.plan.graph.inputs}
        if not self._taped.run(rows, ticks):
            raise InputError(f"tick {self.tick}: values that their Inputs do not allow")

    def _went_on(self, ticks: int) -> None:
        self._ticks = ticks
        self._now.tick += ticks
        self._ran += ticks

    def rows(self, values: Mapping[str, Array], ticks: int) -> Iterator[int]:
        """Run ticks on values that are there already: Input → ``[ticks * N, size]``.

        Yields:
            The length of every block that has run.
        """
        for first in range(0, ticks, self.block):
            last = min(first + self.block, ticks)
            span = slice(first * self.batch, last * self.batch)
            self._run({name: _filling(array[span]) for name, array in values.items()}, last - first)
            yield last - first

    def load(self, weights: Mapping[str, ArrayLike | Mapping[str, ArrayLike]]) -> None:
        """Other weights from the next tick on; states and counts stay as they are.

        A plastic synapse's weights become these in every sample, now and after a reset; its traces stay.

        Arguments:
            weights: synapse → its weight, or → ``{"weight": …, "bias": …}``, of a Dendrite also ``"gate"``, in the
                shapes that they have. On a grid they must lie on it.

        Raises:
            GraphError: a name that is no synapse, another shape, values off the grid, or sums that the grid no longer
                holds exactly; nothing is changed then.
            UnsupportedNode: in integer arithmetic, weights or sums that leave their formats; nothing is changed then.
        """
        self._take_up(recompiled(self.plan, replaced(self.plan.graph, weights)))
        for path, given in weights.items():
            owner, name = self.within(path)
            arrays = list(given) if isinstance(given, Mapping) else ["weight"]
            owner._operation(name).loaded(owner._works["node", name], arrays)

    def _take_up(self, plan: Plan) -> None:
        """Go on with another plan of the same nodes, whose weights may differ."""
        self._settle()
        for ref, work in self._works.items():
            self.plan.steps[ref].operation.settle(work)
        books = {name: self._book(name, columns) for name, columns in self._columns.items()}
        self.plan, self._earlier, self._moved = plan, {}, True
        self._fresh.clear()  # weights that learn begin with those of the plan
        for name, columns in self._columns.items():
            now = self._book(name, columns)
            lacking = {key: value - now[key] for key, value in books[name].items()}
            self._earlier[name] = {key: value for key, value in lacking.items() if value.any()}
        for ref, work in self._works.items():
            work.scratch = plan.steps[ref].operation.scratch()
            plan.steps[ref].operation.restored(work)
        for name, inner in self.inner.items():
            inner._take_up(plan.inner[name].plan)
        self._by_node.forget()
        self._taped = None if self._taped is None else Taped(self)

    def records(self) -> Records:
        """What neurons did in the last block, ``[K, N, *shape]``; those in scopes have a row for every step."""
        found: Records = {}
        for name, node in self.plan.graph.nodes.items():
            if isinstance(node, Neuron):
                found["spikes", name, ""] = self.emitted(name)
                if self._record:
                    found["currents", name, ""] = self.currents(name)
                    found |= {("states", name, key): v for key, v in self.neuron_states(name).items()}
        for scope, each in self._clockwork.records.items():
            for (what, path, key), array in each.items():
                block = array[: self._ticks]
                found[what, f"{scope}/{path}", key] = block.reshape(-1, *block.shape[2:])
        return found

    def last_block(self, ref: Ref) -> Buffer:
        """What a step gave in the last block, one row per tick and sample."""
        if self._taped is not None:
            self._taped.show(ref)
        return self._buffers[ref].rows(0, self._ticks * self.batch)

    def _block_of(self, array: Array, shape: tuple[int, ...]) -> Array:
        return array[: self._ticks * self.batch].reshape(self._ticks, self.batch, *shape)

    def emitted(self, name: str) -> NDArray[Any]:
        """What a node emitted in the last block, ``[K, N, *shape]``; a view that the next block overwrites.

        Raises:
            InputError: another operation does the node's part, so that there is nothing to see.
        """
        operation = self._operation(name)
        if operation.merged:
            how = operation.explain()
            raise InputError(f"node '{name}' has no values, its part is done with others' ({how}); give it an Output")
        if self._taped is not None:
            self._taped.show(("node", name))
        return self._block_of(self._works["node", name].out.value, self.plan.signals[name].shape)

    def value(self, name: str) -> NDArray[Any]:
        """What a node emitted in the last tick, ``[N, *shape]``; a view that the next block overwrites."""
        if self._taped is not None and (held := self._taped.remembered(("node", name))) is not None:
            return held
        last: NDArray[Any] = self.emitted(name)[-1]
        return last

    def currents(self, name: str) -> NDArray[Any]:
        """What entered a neuron in the last block, ``[K, N, *shape]``."""
        node = self.plan.graph.nodes[name]
        assert isinstance(node, Neuron)
        if self._taped is not None:
            self._taped.show(self.plan.steps["node", name].sources[0])
        array = self._operation(name).current(self._works["node", name])
        return self._block_of(array[: self._ticks * self.batch], node.shape)

    def neuron_states(self, name: str) -> dict[str, NDArray[Any]]:
        """A population's recorded states after every tick of the last block, ``[K, N, *shape]`` each."""
        node, kept = self.plan.graph.nodes[name], self._works["node", name].kept
        assert isinstance(node, Neuron)
        found = {}
        for key, array in zip(node.program.state_names, kept, strict=True):
            flat = self._operation(name).outward(key, array[: self._ticks * self.batch])
            found[key] = self._block_of(flat, node.shape)
        return found

    def output(self, name: str) -> NDArray[Any]:
        """What reached an Output in the last block, ``[K, N, *shape]``, a copy."""
        value = self.emitted(name)
        form = self._operation(name).static.format
        return value.copy() if form is None else np.ldexp(value.astype(np.float64), -form.frac)

    def put_output(self, name: str, out: NDArray[Any], ticks: slice, samples: slice) -> None:
        """Put what reached an Output in the last block into a recording ``[T, N, *shape]`` that still holds zeros."""
        ref = origin(self.plan.steps, ("node", name))
        sparse = self.plan.signals[name].kind != "analog" and self.plan.arithmetic != "integer"
        clocked = ("node", name) in self.plan.timed or ref in self.plan.timed
        if not sparse or clocked or not self._by_node.lists_events(ref):
            out[ticks, samples] = self.output(name)
            return
        last = self.last_block(ref)
        flat = out.reshape(*out.shape[:2], -1)
        scatter = cache.load("scatter", out.dtype.name)
        scatter(last.value, last.index, last.found, flat, ticks.start, samples.start, self.batch)


def _filling(rows: Array) -> Fill:
    def fill(buffer: Buffer) -> bool:
        np.copyto(buffer.value, rows)
        cache.load("scan", rows.dtype.name)(buffer.value, buffer.index, buffer.found)
        return True

    return fill


def open(graph: Graph, batch: int = 1, *, arithmetic: Number = "float32", counts: bool = True) -> Session:
    """Open a session on a graph.

    Arguments:
        graph: the graph.
        batch: N, number of samples.
        arithmetic: ``float32``, ``float64`` or ``integer``.
        counts: whether operations are counted.

    Returns:
        A session with the fresh state.

    Raises:
        UnsupportedNode: a node that the engine cannot hold.
    """
    return Session(compile_graph(graph, arithmetic), batch, counts, tape=True)
