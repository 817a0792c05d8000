"""Events that a file states but no sensor can have given: refused, dropped or clipped, and counted."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.events import EVENT_DTYPE, Events
from neuroaccel.errors import EventsError, InputError

log = logging.getLogger("neuroaccel")

OnError = Literal["raise", "drop", "clip"]
LATEST = 2**62  # Events' own limit
SIDE = 2**15


@dataclass(frozen=True)
class Repairs:
    """What was wrong with a recording, in counts; all zero for a sound one.

    Arguments:
        events: events that the file states.
        removed: of these, how many are left out.
        outside: events beside the sensor.
        wrong_time: events whose time is negative, no number, or too large for 62 bits.
        wrong_polarity: events whose polarity the sensor does not have.
        backwards: events that are earlier than one before them.
        unknown_words: words of the file whose type its format reserves.
        truncated_bytes: bytes at the file's end that hold no whole event, or whole packet.
    """

    events: int = 0
    removed: int = 0
    outside: int = 0
    wrong_time: int = 0
    wrong_polarity: int = 0
    backwards: int = 0
    unknown_words: int = 0
    truncated_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.counts())

    def __add__(self, other: Repairs) -> Repairs:
        return Repairs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def counts(self) -> dict[str, int]:
        """Return what was wrong by name, without what was not."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("events", "removed")}
        return {name: count for name, count in named.items() if count}

    def __str__(self) -> str:
        if not self:
            return "nothing to repair"
        found = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.counts().items())
        return f"{found}; {self.removed:,} of {self.events:,} events removed"


def check_on_error(on_error: str) -> None:
    """Raise an InputError unless ``on_error`` is one of raise, drop and clip."""
    if on_error not in get_args(OnError):
        raise InputError(f"on_error is {on_error!r}; expected one of {', '.join(get_args(OnError))}")


def repair(
    x: NDArray[Any],
    y: NDArray[Any],
    t: NDArray[Any],
    p: NDArray[Any],
    sensor_size: tuple[int, int, int] | None,
    on_error: OnError = "raise",
    where: str = "events",
    *,
    after: int = 0,
) -> tuple[Events, Repairs]:
    """Build ``Events`` from columns, and treat what is wrong in them in one of three ways.

    ``raise``: an error names the first wrong event. ``drop``: events beside the sensor, of a wrong time or polarity are
    removed, then every event that is earlier than one that stays before it. ``clip``: coordinates go to the sensor's
    nearest pixel, times to the range from 0 to 2⁶² - 1 and then up to the latest time before them, polarities to the
    nearest. Polarities of -1 and 1 (no 0 among them) are a convention of some files and no error: -1 is 0.

    Arguments:
        x: column of every event, integers ``[n]``.
        y: row of every event.
        t: time of every event in µs.
        p: polarity of every event.
        sensor_size: ``(W, H, P)``; None: just large enough for the events, with two polarities.
        on_error: ``raise``, ``drop`` or ``clip``.
        where: what the columns are, for the message.
        after: time of the last event before these, where they are a part of a recording.

    Returns:
        ``(events, repairs)``.

    Raises:
        EventsError: with ``raise``, naming the first wrong event; or the columns are not integers of one length.
    """
    check_on_error(on_error)
    columns = {"x": np.asarray(x), "y": np.asarray(y), "t": np.asarray(t), "p": np.asarray(p)}
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "iub" or len(column) != len(columns["x"]):
            raise EventsError(
                f"{where}: {name} is {column.dtype} of shape {column.shape}; expected integers, one for each event"
            )
    x, y, t, p = (c.view(np.uint8) if c.dtype.kind == "b" else c for c in columns.values())
    if p.dtype.kind == "i" and len(p) and p.min() == -1 and not (p == 0).any():
        p = np.where(p == -1, 0, p)
    size = _smallest(x, y) if sensor_size is None else sensor_size
    if len(size) != 3 or min(size) < 1 or max(size[:2]) > SIDE or size[2] > 2:
        raise EventsError(f"{where}: sensor_size is {size}; expected (W, H, P), 1 to {SIDE} pixels a side and P 1 or 2")
    if len(t) and _sound(x, y, t, p, size, after):
        data = np.empty(len(x), EVENT_DTYPE)
        for name, column in zip(("x", "y", "t", "p"), (x, y, t, p), strict=True):
            data[name] = column
        return Events.of_checked(data, size), Repairs(events=len(x))
    wrong = {
        "outside": _outside(x, size[0]) | _outside(y, size[1]),
        "wrong_time": _outside(t, LATEST),
        "wrong_polarity": _outside(p, size[2]),
    }
    bad = wrong["outside"] | wrong["wrong_time"] | wrong["wrong_polarity"]
    counts = {name: int(np.count_nonzero(found)) for name, found in wrong.items()}
    keep = ~bad if on_error == "drop" else np.ones(len(x), bool)
    times = np.clip(t, 0, LATEST - 1).astype(np.int64)
    latest = np.maximum.accumulate(np.where(keep, times, after)) if len(t) else times
    latest = np.maximum(latest, after)
    backwards = keep & (times < latest)
    counts["backwards"] = int(np.count_nonzero(backwards))
    if on_error == "raise" and (bad.any() or counts["backwards"]):
        raise EventsError(_message(where, (x, y, t, p), {**wrong, "backwards": backwards}, size))
    if on_error == "drop":
        keep &= ~backwards
    data = np.empty(int(np.count_nonzero(keep)), EVENT_DTYPE)
    whole = len(data) == len(x)
    clipped = (np.clip(x, 0, size[0] - 1), np.clip(y, 0, size[1] - 1), latest, np.clip(p, 0, size[2] - 1))
    for name, column in zip(("x", "y", "t", "p"), clipped, strict=True):
        data[name] = column if whole else column[keep]
    repairs = Repairs(events=len(x), removed=len(x) - len(data), **counts)
    return Events.of_checked(data, size), repairs


