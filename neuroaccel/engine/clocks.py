"""Nodes with clocks: Window, Keep, Memory and Scope, and how what stands behind them runs on some ticks only.

Every node keeps a row for every tick and sample. Where its clock does not run its row is 0 and its state is what it
was; neurons behind a Keep make a silent step there. Such nodes go tick by tick; a tick at which no sample runs costs
next to nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine.elementwise import Running
from neuroaccel.engine.fixed import Format
from neuroaccel.engine.operation import NONE, SOME, Array, Buffer, Latch, Learner, Operation, Same, Static, Work
from neuroaccel.engine.populations import Population
from neuroaccel.errors import InputError
from neuroaccel.graph import nodes as n

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
        kept: Mask = on & (mask.value.reshape(on.shape) != 0)
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
        self.ports = []
        for port, static in zip(node.port_names, ports, strict=True):
            entry = plan.graph.nodes[port]
            assert isinstance(entry, n.Input)
            if plan.arithmetic == "integer" and static.format is None:
                raise ValueError(f"its port '{port}' has no integer format; a readout can only lead to an Output")
            self.ports.append((port, entry, static.format))

    def run(self, work: Work) -> None:
        """A session runs it: :meth:`Clockwork.scope`."""
        raise InputError(f"scope '{self.name}' has no session of its own here")

    def entering(self, work: Work) -> dict[str, Array]:
        """Inner Input -> its values at every step of one tick, ``[steps * N, size]``."""
        found = {}
        steps, batch = self.node.ticks, work.batch
        for (name, entry, form), port in zip(self.ports, work.ports, strict=True):
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
    """Samples as they were, put back once the others have run.

    Arguments:
        arrays: arrays ``[N, ...]``, each with the samples to hold, bool ``[N]``.
    """

    def __init__(self, arrays: Iterable[tuple[Array, Mask]]) -> None:
        self.saved = [(array, off, array[off].copy()) for array, off in arrays]

    def put_back(self) -> None:
        for array, off, value in self.saved:
            array[off] = value


class Clockwork:
    """What a session does at ticks: which clocks run, and the operations that run on them.

    Arguments:
        session: whose works and inner sessions these are.

    ``on`` and ``passes`` hold, per clock, bool ``[block, N]``: which samples run, and for which time passes. ``ran``
    holds on how many ticks a step has run, ``records`` what neurons in scopes did in the last block.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        shape = (session.block, session.batch)
        clocks = {clock for pair in self.plan.timed.values() for clock in pair}
        self.on = {clock: np.ones(shape, np.bool_) for clock in {(), *clocks}}
        self.passes = {clock: np.ones(shape, np.bool_) for clock in self.on}
        self.ran: dict[Ref, int] = defaultdict(int)
        self.records: dict[str, Records] = {}

    @property
    def plan(self) -> Plan:
        return self.session.plan

    def block(self, ref: Ref, ticks: int) -> None:
        """Run a step that is part of no loop, all ticks of a block."""
        operation = self.plan.steps[ref].operation
        before, behind = self.plan.timed[ref]
        if isinstance(operation, (Recall, Kept)):
            work = self.session._by_node.work(ref, ticks)
            runs = operation.turn(work, self.on[before][:ticks])
            if behind != before:
                self.on[behind][:ticks] = runs
                self.passes[behind][:ticks] = self.passes[before][:ticks] if isinstance(operation, Kept) else runs
            self.ran[ref] += int(self.on[before][:ticks].any(axis=1).sum())
            self.session._by_node.finish(ref, work)
        elif not isinstance(operation, Same):
            for t in range(ticks):
                self.tick(ref, t, "run")
                if isinstance(operation, Learner):
                    self.tick(ref, t, "take")

    def tick(self, ref: Ref, t: int, part: str) -> None:
        """Run one tick of a step: all of it, or what a latch emits, or takes in."""
        operation, work = self.plan.steps[ref].operation, self.session._by_node.one(ref, t)
        clock = self.plan.timed[ref][0]
        on = self.on[clock][t]
        time = self.passes[clock][t] if isinstance(operation, Population) else on
        if time.any():
            counts = ((array, ~on) for array in work.counts.values())
            held = Held([*((array, ~time) for array in work.state.values()), *counts])
            if isinstance(operation, Inner):
                self._scope(ref[1], operation, work, t, on)
            elif part == "emit" and isinstance(operation, Latch):
                operation.emit(work)
            elif part == "take" and isinstance(operation, Latch):
                operation.take(work)
            elif isinstance(operation, Learner):
                operation.learn(work) if part == "take" else operation.react(work)
            else:
                operation.run(work)
            held.put_back()
            self.ran[ref] += part != ("take" if isinstance(operation, Learner) else "emit")
        elif isinstance(operation, Inner):
            self._record(ref[1], operation, t, on, None)
        if part == "take" and isinstance(operation, (Latch, Learner)):
            return
        if not on.all():
            cleared(work.out, ~on)
            if isinstance(operation, Running):
                operation.stand(work, ~on)
        if isinstance(operation, Population) and work.kept.shape[1] and not time.all():
            for k, key in enumerate(operation.program.state_names):
                work.kept[k, ~time] = work.flat(key)[~time]
        self.session._by_node.finish(ref, work)

    def count(self, ticks: int) -> None:
        """Count the ticks that samples have run on, of the nodes that a Keep can stop."""
        for name, columns in self.session._columns.items():
            if "ticks_run" in columns:
                columns["ticks_run"] += self.on[self.plan.dropping.get(name, ())][:ticks].sum(axis=0)

    def _scope(self, name: str, operation: Inner, work: Work, t: int, on: Mask) -> None:
        """All steps of one tick of a scope."""
        inner = self.session.inner[name]
        held = Held(() if on.all() else ((array, ~on) for array in inner.arrays()))
        if operation.node.state == "reset":
            inner.refresh()
        entering, steps = operation.entering(work), []
        records: list[Records] = []
        for last in inner.rows(entering, operation.node.ticks):
            steps.append(inner.emitted(operation.result).reshape(last, work.batch, -1).copy())
            if self.session.watches:
                records.append({key: array.copy() for key, array in inner.records().items()})
        operation.leaving(np.concatenate(steps), work.out.value)
        held.put_back()
        if self.session.watches:
            together = {key: np.concatenate([part[key] for part in records]) for key in records[0]}
            self._record(name, operation, t, on, together)

    def _record(self, name: str, operation: Inner, t: int, on: Mask, found: Records | None) -> None:
        """Keep what neurons in a scope did in one tick; where it did not run they give nothing and stand."""
        if not self.session.watches:
            return
        mine = self.records.setdefault(name, {})
        carries = operation.node.state == "carry"
        for key, (steps, shape, dtype) in recorded(operation.plan, operation.node.ticks, self.session.watches).items():
            if key not in mine:
                mine[key] = np.zeros((self.session.block, steps, self.session.batch, *shape), dtype)
            row = mine[key][t]
            if found is not None:
                row[...] = found[key].reshape(row.shape)
            if not on.all():
                stood = standing(self.session.inner[name], key, carries) if key[0] == "states" else 0
                row[:, ~on] = stood[~on] if isinstance(stood, np.ndarray) else stood


