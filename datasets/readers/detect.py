"""Which format a file has: its first bytes say it, and its extension only where they leave a choice."""

from __future__ import annotations

from pathlib import Path

from neuroaccel.errors import FileFormatError

FORMATS = "AEDAT4, Prophesee RAW (EVT2, EVT2.1, EVT3) and DAT, HDF5, .npy, .npz, CSV"
HEAD = 4096
HDF5 = b"\x89HDF\r\n\x1a\n"
TEXTS = {".csv", ".txt", ".tsv"}


def detect(path: Path) -> str:
    """Name a file's format: ``aedat4``, ``prophesee``, ``npy``, ``npz``, ``hdf5`` or ``csv``.

    Raises:
        FileFormatError: there is no such file, it is empty, or its beginning belongs to no format that is read here.
    """
    head = _head(path)
    if head.startswith(b"#!AER-DAT4"):
        return "aedat4"
    if head.startswith(b"#!AER-DAT"):
        version = head[9:12].decode("ascii", "replace")
        raise FileFormatError(f"{path}: AEDAT {version.strip()} at offset 0; of AEDAT only version 4 is read")
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "npz"
    if head.startswith(HDF5) or any(_at(path, place) == HDF5 for place in (512, 1024, 2048)):
        return "hdf5"
    if head.startswith(b"%") and (path.suffix.lower() not in TEXTS or b"% evt" in head or b"% format" in head):
        return "prophesee"
    if _is_text(head):
        return "csv"
    suffix = path.suffix.lower()
    why = f"although it is named {suffix}" if suffix in (".raw", ".dat", ".aedat4", ".h5", ".hdf5", ".npz") else ""
    raise FileFormatError(
        f"{path}: the bytes {head[:8].hex(' ')} at offset 0 begin none of the formats that are read {why}({FORMATS})"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        raise FileFormatError(f"{path}: no such file; expected a recording ({FORMATS})") from error
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not head:
        raise FileFormatError(f"{path}: the file is empty; expected a recording ({FORMATS})")
    return head


def _at(path: Path, place: int) -> bytes:
    """HDF5 may stand behind a block of the user's own."""
    with path.open("rb") as file:
        file.seek(place)
        return file.read(len(HDF5))


def _is_text(head: bytes) -> bool:
    allowed = set(range(32, 127)) | {9, 10, 13}
    return all(byte in allowed or byte >= 128 for byte in head) and any(48 <= byte < 58 or byte == 44 for byte in head)
