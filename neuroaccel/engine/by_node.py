"""A session's ticks node by node, for all samples and, outside of loops, all ticks of a block at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuroaccel.engine import cache
from neuroaccel.engine.operation import SOME, Latch, Learner, Work
from neuroaccel.engine.plan import Ref, origin
from neuroaccel.graph import Output

if TYPE_CHECKING:
    from neuroaccel.engine.session import Session


class ByNode:
    """What runs a session's ticks node by node.

    Arguments:
        session: whose ticks.

    ``listed`` holds the Inputs whose events of the present block came as a list.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.listed: set[Ref] = set()
        self._parts: dict[tuple[Ref, int], Work] = {}
        self._single: dict[tuple[Ref, int], Work] = {}
        plan = session.plan
        emitting = [r for r in plan.steps if r[0] == "node" and not isinstance(plan.graph.nodes[r[1]], Output)]
        emitting = [r for r in emitting if not plan.steps[r].operation.merged]
        sending = [r for r in emitting if session._track and plan.signals[r[1]].kind != "analog"]
        counted = {origin(plan.steps, r) for r in sending}
        self._counted = [r for r in sending if "spikes" not in plan.steps[r].operation.columns]
        scanned = plan.scanned | {r for r in counted if not plan.steps[r].operation.finds_events}
        self._scan = {r: cache.load("scan", session._buffers[r].value.dtype.name) for r in scanned}

    def work(self, ref: Ref, ticks: int) -> Work:
        """The work of the first ticks of a block."""
        if (ref, ticks) not in self._parts:
            self._parts[ref, ticks] = self.session._works[ref].part(ticks)
        return self._parts[ref, ticks]

    def one(self, ref: Ref, t: int) -> Work:
        """The work of one tick of a block."""
        if (ref, t) not in self._single:
            self._single[ref, t] = self.session._works[ref].tick(t)
        return self._single[ref, t]

    def forget(self) -> None:
        """Learn that the works have changed."""
        self._parts.clear()
        self._single.clear()

    def lists_events(self, ref: Ref) -> bool:
        """Whether a step's non-zero values are listed in its buffer."""
        return ref in self._scan or ref in self.listed or self.session.plan.steps[ref].operation.finds_events

    def run(self, ticks: int) -> None:
        """Run a block on what its Inputs' buffers hold."""
        session, steps, timed = self.session, self.session.plan.steps, self.session.plan.timed
        silent: set[Ref] = set()
        for stage in session.plan.stages:
            if not stage.loop:
                for ref in stage.run:
                    if ref in timed:
                        session._clockwork.block(ref, ticks)
                        session._moved = True
                        continue
                    step, work = steps[ref], self.work(ref, ticks)
                    still = silent.issuperset(step.sources) and (step.sources or ref in self.listed)
                    if still and step.operation.silence(work):
                        silent.add(ref)
                        continue
                    step.operation.run(work)
                    self.finish(ref, work)
                    session._moved = True
                continue
            session._moved = True
            for t in range(ticks):
                for ref in stage.emit:
                    self._part_of_tick(ref, t, "emit")
                for ref in stage.run:
                    self._part_of_tick(ref, t, "run")
                for ref in stage.take:
                    self._part_of_tick(ref, t, "take")
        if session._track:
            for ref in self._counted:
                found = self.work(ref, ticks).out.found
                session._columns[ref[1]]["events_out"] += found.reshape(ticks, session.batch).sum(axis=0)
            session._clockwork.count(ticks)

    def _part_of_tick(self, ref: Ref, t: int, part: str) -> None:
        if ref in self.session.plan.timed:
            self.session._clockwork.tick(ref, t, part)
            return
        operation, work = self.session.plan.steps[ref].operation, self.one(ref, t)
        if isinstance(operation, Learner):
            if part == "take":
                operation.learn(work)
                return
            operation.react(work)
        elif not isinstance(operation, Latch):
            operation.run(work)
        elif part == "emit":
            operation.emit(work)
        else:
            operation.take(work)
            return
        self.finish(ref, work)

    def finish(self, ref: Ref, work: Work) -> None:
        """List the events of what a step gave, and flag them where somebody asks."""
        out = work.out
        if ref in self._scan and ref not in self.listed:
            self._scan[ref](out.value, out.index, out.found)
        if self.session._track and ref in self.session.plan.flagged:
            np.not_equal(out.value, 0, out=out.touched.view(np.bool_))
            out.reach[...] = SOME
