"""``.npy`` and ``.npz``: a structured array, columns, or what ``Events.save`` wrote. Nothing is unpickled."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from neuroaccel.datasets.readers.columns import ordered, recognised, to_us, unit_of, whole
from neuroaccel.datasets.readers.recording import Columns, Options, Source
from neuroaccel.errors import FileFormatError

EXPANSION = 256  # how much larger than its file an array may get before it counts as a trap
SMALL = 1 << 28
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error, RuntimeError,
               SyntaxError, OverflowError, NotImplementedError, UnicodeError, AttributeError, MemoryError,
               IndexError, tokenize.TokenError)  # fmt: skip


def read(path: Path, options: Options) -> Source:
    """Open an ``.npy`` or ``.npz`` file; an ``.npy`` file is mapped and read block by block.

    Raises:
        FileFormatError: truncated, foreign, or without columns that are recognised.
    """
    metadata: dict[str, Any] = {}
    size = None
    if _magic(path) == b"\x93NUMPY":
        arrays = {"data": _mapped(path)}
    else:
        arrays = _unzipped(path)
        if str(arrays.get("format", "")) == "neuroaccel-events-binned" or "indptr" in arrays:
            raise FileFormatError(f"{path}: holds binned events (EventStream.save); expected events in time")
        stated = arrays.get("sensor_size")
        if stated is not None and stated.shape == (3,) and stated.dtype.kind in "iu":
            size = tuple(int(side) for side in stated)
    columns, unit, where = _columns(path, arrays, options)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or any(column.ndim != 1 for column in columns.values()):
        raise FileFormatError(f"{path}, {where}: the columns have the shapes "
                              f"{({name: column.shape for name, column in columns.items()})}")  # fmt: skip
    if columns["t"].dtype.kind not in "iuf":
        raise FileFormatError(f"{path}, {where}: t is {columns['t'].dtype}; expected numbers")
    unit = unit_of(unit, options.time_unit, columns["t"].dtype.kind == "f")
    metadata |= {"time_unit": unit, "columns": where}
    name = path.suffix.lower().lstrip(".") if path.suffix.lower() in (".npy", ".npz") else "numpy"
    return Source(name, _blocks(path, columns, unit, options.block), size, metadata)  # type: ignore[arg-type]


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)


def _blocks(path: Path, columns: dict[str, NDArray[Any]], unit: str, block: int) -> Iterator[Columns]:
    for start in range(0, len(columns["t"]), block):
        part = {name: np.asarray(column[start : start + block]) for name, column in columns.items()}
        where = f"{path}, from event {start}"
        x, y, p = (whole(part[name], name, where) for name in ("x", "y", "p"))
        yield x, y, to_us(part["t"], unit), p


def _columns(
    path: Path, arrays: dict[str, NDArray[Any]], options: Options
) -> tuple[dict[str, NDArray[Any]], str | None, str]:
    key = options.key
    if isinstance(key, int):
        raise FileFormatError(f"{path}: key is {key}; expected an array's name or an order of columns")
    named, unit = recognised(list(arrays), str(path))
    if len(named) == 4 and key is None:
        return {field: arrays[name] for field, name in named.items()}, unit, "an array for each of x, y, t and p"
    chosen = key if key in arrays else None
    for name in [chosen] if chosen is not None else ["data", "events", *arrays]:
        array = arrays.get(name)
        if array is None:
            continue
        if array.dtype.names and array.ndim == 1:
            named, unit = recognised(array.dtype.names, str(path))
            if len(named) == 4:
                return {field: array[n] for field, n in named.items()}, unit, f"fields of {name}"
        if array.ndim == 2 and array.shape[1] == 4 and key is not None and chosen is None and array.dtype.kind in "iuf":
            return {field: array[:, i] for i, field in enumerate(ordered(key))}, None, f"columns of {name}: {key}"
    held = {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
    raise FileFormatError(
        f"{path}: found {str(held)[:300]}; expected fields or arrays named x, y, t and p, or four columns whose order "
        "key states, such as 'txyp'"
    )


def _mapped(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file without reading it; its header is checked against the file's size first."""
    try:
        with path.open("rb") as file:
            shape, _, dtype = _header(file)
            start = file.tell()
    except _UNREADABLE as error:
        raise FileFormatError(f"{path}: the .npy header at offset 0 is damaged ({_said(error)})") from error
    _plain(path, dtype)
    size = path.stat().st_size
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or start + wanted > size:
        raise FileFormatError(
            f"{path}: truncated: the header states {shape} of {dtype.itemsize} bytes, to offset {start + wanted}; the "
            f"file ends at {size}"
        )
    if not wanted:
        return np.empty(shape, dtype)
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _UNREADABLE as error:
        raise FileFormatError(f"{path}: cannot be read as .npy ({_said(error)})") from error
    return mapped


def _unzipped(path: Path) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                if total + info.file_size > SMALL and info.file_size > EXPANSION * path.stat().st_size:
                    raise FileFormatError(
                        f"{path}: {info.filename} states {info.file_size} bytes, in a file of {path.stat().st_size}"
                    )
                with archive.open(info) as member:
                    shape, _, dtype = _header(member)
                    _plain(path, dtype)
                    start = member.tell()
                if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != info.file_size - start:
                    raise FileFormatError(
                        f"{path}: {info.filename} states the shape {shape} of {dtype.itemsize} bytes, but "
                        f"{info.file_size - start} bytes follow its header"
                    )
                with archive.open(info) as member:
                    arrays[info.filename.removesuffix(".npy")] = npy.read_array(member, allow_pickle=False)
                total += info.file_size
    except FileFormatError:
        raise
    except _UNREADABLE as error:
        raise FileFormatError(f"{path}: not a readable .npz file, truncated or foreign ({_said(error)})") from error
    return arrays


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of .npy; expected 1.0 or 2.0")
    shape, fortran, dtype = reader(file)
    return tuple(int(side) for side in shape), fortran, dtype


def _plain(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise FileFormatError(f"{path}: holds Python objects ({dtype}); expected numbers: nothing is unpickled")
    if not dtype.itemsize:
        raise FileFormatError(f"{path}: holds elements of no size ({dtype}); expected numbers")


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
