"""What enters a graph: dense arrays or event streams, checked against their Input and brought to its number type."""

from __future__ import annotations

import functools
import math
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
Fill = Callable[[Buffer], bool]
SAME_DT = 1e-9  # relative: ticks this close are the same


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
        EventsError: streams of another shape, or of different lengths or ticks.
    """

    def __init__(self, name: str, node: Input, values: Any, first: int = 0) -> None:
        self.name, self.node, self.first = name, node, first
        self.streams: list[EventStream] | None = None
        self._entering: dict[np.dtype[Any], list[NDArray[Any]]] = {}
        if is_stream(values):
            streams: list[EventStream] = [values] if isinstance(values, EventStream) else list(values)
            for sample, stream in enumerate(streams):
                _check_stream(name, node, sample, stream, streams)
            self.streams, self.ticks, self.batch = streams, streams[0].ticks, len(streams)
            return
        self.values = np.asarray(values)
        if self.values.dtype.kind not in "biuf" or self.values.shape[2:] != node.shape or self.values.ndim < 2:
            raise InputError(
                f"input '{name}' is {self.values.dtype}{list(self.values.shape)}, "
                f"expected numbers [T, N, {', '.join(map(str, node.shape))}]"
            )
        self.ticks, self.batch = self.values.shape[:2]

    @property
    def dt(self) -> float | None:
        """Length of a tick in seconds; None where only its arrays are given."""
        return self.streams[0].dt if self.streams else None

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
        """Check some ticks, or all at once of streams, and give what puts them into an Input's buffer.

        Arguments:
            first, last: ticks of this sequence.
            tick: of the session at ``first``, for messages.
            dtype: float32, float64 or int64.

        Returns:
            What fills the first rows of a buffer with the values of these ticks and the list of their events.

        Raises:
            InputError: values that the Input does not allow.
        """
        dtype = np.dtype(dtype)
        if self.streams is None:
            rows = entering(self.name, self.node, self.values[first:last], tick, dtype, self.first)
            return functools.partial(_fill_dense, rows)
        if dtype not in self._entering:
            self._entering[dtype] = [self._whole(k, s, tick - first, dtype) for k, s in enumerate(self.streams)]
        return functools.partial(_fill_events, self.streams, self._entering[dtype], first)

    def _whole(self, sample: int, stream: EventStream, tick: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Values of all events, brought to the number type; none where all of them are 1."""
        value = stream.value
        if value is None:
            if self.node.grid is None:
                return np.zeros(0, dtype)
            value = np.ones(len(stream), np.float32)  # what 1 is on the grid
        wrong = np.flatnonzero(~_allowed(self.node, value, dtype))
        if len(wrong):
            event = int(wrong[0])
            when = tick + int(np.searchsorted(stream.indptr, event, side="right")) - 1
            _refuse(self.name, self.node, value[event], when, self.first + sample, int(stream.index[event]))
        return _rounded(self.node, value, dtype)


def is_stream(values: Any) -> bool:
    """Whether values are meant as event streams: one, or a sequence that holds one."""
    several = isinstance(values, Sequence) and not isinstance(values, (str, bytes))
    return isinstance(values, EventStream) or (several and any(isinstance(v, EventStream) for v in values))


def _check_stream(name: str, node: Input, sample: int, stream: Any, streams: Sequence[EventStream]) -> None:
    """Refuse a sample's stream that does not fit the Input or the other samples."""
    if not isinstance(stream, EventStream):
        raise EventsError(f"input '{name}': sample {sample} is a {type(stream).__name__}, expected an EventStream")
    first = streams[0]
    if (stream.shape, stream.ticks) != (node.shape, first.ticks):
        raise EventsError(
            f"input '{name}': sample {sample} has shape {stream.shape} and {stream.ticks} ticks, "
            f"expected {node.shape} and {first.ticks}"
        )
    if not math.isclose(stream.dt, first.dt, rel_tol=SAME_DT):
        raise EventsError(
            f"input '{name}': sample {sample} has ticks of {stream.dt:g} s, expected {first.dt:g} s as sample 0"
        )


def _fill_dense(rows: NDArray[Any], buffer: Buffer) -> bool:
    np.copyto(buffer.value, rows)
    cache.load("scan", rows.dtype.name)(buffer.value, buffer.index, buffer.found)
    return True


def _fill_events(streams: list[EventStream], values: list[NDArray[Any]], first: int, buffer: Buffer) -> bool:
    put = cache.load("enter", buffer.value.dtype.name)
    for sample, (stream, value) in enumerate(zip(streams, values, strict=True)):
        put(
            *(stream.indptr, stream.index, value, first, sample, len(streams)),
            *(buffer.value, buffer.index, buffer.found),
        )
    return True


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
    allowed = _allowed(node, x, dtype)
    if not allowed.all():
        row, address = (int(k) for k in np.argwhere(~allowed)[0])
        _refuse(name, node, x[row, address], tick + row // batch, first_sample + row % batch, address)
    return _rounded(node, x, dtype)


def _allowed(node: Input, x: NDArray[Any], dtype: DTypeLike) -> NDArray[np.bool_]:
    """Which values the Input allows."""
    if node.edge == "analog":
        if x.dtype.kind != "f" or np.dtype(dtype).kind != "f":
            return np.asarray(np.isfinite(x))
        # float64 values may lie beyond float32
        return np.asarray(np.abs(x) <= np.finfo(np.dtype(dtype)).max)
    allowed = (x >= 0) & (x <= node.maximum)
    return np.asarray(allowed & (x == np.floor(x)) if x.dtype.kind == "f" else allowed)


def _rounded(node: Input, x: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Allowed values in the number type, rounded to a declared grid."""
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
