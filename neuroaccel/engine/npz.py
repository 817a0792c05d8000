"""Arrays in one versioned ``.npz`` file: written atomically, read without pickle, refused in one readable line."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import FileFormatError
from neuroaccel.graph import write_atomic

_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    SyntaxError,  # these two: numpy parses a header as Python
    tokenize.TokenError,
)


def write_npz(path: str | Path, kind: str, version: int, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write named arrays with the kind and version of their format.

    Arguments:
        path: the file; its folder must exist. It appears whole or not at all.
        kind: name of the format, for example ``"neuroaccel-events"``.
        version: version of the format, raised whenever an older reader would misread it.
        arrays: the arrays, of plain types.

    Returns:
        The path.

    Raises:
        FileFormatError: an array holds Python objects, or the folder does not exist.
    """
    path = Path(path)
    objects = [name for name, array in arrays.items() if array.dtype.hasobject]
    if objects:
        raise FileFormatError(f"{path}: the arrays {objects} hold Python objects, which a {kind} file cannot")
    if not path.parent.is_dir():
        raise FileFormatError(f"{path}: cannot be written, there is no folder {path.parent}")
    named: dict[str, Any] = {"format": np.array(kind), "version": np.array(version, np.int64), **arrays}
    content = io.BytesIO()
    np.savez(content, **named)
    return write_atomic(path, content.getvalue())


def read_npz(path: str | Path, kind: str, version: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays that ``write_npz`` wrote.

    Arguments:
        path: the file.
        kind: the format that is expected.
        version: the newest version that the caller understands.
        names: arrays that must be there.

    Returns:
        All arrays of the file by name, without the two header fields.

    Raises:
        FileFormatError: the file is missing, truncated, foreign, newer than this reader, or lacks an array.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file; expected a {kind} .npz file")
    try:
        # opened here, since numpy leaves a damaged archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, NDArray[Any]] = {name: archive[name] for name in archive.files}
    except (*_UNREADABLE, AttributeError, TypeError) as error:  # the last two: a lone .npy has no context or names
        raise FileFormatError(f"{path}: not a readable {kind} file, truncated or foreign ({error})") from error
    found = arrays.pop("format", None)
    if found is None or str(found) != kind:
        name = "none" if found is None else repr(str(found))
        raise FileFormatError(f"{path}: found format {name}, expected {kind!r}")
    found_version = arrays.pop("version", None)
    if found_version is None or found_version.shape != () or found_version.dtype.kind != "i":
        raise FileFormatError(f"{path}: the {kind} file carries no version; it is damaged")
    if int(found_version) > version:
        raise FileFormatError(
            f"{path}: {kind} version {int(found_version)} is newer than {version}, the newest that this reader knows; "
            "update neuroaccel"
        )
    missing = [name for name in names if name not in arrays]
    if missing:
        raise FileFormatError(f"{path}: the {kind} file lacks the arrays {missing}; it holds {sorted(arrays)}")
    return arrays


def kind_of(path: str | Path) -> str | None:
    """The kind of format that a file says it is, None where it cannot be read or says none."""
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return str(archive["format"])
    except (*_UNREADABLE, AttributeError, TypeError):
        return None
