"""Attention, LayerNorm and Softmax: what one query takes of K keys, and what is normalised over the last axis.

Attention on counts is exact in every arithmetic. The others are close: computed in float64 and rounded once to the
numbers of the run, so that they lie within :data:`TOLERANCE` of whoever computes them in float32 throughout.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.fixed import Format
from neuroaccel.engine.operation import Array, Operation, Static, Work
from neuroaccel.graph import nodes as n

# Largest distance of two executors' float32 values behind one close node that is fed the same, as a share of the
# largest value that can come of it: \|v\| of an attention, 1 of a softmax, \|weight\|·√D + \|bias\| of a LayerNorm.
TOLERANCE = 1e-5
INTEGERS = "integers have no {}; run it in float32, or use its exact sibling: attention on counts, or a Table"


class Attention(Operation):
    """Heads of attention: (q·k)·v·2^-shift on whole numbers, or softmax(scale·q·k)·v.

    A product of two operands that are not 0 is counted; behind a softmax no score is 0. Products with keys that the
    mask leaves out are gated.
    """

    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("products", "gated", "zero_input")

    def __init__(self, name: str, node: n.Attention, ports: list[Static], dtype: DTypeLike) -> None:
        self.node = node
        self.keys, self.width = ports[1].shape
        form = self._format(node, ports) if np.dtype(dtype).kind == "i" else None
        super().__init__(name, Static.plain(ports[0].shape, form), dtype)
        self.masked = len(ports) > 3
        each = self.width // node.heads
        self.scale = 1 / math.sqrt(each) if node.scale is None else node.scale
        # Integers keep the whole sum: their format takes the shift.
        self.factor = np.asarray(1 if form is not None else 2.0**-node.shift, self.dtype)[()]
        self.kernel = cache.load(f"attention_{node.how}", self.dtype.name)

    def _format(self, node: n.Attention, ports: list[Static]) -> Format:
        if node.how == "softmax":
            raise ValueError(INTEGERS.format("softmax"))
        formats = [port.format for port in ports[:3] if port.format is not None]
        if len(formats) < 3:
            raise ValueError("its input has no integer format; a readout can only lead to an Output")
        magnitude = math.prod(form.magnitude for form in formats) * self.keys * (self.width // node.heads)
        return Format(sum(form.frac for form in formats) + node.shift, magnitude).check("its sum of products")

    def scratch(self) -> dict[str, Any]:
        if self.node.how == "softmax":
            return {"room": (np.zeros(self.keys), np.zeros(self.width // self.node.heads))}
        return {"room": (np.zeros(self.width, np.int64), np.zeros(self.node.heads + 1, np.int64))}

    def run(self, work: Work) -> None:
        q, k, v = (port.value for port in work.ports[:3])
        mask = work.ports[3].value if self.masked else np.zeros((len(q), 0), self.dtype)
        shape = np.array([self.keys, self.width, self.node.heads, work.batch], np.int64)
        how = (self.scale,) if self.node.how == "softmax" else (self.dtype.type(0), self.factor)
        counts = (work.counts[column] for column in ("products", "gated", "zero_input"))
        self.kernel(q, k, v, mask, shape, *how, *work.scratch["room"], work.out.value, *counts)

    def explain(self) -> str:
        heads = f"{self.node.heads} heads, {self.keys} keys"
        if self.node.how == "softmax":
            return f"softmax attention in float64, {heads}"
        return f"attention on counts, {heads}; zeros of the query cost nothing"


class Normalised(Operation):
    """A LayerNorm or a Softmax, over the last axis."""

    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, node: n.LayerNorm | n.Softmax, port: Static, dtype: DTypeLike) -> None:
        if np.dtype(dtype).kind == "i":
            raise ValueError(INTEGERS.format(node.kind))
        super().__init__(name, Static.plain(port.shape), dtype)
        self.node = node

    def run(self, work: Work) -> None:
        width = self.static.shape[-1] if self.static.shape else 1
        x = work.ports[0].value.reshape(-1, width).astype(np.float64)
        work.out.value.reshape(x.shape)[...] = self._of(x)

    def _of(self, x: NDArray[np.float64]) -> Array:
        node = self.node
        if isinstance(node, n.Softmax):
            p = np.exp(x - x.max(axis=1, keepdims=True))
            return np.asarray(p / p.sum(axis=1, keepdims=True))
        away = x - x.mean(axis=1, keepdims=True)
        spread = np.sqrt(np.square(away).mean(axis=1, keepdims=True) + node.epsilon)
        return np.asarray(away / spread * node.weight.astype(np.float64) + node.bias.astype(np.float64))

    def explain(self) -> str:
        return f"{self.node.kind} in float64, rounded once"
