"""Nodes with clocks: Window, Keep, Memory and Scope, and how what stands behind them runs on some ticks only.

Every node keeps a row for every tick and sample. Where its clock does not run its row is 0 and its state is what it
was; neurons behind a Keep make a silent step there. Such nodes go tick by tick; a tick at which no sample runs costs
next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine.elementwise import Running
from neuroaccel.engine.fixed import Format
from neuroaccel.engine.operation import NONE, SOME, Array, Buffer, Latch, Operation, Same, Static, Work
from neuroaccel.engine.populations import Population
from neuroaccel.errors import InputError
from neuroaccel.graph import nodes as n
from neuroaccel.graph.clocks import Clock

if TYPE_CHECKING:
    from neuroaccel.engine.plan import Plan, Ref
    from neuroaccel.engine.session import Session

Mask = NDArray[np.bool_]
# (spikes, currents or states; path of a neuron in a scope; state) -> values of the ticks of a block
Records = dict[tuple[str, str, str], Array]


def cleared(out: Buffer, off: Mask) -> None:
    """Make rows empty."""
    if off.all():
        out.value[...], out.found[...], out.reach[...] = 0, 0, NONE
    else:
        out.value[off], out.found[off], out.reach[off] = 0, 0, NONE


class Recall(Operation):
    """A Memory: the last values of every sample, this tick's the last of them."""

    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, width: int, port: Static, dtype: DTypeLike) -> None:
        shape = (width, *port.shape)
        super().__init__(name, Static.plain(shape, port.format), dtype)
        self.width = width
        self.fresh = {"line": np.zeros(shape, dtype)}

    def run(self, work: Work) -> None:
        self.turn(work, np.ones((work.ticks, work.batch), np.bool_))

    def turn(self, work: Work, on: Mask) -> Mask:
        """Take in what comes at ticks and samples where ``on`` ``[K, N]`` holds, and give where it returns True."""
        shape = (work.ticks, work.batch, -1)
        x, out = work.ports[0].value.reshape(shape), work.out.value.reshape(shape)
        line = work.state["line"].reshape(work.batch, self.width, -1)
        work.out.value[...] = 0
        given = np.zeros_like(on)
        for t, runs in enumerate(on):
            if runs.any():
                who: Any = slice(None) if runs.all() else runs
                line[who] = np.concatenate([line[who][:, 1:], x[t][who][:, None]], axis=1)
                given[t] = runs & self.gives(work, who)
                out[t][given[t]] = line[given[t]].reshape(int(given[t].sum()), out.shape[-1])
        return given

    def gives(self, work: Work, who: Any) -> Mask:
        """Which samples give something now."""
        return np.ones(work.batch, np.bool_)

    def explain(self) -> str:
        return f"the last {self.width} values, tick by tick"


class Windowed(Recall):
    """A Window: a Memory that gives once every ``stride`` ticks, when it is full."""

    def __init__(self, name: str, node: n.Window, port: Static, dtype: DTypeLike) -> None:
        super().__init__(name, node.width, port, dtype)
        self.stride = node.stride
        self.fresh = {**self.fresh, "seen": np.zeros((), np.int64)}

    def gives(self, work: Work, who: Any) -> Mask:
        seen = work.state["seen"]
        seen[who] += 1
        return np.asarray((seen >= self.width) & ((seen - self.width) % self.stride == 0))

    def explain(self) -> str:
        return f"{self.width} ticks make one, every {self.stride}; what stands behind it runs tick by tick, then only"


class Kept(Operation):
    """A Keep: passes on the ticks of samples at which its mask is not 0."""

    def __init__(self, name: str, port: Static, dtype: DTypeLike) -> None:
        super().__init__(name, port, dtype)

    def run(self, work: Work) -> None:
        self.turn(work, np.ones((work.ticks, work.batch), np.bool_))

    def turn(self, work: Work, on: Mask) -> Mask:
        """Pass on where ``on`` ``[K, N]`` and the mask hold; that is returned."""
        port, mask = work.ports
        kept = on & (mask.value.reshape(on.shape) != 0)
        rows = kept.reshape(-1, 1)
        np.multiply(port.value, rows, out=work.out.value, casting="unsafe")
        if work.track:
            np.bitwise_and(port.flags(), rows.view(np.uint8), out=work.out.touched)
            work.out.reach[...] = SOME
        return kept

    def explain(self) -> str:
        return "drops ticks; what stands behind it runs tick by tick, for the samples that are kept"


