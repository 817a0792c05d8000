"""A running graph: one tick at a time, with a state that can be taken out and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.inputs import by_name, entering
from neuroaccel.engine.operation import Array, Buffer, Latch, Same, Work
from neuroaccel.engine.plan import Number, Plan, Ref, compile_graph, origin
from neuroaccel.errors import InputError, StateError
from neuroaccel.graph import Graph, Input, Neuron, Output


class Session:
    """A graph at work on N samples.

    Arguments:
        plan: the compiled graph.
        batch: N.
        counts: whether operations are counted.

    ``counts`` holds node → column → int64 ``[N]``, of every sample since its last reset (empty if not counted); it is
    not part of the state. ``weights_read`` holds, per synapse, how many weights its kernel read.
    """

    def __init__(self, plan: Plan, batch: int = 1, counts: bool = True) -> None:
        if batch < 1:
            raise InputError(f"a session needs at least one sample, not {batch}")
        self.plan, self.batch, self.tick, self._track = plan, batch, 0, counts
        self._fresh: dict[str, Array] = {}
        self._state: dict[str, Array] = {}
        self._columns: dict[str, dict[str, NDArray[np.int64]]] = {}
        self._buffers: dict[Ref, Buffer] = {}
        self._work: dict[Ref, Work] = {}
        self._allocate()
        graph = plan.graph
        emitting = [r for r in plan.steps if r[0] == "node" and not isinstance(graph.nodes[r[1]], Output)]
        self._counted = [r for r in emitting if counts and plan.signals[r[1]].kind != "analog"]
        counted = {origin(plan.steps, r) for r in self._counted}
        scanned = plan.scanned | {r for r in counted if not plan.steps[r].operation.finds_events}
        self._scan = {r: cache.load("scan", self._buffers[r].value.dtype.name) for r in scanned}

    @property
    def counts(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        kept = self._columns if self._track else {}
        return {name: {k: v for k, v in c.items() if k != "weights_read"} for name, c in kept.items()}

    @property
    def weights_read(self) -> dict[str, NDArray[np.int64]]:
        return {name: c["weights_read"] for name, c in self._columns.items() if "weights_read" in c}

    def _allocate(self) -> None:
        plan, batch = self.plan, self.batch
        for ref, step in plan.steps.items():
            if not isinstance(step.operation, Same):
                self._buffers[ref] = Buffer.empty(batch, step.operation.static.size, step.operation.dtype)
        for name in plan.held:
            operation = plan.steps["node", name].operation
            self._buffers["previous", name] = Buffer.empty(batch, operation.static.size, operation.dtype)
            shape = operation.static.shape
            # No state of a program can be called @previous. The index is found anew after a restore.
            self._fresh[f"{name}/@previous"] = np.zeros(shape, operation.dtype)
            self._fresh[f"{name}/@previous_touched"] = np.zeros(shape, np.uint8)
            buffer = self._buffers["previous", name]
            self._state[f"{name}/@previous"] = buffer.value.reshape(batch, *shape)
            self._state[f"{name}/@previous_touched"] = buffer.touched.reshape(batch, *shape)
        for ref, step in plan.steps.items():
            operation = step.operation
            state = {}
            for key, fresh in operation.fresh.items():
                self._fresh[f"{operation.name}/{key}"] = fresh
                state[key] = self._state[f"{operation.name}/{key}"] = np.array([fresh] * batch)
            counts = {column: np.zeros(batch, np.int64) for column in operation.columns}
            if ref[0] == "node" and not isinstance(plan.graph.nodes[ref[1]], Output):
                counts["events_out"] = np.zeros(batch, np.int64)
                self._columns[ref[1]] = counts
            ports = tuple(self._buffer(source) for source in step.sources)
            out = self._buffer(ref)
            self._work[ref] = Work(ports, out, state, operation.scratch(), counts, self._track)

    def _buffer(self, ref: Ref) -> Buffer:
        """Nodes that pass their input on share its buffer."""
        while ref not in self._buffers:
            ref = self.plan.steps[ref].sources[0]
        return self._buffers[ref]

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
        self._enter(values)
        kept = (self.state(), self._copied_counts()) if self.plan.has_overflow_errors else None
        try:
            self._run()
        except InputError as error:
            if kept is not None:
                self._put(kept[0])
                for name, columns in kept[1].items():
                    for column, count in columns.items():
                        self._columns[name][column][...] = count
            raise InputError(f"tick {self.tick}: {error}") from error
        self.tick += 1
        return {name: self.output(name) for name in self.plan.graph.outputs}

    def _enter(self, values: Any) -> None:
        graph = self.plan.graph
        arrays = {}
        for name, value in by_name(graph, values).items():
            node = graph.nodes[name]
            assert isinstance(node, Input)
            buffer = self._buffers["node", name]
            arrays[name] = entering(name, node, value, self.tick, buffer.value.dtype)
            if len(arrays[name]) != self.batch:
                raise InputError(f"input '{name}' has {len(arrays[name])} samples, the session {self.batch}")
        for name, array in arrays.items():
            self._buffers["node", name].value[...] = array

    def _run(self) -> None:
        plan = self.plan
        for ref in plan.emit:
            operation = plan.steps[ref].operation
            assert isinstance(operation, Latch)
            operation.emit(self._work[ref])
            self._finish(ref)
        for ref in plan.run:
            plan.steps[ref].operation.run(self._work[ref])
            self._finish(ref)
        for ref in plan.take:
            operation = plan.steps[ref].operation
            if isinstance(operation, Latch):
                operation.take(self._work[ref])
            else:
                operation.run(self._work[ref])
                self._finish(ref)
        for name in plan.held:
            self._buffers["previous", name].copy_from(self._buffer(("node", name)))
        if self._track:
            for ref in self._counted:
                self._columns[ref[1]]["events_out"] += self._work[ref].out.found

    def _finish(self, ref: Ref) -> None:
        out = self._work[ref].out
        if ref in self._scan:
            self._scan[ref](out.value, out.index, out.found)
        if self._track and ref in self.plan.flagged:
            np.not_equal(out.value, 0, out=out.touched.view(np.bool_))

    def value(self, name: str) -> NDArray[Any]:
        """What a node emitted in the last tick, ``[N, *shape]``; a view that the next tick overwrites."""
        return self._work["node", name].out.value.reshape(self.batch, *self.plan.signals[name].shape)

    def current(self, name: str) -> NDArray[Any]:
        """What entered a node's port in the last tick, ``[N, *shape]``; a view that the next tick overwrites."""
        node = self.plan.graph.nodes[name]
        shape = node.shape if isinstance(node, Neuron) else (-1,)
        return self._work["node", name].ports[0].value.reshape(self.batch, *shape)

    def neuron_state(self, name: str) -> dict[str, NDArray[Any]]:
        """A population's states after the last tick, ``[N, *shape]`` each; views that the next tick overwrites."""
        return self._work["node", name].state

    def output(self, name: str) -> NDArray[Any]:
        """What reached an Output in the last tick, a copy."""
        value = self.value(name)
        form = self.plan.steps["node", name].operation.static.format
        return value.copy() if form is None else np.ldexp(value.astype(np.float64), -form.frac)

    def state(self) -> dict[str, NDArray[Any]]:
        """The state as a value: ``node/variable`` → ``[N, ...]``, copies."""
        return {key: array.copy() for key, array in self._state.items()}

    def restore(self, state: Mapping[str, ArrayLike]) -> None:
        """Put a state back that :meth:`state` of a session of this graph, batch and arithmetic gave.

        Raises:
            StateError: it belongs to another graph, batch or arithmetic; nothing is changed then.
        """
        if set(state) != set(self._state):
            odd = sorted(set(state) ^ set(self._state))
            raise StateError(f"the state does not belong to this graph: it differs in {', '.join(odd[:5])}")
        arrays = {key: np.asarray(value) for key, value in state.items()}
        for key, array in arrays.items():
            mine = self._state[key]
            if (array.shape, array.dtype) != (mine.shape, mine.dtype):
                raise StateError(
                    f"state '{key}' is {array.dtype}{list(array.shape)}, expected {mine.dtype}{list(mine.shape)}"
                )
        self._put(arrays)

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
        for key, array in self._state.items():
            array[chosen] = self._fresh[key]
        for columns in self._columns.values():
            for count in columns.values():
                count[chosen] = 0
        self._find_held()
        if mask is None:
            self.tick = 0

    def _put(self, arrays: Mapping[str, Array]) -> None:
        for key, array in arrays.items():
            self._state[key][...] = array
        self._find_held()

    def _find_held(self) -> None:
        for name in self.plan.held:
            buffer = self._buffers["previous", name]
            cache.load("scan", buffer.value.dtype.name)(buffer.value, buffer.index, buffer.found)

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
