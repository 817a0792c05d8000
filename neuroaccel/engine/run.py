"""Run a graph over input sequences."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.clocks import recorded
from neuroaccel.engine.compiler import compile_graph
from neuroaccel.engine.inputs import Feed, Inputs, by_name
from neuroaccel.engine.plan import Number, Plan
from neuroaccel.engine.session import Session
from neuroaccel.engine.shards import in_threads, shares
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, Input, Neuron, Trace

Columns = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Result:
    """What a run gave.

    Arguments:
        trace: outputs of every tick, and what was recorded.
        counts: node → column → int64 ``[N]``, the raw counts of the algorithm book. Synapses: ``products`` (of a
            non-zero input and a non-zero weight, inside the border), ``zero_input`` (the same with an input of 0),
            ``pruned`` (weight 0). Neurons: ``updates_driven``, and ``spikes``, their non-zero emissions (an analog
            emission is none). Every node but an Output: ``events_out``, non-zero values that it emitted, 0 on analog
            edges. Nodes of which a Keep can drop ticks: ``ticks_run``. Nodes of a Scope are ``scope/node``.
        touched: node → column → int64 ``[N]``, the execution book: ``neurons`` updated, and ``weight_bytes``,
            ``state_bytes``, ``event_bytes`` that the kernels moved.
        seconds: time of the ticks, without compilation.
        ticks: T.
        current_fractions: in integer arithmetic, neuron → fraction bits of its recorded currents; its states have
            those of its ``Arithmetic.state``, outputs are real numbers.
    """

    trace: Trace
    counts: Mapping[str, Columns]
    touched: Mapping[str, Columns]
    seconds: float
    ticks: int
    current_fractions: Mapping[str, int] = field(default_factory=dict)


def run(
    graph: Graph | Plan,
    inputs: Inputs,
    *,
    record: bool | Literal["spikes"] = False,
    arithmetic: Number = "float32",
    counts: bool = True,
    threads: int | None = None,
) -> Result:
    """Run a graph from its fresh state, event by event.

    Arguments:
        graph: the graph, or what :func:`compile_graph` made of it, which saves the time to compile it again.
        inputs: ``[T, N, *shape]``, or one :class:`EventStream` per sample; for several Inputs a dict by name.
        record: ``True`` keeps every neuron's spikes, states and currents, ``"spikes"`` the spikes only.
        arithmetic: ``float32``, ``float64`` or ``integer``; a compiled graph has its own.
        counts: whether operations are counted.
        threads: how many share the samples; the default is one for each processor that this process may use. No
            result depends on it.

    Returns:
        The result; recordings are time-major, ``[T, N, *shape]``.

    Raises:
        UnsupportedNode: a node that the engine cannot hold; before anything runs.
        InputError: inputs that do not fit the graph; the message names node, tick, sample and index.
    """
    if record not in (True, False, "spikes"):
        raise InputError(f"record is True, False or 'spikes', not {record!r}")
    plan = graph if isinstance(graph, Plan) else compile_graph(graph, arithmetic)
    graph = plan.graph
    feeds = {}
    for name, values in by_name(graph, inputs).items():
        node = graph.nodes[name]
        assert isinstance(node, Input)
        feeds[name] = Feed(name, node, values)
    sizes = {(feed.ticks, feed.batch) for feed in feeds.values()}
    if len(sizes) != 1:
        raise InputError(f"the inputs differ in ticks and samples: {sorted(sizes)}" if sizes else "there are no inputs")
    ticks, batch = sizes.pop()
    recorder = _Recorder(plan, ticks, batch, record)
    shards = [
        (first, last, _session(plan, last - first, counts, record, ticks).begin(first))
        for first, last in shares(batch, threads)
    ]

    def play(first: int, last: int, session: Session) -> None:
        parts = {name: feed.samples(first, last) for name, feed in feeds.items()}
        for start, stop in session.blocks(parts, ticks):
            recorder.keep(session, slice(start, stop), slice(first, last))

    started = time.perf_counter()
    in_threads(play, shards)
    seconds = time.perf_counter() - started
    sessions = [session for _, _, session in shards]
    counted = _joined([session.counts for session in sessions])
    touched = _joined([_touched(session) for session in sessions])
    for session in sessions:
        plan.idle.setdefault(session.kind, []).append(session)
    return Result(recorder.trace(), counted, touched, seconds, ticks, plan.current_fractions())


def _session(plan: Plan, batch: int, counts: bool, record: bool | Literal["spikes"], ticks: int) -> Session:
    """A session for a run: one that an earlier run of the plan has done with, or a new one."""
    block = min(plan.block(batch), max(ticks, 1))
    idle = plan.idle.get((batch, counts, record, block))
    try:
        return idle.pop() if idle else Session(plan, batch, counts, record, block, tape=True)
    except IndexError:  # another thread was faster
        return Session(plan, batch, counts, record, block, tape=True)


def _joined(books: list[dict[str, dict[str, NDArray[np.int64]]]]) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Columns of all shards, one behind the other, and none of a session's own."""
    if len(books) == 1:
        return {name: {key: value.copy() for key, value in columns.items()} for name, columns in books[0].items()}
    return {
        name: {key: np.concatenate([book[name][key] for book in books]) for key in columns}
        for name, columns in books[0].items()
    }


class _Recorder:
    def __init__(self, plan: Plan, ticks: int, batch: int, record: bool | Literal["spikes"]) -> None:
        number = np.dtype("int64" if plan.arithmetic == "integer" else plan.arithmetic)
        real, self.ticks = np.float64 if plan.arithmetic == "integer" else number, ticks
        shapes = {name: (ticks, batch, *plan.signals[name].shape) for name in plan.graph.outputs}
        self.outputs = {name: np.zeros(shape, real) for name, shape in shapes.items()}
        wanted = recorded(plan, ticks, record) if record else {}
        self.records = {key: np.zeros((rows, batch, *shape), dtype) for key, (rows, shape, dtype) in wanted.items()}

    def keep(self, session: Session, ticks: slice, samples: slice) -> None:
        for name, values in self.outputs.items():
            session.put_output(name, values, ticks, samples)
        for key, array in (session.records() if self.records else {}).items():
            steps = len(self.records[key]) // self.ticks
            self.records[key][ticks.start * steps : ticks.stop * steps, samples] = array

    def trace(self) -> Trace:
        found: dict[str, dict[str, Any]] = {"spikes": {}, "currents": {}}
        states: dict[str, dict[str, NDArray[Any]]] = {}
        for (what, path, key), array in self.records.items():
            if what == "states":
                states.setdefault(path, {})[key] = array
            else:
                found[what][path] = array
        return Trace(self.outputs, found["spikes"], states, found["currents"])


def _touched(session: Session) -> dict[str, dict[str, NDArray[np.int64]]]:
    """What the kernels moved: weights of every event's rows, dense state, and an address with every event."""
    book: dict[str, dict[str, NDArray[np.int64]]] = {}
    weights_read, none = session.weights_read, np.zeros(session.batch, np.int64)
    for path, counts in session.counts.items():
        owner, name = session.within(path)
        operation, ticks = owner.plan.steps["node", name].operation, owner.ticks_run(name)
        neurons = operation.static.size if isinstance(owner.plan.graph.nodes[name], Neuron) else 0
        state = sum(fresh.nbytes for fresh in operation.fresh.values())
        book[path] = {
            "neurons": none + ticks * neurons,
            "weight_bytes": weights_read[path] * operation.weight_width if path in weights_read else none,
            "state_bytes": none + ticks * 2 * state,
            "event_bytes": counts["events_out"] * (4 + operation.dtype.itemsize),
        }
    return book
