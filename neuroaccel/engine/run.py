"""Run a graph over input sequences."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.inputs import Feed, Inputs, by_name
from neuroaccel.engine.plan import Number, compile_graph
from neuroaccel.engine.session import Session
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, Input, Neuron, Trace

Columns = Mapping[str, NDArray[np.int64]]
_EMITTED = {"spike": np.uint8, "count": np.int32}


@dataclass(frozen=True, eq=False)
class Result:
    """What a run gave.

    Arguments:
        trace: outputs of every tick, and what was recorded.
        counts: node → column → int64 ``[N]``, the raw counts of the algorithm book. Synapses: ``products`` (of a
            non-zero input and a non-zero weight, inside the border), ``zero_input`` (the same with an input of 0),
            ``pruned`` (weight 0). Neurons: ``updates_driven``, and ``spikes``, their non-zero emissions (an analog
            emission is none). Every node but an Output: ``events_out``, non-zero values that it emitted, 0 on analog
            edges.
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
    graph: Graph,
    inputs: Inputs,
    *,
    record: bool | Literal["spikes"] = False,
    arithmetic: Number = "float32",
    counts: bool = True,
) -> Result:
    """Run a graph from its fresh state, event by event.

    Arguments:
        graph: the graph.
        inputs: ``[T, N, *shape]``, or one :class:`EventStream` per sample; for several Inputs a dict by name.
        record: ``True`` keeps every neuron's spikes, states and currents, ``"spikes"`` the spikes only.
        arithmetic: ``float32``, ``float64`` or ``integer``.
        counts: whether operations are counted.

    Returns:
        The result; recordings are time-major, ``[T, N, *shape]``.

    Raises:
        UnsupportedNode: a node that the engine cannot hold; before anything runs.
        InputError: inputs that do not fit the graph; the message names node, tick, sample and index.
    """
    if record not in (True, False, "spikes"):
        raise InputError(f"record is True, False or 'spikes', not {record!r}")
    plan = compile_graph(graph, arithmetic)
    feeds = {}
    for name, values in by_name(graph, inputs).items():
        node = graph.nodes[name]
        assert isinstance(node, Input)
        feeds[name] = Feed(name, node, values)
    sizes = {(feed.ticks, feed.batch) for feed in feeds.values()}
    if len(sizes) != 1:
        raise InputError(f"the inputs differ in ticks and samples: {sorted(sizes)}" if sizes else "there are no inputs")
    ticks, batch = sizes.pop()
    session = Session(plan, batch, counts)
    recorder = _Recorder(session, ticks, record)
    started = time.perf_counter()
    for tick, values in enumerate(zip(*feeds.values(), strict=True)):
        recorder.keep(tick, session.step(dict(zip(feeds, values, strict=True))))
    seconds = time.perf_counter() - started
    return Result(recorder.trace(), session.counts, _touched(session, ticks), seconds, ticks, plan.current_fractions())


class _Recorder:
    def __init__(self, session: Session, ticks: int, record: bool | str) -> None:
        self.session = session
        graph, batch = session.plan.graph, session.batch
        signals = session.plan.signals

        def space(name: str, dtype: Any) -> NDArray[Any]:
            return np.zeros((ticks, batch, *signals[name].shape), dtype)

        self.outputs = {name: space(name, session.output(name).dtype) for name in graph.outputs}
        self.spikes: dict[str, NDArray[Any]] = {}
        self.states: dict[str, dict[str, NDArray[Any]]] = {}
        self.currents: dict[str, NDArray[Any]] = {}
        for name, node in graph.nodes.items():
            if not isinstance(node, Neuron) or not record:
                continue
            number = session.value(name).dtype
            self.spikes[name] = space(name, _EMITTED.get(node.program.emit.kind, number))
            if record is True:
                self.states[name] = {key: space(name, number) for key in node.program.state_names}
                self.currents[name] = space(name, number)

    def keep(self, tick: int, outputs: Mapping[str, NDArray[Any]]) -> None:
        for name, values in outputs.items():
            self.outputs[name][tick] = values
        for name, spikes in self.spikes.items():
            spikes[tick] = self.session.value(name)
        for name, states in self.states.items():
            found = self.session.neuron_state(name)
            for key, values in states.items():
                values[tick] = found[key]
            self.currents[name][tick] = self.session.current(name)

    def trace(self) -> Trace:
        return Trace(self.outputs, self.spikes, self.states, self.currents)


def _touched(session: Session, ticks: int) -> dict[str, dict[str, NDArray[np.int64]]]:
    """What the kernels moved: weights of every event's rows, dense state, and an address with every event."""
    book: dict[str, dict[str, NDArray[np.int64]]] = {}
    for name, counts in session.counts.items():
        operation = session.plan.steps["node", name].operation
        every_tick = np.full(session.batch, ticks, np.int64)
        neurons = operation.static.size if isinstance(session.plan.graph.nodes[name], Neuron) else 0
        state = sum(fresh.nbytes for fresh in operation.fresh.values())
        book[name] = {
            "neurons": every_tick * neurons,
            "weight_bytes": session.weights_read.get(name, every_tick * 0) * operation.dtype.itemsize,
            "state_bytes": every_tick * 2 * state,
            "event_bytes": counts["events_out"] * (4 + operation.dtype.itemsize),
        }
    return book
