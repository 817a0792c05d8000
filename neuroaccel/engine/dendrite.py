"""Dendrites on events: W and V stacked into one synapse, so that one pass over the events makes both sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.convolution import Convolution
from neuroaccel.engine.linear import Linear
from neuroaccel.engine.operation import NONE, Array, Buffer, Int64, Operation, Static, Work
from neuroaccel.engine.synapses import Synapses, bias_flags
from neuroaccel.graph import nodes as n
from neuroaccel.graph.counting import reached
from neuroaccel.graph.fanout import fan_out

INTEGERS = "an Arithmetic has no format for its product y·z; run it in float32"


class Dendrite(Operation):
    """y = W·x; z = V·x; i = (y·z + y) + b, each rounded: a Linear or Convolution of the rows of W and V, and a product.

    Rows without a living weight are left out: their sums are 0.

    Arguments:
        name, node: the node.
        port: what is known of its input.
        shape: of its output.
        number: ``float32`` or ``float64``.
        kind: of what enters it.
        exact: both sums are the same in every order of addition.
    """

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = (*Synapses.columns, "interactions")

    def __init__(
        self,
        name: str,
        node: n.Dendrite,
        port: Static,
        shape: tuple[int, ...],
        number: str,
        kind: n.EdgeKind,
        exact: bool,
    ) -> None:
        super().__init__(name, Static(shape, bias_flags(node, shape)), number)
        self.y_at, self.z_at, rows = stacked(node)
        both = np.concatenate([node.weight, node.gate])[rows]
        weight = np.ascontiguousarray(both.astype(self.dtype))
        self.synapse = self._synapse(node, both, port, weight, kind, exact)
        self.turned = node.stride is not None
        outputs = np.arange(len(node.weight))
        self.plain = bool((self.y_at == outputs).all() and (self.z_at == len(outputs) + outputs).all())
        bias = np.zeros(len(outputs)) if node.bias is None else node.bias
        # A sum of 0 and a bias of -0 is 0.
        self.bias = np.ascontiguousarray(bias, self.dtype) + self.dtype.type(0)
        self.biased = bool(self.static.biased.any())
        alive = reached(node, node.weight, port.shape) & reached(node, node.gate, port.shape)
        self.products = int(alive.sum())
        full = 2 * int(fan_out(node, port.shape)[0].sum())
        self.pruned = full - self.synapse.all_living + self.static.size - self.products
        self.kernel = cache.load("dendrite", self.dtype.name)
        by_lines = isinstance(self.synapse, Linear) and self.synapse.lines is not None
        self.by_lines = cache.load("dendrite_lines", "float32") if by_lines else None

    def _synapse(
        self, node: n.Dendrite, both: Array, port: Static, weight: Array, kind: n.EdgeKind, exact: bool
    ) -> Linear | Convolution:
        """What sums the rows of W and V."""
        if node.stride is None:
            target = Static.plain((*self.static.shape[:-1], len(weight)))
            return Linear(self.name, n.Linear(both), port, target, weight, None, kind, exact)
        target = Static.plain((len(weight), *self.static.shape[1:]))
        how = {"stride": node.stride, "padding": node.padding, "dilation": node.dilation, "groups": node.groups}
        conv = n.Conv2d(both, **how)  # type: ignore[arg-type]
        return Convolution(self.name, conv, port, target, weight, None, cells=True, ones=kind == "binary")

    @property
    def weight_width(self) -> int:
        return self.synapse.weight_width

    def prepare(self) -> None:
        self.synapse.prepare()

    def scratch(self) -> dict[str, Any]:
        return {"synapse": self.synapse.scratch(), "zeros": 0}

    def book(self, counts: Mapping[str, Int64]) -> dict[str, Int64]:
        kept = {key: value for key, value in counts.items() if key not in ("ticks", "weights_read")}
        possible = (self.synapse.all_living + self.products) * counts["ticks"]
        zero_input = possible - counts["products"] - counts["interactions"]
        return {**kept, "zero_input": zero_input, "pruned": self.pruned * counts["ticks"]}

    def restored(self, work: Work) -> None:
        work.given = ()  # of other weights, perhaps

    def run(self, work: Work) -> None:
        if work.track:
            self.synapse.count(work)
        work.scratch["zeros"] = 0
        work.given = work.given or self._given(work)
        sums, before, after = work.given
        made = self._by_lines(sums, work.out.value)
        if not made:
            self.synapse.sums(sums, sums.ports[0].value)
        self.kernel(*before, made, *after)

    def _by_lines(self, sums: Work, current: Array) -> bool:
        """Make sums and products in one, neuron by neuron, where the rule takes the sums so."""
        synapse, port = self.synapse, sums.ports[0]
        if self.by_lines is None or not isinstance(synapse, Linear) or synapse.lines is None:
            return False
        if synapse.chosen(len(port.found), port.found).kind != "lines":
            return False
        self.by_lines(port.index, port.found, *synapse.lines, self.y_at, self.z_at, self.bias, current)
        if sums.track:
            synapse.flag(port, sums.out, True)
        return True

    def _given(self, work: Work) -> tuple[Work, tuple[Any, ...], tuple[Any, ...]]:
        """The work of the synapse, and what the kernel gets before and after whether currents are there already."""
        port, out, s, rows = work.ports[0], work.out, work.scratch, len(work.out.found)
        if "sums" not in s or len(s["sums"].found) < rows:
            s["sums"] = Buffer.empty(rows, self.synapse.static.size, self.dtype)
        sums = s["sums"].rows(0, rows)
        interactions = work.counts["interactions"] if work.track else np.zeros(work.batch, np.int64)
        given = sums.value, sums.touched, sums.reach, port.found, self.y_at, self.z_at, self.bias
        to = out.value, out.touched, out.reach, interactions, work.track
        return replace(work, out=sums, scratch=s["synapse"]), (*given, self.plain, self.turned), to

    def silence(self, work: Work) -> bool:
        if self.biased:
            return False
        if work.track:
            self.synapse.count(work)
        out, rows = work.out, len(work.out.found)
        if work.scratch["zeros"] < rows:
            out.value[...] = 0
            work.scratch["zeros"] = rows
        out.found[...] = 0
        out.reach[...] = NONE
        return True

    def explain(self) -> str:
        missing = [f"{int((at < 0).sum())} of {which}" for which, at in (("W", self.y_at), ("V", self.z_at))]
        left_out = "" if self.plain else f"; channels without a living weight: {', '.join(missing)}, left out"
        return f"W and V in one pass over the events{left_out}; {self.synapse.explain()}"


def stacked(node: n.Dendrite) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """How W and V lie as one synapse.

    Returns:
        neuron or channel → its row of W among those kept (-1: none), the same for V, and the rows kept of W above V.
        With groups all are kept, W's and V's group by group.
    """
    outputs, groups = len(node.weight), node.groups if node.stride is not None else 1
    order = np.arange(2 * outputs).reshape(2, groups, -1).swapaxes(0, 1).ravel()
    alive = np.concatenate([array.reshape(outputs, -1).any(axis=1) for array in (node.weight, node.gate)])
    if groups > 1 or not alive.any():
        alive[:] = True
    rows = order[alive[order]]
    at = np.full(2 * outputs, -1, np.int64)
    at[rows] = np.arange(len(rows))
    return at[:outputs].copy(), at[outputs:].copy(), rows
