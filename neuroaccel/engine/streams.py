"""Event streams through a session: what enters and what leaves are events, at flat memory and without loss."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.events import Binning, EventStream
from neuroaccel.engine.inputs import SAME_DT, Feed, by_name, is_stream
from neuroaccel.engine.plan import origin
from neuroaccel.errors import EventsError, InputError
from neuroaccel.graph import Input, Neuron

if TYPE_CHECKING:
    from neuroaccel.engine.session import Session

Streams = dict[str, EventStream | list[EventStream]]
Columns = dict[str, dict[str, NDArray[np.int64]]]


@dataclass(frozen=True, eq=False)
class Report:
    """What some ticks of a recording did, over all samples together where nothing else is said.

    Arguments:
        tick: of the session, behind the last of them.
        ticks: how many.
        seconds: time that they took.
        input_events: events that entered.
        counts: node → column → int64 ``[N]``, the session's counts of these ticks; empty if it does not count.
        spikes: neuron → what it sent.
        outputs: Output → its events, as :meth:`Session.step` gives them.
    """

    tick: int
    ticks: int
    seconds: float
    input_events: int
    counts: Columns
    spikes: dict[str, int]
    outputs: Streams

    @property
    def synaptic_events(self) -> int:
        """Products of a non-zero input and a non-zero weight; 0 if nothing is counted."""
        return sum(int(columns["products"].sum()) for columns in self.counts.values() if "products" in columns)


@dataclass(frozen=True, eq=False)
class Entering:
    """Streams on their way into a session, checked: Input → feed, their ticks, and whether they are single ones."""

    feeds: dict[str, Feed]
    ticks: int
    dt: float
    single: bool

    def events(self, first: int, last: int) -> int:
        """How many enter in some ticks."""
        streams = [stream for feed in self.feeds.values() for stream in feed.streams or ()]
        return sum(int(stream.indptr[last] - stream.indptr[first]) for stream in streams)


def step(session: Session, given: Mapping[str, Any]) -> Streams:
    """Run streams of any length; see :meth:`Session.step`."""
    entering = checked(session, given)
    return advance(session, entering, 0, entering.ticks)


def play(session: Session, recording: Any, ticks_per_report: int | None = None) -> Iterator[Report]:
    """Play a recording through a session that goes on from its present state, and report as it goes.

    Arguments:
        session: the session.
        recording: an EventStream (of one sample), a list of one for every sample, Input name → one of these; or an
            iterator over any of them, played one behind the other, which may be endless.
        ticks_per_report: the last report of a recording may be shorter; the default is the session's block.

    Yields:
        A report for every stretch of ticks. Who stops asking stops the recording there.

    Raises:
        InputError: a recording that does not fit; before any of its ticks. The session is then what it was before.
    """
    each = session.block if ticks_per_report is None else ticks_per_report
    if each < 1:
        raise InputError(f"ticks_per_report is {each}, expected at least 1")
    if isinstance(recording, Iterator):
        for part in recording:
            yield from play(session, part, each)
        return
    entering = checked(session, by_name(session.plan.graph, recording))
    for first in range(0, entering.ticks, each):
        last = min(first + each, entering.ticks)
        before = copied(session.counts)
        started = time.perf_counter()
        outputs = advance(session, entering, first, last)
        seconds = time.perf_counter() - started
        counts = difference(session.counts, before)
        spikes = {
            name: int(columns["spikes"].sum())
            for name, columns in counts.items()
            if isinstance(session.plan.graph.nodes.get(name), Neuron)
        }
        yield Report(
            session.tick, last - first, seconds, entering.events(first, last), counts, spikes, outputs
        )  # fmt: skip


def checked(session: Session, given: Mapping[str, Any]) -> Entering:
    """Streams by Input as feeds, every event of theirs checked; nothing has run.

    Raises:
        InputError: streams of other samples or lengths, or values that their Input does not allow.
        EventsError: streams of another shape or dt.
    """
    graph, feeds = session.plan.graph, {}
    for name, values in given.items():
        if not is_stream(values):
            raise InputError(f"input '{name}' is a {type(values).__name__}; give an EventStream for every Input")
        node = graph.nodes[name]
        assert isinstance(node, Input)
        feeds[name] = Feed(name, node, values)
    lengths = {name: feed.ticks for name, feed in feeds.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"the inputs differ in ticks: {lengths}")
    dts = {name: feed.dt for name, feed in feeds.items() if feed.dt is not None}
    (ticks, *_), (dt, *_) = lengths.values(), dts.values()
    for name, other in dts.items():
        if not math.isclose(other, graph.dt or dt, rel_tol=SAME_DT):
            whose = "the others have" if graph.dt is None else "the network was made for"
            raise EventsError(f"input '{name}' has ticks of {other:g} s; {whose} ticks of {graph.dt or dt:g} s")
    session.check(feeds, 0, ticks)
    return Entering(feeds, ticks, dt, all(isinstance(values, EventStream) for values in given.values()))


def advance(session: Session, entering: Entering, first: int, last: int) -> Streams:
    """Run some ticks; all of them or, where one leaves an integer format that allows no overflow, none.

    Returns:
        Output → what reached it in these ticks.
    """
    outlets = session.outlets
    for outlet in outlets.values():
        outlet.clear()
    moment = session.moment()
    try:
        for _ in session.blocks(entering.feeds, last, first):
            for outlet in outlets.values():
                outlet.take()
    except InputError:
        session.rewind(moment)
        raise
    streams = {name: outlet.streams(entering.dt) for name, outlet in outlets.items()}
    return {name: each[0] if entering.single else each for name, each in streams.items()}


class Outlet:
    """What reaches an Output, gathered block by block, at a cost that follows its events where its source lists them.

    Arguments:
        session: whose Output.
        name: of the Output.
    """

    def __init__(self, session: Session, name: str) -> None:
        self.session, self.name = session, name
        plan = session.plan
        self.signal = plan.signals[name]
        self.ref = origin(plan.steps, ("node", name))
        static, number = plan.steps["node", name].operation.static, plan.steps[self.ref].operation.dtype.name
        self.form = static.format
        self.leave, self.scan = cache.load("leave", number), cache.load("scan", number)
        self.clear()

    def clear(self) -> None:
        """Forget what was gathered."""
        batch = self.session.batch
        self.lengths: list[list[NDArray[np.int64]]] = [[] for _ in range(batch)]
        self.addresses: list[list[NDArray[np.int32]]] = [[] for _ in range(batch)]
        self.values: list[list[NDArray[Any]]] = [[] for _ in range(batch)]

    def take(self) -> None:
        """Take in the block that has run."""
        buffer, batch = self.session.last_block(self.ref), self.session.batch
        if not self.session._by_node.lists_events(self.ref):
            self.scan(buffer.value, buffer.index, buffer.found)
        for sample in range(batch):
            found = buffer.found[sample::batch].copy()
            events = int(found.sum())
            values = 0 if self.signal.kind == "binary" else events
            address, number = np.empty(events, np.int32), np.empty(values, buffer.value.dtype)
            self.leave(buffer.index, buffer.found, buffer.value, sample, batch, address, number)
            self.lengths[sample].append(found)
            self.addresses[sample].append(address)
            self.values[sample].append(number)

    def streams(self, dt: float) -> list[EventStream]:
        """The events of every sample, in ticks of ``dt`` seconds."""
        return [self._stream(sample, dt) for sample in range(self.session.batch)]

    def _stream(self, sample: int, dt: float) -> EventStream:
        length, address = _joined(self.lengths[sample], np.int64), _joined(self.addresses[sample], np.int32)
        value: NDArray[Any] | None = None
        if self.signal.kind != "binary":
            value = self._real(_joined(self.values[sample], np.float32))
            if not value.all():  # wider numbers that float32 rounds to 0
                tick = np.repeat(np.arange(len(length)), length)[value != 0]
                length = np.bincount(tick, minlength=len(length))
                address, value = address[value != 0], value[value != 0]
        indptr = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=indptr[1:])
        binning: Binning = "count" if self.signal.kind == "count" else "binary"
        try:
            return EventStream.of_kernel(indptr, address, self.signal.shape, dt, value, binning)
        except EventsError as error:
            raise EventsError(f"output '{self.name}', sample {sample}, whose ticks have run: {error}") from error

    def _real(self, value: NDArray[Any]) -> NDArray[Any]:
        """The numbers that stand on the edge, as a stream holds them."""
        if self.form is not None:
            value = np.ldexp(value.astype(np.float64), -self.form.frac)
        if self.signal.kind == "count":
            return value.astype(np.int64)
        with np.errstate(over="ignore", under="ignore"):
            return value.astype(np.float32)


def _joined(parts: list[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    """Pieces one behind the other."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype), *parts])


def copied(counts: Mapping[str, Mapping[str, NDArray[np.int64]]]) -> Columns:
    """Counts as they are now."""
    return {name: {key: value.copy() for key, value in columns.items()} for name, columns in counts.items()}


def difference(now: Mapping[str, Mapping[str, NDArray[np.int64]]], before: Columns) -> Columns:
    """What was counted since."""
    return {name: {key: value - before[name][key] for key, value in columns.items()} for name, columns in now.items()}
