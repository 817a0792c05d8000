"""AEDAT4, iniVation's format, read by dv-processing in a process of its own; its frame is checked here before.

Source: iniVation, AEDAT 4.0 (docs.inivation.com, AEDAT file formats).
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.readers import guard
from neuroaccel.datasets.readers.recording import IMU_DTYPE, Columns, Frame, Options, Source
from neuroaccel.errors import FileFormatError
from neuroaccel.extras import require

MAGIC = b"#!AER-DAT4.0\r\n"
PACKET = struct.Struct("<ii")  # stream, size of what follows
LARGEST = 1 << 28  # bytes of a header


@dataclass(frozen=True)
class Frame4:
    """The frame of an AEDAT4 file.

    Arguments:
        first: offset of the first packet.
        end: offset behind the last whole packet.
        table: where the header states the offset of the table of packets, 0 where it does not.
        truncated: bytes behind ``end`` that belong to a packet that is not whole.
    """

    first: int
    end: int
    table: int
    truncated: int


def read(path: Path, options: Options) -> Source:
    """Open an AEDAT4 file.

    Raises:
        FileFormatError: wrong or truncated header, or with ``on_error="raise"`` a truncated file.
        MissingExtra: dv-processing is not installed.
    """
    require("dv_processing", "recordings")
    frame = check(path)
    if frame.truncated and options.on_error == "raise":
        raise FileFormatError(
            f"{path}: truncated: the packet at offset {frame.end} or the table behind it is not whole "
            f"({frame.truncated} bytes are there); on_error='drop' reads what is whole"
        )
    blocks = _events(path, frame, options)
    about, _ = next(blocks)
    size = about["sensor_size"]
    camera = about.get("camera")
    metadata = {"camera": camera, "streams": about["streams"], "start_us": 0, "time_unit": "us"}
    source = Source("AEDAT4", iter(()), None if size is None else tuple(size), metadata)
    source.lost["truncated_bytes"] = frame.truncated
    source.blocks = _columns(blocks, source)
    source.frames = lambda: _frames(path, frame, int(metadata["start_us"]))
    source.imu = lambda: _imu(path, frame, int(metadata["start_us"]))
    return source


def check(path: Path) -> Frame4:
    """Walk from the header over every packet's size to the end.

    Raises:
        FileFormatError: wrong magic, or a header that is no header or larger than the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(MAGIC) + 4)
        if not head.startswith(MAGIC):
            raise FileFormatError(f"{path}: {head[:14]!r} at offset 0; expected {MAGIC!r}")
        if len(head) < len(MAGIC) + 4:
            raise FileFormatError(f"{path}: the file ends at offset {size}, before the size of its header")
        (length,) = struct.unpack_from("<I", head, len(MAGIC))
        first = len(MAGIC) + 4 + length
        if length < 8 or length > LARGEST or first > size:
            raise FileFormatError(
                f"{path}: a header of {length} bytes at offset {len(MAGIC)}, in a file of {size} bytes; the file is "
                "truncated or damaged"
            )
        header = file.read(length)
        if header[4:8] != b"IOHE":
            raise FileFormatError(f"{path}: {header[4:8]!r} at offset {len(head) + 4}; expected b'IOHE'")
        place, table = _table(path, header)
        stop = table if table >= 0 else size
        if table >= 0 and table < first:
            raise FileFormatError(f"{path}: the header puts the table of packets to offset {table}, into itself")
        end = _walk(path, file, first, min(stop, size))
    lost = size - end if stop > size or end < min(stop, size) else 0
    if stop <= size and end < stop:
        raise FileFormatError(
            f"{path}: the packet at offset {end} goes beyond the packets' end at {stop}; it is damaged"
        )
    if table >= 0 and table >= size:
        lost = max(lost, 1)
    return Frame4(first, end, len(MAGIC) + 4 + place if place else 0, lost)


def _table(path: Path, header: bytes) -> tuple[int, int]:
    """Where in the header the table's offset is stated, and that offset; (0, -1) where it is not stated."""
    try:
        (root,) = struct.unpack_from("<I", header, 0)
        (back,) = struct.unpack_from("<i", header, root)
        fields = root - back
        if fields < 0 or root < 0:
            raise struct.error("a table before the header")
        length, _ = struct.unpack_from("<HH", header, fields)
        place = struct.unpack_from("<H", header, fields + 6)[0] if length >= 8 else 0
        if not place:
            return 0, -1
        (offset,) = struct.unpack_from("<q", header, root + place)
        return root + place, int(offset)
    except struct.error as error:
        raise FileFormatError(f"{path}: the header at offset {len(MAGIC)} is damaged ({error})") from error


def _walk(path: Path, file: BinaryIO, at: int, stop: int) -> int:
    """The end of the last whole packet from ``at`` on."""
    while at + PACKET.size <= stop:
        file.seek(at)
        stream, length = PACKET.unpack(file.read(PACKET.size))
        if stream < 0 or length < 0:
            raise FileFormatError(
                f"{path}: a packet of stream {stream} and {length} bytes at offset {at}; the file is damaged"
            )
        if at + PACKET.size + length > stop:
            break
        at += PACKET.size + length
    return at


@contextlib.contextmanager
def _whole(path: Path, frame: Frame4) -> Iterator[Path]:
    """The file under a name that dv-processing takes, or of a truncated one a copy that ends with the last whole packet
    and states no table."""
    if not frame.truncated and path.suffix == ".aedat4":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="neuroaccel-") as folder:
        copy = Path(folder) / "whole.aedat4"
        if frame.truncated:
            shutil.copyfile(path, copy)
            _end_at(copy, frame)
        else:
            copy.symlink_to(path.resolve())
        try:
            yield copy
        except FileFormatError as error:
            raise FileFormatError(str(error).replace(str(copy), str(path))) from error


def _end_at(copy: Path, frame: Frame4) -> None:
    with copy.open("r+b") as file:
        file.truncate(frame.end)
        if frame.table:
            file.seek(frame.table)
            file.write(struct.pack("<q", -1))


def _events(path: Path, frame: Frame4, options: Options) -> Iterator[guard.Message]:
    with _whole(path, frame) as file:
        yield from guard.run(file, "events", block=min(options.block, 1 << 20))


def _columns(blocks: Iterator[guard.Message], source: Source) -> Iterator[Columns]:
    """The events, in time from the first of them."""
    first = True
    for _, data in blocks:
        t = data["timestamp"]
        if first and len(t):
            source.metadata["start_us"], first = int(t[0]), False
        yield data["x"], data["y"], t - source.metadata["start_us"], data["polarity"]


def _frames(path: Path, frame: Frame4, start: int) -> Iterator[Frame]:
    with _whole(path, frame) as file:
        for about, data in guard.run(file, "frames"):
            yield Frame(about["t"] - start, about["exposure_us"], data["image"])


def _imu(path: Path, frame: Frame4, start: int) -> NDArray[np.void]:
    with _whole(path, frame) as file:
        batches = [data for _, data in guard.run(file, "imu")]
    samples = np.empty(sum(len(batch["t"]) for batch in batches), IMU_DTYPE)
    at = 0
    for batch in batches:
        part = samples[at : at + len(batch["t"])]
        for name in IMU_DTYPE.names or ():
            part[name] = batch[name]
        at += len(part)
    samples["t"] -= start
    return samples