def recorded(plan: Plan, ticks: int, what: bool | str) -> dict[tuple[str, str, str], tuple[int, tuple[int, ...], Any]]:
    """What a recording holds of a plan's neurons: key -> rows in so many ticks, shape and dtype of one."""
    number = np.dtype("int64" if plan.arithmetic == "integer" else plan.arithmetic)
    found: dict[tuple[str, str, str], tuple[int, tuple[int, ...], Any]] = {}
    for name, node in plan.graph.nodes.items():
        if isinstance(node, n.Neuron):
            emitted = {"spike": np.uint8, "count": np.int32}.get(node.program.emit.kind, number)
            found["spikes", name, ""] = (ticks, node.shape, emitted)
            if what is True:
                found["currents", name, ""] = (ticks, node.shape, number)
                found |= {("states", name, key): (ticks, node.shape, number) for key in node.program.state_names}
        operation = plan.steps["node", name].operation
        if isinstance(operation, Inner):
            inside = recorded(operation.plan, ticks * operation.node.ticks, what)
            found |= {(kind, f"{name}/{path}", key): each for (kind, path, key), each in inside.items()}
    return found


def standing(session: Session, key: tuple[str, str, str], carries: bool) -> Array:
    """A neuron's state where its scope does not run, ``[N, *shape]``: what it was, or fresh in a scope that resets."""
    name, _, rest = key[1].partition("/")
    operation = session.plan.steps["node", name].operation
    if isinstance(operation, Inner):
        return standing(session.inner[name], (key[0], rest, key[2]), carries and operation.node.state == "carry")
    if carries:
        return session.neuron_state(name)[key[2]]
    fresh = operation.fresh[key[2]]
    return np.broadcast_to(fresh, (session.batch, *fresh.shape))
