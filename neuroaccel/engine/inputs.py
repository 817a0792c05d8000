"""What enters a graph: dense arrays or event streams, checked against their Input and brought to its number type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroaccel.engine import cache
from neuroaccel.engine.events import EventStream
from neuroaccel.engine.operation import Buffer
from neuroaccel.errors import EventsError, InputError
from neuroaccel.graph import Graph, Input

Values = NDArray[Any] | EventStream | Sequence[EventStream]
Inputs = Values | Mapping[str, Values]
Fill = Callable[[Buffer], None]


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
    """One input sequence.

    Arguments:
        name, node: the Input.
        values: ``[T, N, *shape]``, or one stream per sample.
        first: number of the first sample, for messages.

    Raises:
        InputError: an array of another shape or type.
        EventsError: streams of another shape, or of different lengths.
    """

    def __init__(self, name: str, node: Input, values: Any, first: int = 0) -> None:
        self.name, self.node, self.first = name, node, first
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

    @staticmethod
    def of_tick(name: str, node: Input, values: Any, tick: int) -> Feed:
        """One tick's values ``[N, *shape]``.

        Raises:
            InputError: another shape or type.
        """
        x = np.asarray(values)
        if x.dtype.kind not in "biuf" or x.ndim != len(node.shape) + 1 or x.shape[1:] != node.shape:
            raise _odd(name, node, x, tick)
        return Feed(name, node, x[None])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Dense values of every tick, ``[N, *shape]``."""
        for tick in range(self.ticks):
            yield self.dense(tick, tick + 1)[0]

    def dense(self, first: int, last: int) -> NDArray[Any]:
        """Dense values of some ticks, ``[ticks, N, *shape]``."""
        if self.streams is None:
            return self.values[first:last]
        return np.stack([stream.slice(first, last).to_dense(np.float64) for stream in self.streams], axis=1)

    def samples(self, first: int, last: int) -> Feed:
        """Some of the samples."""
        part = self.values[:, first:last] if self.streams is None else self.streams[first:last]
        return Feed(self.name, self.node, part, self.first + first)

    def check(self, first: int, last: int, tick: int, dtype: DTypeLike) -> Fill:
        """Check some ticks, and give what puts them into an Input's buffer.

        Arguments:
            first, last: ticks of this sequence.
            tick: of the session at ``first``, for messages.
            dtype: float32, float64 or int64.

        Raises:
            InputError: values that the Input does not allow.
        """
        if self.streams is None or self.node.edge == "analog":
            rows = entering(self.name, self.node, self.dense(first, last), tick, dtype, self.first)
            return lambda buffer: np.copyto(buffer.value, rows)
        values = [self._whole(n, stream, first, last, tick).astype(dtype) for n, stream in enumerate(self.streams)]
        put, streams = cache.load("enter", np.dtype(dtype).name), self.streams

        def fill(buffer: Buffer) -> None:
            for n, (stream, value) in enumerate(zip(streams, values, strict=True)):
                put(
                    stream.indptr, stream.index, value, first, n, len(streams), buffer.value, buffer.index, buffer.found
                )

        return fill

    def _whole(self, sample: int, stream: EventStream, first: int, last: int, tick: int) -> NDArray[Any]:
        """Values of the events of some ticks; none where all are 1."""
        if stream.value is None:
            return np.zeros(0)
        start, stop = stream.indptr[first], stream.indptr[last]
        value = stream.value[start:stop]
        wrong = np.flatnonzero((value < 0) | (value > self.node.maximum) | (value != np.floor(value)))
        if len(wrong):
            event = int(start + wrong[0])
            when = tick + int(np.searchsorted(stream.indptr, event, side="right")) - 1 - first
            _refuse(self.name, self.node, value[wrong[0]], when, self.first + sample, int(stream.index[event]))
        return value


def entering(name: str, node: Input, values: Any, tick: int, dtype: DTypeLike, first_sample: int = 0) -> NDArray[Any]:
    """Values as the engine takes them: checked, rounded to a declared grid, flat.

    An analog Input with a grid rounds x·2^frac to the nearest whole number, halves to the even one, and clips it to
    [low, high]; without a grid its values pass as they are. Integer arithmetic takes the whole numbers.

    Arguments:
        name, node: the Input.
        values: ``[N, *shape]`` of one tick, or ``[K, N, *shape]``.
        tick, first_sample: of the first value, for the message.
        dtype: float32, float64 or int64.

    Returns:
        ``[N, size]`` or ``[K * N, size]`` of that type.

    Raises:
        InputError: another shape, a value that is not finite, or, on a binary or count edge, no whole number within it.
    """
    x = np.asarray(values)
    lead = x.ndim - len(node.shape)
    if x.dtype.kind not in "biuf" or lead not in (1, 2) or x.shape[lead:] != node.shape:
        raise _odd(name, node, x, tick)
    batch = x.shape[lead - 1]
    x = x.reshape(-1, int(np.prod(node.shape, dtype=np.int64)))
    if node.edge == "analog":
        allowed = np.isfinite(x)
    else:
        allowed = (x >= 0) & (x <= node.maximum)
        if x.dtype.kind == "f":
            allowed &= x == np.floor(x)
    if not allowed.all():
        row, address = (int(k) for k in np.argwhere(~allowed)[0])
        _refuse(name, node, x[row, address], tick + row // batch, first_sample + row % batch, address)
    if node.edge != "analog" or node.grid is None:
        return x.astype(dtype)
    whole = np.clip(np.rint(np.ldexp(x.astype(np.float64), node.grid.frac)), node.grid.low, node.grid.high)
    return whole.astype(dtype) if np.dtype(dtype).kind == "i" else np.ldexp(whole, -node.grid.frac).astype(dtype)


def _odd(name: str, node: Input, x: NDArray[Any], tick: int) -> InputError:
    expected = f"expected numbers [N, {', '.join(map(str, node.shape))}]"
    return InputError(f"input '{name}' is {x.dtype}{list(x.shape)} at tick {tick}, {expected}")


def _refuse(name: str, node: Input, found: Any, tick: int, sample: int, address: int) -> None:
    index = tuple(int(k) for k in np.unravel_index(address, node.shape))
    expected = "a finite number" if node.edge == "analog" else f"a whole number from 0 to {node.maximum}"
    if node.edge != "analog" and node.maximum == 1:
        expected = "0 or 1"
    raise InputError(f"input '{name}' is {found} at tick {tick}, sample {sample}, index {index}; expected {expected}")
