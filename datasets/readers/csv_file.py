"""CSV and its kin: a header with names, or columns that say by their values what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.readers.columns import ordered, recognised, to_us, unit_of, whole
from neuroaccel.datasets.readers.recording import Columns, Options, Source
from neuroaccel.errors import FileFormatError

HEAD = 1 << 16  # bytes that are looked at to find out
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


@dataclass(frozen=True)
class Layout:
    """How lines are to be read.

    Arguments:
        delimiter: between columns, None: white space.
        skip: lines before the first event.
        order: place of each of x, y, t and p.
        unit: of time, where the header states it.
        decimals: whether times have decimals.
        how: how the columns were found.
    """

    delimiter: str | None
    skip: int
    order: dict[str, int]
    unit: str | None
    decimals: bool
    how: str


def read(path: Path, options: Options) -> Source:
    """Open a text file.

    Without a header the columns are recognised where there is no choice: polarity has no values but 0, 1 and -1, time
    never decreases and is the largest, and x stands before y. ``key`` states their order otherwise.

    Raises:
        FileFormatError: no lines of numbers, or columns that are not recognised.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    layout = _layout(path, head, options)
    unit = unit_of(layout.unit, options.time_unit, layout.decimals)
    names = sorted(layout.order, key=lambda field: layout.order[field])
    metadata = {"time_unit": unit, "columns": f"{' '.join(names)} ({layout.how})"}
    source = Source("CSV", iter(()), None, metadata)
    source.blocks = _blocks(path, layout, unit, options, source)
    return source


def _layout(path: Path, head: bytes, options: Options) -> Layout:
    lines = head.decode("utf-8", "replace").splitlines()
    if len(head) == HEAD:
        lines = lines[:-1]
    if not lines:
        raise FileFormatError(f"{path}: no line ends within {HEAD} bytes; expected lines of x, y, t and p")
    held = [(n, line) for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("#", "%"))]
    if not held:
        raise FileFormatError(f"{path}: none of the first {len(lines)} lines holds an event")
    first, line = held[0]
    delimiter = next((mark for mark in (",", ";", "\t") if mark in line), None)
    cells = _cells(line, delimiter)
    header = not all(_NUMBER.match(cell) for cell in cells)
    if header:
        found, unit = recognised(cells, str(path))
        if len(found) < 4:
            raise FileFormatError(
                f"{path}: line {first + 1} is {line[:100]!r}; expected columns named x, y, t and p, or four numbers"
            )
        order = {field: cells.index(name) for field, name in found.items()}
        rows = [_cells(line, delimiter) for _, line in held[1:]]
        decimals = any(len(row) > order["t"] and not row[order["t"]].lstrip("+-").isdigit() for row in rows)
        return Layout(delimiter, first + 1, order, unit, decimals, "named")
    rows = [_cells(line, delimiter) for _, line in held]
    if isinstance(options.key, str):
        order = {field: i for i, field in enumerate(ordered(options.key))}
        how = "as key states"
    else:
        order, how = _by_values(path, rows), "recognised by their values"
    decimals = any(len(row) > order["t"] and not row[order["t"]].lstrip("+-").isdigit() for row in rows)
    return Layout(delimiter, first, order, None, decimals, how)


def _by_values(path: Path, rows: list[list[str]]) -> dict[str, int]:
    full = [row for row in rows if len(row) == 4 and all(_NUMBER.match(cell) for cell in row)]
    why = f"{path}: {len(rows)} lines without a header"
    if not full:
        raise FileFormatError(f"{why}, none of them with four numbers; expected x, y, t and p")
    values = np.array([[float(cell) for cell in row] for row in full])
    polar = [i for i in range(4) if np.isin(values[:, i], (-1, 0, 1)).all()]
    rising = [i for i in range(4) if i not in polar and (np.diff(values[:, i]) >= 0).all()]
    fractions = [i for i in range(4) if (values[:, i] != np.rint(values[:, i])).any()]
    times = fractions or [i for i in rising if values[-1, i] >= values[:, rising].max()]
    polar = [i for i in polar if i not in times]
    if len(polar) != 1 or len(times) != 1:
        raise FileFormatError(
            f"{why}: their columns do not say by their values which is the time and which the polarity; key states it, "
            "such as key='txyp'"
        )
    x, y = (i for i in range(4) if i not in (polar[0], times[0]))
    return {"x": x, "y": y, "t": times[0], "p": polar[0]}


def _cells(line: str, delimiter: str | None) -> list[str]:
    return [cell.strip().strip('"') for cell in (line.split(delimiter) if delimiter else line.split())]


def _blocks(path: Path, layout: Layout, unit: str, options: Options, source: Source) -> Iterator[Columns]:
    kinds = {field: (np.float64 if field != "t" or layout.decimals else np.int64) for field in layout.order}
    fields = sorted(layout.order, key=lambda field: layout.order[field])
    dtype = np.dtype([(field, kinds[field]) for field in fields])
    lost = _cut_line(path, layout)
    if lost and options.on_error == "raise":
        raise FileFormatError(
            f"{path}: the last line, at offset {path.stat().st_size - lost}, lacks columns; the file is truncated, and "
            "on_error='drop' reads what is whole"
        )
    source.lost["truncated_bytes"] = lost
    read = layout.skip
    with path.open("r", encoding="utf-8", errors="replace") as file:
        for _ in range(layout.skip):
            file.readline()
        lines = _until(file) if lost else file
        while True:
            rows = _rows(path, lines, dtype, layout, [layout.order[f] for f in fields], options.block, read)
            if not len(rows):
                return
            read += len(rows)
            where = f"{path}, to line {read}"
            x, y, p = (whole(rows[name], name, where) for name in ("x", "y", "p"))
            yield x, y, to_us(rows["t"], unit), p
            if len(rows) < options.block:
                return


def _rows(
    path: Path, lines: Any, dtype: np.dtype[Any], layout: Layout, places: list[int], block: int, read: int
) -> NDArray[Any]:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # at the end of the file there is no more to read
            rows: NDArray[Any] = np.loadtxt(
                lines, dtype, comments="#", delimiter=layout.delimiter, usecols=places, max_rows=block, ndmin=1,
                quotechar='"',
            )  # fmt: skip
            return rows
    except (ValueError, OverflowError, IndexError) as error:
        said = " ".join(str(error).split())[:200]
        raise FileFormatError(f"{path}: not numbers after line {read} ({said})") from error


def _cut_line(path: Path, layout: Layout) -> int:
    """Bytes of a last line that neither ends nor has all its columns, 0 where it is whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - HEAD))
        tail = file.read()
    if tail.endswith((b"\n", b"\r")):
        return 0
    last = tail[max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1 :]
    cells = _cells(last.decode("utf-8", "replace"), layout.delimiter)
    if len(last) == len(tail) or last.lstrip().startswith((b"#", b"%")):
        return 0
    whole_line = len(cells) > max(layout.order.values()) and all(
        _NUMBER.match(cells[place]) for place in layout.order.values()
    )
    return 0 if whole_line else len(last)


def _until(file: TextIO) -> Iterator[str]:
    """The lines of a file but its last."""
    before = None
    for line in file:
        if before is not None:
            yield before
        before = line
