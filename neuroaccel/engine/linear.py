"""Linear on events: every event adds one row of W^T; bias last.

A target's sum begins at 0 and takes its inputs in the order of rising addresses, whichever kernel does it; where sums
are exact, the order is the event list's.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.operation import ALL, Array, Buffer, Int64, Static, Work
from neuroaccel.engine.schedule import BYTES, LinearRule, Schedule, machine_caches
from neuroaccel.engine.storage import bit_masks, csr, narrowest, panels, stored
from neuroaccel.engine.synapses import Synapses
from neuroaccel.graph import nodes as n

Lists = NDArray[np.int32]
# Below this share of living weights CSR rows are kept beside the panels, and the rule decides block by block.
KEEP_SPARSE = 0.25


class Linear(Synapses):
    """A Linear node in ``float32``, ``float64`` or ``int64``.

    In float32 by panels, CSR rows, living weights target by target, or a product of matrices; else by the plain loop.

    Arguments:
        weight: ``[out, in]``, in the type that is computed in.
        bias: ``[out]`` or None.
        kind: of the edge that enters; where it is ``binary`` every value is 1 or 0.
        exact: every order of summation gives the same sums (the node's signal lies on a grid that float32 holds).
    """

    def __init__(
        self,
        name: str,
        node: n.Synapse,
        port: Static,
        target: Static,
        weight: Array,
        bias: Array | None,
        kind: n.EdgeKind = "analog",
        exact: bool = False,
    ) -> None:
        super().__init__(name, node, port, target, weight.dtype)
        self.outputs, self.inputs = weight.shape
        self.exact = exact or weight.dtype == np.int64
        self.matrix = weight
        self.bias = np.zeros(0, weight.dtype) if bias is None else bias
        lead = port.size // self.inputs
        alive = weight != 0
        # Without zeros, and with one place, an event reaches all targets.
        self.masks = None if alive.all() and lead == 1 else bit_masks(alive.T)
        self.rule: LinearRule | None = None
        self.plans: dict[Schedule, Int64] = {}
        self.choices: dict[tuple[int, int, int], Schedule] = {}
        self.lines: tuple[Int64, NDArray[np.uint32], Array] | None = None
        if weight.dtype != np.float32:
            self.rows = np.ascontiguousarray(weight.T)
            return
        self.scaled = scaled = kind != "binary"
        self.storage, self.scale = narrowest(weight, exact and not scaled)
        self.panels = panels(stored(weight.T, self.storage, self.scale))
        # How many rows 16 bits can add up.
        largest = float(np.abs(weight).max(initial=0)) / self.scale
        self.most = 32767 // max(1, int(largest)) if self.storage == "i1" else 1 << 40
        living = float(alive.mean())
        self.sparse = csr(weight.T) if living < KEEP_SPARSE else None
        shape = (self.inputs, self.outputs, lead, self.storage, living)
        if self.sparse is not None and lead == 1 and not scaled:
            self.lines = csr(weight)  # target by target, for events that are all 1
        self.rule = LinearRule(*shape, self.exact, self.sparse is not None, machine_caches(), self.lines is not None)
        self.single = self.rule.choose(1, 1)

    # Kernels are loaded by `prepare`, for a session may run by a tape, which needs none of them.

    @cached_property
    def reach(self) -> cache.Kernel:
        return cache.load("linear_reach", "int64")

    @cached_property
    def order(self) -> cache.Kernel:
        return cache.load("linear_order", "int64")

    @cached_property
    def plain(self) -> cache.Kernel:
        return cache.load("linear_plain", self.dtype.name)

    @cached_property
    def near(self) -> cache.Kernel:
        return cache.load("linear_panels", "float32", STORAGE=self.storage, SCALED=self.scaled, AHEAD=False)

    @cached_property
    def ahead(self) -> cache.Kernel:
        if self.rule is None or self.rule.level == "L2":  # nothing will ask for it
            return self.near
        return cache.load("linear_panels", "float32", STORAGE=self.storage, SCALED=self.scaled, AHEAD=True)

    @cached_property
    def by_lines(self) -> cache.Kernel:
        return cache.load("linear_lines", "float32")

    @cached_property
    def by_csr(self) -> cache.Kernel:
        return cache.load("linear_csr", "float32", SCALED=self.scaled)

    def prepare(self) -> None:
        _ = self.reach, self.order
        if self.rule is None:
            _ = self.plain
            return
        _ = self.near, self.ahead
        if self.sparse is not None:
            _ = self.by_csr
        if self.lines is not None:
            _ = self.by_lines

    @property
    def weight_width(self) -> int:
        return self.dtype.itemsize if self.rule is None else BYTES[self.storage]

    def sums(self, work: Work, value: Array) -> None:
        port, out = work.ports[0], work.out
        self.currents(value, port.index, port.found, out.value)
        self.flag(port, out, work.track)

    def currents(
        self, value: Array, index: Lists, found: Int64, current: Array, schedule: Schedule | None = None
    ) -> Schedule:
        """Set the sums of all rows.

        Arguments:
            value, index: ``[R, lead * in]``; found: ``[R]``.
            current: ``[R, lead * out]``.
            schedule: in place of the rule's choice.

        Returns:
            What ran.
        """
        chosen = schedule or self.chosen(len(found), found)
        if chosen.kind == "dense":
            self.product(value, current)
        elif chosen.kind == "plain":
            lists, _ = self.arranged(index, found, 0, not self.exact)
            self.plain(value, lists, found, self.rows, self.bias, current)
        elif chosen.kind == "csr":
            if self.sparse is None:
                raise ValueError(f"node '{self.name}': no CSR rows, {self.explain()}")
            lists, _ = self.arranged(index, found, 0, not self.exact)
            self.by_csr(value, lists, found, *self.sparse, self.bias, current)
        elif chosen.kind == "lines":
            if self.lines is None:
                raise ValueError(f"node '{self.name}': no living weights by target, {self.explain()}")
            self.by_lines(index, found, *self.lines, self.bias, current)
        else:
            lists, bounds = self.arranged(index, found, chosen.tile, not self.exact)
            if chosen not in self.plans:
                plan = (self.inputs, self.outputs, chosen.tile, chosen.group, self.most, int(chosen.streamed))
                self.plans[chosen] = np.array(plan, np.int64)
            kernel = self.ahead if chosen.ahead else self.near
            kernel(value, lists, bounds, self.panels, self.bias, current, self.plans[chosen], self.scale)
        return chosen

    def chosen(self, rows: int, found: Int64) -> Schedule:
        """What the rule says of these events."""
        if self.rule is None:
            return Schedule("plain", self.inputs)
        if rows == 1 and self.sparse is None:
            return self.single
        events = int(found.sum())
        # Numbers of events that share their leading bits share a choice, which is made once.
        fine = max(events.bit_length() - 4, 0)
        alike = rows, events >> fine, fine
        if alike not in self.choices:
            self.choices[alike] = self.rule.choose(rows, events >> fine << fine)
        return self.choices[alike]

    def product(self, value: Array, current: Array) -> None:
        """All sums as one product of matrices."""
        places = current.size // self.outputs
        total = current.reshape(places, self.outputs)
        np.matmul(value.reshape(places, self.inputs), self.matrix.T, out=total)
        # A sum that begins at 0 is never -0; a product of matrices may be.
        total += 0.0
        if self.bias.size:
            total += self.bias

    def arranged(self, index: Lists, found: Int64, tile: int, rising: bool) -> tuple[Lists, Int64]:
        """The event lists, and where in them each tile of inputs begins.

        Arguments:
            index, found: of R rows.
            tile: inputs of a tile; tiles end at the ends of leading places. 0: rows are not cut.
            rising: sort lists that are not rising; done in any case where rows are cut.
        """
        rows, size = index.shape
        inputs, tile = (self.inputs, tile) if tile else (size, size)
        if not rising and tile == size:
            whole = np.zeros((rows, 2), np.int64)
            whole[:, 1] = found
            return index, whole
        segments = size // inputs * -(-inputs // tile)
        bounds = np.empty((rows, segments + 1), np.int64)
        rising = rising or segments > 1
        room = np.empty((rows, size) if rising else (0, 0), np.int32)
        moved = self.order(index, found, inputs, tile, rising, room, bounds)
        return (room if moved else index), bounds

    def flag(self, port: Buffer, out: Buffer, exactly: bool) -> None:
        """Set ``reach`` and ``touched``; unless ``exactly``, more may be touched than an event reached."""
        if self.masks is None or not exactly:
            np.multiply(port.found > 0, np.uint8(ALL), out=out.reach)
            return
        lists, bounds = self.arranged(port.index, port.found, self.inputs, rising=False)
        self.reach(lists, port.found, bounds, self.masks, self.inputs, self.outputs, out.reach, out.touched)

    def explain(self) -> str:
        """Which kernel runs, and why, in a line."""
        if self.rule is None:
            return f"linear {self.inputs} -> {self.outputs}: the plain loop, the only one for {self.dtype.name}"
        return f"linear {self.inputs} -> {self.outputs}: {self.rule.explain()}"