class Inner(Operation):
    """A Scope: a compiled graph that runs some steps for every tick, in a session of its own."""

    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, node: n.Scope, plan: Plan, ports: list[Static], shape: tuple[int, ...]) -> None:
        self.node, self.plan = node, plan
        self.result = plan.graph.outputs[0]
        inside = plan.steps["node", self.result].operation
        form = inside.static.format
        if form is not None and node.output == "sum":
            form = Format(form.frac, form.magnitude * node.ticks).check("the sum of its steps")
        super().__init__(name, Static.plain(shape, form), inside.dtype)
        self.ports = [(port, plan.graph.nodes[port], static.format) for port, static in zip(node.port_names, ports, strict=True)]
        for port, entry, given in self.ports:
            if plan.arithmetic == "integer" and given is None:
                raise ValueError(f"its port '{port}' has no integer format; a readout can only lead to an Output")
            assert isinstance(entry, n.Input)

    def run(self, work: Work) -> None:
        """A session runs it: :meth:`Clockwork.scope`."""
        raise InputError(f"scope '{self.name}' has no session of its own here")

    def entering(self, work: Work) -> dict[str, Array]:
        """Inner Input -> its values at every step of one tick, ``[steps * N, size]``."""
        found = {}
        steps, batch = self.node.ticks, work.batch
        for (name, entry, form), port in zip(self.ports, work.ports, strict=True):
            assert isinstance(entry, n.Input)
            value = port.value
            if self.node.input == "slice":
                value = value.reshape(batch, steps, -1).swapaxes(0, 1).reshape(steps * batch, -1)
            value = self._rounded(value, entry, form)
            found[name] = np.tile(value, (steps, 1)) if self.node.input == "repeat" else value
        return found

    def _rounded(self, value: Array, entry: n.Input, form: Format | None) -> Array:
        """On the inner Input's grid."""
        if entry.grid is None:
            return value
        frac = entry.grid.frac - (0 if form is None else form.frac)
        whole = np.clip(np.rint(np.ldexp(value.astype(np.float64), frac)), entry.grid.low, entry.grid.high)
        return whole.astype(value.dtype) if form is not None else np.ldexp(whole, -frac).astype(value.dtype)

    def leaving(self, steps: Array, out: Array) -> None:
        """What the steps gave, ``[steps, N, size]``, as one tick's emission, ``[N, size]``."""
        if self.node.output == "all":
            out.reshape(steps.shape[1], steps.shape[0], -1)[...] = steps.swapaxes(0, 1)
            return
        out[...] = steps[-1] if self.node.output == "last" else steps[0]
        for step in steps[1:] if self.node.output == "sum" else ():
            np.add(out, step, out=out)

    def explain(self) -> str:
        lines = [f"{name}: {s.operation.explain()}" for (kind, name), s in self.plan.steps.items() if kind == "node"]
        parts = "; ".join(line for line in lines if not line.endswith(": "))
        return f"{self.node.ticks} steps per tick in a session of its own ({parts})"


class Held:
    """Samples of a session or of one operation, as they were: put back once the others have run."""

    def __init__(self, arrays: Iterator[Array], off: Mask) -> None:
        self.off = off
        self.saved = [(array, array[off].copy()) for array in arrays]

    def put_back(self) -> None:
        for array, value in self.saved:
            array[self.off] = value


class Clockwork:
    """What a session does at ticks: which clocks run, and the operations that run on them.

    Arguments:
        session: whose works and inner sessions these are.

    ``on`` and ``passes`` hold, per clock, bool ``[block, N]``: which samples run, and for which time passes.
    """

    def __init__(self, session: Session) -> None:
        self.session, self.plan = session, session.plan
        shape = (session.block, session.batch)
        clocks = {clock for pair in self.plan.timed.values() for clock in pair}
        self.on = {clock: np.ones(shape, np.bool_) for clock in {(), *clocks}}
        self.passes = {clock: np.ones(shape, np.bool_) for clock in self.on}
        self.ran: dict[Ref, int] = {}
        self.records: dict[str, Records] = {}

    def block(self, ref: Ref, ticks: int) -> None:
        """Run a step that is part of no loop, all ticks of a block."""
        operation = self.plan.steps[ref].operation
        before, behind = self.plan.timed[ref]
        if isinstance(operation, (Recall, Kept)):
            work = self.session._work(ref, ticks)
            runs = operation.turn(work, self.on[before][:ticks])
            if behind != before:
                self.on[behind][:ticks] = runs
                self.passes[behind][:ticks] = self.passes[before][:ticks] if isinstance(operation, Kept) else runs
            self.ran[ref] = self.ran.get(ref, 0) + int(self.on[before][:ticks].any(axis=1).sum())
            self.session._finish(ref, work)
        elif not isinstance(operation, Same):
            for t in range(ticks):
                self.tick(ref, t, "run")

    def tick(self, ref: Ref, t: int, part: str) -> None:
        """Run one tick of a step: all of it, or what a latch emits, or takes in."""
        operation, work = self.plan.steps[ref].operation, self.session._one(ref, t)
        clock = self.plan.timed[ref][0]
        on = self.on[clock][t]
        time = self.passes[clock][t] if isinstance(operation, Population) else on
        taking = part == "take" and isinstance(operation, Latch)
        if time.any():
            held = None if on.all() else Held(self._arrays(work, on, time), np.zeros(0, np.bool_))
            self._call(operation, work, part, ref, t)
            if held is not None:
                held.put_back()
            if part != "emit":
                self.ran[ref] = self.ran.get(ref, 0) + 1
        if taking:
            return
        if not on.all():
            cleared(work.out, ~on)
            if isinstance(operation, Running):
                _stand(operation, work, ~on)
        if isinstance(operation, Population) and work.kept.shape[1] and not time.all():
            for k, key in enumerate(operation.program.state_names):
                work.kept[k, ~time] = work.flat(key)[~time]
        self.session._finish(ref, work)
