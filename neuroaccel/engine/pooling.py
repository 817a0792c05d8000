"""Pools whose input is never negative: events in, events out, and nothing looks at a whole image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from neuroaccel.engine import cache
from neuroaccel.engine.convolution import FIELDS, axis, division
from neuroaccel.engine.elementwise import Pool
from neuroaccel.engine.operation import Static, Work
from neuroaccel.graph import nodes as n


class EventPool(Pool):
    """Sum, mean or spike-OR over windows of a binary or count edge.

    Sums of what is not negative are 0 only where no event came: an element is touched exactly where it is not 0.
    """

    finds_events: ClassVar[bool] = True
    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, node: n.Pool2d, port: Static, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        super().__init__(name, node, port, shape, dtype)
        options = (node.kernel, node.stride, node.padding)
        y, x = (axis(*of, 1) for of in zip(port.shape[1:], shape[1:], *options, strict=True))
        area, width = port.shape[1] * port.shape[2], port.shape[2]
        values = dict(zip(FIELDS[:6], (*division(area), area, *division(width), width), strict=True))
        values["out_columns"] = shape[2]
        self.table_y, self.table_x = y.table, x.table
        self.layout = np.array([values.get(field, 0) for field in FIELDS], np.int64)
        # Integers keep the sum of a mean: their format takes the division.
        self.divisor = self.window if isinstance(node, n.AvgPool2d) and self.dtype.kind == "f" else 0
        self.kernel = cache.load("pool_events", self.dtype.name)

    def run(self, work: Work) -> None:
        port, out = work.ports[0], work.out
        self.kernel(
            *(port.value, port.index, port.found, self.table_y, self.table_x, self.layout),
            *(isinstance(self.node, n.MaxPool2d), self.dtype.type(self.divisor)),
            *(out.value, out.index, out.found),
        )

    def explain(self) -> str:
        most = int(self.table_y[:, 1].max(initial=0)) * int(self.table_x[:, 1].max(initial=0))
        return f"events, each in up to {most} windows; nothing looks at the rest"
