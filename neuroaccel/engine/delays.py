"""Delays: rings of dense values for analog edges, of event lists for the others, whose cost follows the events."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from neuroaccel.engine import cache
from neuroaccel.engine.operation import SOME, Array, Latch, Static, Work
from neuroaccel.graph import nodes as n


class DelayedEvents(Latch):
    """A Delay of spikes or counts.

    Its state ``ring`` ``[L, *shape]`` holds what is due in 0, 1, … L − 1 ticks, oldest first.
    """

    reads_events: ClassVar[bool] = True
    finds_events: ClassVar[bool] = True
    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, node: n.Delay, port: Static, dtype: DTypeLike) -> None:
        super().__init__(name, port, dtype)
        ticks = np.asarray(node.ticks, np.int64).ravel()
        self.ticks = ticks[:1] if (ticks == ticks[0]).all() else ticks
        self.length = int(self.ticks.max())
        self.fresh = {"ring": np.zeros((self.length, *port.shape), dtype)}
        self.kernel = cache.load("delay_events", self.dtype.name)

    def allocate(self, batch: int) -> dict[str, Array]:
        places = (batch, self.length, self.static.size)
        return {
            **super().allocate(batch),
            "@index": np.zeros(places, np.int32),
            "@value": np.zeros(places, self.dtype),
            "@found": np.zeros(places[:2], np.int64),
            "@clock": np.zeros(batch, np.int64),
        }

    def emit(self, work: Work) -> None:
        self._call(work, True, False)

    def take(self, work: Work) -> None:
        self._call(work, False, True)

    def run(self, work: Work) -> None:
        self._call(work, True, True)

    def _call(self, work: Work, emit: bool, take: bool) -> None:
        port, out, s = work.ports[0], work.out, work.state
        ring = (s["@index"], s["@value"], s["@found"], s["@clock"])
        arriving = (port.value, port.index, port.found, self.ticks)
        self.kernel(*arriving, *ring, out.value, out.index, out.found, work.ticks, emit, take)

    def settle(self, work: Work) -> None:
        s, ring = work.state, work.state["ring"].reshape(work.batch, self.length, -1)
        ring[...] = 0
        for sample, clock in enumerate(s["@clock"]):
            for k in range(self.length):
                slot = (clock + k) % self.length
                due = slice(s["@found"][sample, slot])
                ring[sample, k, s["@index"][sample, slot, due]] = s["@value"][sample, slot, due]

    def restored(self, work: Work) -> None:
        s, ring = work.state, work.state["ring"].reshape(work.batch, self.length, -1)
        s["@clock"][...] = 0
        for sample in range(work.batch):
            for slot in range(self.length):
                due = np.flatnonzero(ring[sample, slot])
                s["@found"][sample, slot] = len(due)
                s["@index"][sample, slot, : len(due)] = due
                s["@value"][sample, slot, : len(due)] = ring[sample, slot, due]

    def explain(self) -> str:
        return f"event lists, one for each of the next {self.length} ticks"


class Delayed(Latch):
    """A Delay of analog values: a ring of the last, in which every sample has its own position."""

    def __init__(self, name: str, node: n.Delay, port: Static, dtype: DTypeLike) -> None:
        super().__init__(name, port, dtype)
        self.ticks = np.asarray(node.ticks, np.int64).ravel()
        self.length = int(self.ticks.max())
        shape = (self.length, *port.shape)
        self.fresh = {
            "ring": np.zeros(shape, dtype),
            "touched": np.zeros(shape, np.uint8),
            "position": np.zeros((), np.int64),
        }

    def emit(self, work: Work) -> None:
        slot = (work.state["position"][:, None] - self.ticks) % self.length
        shape = (work.batch, self.length, self.static.size)
        for key, out in (("ring", work.out.value), ("touched", work.out.touched)):
            ring = work.state[key].reshape(shape)
            if self.ticks.size == 1:
                out[...] = ring[np.arange(work.batch), slot[:, 0]]
            else:
                out[...] = np.take_along_axis(ring, slot[:, None, :], axis=1)[:, 0]
        work.out.reach[...] = SOME

    def take(self, work: Work) -> None:
        position, port = work.state["position"], work.ports[0]
        slot, batch = position % self.length, work.batch
        shape = (batch, self.length, self.static.size)
        work.state["ring"].reshape(shape)[np.arange(batch), slot] = port.value
        work.state["touched"].reshape(shape)[np.arange(batch), slot] = port.flags()
        position += 1

    def run(self, work: Work) -> None:
        """All ticks at once: the ring, oldest first, and what arrives make one history."""
        ticks, batch, port = work.ticks, work.batch, work.ports[0]
        position = work.state["position"]
        oldest = (position[:, None] + np.arange(self.length)) % self.length
        samples = np.arange(batch)[:, None]
        for key, new, out in (("ring", port.value, work.out.value), ("touched", port.flags(), work.out.touched)):
            ring = work.state[key].reshape(batch, self.length, -1)
            history = np.concatenate([ring[samples, oldest].swapaxes(0, 1), new.reshape(ticks, batch, -1)])
            if self.ticks.size == 1:
                begin = self.length - int(self.ticks[0])
                out[...] = history[begin : begin + ticks].reshape(out.shape)
            else:
                when = np.arange(ticks)[:, None] + self.length - self.ticks
                out[...] = np.take_along_axis(history, when[:, None, :], axis=0).reshape(out.shape)
            ring[samples, (oldest + ticks) % self.length] = history[ticks:].swapaxes(0, 1)
        work.out.reach[...] = SOME
        position += ticks
