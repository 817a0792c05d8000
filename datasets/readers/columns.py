"""Columns of events in files that do not fix them: recognised by name, made whole numbers, times made µs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import FileFormatError, InputError

FACTOR = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}
NAMES = {
    "x": {"x", "xs", "x_coord", "col", "column"},
    "y": {"y", "ys", "y_coord", "row"},
    "t": {"t", "ts", "time", "times", "timestamp", "timestamps"},
    "p": {"p", "ps", "pol", "polarity", "polarities", "on"},
}
_UNIT = re.compile(r"^(.*?)[ _]*[\[(_ ](s|ms|us|µs|ns|sec|seconds)[\])]?$")


def recognised(names: Sequence[str], where: str) -> tuple[dict[str, str], str | None]:
    """Find the columns of events among names, in any order and case.

    Arguments:
        names: such as ``["timestamp_us", "x", "y", "polarity"]``.
        where: the file, for the message.

    Returns:
        ``(columns, unit)``: the name of each of ``x``, ``y``, ``t`` and ``p`` that is there, and the unit that the
        time's name states.

    Raises:
        FileFormatError: two names for one field.

    >>> recognised(["x", "y", "t [ms]", "Polarity"], "a.csv")
    ({'x': 'x', 'y': 'y', 't': 't [ms]', 'p': 'Polarity'}, 'ms')
    """
    found: dict[str, str] = {}
    unit = None
    for field, known in NAMES.items():
        for name in names:
            plain = name.strip().strip('"').lower()
            stated = _UNIT.match(plain) if field == "t" else None
            if plain in known or (stated and stated[1].strip("_ ") in known):
                if field in found:
                    raise FileFormatError(f"{where}: two columns, {found[field]!r} and {name!r}, are both {field}")
                found[field] = name
                if stated and plain not in known:
                    unit = {"µs": "us", "sec": "s", "seconds": "s"}.get(stated[2], stated[2])
    return found, unit


def ordered(key: str) -> list[str]:
    """Return the fields of an order such as ``"txyp"``.

    Raises:
        InputError: anything but the letters x, y, t and p, each once.
    """
    if sorted(key) != ["p", "t", "x", "y"]:
        raise InputError(f"key is {key!r}; expected an order of columns such as 'txyp', each letter once")
    return list(key)


def unit_of(stated: str | None, given: str | None, decimals: bool) -> str:
    """Return the unit of times: the one given, else the one stated, else seconds for decimals and µs for others."""
    if given is not None and given not in FACTOR:
        raise InputError(f"time_unit is {given!r}; expected one of {', '.join(FACTOR)}")
    return given or stated or ("s" if decimals else "us")


def to_us(t: NDArray[Any], unit: str) -> NDArray[np.int64]:
    """Convert times to whole µs, to the nearest; what is no number, or beyond 62 bits, becomes -1 or 2⁶²."""
    if t.dtype.kind in "iu":
        whole = np.minimum(t, 2**62).astype(np.int64) if t.dtype.kind == "u" else t.astype(np.int64)
        if unit == "us":
            return whole
        if unit == "ns":
            return whole // 1000
        factor = int(FACTOR[unit])
        bounded: NDArray[np.int64] = np.clip(whole, -1, 2**62 // factor)
        return bounded * factor
    scaled = np.rint(t.astype(np.float64) * FACTOR[unit])
    scaled = np.where(np.isnan(scaled), -1.0, np.clip(scaled, -1.0, 2.0**62))
    return scaled.astype(np.int64)


def whole(column: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    """Return a column of whole numbers as integers.

    Raises:
        FileFormatError: it holds fractions, or no numbers.
    """
    if column.dtype.kind in "iub":
        return column
    if column.dtype.kind == "f":
        wrong = ~(np.abs(column) < 2**31) | (column != np.rint(column))
        if not wrong.any():
            return column.astype(np.int64)
        at = int(np.argmax(wrong))
        raise FileFormatError(f"{where}: {name} of event {at} is {column[at]}; expected a whole number")
    raise FileFormatError(f"{where}: {name} is {column.dtype}; expected numbers")
