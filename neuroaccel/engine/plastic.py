"""A Linear whose weights learn while it runs, by the three-factor rule of its ``Plastic``.

Weights and traces are states, of every sample its own. A tick has two parts: the sums in the node's turn, the rule at
the tick's end, when the third factor and the post-synaptic values of the same tick are there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from neuroaccel.engine import cache
from neuroaccel.engine.operation import Array, Int64, Learner, Static, Work
from neuroaccel.engine.synapses import bias_flags
from neuroaccel.graph import nodes as n
from neuroaccel.program.language import FLUSH_BELOW

COLUMNS = ("products", "zero_input", "pruned", "weights_read", "learning_updates")


class PlasticLinear(Learner):
    """A plastic Linear in ``float32`` or ``float64``.

    Arguments:
        node: its weights are those of a fresh sample; it has a grid.
        port: what enters it.
        shape: of what it gives.
        dtype: the arithmetic.
    """

    reads_events: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = COLUMNS

    def __init__(self, name: str, node: n.Linear, port: Static, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        super().__init__(name, Static(shape, bias_flags(node, shape)), dtype)
        assert node.plastic is not None
        assert node.grid is not None
        weight = node.weight.astype(self.dtype)
        # The names hold no state of a program, and in a session's state they say what they are.
        self.fresh = {"weight": weight, "trace": np.zeros_like(weight)}
        self.bias = np.zeros(0, self.dtype) if node.bias is None else node.bias.astype(self.dtype)
        rule, q = node.plastic, node.grid.q
        decay, rate = np.float32(rule.trace_decay), np.float32(rule.rate)
        least = FLUSH_BELOW if self.dtype == np.float32 else 0.0
        self.rule = np.array([decay, rate, 2.0**q, 2.0**-q, rule.limit(q), least], self.dtype)
        self.kernel = cache.load("plastic", self.dtype.name)

    def inward(self, key: str, value: Array) -> Array:
        return np.ascontiguousarray(value.swapaxes(-1, -2))

    def outward(self, key: str, value: Array) -> Array:
        return value.swapaxes(-1, -2) if key in self.fresh else value

    def book(self, counts: Mapping[str, Int64]) -> dict[str, Int64]:
        return {key: value for key, value in counts.items() if key != "weights_read"}

    def react(self, work: Work) -> None:
        self._go(work, True, False)

    def learn(self, work: Work) -> None:
        self._go(work, False, True)

    def run(self, work: Work) -> None:
        self._go(work, True, True)

    def _go(self, work: Work, react: bool, learn: bool) -> None:
        (port, third, post), out, state = work.ports, work.out, work.state
        counts = (work.counts[column] for column in COLUMNS)
        self.kernel(
            *(port.value, port.index, port.found, third.value, post.value, state["weight"], state["trace"]),
            *(self.bias, self.rule, out.value, out.reach, out.touched, *counts, react, learn, work.track),
        )

    def loaded(self, work: Work, arrays: Collection[str]) -> None:
        if "weight" in arrays:
            work.state["weight"][...] = self.inward("weight", self.fresh["weight"])

    def explain(self) -> str:
        outputs, inputs = self.fresh["weight"].shape
        return f"linear {inputs} -> {outputs} whose weights learn: every sample has its own, and learns tick by tick"


def learner(operation: Any) -> PlasticLinear | None:
    """The plastic synapse that an operation is, or holds where it delivers a tick later."""
    inner = getattr(operation, "inner", operation)
    return inner if isinstance(inner, PlasticLinear) else None
