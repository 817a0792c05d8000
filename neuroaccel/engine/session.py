"""A running graph: ticks one by one or in blocks, with a state that can be taken out and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.inputs import Feed, Fill, by_name
from neuroaccel.engine.operation import SOME, Array, Buffer, Latch, Now, Operation, Same, Work
from neuroaccel.engine.plan import Number, Plan, Ref, compile_graph, origin
from neuroaccel.engine.weights import replaced
from neuroaccel.errors import InputError, StateError
from neuroaccel.graph import Graph, Input, Neuron, Output


class Session:
    """A graph at work on N samples.

    Arguments:
        plan: the compiled graph.
        batch: N.
        counts: whether operations are counted.
        record: whether the states of every neuron are kept for every tick of the last block.
        block: most ticks that it runs at once; the default is the plan's own measure.

    ``counts`` holds node → column → int64 ``[N]``, of every sample since its last reset (empty if not counted); it is
    not part of the state. ``weights_read`` holds, per synapse, how many weights its kernel read.
    """

    def __init__(
        self, plan: Plan, batch: int = 1, counts: bool = True, record: bool = False, block: int | None = None
    ) -> None:
        if batch < 1:
            raise InputError(f"a session needs at least one sample, not {batch}")
        self.plan, self.batch, self._track, self._record = plan, batch, counts, record
        self.block = block or plan.block(batch)
        self._now = Now()
        self._ticks = 1  # of the last block
        self._buffers: dict[Ref, Buffer] = {}
        self._works: dict[Ref, Work] = {}
        self._parts: dict[tuple[Ref, int], Work] = {}
        self._single: dict[tuple[Ref, int], Work] = {}
        self._columns: dict[str, dict[str, NDArray[np.int64]]] = {}
        self._listed: set[Ref] = set()  # Inputs whose events came as a list
        self._allocate()
        graph = plan.graph
        emitting = [r for r in plan.steps if r[0] == "node" and not isinstance(graph.nodes[r[1]], Output)]
        sending = [r for r in emitting if counts and plan.signals[r[1]].kind != "analog"]
        counted = {origin(plan.steps, r) for r in sending}
        self._counted = [r for r in sending if "spikes" not in plan.steps[r].operation.columns]
        scanned = plan.scanned | {r for r in counted if not plan.steps[r].operation.finds_events}
        self._scan = {r: cache.load("scan", self._buffers[r].value.dtype.name) for r in scanned}

    @property
    def kind(self) -> tuple[int, bool, bool, int]:
        """What it was opened with: N, whether it counts, whether it records, most ticks at once."""
        return self.batch, self._track, self._record, self.block

    @property
    def tick(self) -> int:
        """Ticks since the last full reset."""
        return self._now.tick

    @property
    def counts(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        kept = self._columns if self._track else {}
        return {name: self._operation(name).book(columns) for name, columns in kept.items()}

    @property
    def weights_read(self) -> dict[str, NDArray[np.int64]]:
        return {name: c["weights_read"] for name, c in self._columns.items() if "weights_read" in c}

    def _allocate(self) -> None:
        plan, rows = self.plan, self.block * self.batch
        for ref, step in plan.steps.items():
            if not isinstance(step.operation, Same):
                self._buffers[ref] = Buffer.empty(rows, step.operation.static.size, step.operation.dtype)
        for ref, step in plan.steps.items():
            operation = step.operation
            node = plan.graph.nodes[ref[1]] if ref[0] == "node" else None
            counts = {column: np.zeros(self.batch, np.int64) for column in operation.columns}
            if node is not None and not isinstance(node, Output):
                # What a neuron sends, its kernel counts as spikes.
                counts["events_out"] = counts["spikes"] if "spikes" in counts else np.zeros(self.batch, np.int64)
                self._columns[ref[1]] = counts
            states = len(node.program.states) if isinstance(node, Neuron) else 0
            kept = np.zeros((states, rows if self._record else 0, operation.static.size), operation.dtype)
            self._works[ref] = Work(
                tuple(self._buffer(source) for source in step.sources),
                self._buffer(ref),
                operation.allocate(self.batch),
                operation.scratch(),
                counts,
                self._track,
                self.block,
                kept,
                self._now,
            )

    def _buffer(self, ref: Ref) -> Buffer:
        """Nodes that pass their input on share its buffer."""
        return self._buffers[origin(self.plan.steps, ref)]

    def _work(self, ref: Ref, ticks: int) -> Work:
        """The work of the first ticks of a block."""
        if (ref, ticks) not in self._parts:
            self._parts[ref, ticks] = self._works[ref].part(ticks)
        return self._parts[ref, ticks]

    def _one(self, ref: Ref, t: int) -> Work:
        """The work of one tick of a block."""
        if (ref, t) not in self._single:
            self._single[ref, t] = self._works[ref].tick(t)
        return self._single[ref, t]

    def begin(self, first_sample: int = 0) -> Session:
        """Fresh, with other samples.

        Arguments:
            first_sample: number of the first of them, for messages.
        """
        self.reset()
        self._now.sample = first_sample
        return self

    def step(self, values: Any) -> dict[str, NDArray[Any]]:
        """Run one tick.

        Arguments:
            values: ``[N, *shape]`` of the one Input, or Input name → values.

        Returns:
            Output name → ``[N, *shape]``; in integer arithmetic the real numbers (float64) that the integers stand for.

        Raises:
            InputError: values that their Input does not allow, or in integer arithmetic an overflow where a format
                declares it an error. The session's state is then what it was before.
        """
        feeds = {}
        for name, value in by_name(self.plan.graph, values).items():
            node = self.plan.graph.nodes[name]
            assert isinstance(node, Input)
            feeds[name] = Feed.of_tick(name, node, value, self.tick)
        self._run(self._checked(feeds, 0, 1), 1)
        return {name: self.output(name)[0] for name in self.plan.graph.outputs}

    def blocks(self, feeds: Mapping[str, Feed], ticks: int) -> Iterator[tuple[int, int]]:
        """Run sequences block by block; yields the first and the last tick (not included) of each that has run.

        Raises:
            InputError: as of :meth:`step`; blocks before the one at fault have run then.
        """
        for first in range(0, ticks, self.block):
            last = min(first + self.block, ticks)
            self._run(self._checked(feeds, first, last), last - first)
            yield first, last

    def _checked(self, feeds: Mapping[str, Feed], first: int, last: int) -> dict[str, Fill]:
        fills = {}
        for name, feed in feeds.items():
            if feed.batch != self.batch:
                raise InputError(f"input '{name}' has {feed.batch} samples, the session {self.batch}")
            fills[name] = feed.check(first, last, self.tick, self._buffers["node", name].value.dtype)
        return fills

    def _run(self, fills: Mapping[str, Fill], ticks: int) -> None:
        """Run a block, or leave everything as it was."""
        kept = (self.state(), self._copied_counts()) if self.plan.has_overflow_errors else None
        self._listed = set()
        for name, fill in fills.items():
            if fill(self._work(("node", name), ticks).out):
                self._listed.add(("node", name))
        try:
            self._go(ticks)
        except InputError:
            if kept is not None:
                self._put(kept[0])
                for name, columns in kept[1].items():
                    for column, count in columns.items():
                        self._columns[name][column][...] = count
            for buffer in self._buffers.values():
                buffer.clear()
            raise
        self._ticks = ticks
        self._now.tick += ticks

    def _go(self, ticks: int) -> None:
        steps = self.plan.steps
        for stage in self.plan.stages:
            if not stage.loop:
                for ref in stage.run:
                    work = self._work(ref, ticks)
                    steps[ref].operation.run(work)
                    self._finish(ref, work)
                continue
            for t in range(ticks):
                for ref in stage.emit:
                    self._part_of_tick(ref, t, "emit")
                for ref in stage.run:
                    self._part_of_tick(ref, t, "run")
                for ref in stage.take:
                    self._part_of_tick(ref, t, "take")
        if self._track:
            for ref in self._counted:
                found = self._work(ref, ticks).out.found
                self._columns[ref[1]]["events_out"] += found.reshape(ticks, self.batch).sum(axis=0)

    def _part_of_tick(self, ref: Ref, t: int, part: str) -> None:
        operation, work = self.plan.steps[ref].operation, self._one(ref, t)
        if not isinstance(operation, Latch):
            operation.run(work)
        elif part == "emit":
            operation.emit(work)
        else:
            operation.take(work)
            return
        self._finish(ref, work)

    def _finish(self, ref: Ref, work: Work) -> None:
        out = work.out
        if ref in self._scan and ref not in self._listed:
            self._scan[ref](out.value, out.index, out.found)
        if self._track and ref in self.plan.flagged:
            np.not_equal(out.value, 0, out=out.touched.view(np.bool_))
            out.reach[...] = SOME

    def _block_of(self, array: Array, shape: tuple[int, ...]) -> Array:
        return array[: self._ticks * self.batch].reshape(self._ticks, self.batch, *shape)

    def emitted(self, name: str) -> NDArray[Any]:
        """What a node emitted in the last block, ``[K, N, *shape]``; a view that the next block overwrites."""
        return self._block_of(self._works["node", name].out.value, self.plan.signals[name].shape)

    def value(self, name: str) -> NDArray[Any]:
        """What a node emitted in the last tick, ``[N, *shape]``; a view that the next block overwrites."""
        return self.emitted(name)[-1]

    def currents(self, name: str) -> NDArray[Any]:
        """What entered a neuron in the last block, ``[K, N, *shape]``."""
        node = self.plan.graph.nodes[name]
        assert isinstance(node, Neuron)
        array = self._works["node", name].ports[0].value[: self._ticks * self.batch]
        return self._block_of(self._operation(name).outward("", array), node.shape)

    def neuron_states(self, name: str) -> dict[str, NDArray[Any]]:
        """A population's recorded states after every tick of the last block, ``[K, N, *shape]`` each."""
        node, kept = self.plan.graph.nodes[name], self._works["node", name].kept
        assert isinstance(node, Neuron)
        found = {}
        for key, array in zip(node.program.state_names, kept, strict=True):
            flat = self._operation(name).outward(key, array[: self._ticks * self.batch])
            found[key] = self._block_of(flat, node.shape)
        return found

    def neuron_state(self, name: str) -> dict[str, NDArray[Any]]:
        """A population's states after the last tick, ``[N, *shape]`` each, copies."""
        node = self.plan.graph.nodes[name]
        assert isinstance(node, Neuron)
        return {key: value for key, value in self._exported("node", name).items() if key in node.program.state_names}

    def output(self, name: str) -> NDArray[Any]:
        """What reached an Output in the last block, ``[K, N, *shape]``, a copy."""
        value = self.emitted(name)
        form = self._operation(name).static.format
        return value.copy() if form is None else np.ldexp(value.astype(np.float64), -form.frac)

    def _operation(self, name: str) -> Operation:
        return self.plan.steps["node", name].operation

    def _exported(self, *ref: Any) -> dict[str, Array]:
        operation, work = self.plan.steps[ref].operation, self._works[ref]
        operation.settle(work)
        out = {}
        for key, fresh in operation.fresh.items():
            out[key] = np.array(operation.outward(key, work.state[key])).reshape(self.batch, *fresh.shape)
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """The state as a value: ``node/variable`` → ``[N, ...]``, copies."""
        return {f"{ref[1]}/{key}": v for ref in self._works for key, v in self._exported(*ref).items()}

    def restore(self, state: Mapping[str, ArrayLike]) -> None:
        """Put a state back that :meth:`state` of a session of this graph, batch and arithmetic gave.

        Raises:
            StateError: it belongs to another graph, batch or arithmetic; nothing is changed then.
        """
        mine = self.state()
        if set(state) != set(mine):
            odd = sorted(set(state) ^ set(mine))
            raise StateError(f"the state does not belong to this graph: it differs in {', '.join(odd[:5])}")
        arrays = {key: np.asarray(value) for key, value in state.items()}
        for key, array in arrays.items():
            if (array.shape, array.dtype) != (mine[key].shape, mine[key].dtype):
                raise StateError(
                    f"state '{key}' is {array.dtype}{list(array.shape)}, "
                    f"expected {mine[key].dtype}{list(mine[key].shape)}"
                )
        self._put(arrays)

    def load(self, weights: Mapping[str, ArrayLike | Mapping[str, ArrayLike]]) -> None:
        """Other weights from the next tick on; states and counts stay as they are.

        Arguments:
            weights: synapse → its weight, or → ``{"weight": …, "bias": …}``, in the shapes that they have. On a grid
                they must lie on it.

        Raises:
            GraphError: a name that is no synapse, another shape, values off the grid; nothing is changed then.
        """
        self.plan = compile_graph(replaced(self.plan.graph, weights), self.plan.arithmetic)
        for ref, work in self._works.items():
            work.scratch = self.plan.steps[ref].operation.scratch()
        self._parts.clear()
        self._single.clear()

    def reset(self, mask: ArrayLike | None = None) -> None:
        """Bring samples back to the fresh state and their counts to 0.

        Arguments:
            mask: bool ``[N]``, the samples to reset; None for all.

        Raises:
            StateError: a mask of another shape or type.
        """
        chosen = np.ones(self.batch, np.bool_) if mask is None else np.asarray(mask)
        if chosen.shape != (self.batch,) or chosen.dtype != np.bool_:
            raise StateError(f"the mask is {chosen.dtype}{list(chosen.shape)}, expected bool[{self.batch}]")
        for ref, work in self._works.items():
            fresh = self.plan.steps[ref].operation.allocate(1)
            for key, array in work.state.items():
                array[chosen] = fresh[key]
        for columns in self._columns.values():
            for count in columns.values():
                count[chosen] = 0
        if mask is None:
            self._now.tick = 0

    def _put(self, arrays: Mapping[str, Array]) -> None:
        for ref, work in self._works.items():
            operation = self.plan.steps[ref].operation
            for key in operation.fresh:
                work.state[key][...] = operation.inward(key, arrays[f"{ref[1]}/{key}"])
            operation.restored(work)

    def _copied_counts(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        return {name: {k: v.copy() for k, v in columns.items()} for name, columns in self._columns.items()}


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
    return Session(compile_graph(graph, arithmetic), batch, counts)
