"""What a recording holds, in numbers: counts, rates, polarity, hot pixels, dead pixels, the time between events."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.events import Events

HOT = 10.0  # times the standard deviation above the mean of the pixels that gave events
NAMED = 10  # hot pixels that are listed


@dataclass(frozen=True)
class Inspection:
    """Numbers of one recording.

    Arguments:
        events: number of events.
        span_us: time from the first to the last event.
        rate: events per second of that span; NaN where it is 0.
        peak_rate: events per second in the fullest 10 ms.
        sensor_size: ``(W, H, P)``.
        brighter: share of events of polarity 1; NaN without events.
        active: share of the pixels that gave an event.
        dead: share of those that gave none.
        hot: how many pixels gave more events than the mean plus ten standard deviations over the active ones.
        hot_share: share of the events that come from these.
        hottest: the first of them as ``(x, y, events)``, most events first.
        interval_us: quantiles 0.05, 0.5 and 0.95 of the time between two events, NaN where there are fewer.
        pixel_interval_us: the same between two events of one pixel.
    """

    events: int
    span_us: int
    rate: float
    peak_rate: float
    sensor_size: tuple[int, int, int]
    brighter: float
    active: float
    dead: float
    hot: int
    hot_share: float
    hottest: tuple[tuple[int, int, int], ...]
    interval_us: tuple[float, float, float]
    pixel_interval_us: tuple[float, float, float]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        return asdict(self)


def inspect_events(events: Events) -> Inspection:
    """Count a recording.

    Arguments:
        events: the recording.

    Returns:
        Its numbers.
    """
    data, (width, height, _) = events.data, events.sensor_size
    n = len(data)
    t = data["t"]
    pixel = data["y"].astype(np.int64) * width + data["x"]
    count = np.bincount(pixel, minlength=width * height)
    given = count[count > 0]
    limit = float(given.mean() + HOT * given.std()) if n else np.inf
    hot = np.flatnonzero(count > limit)
    hot = hot[np.argsort(-count[hot], kind="stable")]
    span = int(t[-1] - t[0]) if n else 0
    return Inspection(
        events=n,
        span_us=span,
        rate=n / span * 1e6 if span else float("nan"),
        peak_rate=_peak(t, 10_000),
        sensor_size=events.sensor_size,
        brighter=float(np.count_nonzero(data["p"]) / n) if n else float("nan"),
        active=len(given) / count.size,
        dead=1 - len(given) / count.size,
        hot=len(hot),
        hot_share=float(count[hot].sum() / n) if n else 0.0,
        hottest=tuple((int(p % width), int(p // width), int(count[p])) for p in hot[:NAMED]),
        interval_us=_quantiles(np.diff(t)),
        pixel_interval_us=_quantiles(_own_intervals(pixel, t)),
    )


def _peak(t: NDArray[np.int64], window_us: int) -> float:
    """Events per second in the fullest of the windows that begin with an event."""
    if not len(t):
        return 0.0
    inside = np.searchsorted(t, t + window_us) - np.arange(len(t))
    return float(inside.max() / window_us * 1e6)


def _own_intervals(pixel: NDArray[np.int64], t: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(pixel, kind="stable")
    same = pixel[order][1:] == pixel[order][:-1]
    steps: NDArray[np.int64] = np.diff(t[order])[same]
    return steps


def _quantiles(values: NDArray[np.int64]) -> tuple[float, float, float]:
    if not len(values):
        return (float("nan"),) * 3
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return float(low), float(middle), float(high)
