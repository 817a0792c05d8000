"""Nodes without weights: sources, sums, products, tables, selections, pools, delays, readouts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.fixed import Format, whole
from neuroaccel.engine.operation import NONE, SOME, Array, Latch, Operation, Static, Work
from neuroaccel.graph import nodes as n


class Source(Operation):
    """An Input: the session fills its buffer."""

    flags_value: ClassVar[bool] = True

    def run(self, work: Work) -> None:
        """Nothing to do: the values are there."""

    def silence(self, work: Work) -> bool:
        if work.out.found.any():
            return False
        work.out.reach[...] = NONE
        return True


class Constants(Operation):
    """The same values at every tick."""

    flags_value: ClassVar[bool] = True

    def __init__(self, name: str, node: n.Constant, dtype: DTypeLike) -> None:
        values: Array = np.asarray(node.value)
        form = None
        if np.dtype(dtype).kind == "i":
            exact = whole(node.value)
            form, values = exact.format, exact.values
        super().__init__(name, Static.plain(values.shape, form), dtype)
        self.values = values.astype(dtype).ravel()

    def run(self, work: Work) -> None:
        work.out.value[...] = self.values


class Sum(Operation):
    """Several edges: first + second, + third, each addition rounded."""

    def __init__(self, name: str, ports: list[Static], dtype: DTypeLike) -> None:
        form, self.shifts = None, [0] * len(ports)
        formats = [p.format for p in ports if p.format is not None]
        if formats:
            frac = max(f.frac for f in formats)
            self.shifts = [frac - f.frac for f in formats]
            form = Format(frac, sum(f.at(frac).magnitude for f in formats)).check("the sum of its edges")
        super().__init__(name, Static(ports[0].shape, np.any([p.biased for p in ports], axis=0), form), dtype)

    def run(self, work: Work) -> None:
        out = work.out
        for k, (port, shift) in enumerate(zip(work.ports, self.shifts, strict=True)):
            value = port.value << shift if shift else port.value
            if k == 0:
                out.value[...] = value
            else:
                np.add(out.value, value, out=out.value)
        if work.track:
            reaches = [port.reach for port in work.ports]
            if any((reach == SOME).any() for reach in reaches):
                np.bitwise_or.reduce([port.flags() for port in work.ports], axis=0, out=out.touched)
                out.reach[...] = SOME
            else:
                np.bitwise_or.reduce(reaches, axis=0, out=out.reach)


class Product(Operation):
    """in · gate; touched where both are."""

    def __init__(self, name: str, ports: list[Static], dtype: DTypeLike) -> None:
        a, b = ports
        form = None
        if a.format is not None and b.format is not None:
            form = Format(a.format.frac + b.format.frac, a.format.magnitude * b.format.magnitude).check("its product")
        gate = np.broadcast_to(b.biased.reshape(b.shape), a.shape).ravel()
        super().__init__(name, Static(a.shape, a.biased | gate, form), dtype)
        self.shapes = a.shape, b.shape

    def run(self, work: Work) -> None:
        (a, b), (shape, gate) = work.ports, self.shapes
        rows = len(work.out.found)

        def spread(x: Array) -> Array:
            return np.broadcast_to(x.reshape(rows, *gate), (rows, *shape)).reshape(rows, -1)

        np.multiply(a.value, spread(b.value), out=work.out.value)
        if work.track:
            np.bitwise_and(a.flags(), spread(b.flags()), out=work.out.touched)
            work.out.reach[...] = SOME


class Lookup(Operation):
    """values[x - low], x clipped to the table."""

    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, node: n.Table, port: Static, dtype: DTypeLike) -> None:
        values: Array = np.asarray(node.values)
        form = None
        if np.dtype(dtype).kind == "i":
            exact = whole(node.values)
            form, values = exact.format, exact.values
        super().__init__(name, Static.plain(port.shape, form), dtype)
        self.values, self.low = values.astype(dtype).ravel(), node.low

    def run(self, work: Work) -> None:
        position = np.rint(work.ports[0].value).astype(np.int64) - self.low
        np.take(self.values, position, out=work.out.value, mode="clip")


class Pick(Operation):
    """Entries along an axis."""

    def __init__(self, name: str, node: n.Select, port: Static, dtype: DTypeLike) -> None:
        places = np.arange(port.size).reshape(port.shape).take(node.indices, axis=node.axis)
        super().__init__(name, Static(places.shape, port.biased[places.ravel()], port.format), dtype)
        self.places = places.ravel()

    def run(self, work: Work) -> None:
        port, out = work.ports[0], work.out
        np.take(port.value, self.places, axis=1, out=out.value, mode="clip")
        if work.track:
            np.take(port.flags(), self.places, axis=1, out=out.touched, mode="clip")
            out.reach[...] = SOME


def pool_flags(flags: NDArray[Any], node: n.Pool2d, shape: tuple[int, ...]) -> NDArray[Any]:
    """Flags ``[..., C, H, W]`` -> ``[..., *shape]``: whether any in the window is set."""
    pads = [(0, 0)] * (flags.ndim - 2) + [(p, p + k) for p, k in zip(node.padding, node.kernel, strict=True)]
    padded = np.pad(flags, pads)
    out = np.zeros((*flags.shape[:-2], *shape[-2:]), flags.dtype)
    (sy, sx), (rows, columns) = node.stride, shape[-2:]
    for y in range(node.kernel[0]):
        for x in range(node.kernel[1]):
            out |= padded[..., y : y + sy * rows : sy, x : x + sx * columns : sx][..., :rows, :columns]
    return out


class Pool(Operation):
    """Sum, mean or spike-OR over windows of events."""

    reads_events: ClassVar[bool] = True

    def __init__(self, name: str, node: n.Pool2d, port: Static, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.node, self.shapes = node, (port.shape, shape)
        self.window = node.kernel[0] * node.kernel[1]
        form = port.format
        if form is not None and not isinstance(node, n.MaxPool2d):
            form = Format(form.frac, form.magnitude * self.window).check("its sum")
            if isinstance(node, n.AvgPool2d):
                if self.window & (self.window - 1):
                    raise ValueError(
                        f"integers have no mean over {self.window} values; use SumPool2d, or a power of two of them"
                    )
                form = Format(form.frac + self.window.bit_length() - 1, form.magnitude)
        biased = pool_flags(port.biased.reshape(port.shape), node, shape).ravel()
        super().__init__(name, Static(shape, biased, form), dtype)
        self.kernel = cache.load("pool2d", self.dtype.name)
        self.geometry = np.array(
            [*port.shape[1:], *shape[1:], *node.kernel, *node.stride, *node.padding], dtype=np.int64
        )

    def run(self, work: Work) -> None:
        port, out = work.ports[0], work.out
        self.kernel(port.value, port.index, port.found, self.geometry, out.value)
        if isinstance(self.node, n.MaxPool2d):
            np.greater(out.value, 0, out=out.value, casting="unsafe")
        elif isinstance(self.node, n.AvgPool2d) and self.dtype.kind == "f":
            np.divide(out.value, self.dtype.type(self.window), out=out.value)
        if work.track:
            before, after = self.shapes
            rows = len(out.found)
            out.touched[...] = pool_flags(port.flags().reshape(rows, *before), self.node, after).reshape(rows, -1)
            out.reach[...] = SOME


class Previous(Latch):
    """What a node gave one tick earlier, for the recurrent edges that leave it."""

    flags_value: ClassVar[bool] = False

    def __init__(self, name: str, static: Static, dtype: DTypeLike) -> None:
        super().__init__(name, Static(static.shape, static.biased, static.format), dtype)
        # No state of a program can be called so.
        self.fresh = {"@previous": np.zeros(static.shape, dtype), "@previous_touched": np.zeros(static.shape, np.uint8)}

    def emit(self, work: Work) -> None:
        work.out.value[...] = work.flat("@previous")
        work.out.touched[...] = work.flat("@previous_touched")
        work.out.reach[...] = SOME

    def take(self, work: Work) -> None:
        port = work.ports[0]
        work.flat("@previous")[...] = port.value
        if work.track:
            work.flat("@previous_touched")[...] = port.flags()


class Running(Operation):
    """A readout's running value. In integer arithmetic sums are integers, and the value is their real number."""

    flags_value: ClassVar[bool] = True
    passes_touched: ClassVar[bool] = False

    def __init__(self, name: str, node: n.Readout, port: Static, dtype: DTypeLike) -> None:
        integer = np.dtype(dtype).kind == "i"
        super().__init__(name, Static.plain(port.shape), np.float64 if integer else dtype)
        self.how, self.scale = node.how, 2.0 ** -(port.format.frac if port.format else 0)
        self.fresh = {"value": np.zeros(port.shape, dtype), "ticks": np.zeros((), np.int64)}

    def run(self, work: Work) -> None:
        value, ticks = work.flat("value"), work.state["ticks"]
        x = work.ports[0].value.reshape(work.ticks, work.batch, -1)
        if self.how == "last_membrane":
            running = x
        else:
            running = x.copy()
            if self.how == "max_membrane":
                np.copyto(running[0], np.maximum(value, x[0]), where=(ticks > 0)[:, None])
                np.maximum.accumulate(running, axis=0, out=running)
            else:
                np.add(value, x[0], out=running[0])
                np.add.accumulate(running, axis=0, out=running)
        value[...] = running[-1]
        out = work.out.value.reshape(running.shape)
        np.multiply(running, self.scale, out=out) if value.dtype.kind == "i" else np.copyto(out, running)
        if self.how == "mean_membrane":
            counted = ticks + np.arange(1, work.ticks + 1)[:, None]
            np.divide(out, counted.astype(out.dtype)[:, :, None], out=out)
        ticks += work.ticks

    def stand(self, work: Work, rows: NDArray[np.bool_]) -> None:
        """Give the running value of samples that do not run in this tick, 0 where there is none yet."""
        value, ticks = work.flat("value")[rows], work.state["ticks"][rows][:, None]
        shown = value * self.scale if value.dtype.kind == "i" else value
        if self.how == "mean_membrane":
            shown = shown / np.maximum(ticks, 1).astype(work.out.value.dtype)
        work.out.value[rows] = np.where(ticks > 0, shown, 0)
