"""A session's ticks by tape, and the way of its state between the tape's memory and the operations' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.clocks import Inner, Recall
from neuroaccel.engine.inputs import Feed
from neuroaccel.engine.linear import Linear
from neuroaccel.engine.operation import Array
from neuroaccel.engine.plan import Plan, Ref, origin
from neuroaccel.engine.tape import Memory, Path
from neuroaccel.engine.tape_writer import obstacles, write
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.engine.session import Session

FEW = 64  # samples: beyond, what the ordinary way does for all of them at once is as fast
LARGEST = 1 << 18  # weights of a layer: beyond, it is worth while to have them packed


def by_tape(plan: Plan, batch: int) -> str:
    """Why sessions of a plan do not run by tape; empty where they do.

    A tape is for what the ordinary way does tick by tick from Python: graphs with Scopes and Memories.
    """
    if batch > FEW:
        return f"{batch} samples are more than {FEW}"
    if not any(isinstance(step.operation, (Inner, Recall)) for step in plan.steps.values()):
        return "the graph has neither Scope nor Memory"
    large = [name for name, size in _layers(plan).items() if size > LARGEST]
    if large:
        return f"'{large[0]}' has more than {LARGEST} weights"
    return "; ".join(f"'{name}': {why}" for name, why in obstacles(plan).items())


def _layers(plan: Plan) -> dict[str, int]:
    """Linears and how many weights each has; nodes of a Scope as ``scope/node``."""
    found = {}
    for (_, name), step in plan.steps.items():
        if isinstance(step.operation, Linear):
            found[name] = step.operation.matrix.size
        elif isinstance(step.operation, Inner):
            found |= {f"{name}/{inner}": size for inner, size in _layers(step.operation.plan).items()}
    return found


class Taped:
    """What runs a session's ticks by tape.

    Arguments:
        session: whose ticks; it counts and records nothing else.

    ``ahead`` says that the state, counts and ticks of the tape are newer than the session's, ``behind`` that the
    session's state is newer than the tape's.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        plan, batch = session.plan, session.batch
        self.tape = tape = write(plan, session._track)
        self.kernel = cache.load("tape", plan.arithmetic)
        fresh = tape.fresh
        copies = (np.repeat(a, batch, axis=0) for a in (fresh.values, fresh.marks, fresh.registers))
        self.memory = Memory(*copies)
        self.reals = tape.reals.copy()  # there is room in it
        self.tally = np.zeros((batch, len(tape.tally)), np.int64)
        self.ahead, self.behind, self.ticks = False, True, 0
        self.given: tuple[Any, ...] = ()
        self.rows = 0
        self.seen: set[Ref] = set()
        steps = plan.steps
        self.shapes = {name: (batch, *plan.signals[name].shape) for name in plan.graph.inputs}
        self.results = {
            name: (tape.places[origin(steps, ("node", name))], plan.signals[name].shape) for name in plan.graph.outputs
        }
        self._room(1)

    def _room(self, ticks: int) -> None:
        """Room for what enters and leaves in some ticks."""
        tape, memory, batch = self.tape, self.memory, self.session.batch
        width = sum(where.stop - where.start for where in tape.entering.values())
        self.entering = np.zeros((ticks, batch, width))
        self.leaving = np.zeros((ticks, batch, tape.shown), tape.weights.dtype)
        self.given = (
            *(tape.instructions, tape.numbers, tape.weights, tape.living, tape.maps, tape.fresh.values[0]),
            *(tape.fresh.registers[0], self.reals, tape.rules, self.entering, self.leaving),
            *(memory.values, memory.marks, memory.registers, self.tally),
        )
        self.ports = {name: self.entering[:, :, where] for name, where in tape.entering.items()}

    def run(self, values: Mapping[str, Any], ticks: int) -> bool:
        """Run some ticks.

        Arguments:
            values: Input → ``[ticks, N, *shape]``, or ``[N, *shape]`` of one.
            ticks: how many.

        Returns:
            Whether they have run; if not, something is no value of its Input, and nothing has happened.
        """
        if self.behind:
            self._load()
        if ticks > len(self.leaving):
            self._room(ticks)
        for name, into in self.ports.items():
            x = values[name]
            if x.dtype.kind not in "biuf" or (x.dtype.kind in "iu" and x.dtype.itemsize > 4):
                return False  # what float64 may not hold is for the ordinary check
            into[:ticks] = x.reshape(ticks, *into.shape[1:])
        if not self.kernel(*self.given, ticks):
            return False
        self.ahead, self.rows, self.session._moved = True, ticks, True
        self.ticks += ticks
        self.seen.clear()
        return True

    def step(self, values: Any) -> bool:
        """Run one tick on dense values, if that is what these are; see :meth:`run`."""
        given = values if isinstance(values, Mapping) else dict.fromkeys(self.shapes, values)
        if given.keys() != self.shapes.keys() or (given is not values and len(self.shapes) != 1):
            return False
        fits = (getattr(given[name], "shape", None) == shape for name, shape in self.shapes.items())
        return all(fits) and all(isinstance(x, np.ndarray) for x in given.values()) and self.run(given, 1)

    def block(self, feeds: Mapping[str, Feed], first: int, last: int) -> bool:
        """Run some ticks of dense sequences; see :meth:`run`."""
        if any(feed.streams is not None or feed.batch != self.session.batch for feed in feeds.values()):
            return False
        return self.run({name: feed.values[first:last] for name, feed in feeds.items()}, last - first)

    def outputs(self) -> dict[str, Array]:
        """What reached the Outputs in the last tick, ``[N, *shape]``, copies."""
        last = self.leaving[self.rows - 1]
        return {name: last[:, where].reshape(-1, *shape).copy() for name, (where, shape) in self.results.items()}

    def show(self, ref: Ref) -> None:
        """Put what a step gave in the last block into its buffer, with the list of its events.

        Raises:
            InputError: the tape keeps its values in another order.
        """
        ref = origin(self.session.plan.steps, ref)
        if ref in self.seen or not self.rows:
            return
        if ref not in self.tape.places:
            raise InputError(f"node '{ref[1]}' has no values where a tape runs; give it an Output")
        self.seen.add(ref)
        ticks = self.rows
        out = self.session._buffers[ref].rows(0, ticks * self.session.batch)
        np.copyto(out.value.reshape(ticks, self.session.batch, -1), self.leaving[:ticks, :, self.tape.places[ref]])
        cache.load("scan", out.value.dtype.name)(out.value, out.index, out.found)

    def remembered(self, ref: Ref) -> Array | None:
        """What a Memory that the tape keeps as a ring gave in the last tick, ``[N, K, *shape]``: it is its state."""
        ref = origin(self.session.plan.steps, ref)
        if not self.rows or ref in self.tape.places or not isinstance(self.session.plan.steps[ref].operation, Recall):
            return None
        self.settle()
        held: Array = self.session._exported(*ref)["line"]
        return held

    def settle(self) -> None:
        """Bring the session's state, counts and ticks to where the tape is."""
        self.count()
        if self.ahead:
            self.ahead = False
            for (path, ref), state in self._states().items():
                self._owner(path)._import(ref, state)

    def count(self) -> None:
        """Bring the session's counts and ticks to where the tape is."""
        if not self.ticks:
            return
        for column, (path, name, key) in enumerate(self.tape.tally):
            self._owner(path)._columns[name][key] += self.tally[:, column]
        self.tally[...] = 0
        for path, steps in self.tape.steps.items():
            owner, ticks = self._owner(path), self.ticks * steps
            for ref in owner.plan.timed:
                owner._clockwork.ran[ref] += ticks
            if path:  # the session itself goes on by itself
                owner._ran += ticks
                owner._now.tick += ticks
        self.ticks = 0

    def refresh(self, mask: NDArray[np.bool_] | None) -> None:
        """Bring the state of samples (None: of all) back to the fresh one."""
        if self.behind and mask is not None:
            self._load()
        chosen: Any = slice(None) if mask is None else mask
        fresh = self.tape.fresh
        self.memory.values[chosen] = fresh.values
        self.memory.marks[chosen] = fresh.marks
        self.memory.registers[chosen] = fresh.registers
        self.ahead, self.behind = True, False

    def replaced(self) -> None:
        """Learn that the session's state is about to be another than the tape's."""
        self.count()
        self.ahead, self.behind = False, True

    def _states(self) -> dict[tuple[Path, Ref], dict[str, Array]]:
        found: dict[tuple[Path, Ref], dict[str, Array]] = {}
        for path, ref, link in self.tape.links:
            link.take(found.setdefault((path, ref), {}), self.memory)
        return found

    def _load(self) -> None:
        for path, ref, link in self.tape.links:
            link.put(self._owner(path)._exported(*ref), self.memory)
        self.behind = False

    def _owner(self, path: Path) -> Session:
        owner = self.session
        for name in path:
            owner = owner.inner[name]
        return owner
