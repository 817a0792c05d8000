"""What a session keeps for the nodes of a plan: buffers, states and counts, and the state as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.engine.operation import Array, Buffer, Now, Operation, Same, Work
from neuroaccel.engine.plan import Plan, Ref, origin
from neuroaccel.errors import StateError
from neuroaccel.graph import Neuron, Output

if TYPE_CHECKING:
    from neuroaccel.engine.taped import Taped

# State, counts, tick.
Moment = tuple[dict[str, NDArray[Any]], list[tuple[Array, Array]], int]


class Works:
    """The works of a plan's operations on N samples, and those of its scopes.

    Arguments:
        plan, batch, counts, record, block, dropped: see :class:`~neuroaccel.engine.session.Session`.
    """

    def __init__(
        self, plan: Plan, batch: int, counts: bool, record: bool | Literal["spikes"], block: int | None, dropped: bool
    ) -> None:
        self.plan, self.batch, self._track, self._record = plan, batch, counts, record is True
        self.watches, self._dropped = record, dropped
        self.block = block or plan.block(batch)
        self.inner: Mapping[str, Works] = {}
        self._now = Now()
        self._buffers: dict[Ref, Buffer] = {}
        self._works: dict[Ref, Work] = {}
        self._columns: dict[str, dict[str, NDArray[np.int64]]] = {}
        self._fresh: dict[Ref, dict[str, Array]] = {}  # the state of one sample, in its operation's layout
        self._moved = False  # whether its state may be another than the fresh one
        self._torn = False  # whether a block was broken off in the middle
        self._earlier: dict[str, dict[str, NDArray[np.int64]]] = {}  # what counts lack since weights were exchanged
        self._taped: Taped | None = None
        self._allocate()

    def _allocate(self) -> None:
        plan, rows = self.plan, self.block * self.batch
        for ref, step in plan.steps.items():
            if not isinstance(step.operation, Same):
                size = 0 if step.operation.merged else step.operation.static.size
                self._buffers[ref] = Buffer.empty(rows, size, step.operation.dtype)
        for ref, step in plan.steps.items():
            operation = step.operation
            node = plan.graph.nodes[ref[1]] if ref[0] == "node" else None
            counts = operation.counters(self.batch)
            if node is not None and not isinstance(node, Output):
                # What a neuron sends, its kernel counts as spikes.
                counts["events_out"] = counts["spikes"] if "spikes" in counts else np.zeros(self.batch, np.int64)
                if self._dropped or ref[1] in plan.dropping:
                    counts["ticks_run"] = np.zeros(self.batch, np.int64)
                self._columns[ref[1]] = counts
            states = len(node.program.states) if isinstance(node, Neuron) else 0
            kept = np.zeros((states, rows if self._record else 0, operation.static.size), operation.dtype)
            self._works[ref] = Work(
                tuple(self._buffer(source) for source in step.sources),
                self._buffer(ref),
                operation.allocate(self.batch),
                operation.scratch(),
                counts,
                self._track,
                self.block,
                kept,
                self._now,
            )
        for ref, step in plan.steps.items():
            for name, columns in step.operation.lent(self._works[ref].counts).items():
                self._columns[name].update(columns)

    def _buffer(self, ref: Ref) -> Buffer:
        """Nodes that pass their input on share its buffer."""
        return self._buffers[origin(self.plan.steps, ref)]

    def _settle(self) -> None:
        """Bring state and counts to the present tick, where a tape holds them."""
        if self._taped is not None:
            self._taped.settle()

    def _operation(self, name: str) -> Operation:
        return self.plan.steps["node", name].operation

    @property
    def tick(self) -> int:
        """Ticks since the last full reset."""
        return self._now.tick

    @property
    def counts(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        self._settle()
        kept = self._columns if self._track else {}
        found = {name: self._book(name, columns) for name, columns in kept.items()}
        for scope, inner in self.inner.items():
            found |= {f"{scope}/{name}": columns for name, columns in inner.counts.items()}
        return found

    def _book(self, name: str, columns: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        """A node's counts; some are derived from others, and with earlier weights were derived otherwise."""
        earlier = self._earlier.get(name, {})
        book = self._operation(name).book(columns)
        return {key: value + earlier[key] if key in earlier else value for key, value in book.items()}

    @property
    def weights_read(self) -> dict[str, NDArray[np.int64]]:
        self._settle()
        found = {name: c["weights_read"] for name, c in self._columns.items() if "weights_read" in c}
        for scope, inner in self.inner.items():
            found |= {f"{scope}/{name}": read for name, read in inner.weights_read.items()}
        return found

    def _copied_counts(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Every count with a copy of it, those of scopes among them."""
        mine = [(count, count.copy()) for columns in self._columns.values() for count in columns.values()]
        return mine + [pair for inner in self.inner.values() for pair in inner._copied_counts()]

    def neuron_state(self, name: str) -> dict[str, NDArray[Any]]:
        """A population's states after the last tick, ``[N, *shape]`` each, copies."""
        node = self.plan.graph.nodes[name]
        assert isinstance(node, Neuron)
        return {key: value for key, value in self._exported("node", name).items() if key in node.program.state_names}

    def state(self) -> dict[str, NDArray[Any]]:
        """The state as a value: ``node/variable`` → ``[N, ...]``, copies."""
        found = {f"{ref[1]}/{key}": v for ref in self._works for key, v in self._exported(*ref).items()}
        for name in self._carried:
            found |= {f"{name}/{key}": value for key, value in self.inner[name].state().items()}
        return found

    @property
    def _carried(self) -> list[str]:
        """Scopes whose state goes from tick to tick."""
        return [name for name, operation in self.plan.inner.items() if operation.node.state == "carry"]

    def _exported(self, *ref: Any) -> dict[str, Array]:
        operation, work = self.plan.steps[ref].operation, self._works[ref]
        self._settle()
        operation.settle(work)
        out = {}
        for key, fresh in operation.fresh.items():
            out[key] = np.array(operation.outward(key, work.state[key])).reshape(self.batch, *fresh.shape)
        return out

    def arrays(self) -> Iterator[Array]:
        """Everything that belongs to samples: states and counts, those of scopes among them; not copies."""
        self._settle()
        for work in self._works.values():
            yield from work.state.values()
            yield from work.counts.values()
        for inner in self.inner.values():
            yield from inner.arrays()

    def refresh(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Bring the state of samples (None: of all) back to the fresh one; counts go on."""
        if self._taped is not None:
            self._taped.refresh(mask)
            return
        chosen: Any = slice(None) if mask is None else mask
        for ref, work in self._works.items() if self._moved else ():
            if ref not in self._fresh:
                self._fresh[ref] = self.plan.steps[ref].operation.allocate(1)
            for key, array in work.state.items():
                array[chosen] = self._fresh[ref][key]
        self._moved = self._moved and mask is not None
        for inner in self.inner.values():
            inner.refresh(mask)

    def restore(self, state: Mapping[str, ArrayLike]) -> None:
        """Put a state back that :meth:`state` of a session of this graph, batch and arithmetic gave.

        Raises:
            StateError: it belongs to another graph, batch or arithmetic; nothing is changed then.
        """
        mine = self.state()
        if set(state) != set(mine):
            odd = sorted(set(state) ^ set(mine))
            raise StateError(f"the state does not belong to this graph: it differs in {', '.join(odd[:5])}")
        arrays = {key: np.asarray(value) for key, value in state.items()}
        for key, array in arrays.items():
            if (array.shape, array.dtype) != (mine[key].shape, mine[key].dtype):
                raise StateError(
                    f"state '{key}' is {array.dtype}{list(array.shape)}, "
                    f"expected {mine[key].dtype}{list(mine[key].shape)}"
                )
        self._put(arrays)

    def reset(self, mask: ArrayLike | None = None) -> None:
        """Bring samples back to the fresh state and their counts to 0.

        Arguments:
            mask: bool ``[N]``, the samples to reset; None for all.

        Raises:
            StateError: a mask of another shape or type.
        """
        some = None if mask is None else np.asarray(mask)
        if some is not None and (some.shape != (self.batch,) or some.dtype != np.bool_):
            raise StateError(f"the mask is {some.dtype}{list(some.shape)}, expected bool[{self.batch}]")
        self.refresh(some)
        if self._taped is not None:
            self._taped.count()
        chosen: Any = slice(None) if some is None else some
        for columns in (*self._columns.values(), *self._earlier.values()):
            for count in columns.values():
                count[chosen] = 0
        for inner in self.inner.values():
            inner.reset(mask)
        if mask is None:
            self._now.tick = 0
            self._mend()

    def moment(self) -> Moment | None:
        """Where the session stands: state, counts, tick. None where no tick of its plan can fail half way."""
        if not self.plan.has_overflow_errors:
            return None
        return self.state(), self._copied_counts(), self.tick

    def rewind(self, moment: Moment | None) -> None:
        """Go back to a moment, if it was kept."""
        if moment is None:
            return
        state, counts, self._now.tick = moment
        self._put(state)
        for count, before in counts:
            count[...] = before

    def _mend(self) -> None:
        """Forget what a block left that was broken off: there is a state to go on from."""
        for buffer in self._buffers.values() if self._torn else ():
            buffer.clear()
        self._torn = False
        for inner in self.inner.values():
            inner._mend()

    def _put(self, arrays: Mapping[str, Array]) -> None:
        self._mend()
        if self._taped is not None:
            self._taped.replaced()
        for ref, operation in ((ref, self.plan.steps[ref].operation) for ref in self._works):
            self._import(ref, {key: arrays[f"{ref[1]}/{key}"] for key in operation.fresh})
        for name in self._carried:
            mine = {key.removeprefix(f"{name}/"): v for key, v in arrays.items() if key.startswith(f"{name}/")}
            self.inner[name]._put(mine)

    def _import(self, ref: Ref, state: Mapping[str, Array]) -> None:
        """Put the state ``[N, ...]`` of an operation into its own layout."""
        operation, work, self._moved = self.plan.steps[ref].operation, self._works[ref], True
        for key, value in state.items():
            work.state[key][...] = operation.inward(key, value.reshape(self.batch, *operation.fresh[key].shape))
        operation.restored(work)
