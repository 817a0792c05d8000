"""What enters a graph: dense arrays or event streams, checked against their Input and brought to its number type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine.events import EventStream
from neuroaccel.errors import EventsError, InputError
from neuroaccel.graph import Graph, Input

Values = NDArray[Any] | EventStream | Sequence[EventStream]
Inputs = Values | Mapping[str, Values]


def by_name(graph: Graph, inputs: Any) -> dict[str, Any]:
    """Inputs by the name of their node; a single one may come without its name.

    Raises:
        InputError: names that do not fit the graph.
    """
    if not isinstance(inputs, Mapping):
        if len(graph.inputs) != 1:
            raise InputError(f"the graph has the inputs {list(graph.inputs)}; give a dict of them")
        return {graph.inputs[0]: inputs}
    if set(inputs) != set(graph.inputs):
        raise InputError(f"inputs {sorted(map(str, inputs))} are given, the graph has {sorted(graph.inputs)}")
    return dict(inputs)


class Feed:
    """One input sequence, tick by tick.

    Arguments:
        name, node: the Input.
        values: ``[T, N, *shape]``, or one stream per sample.

    Raises:
        InputError: an array of another shape or type.
        EventsError: streams of another shape, or of different lengths.
    """

    def __init__(self, name: str, node: Input, values: Any) -> None:
        self.streams: list[EventStream] | None = None
        if isinstance(values, EventStream) or (
            isinstance(values, Sequence) and len(values) > 0 and all(isinstance(v, EventStream) for v in values)
        ):
            streams: list[EventStream] = [values] if isinstance(values, EventStream) else list(values)
            for sample, stream in enumerate(streams):
                if (stream.shape, stream.ticks) != (node.shape, streams[0].ticks):
                    raise EventsError(
                        f"input '{name}': sample {sample} has shape {stream.shape} and {stream.ticks} ticks, "
                        f"expected {node.shape} and {streams[0].ticks}"
                    )
            self.streams, self.ticks, self.batch = streams, streams[0].ticks, len(streams)
            return
        self.values = np.asarray(values)
        if self.values.dtype.kind not in "biuf" or self.values.shape[2:] != node.shape or self.values.ndim < 2:
            raise InputError(
                f"input '{name}' is {self.values.dtype}{list(self.values.shape)}, "
                f"expected numbers [T, N, {', '.join(map(str, node.shape))}]"
            )
        self.ticks, self.batch = self.values.shape[:2]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        if self.streams is None:
            yield from self.values
            return
        shape = self.streams[0].shape
        for tick in range(self.ticks):
            dense = np.zeros((self.batch, int(np.prod(shape, dtype=np.int64))))
            for row, stream in zip(dense, self.streams, strict=True):
                events = slice(stream.indptr[tick], stream.indptr[tick + 1])
                row[stream.index[events]] = 1 if stream.value is None else stream.value[events]
            yield dense.reshape(self.batch, *shape)


def entering(name: str, node: Input, values: Any, tick: int, dtype: DTypeLike) -> NDArray[Any]:
    """Values of one tick as the engine takes them: checked, rounded to a declared grid, flat.

    An analog Input with a grid rounds x·2^frac to the nearest whole number, halves to the even one, and clips it to
    [low, high]; without a grid its values pass as they are. Integer arithmetic takes the whole numbers.

    Arguments:
        name, node: the Input.
        values: ``[N, *shape]``.
        tick: for the message.
        dtype: float32, float64 or int64.

    Returns:
        ``[N, size]`` of that type.

    Raises:
        InputError: another shape, a value that is not finite, or, on a binary or count edge, no whole number within it.
    """
    x = np.asarray(values)
    if x.dtype.kind not in "biuf" or x.shape[1:] != node.shape or x.ndim != len(node.shape) + 1:
        raise InputError(
            f"input '{name}' is {x.dtype}{list(x.shape)} at tick {tick}, "
            f"expected numbers [N, {', '.join(map(str, node.shape))}]"
        )
    x = x.reshape(len(x), -1)
    if node.edge == "analog":
        _refuse(name, node, x, ~np.isfinite(x), tick, "a finite number")
        if node.grid is None:
            return x.astype(dtype)
        whole = np.clip(np.rint(np.ldexp(x.astype(np.float64), node.grid.frac)), node.grid.low, node.grid.high)
        return whole.astype(dtype) if np.dtype(dtype).kind == "i" else np.ldexp(whole, -node.grid.frac).astype(dtype)
    allowed = (x >= 0) & (x <= node.maximum)
    if x.dtype.kind == "f":
        allowed &= x == np.floor(np.where(np.isfinite(x), x, 0))
    expected = "0 or 1" if node.maximum == 1 else f"a whole number from 0 to {node.maximum}"
    _refuse(name, node, x, ~allowed, tick, expected)
    return x.astype(dtype)


def _refuse(name: str, node: Input, x: NDArray[Any], wrong: NDArray[np.bool_], tick: int, expected: str) -> None:
    places = np.argwhere(wrong)
    if len(places):
        sample, address = (int(k) for k in places[0])
        index = tuple(int(k) for k in np.unravel_index(address, node.shape))
        found = x[sample, address]
        raise InputError(
            f"input '{name}' is {found} at tick {tick}, sample {sample}, index {index}; expected {expected}"
        )