def report(repairs: Repairs, where: str) -> Repairs:
    """Warn in the log of repairs that were made, and return them."""
    if repairs:
        log.warning("%s: %s", where, repairs)
    return repairs


def with_counts(repairs: Repairs, **counts: int) -> Repairs:
    """Return the repairs with some counts replaced."""
    return replace(repairs, **counts)


def _sound(
    x: NDArray[Any], y: NDArray[Any], t: NDArray[Any], p: NDArray[Any], size: tuple[int, int, int], after: int
) -> bool:
    """Whether nothing is wrong, found without an array per kind of error."""
    inside = all(c.min() >= 0 and c.max() < limit for c, limit in zip((x, y, p), size, strict=True))
    return bool(inside and t[0] >= after and t[-1] < LATEST and not (t[1:] < t[:-1]).any())


def _outside(column: NDArray[Any], limit: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (column < 0) | (column >= limit)
    return found


def _smallest(x: NDArray[Any], y: NDArray[Any]) -> tuple[int, int, int]:
    """The smallest sensor that holds the events; no larger than a sensor can be, so that rubbish stays outside."""
    width, height = (min(max(int(c.max()) + 1, 1), SIDE) if len(c) else 1 for c in (x, y))
    return width, height, 2


def _message(
    where: str,
    columns: tuple[NDArray[Any], ...],
    wrong: dict[str, NDArray[np.bool_]],
    size: tuple[int, int, int],
) -> str:
    what = {
        "outside": f"lies outside the sensor {size}",
        "wrong_time": "has a time that is negative, no number or beyond 62 bits",
        "wrong_polarity": f"has a polarity outside 0 to {size[2] - 1}",
        "backwards": "is earlier than an event before it; expected time that does not decrease",
    }
    first = {name: int(np.argmax(found)) for name, found in wrong.items() if found.any()}
    name = min(first, key=lambda n: first[n])
    event = first[name]
    held = ", ".join(f"{f}={int(c[event])}" for f, c in zip("xytp", columns, strict=True))
    counted = sum(int(np.count_nonzero(found)) for found in wrong.values())
    return (
        f"{where}: event {event} ({held}) {what[name]}; {counted} of {len(columns[0])} events are wrong, "
        "and on_error drop or clip repairs them"
    )
