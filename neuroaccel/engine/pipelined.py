"""The tick that every synapse of a pipelined graph carries."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from neuroaccel.engine.operation import SOME, Array, Buffer, Int64, Latch, Operation, Work


class Pipelined(Latch):
    """A synapse that delivers its current one tick later."""

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, inner: Operation) -> None:
        super().__init__(inner.name, inner.static, inner.dtype)
        self.inner = inner
        shape = inner.static.shape
        held = {"pending": np.zeros(shape, self.dtype), "touched": np.zeros(shape, np.uint8)}
        self.fresh = {**inner.fresh, **held}

    @property
    def weight_width(self) -> int:
        return self.inner.weight_width

    def counters(self, batch: int) -> dict[str, Int64]:
        return self.inner.counters(batch)

    def book(self, counts: Mapping[str, Int64]) -> dict[str, Int64]:
        return self.inner.book(counts)

    def scratch(self) -> dict[str, Any]:
        return self.inner.scratch()

    def inward(self, key: str, value: Array) -> Array:
        return self.inner.inward(key, value) if key in self.inner.fresh else value

    def outward(self, key: str, value: Array) -> Array:
        return self.inner.outward(key, value) if key in self.inner.fresh else value

    def loaded(self, work: Work, arrays: Collection[str]) -> None:
        self.inner.loaded(work, arrays)

    def emit(self, work: Work) -> None:
        work.out.value[...] = work.flat("pending")
        work.out.touched[...] = work.flat("touched")
        work.out.reach[...] = SOME

    def take(self, work: Work) -> None:
        reach = np.zeros(work.batch, np.uint8)
        pending = Buffer(work.flat("pending"), work.flat("touched"), work.out.index, work.out.found, reach)
        self.inner.run(dataclasses.replace(work, out=pending))
        if work.track:
            pending.flags()

    def run(self, work: Work) -> None:
        """All ticks at once, moved by one."""
        self.inner.run(work)
        out, n = work.out, work.batch
        touched = out.flags() if work.track else out.touched
        for held, new in ((work.flat("pending"), out.value), (work.flat("touched"), touched)):
            last = new[-n:].copy()
            new[n:] = new[:-n].copy()
            new[:n] = held
            held[...] = last

    def explain(self) -> str:
        return f"{self.inner.explain()}; delivered one tick later"
