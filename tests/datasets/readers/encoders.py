"""Events as bytes, written from the formats' public descriptions: what the readers are measured against."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets import Events

SIZE = (640, 480, 2)


def some_events(n: int = 500, seed: int = 0, span_us: int = 60_000_000, start: int = 70) -> Events:
    """Events all over a sensor, several of them at one time."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(start, start + span_us, n))
    t[n // 2 : n // 2 + 20] = t[n // 2]
    x, y = rng.integers(0, SIZE[0], n), rng.integers(0, SIZE[1], n)
    return Events.from_arrays(x, y, t, rng.integers(0, 2, n), SIZE)


def rows(events: Events) -> list[tuple[int, int, int, int]]:
    return [(int(x), int(y), int(t), int(p)) for x, y, t, p in events.data]


def header(*lines: str, end: bool = True) -> bytes:
    return "".join(f"% {line}\n" for line in (*lines, *(["end"] if end else []))).encode()


def evt2(events: Events, wrapped: int = 0) -> bytes:
    """EVT 2.0; with ``wrapped``, times are that much later and the time base has begun anew before they end."""
    words, base = [], -1
    for x, y, t, p in rows(events):
        t += wrapped
        if t >> 6 != base:
            base = t >> 6
            words.append(0x8 << 28 | base & 0xFFFFFFF)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return struct.pack(f"<{len(words)}I", *words)


def evt21(events: Events, legacy: bool = False) -> bytes:
    """EVT 2.1: events of one time, row, polarity and group of 32 columns share a word."""
    words: list[list[int]] = []
    base, before = -1, None
    for x, y, t, p in rows(events):
        if t >> 6 != base:
            base = t >> 6
            words.append([0x8 << 28 | base & 0xFFFFFFF, 0])
            before = None
        head = p << 28 | (t & 63) << 22 | (x & ~31) << 11 | y
        if before == (head, True) and words[-1][1] < 1 << (x & 31):
            words[-1][1] |= 1 << (x & 31)
        else:
            words.append([head, 1 << (x & 31)])
        before = (head, True)
    ordered = [word for upper, lower in words for word in ((upper, lower) if legacy else (lower, upper))]
    return struct.pack(f"<{len(ordered)}I", *ordered)


def evt3(events: Events) -> bytes:
    """EVT 3.0 with single events; a sensor sends time bases without events too, here every 4 s."""
    words: list[int] = []
    high = low = row = -1
    for x, y, t, p in rows(events):
        while t >> 12 != high:
            high, low = (t >> 12 if high < 0 else min(t >> 12, high + 1000)), -1
            words.append(0x8 << 12 | high & 0xFFF)
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(0x6 << 12 | low)
        if y != row:
            row = y
            words.append(row)
        words.append(0x2 << 12 | p << 11 | x)
    return struct.pack(f"<{len(words)}H", *words)


def dat(events: Events) -> bytes:
    """DAT, with its two bytes of type and size."""
    pairs = [part for x, y, t, p in rows(events) for part in (t & 0xFFFFFFFF, x | y << 14 | p << 28)]
    return b"\x0c\x08" + struct.pack(f"<{len(pairs)}I", *pairs)


def raw_file(path: Path, format: str, body: bytes, *more: str) -> Path:
    path.write_bytes(header("camera_integrator_name Prophesee", *more, f"format {format};width=640;height=480") + body)
    return path


def same(found: Events, expected: Events) -> None:
    """All fields of all events are equal."""
    for name in ("x", "y", "t", "p"):
        np.testing.assert_array_equal(found.data[name], expected.data[name], err_msg=name)


def columns(events: Events) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(events.data[name]) for name in ("x", "y", "t", "p")}
