"""Prophesee's files: RAW in the encodings EVT2, EVT2.1 and EVT3, and DAT; a text header, then words.

Source: Prophesee, RAW, DAT, EVT 2.0, EVT 2.1 and EVT 3.0 formats (docs.prophesee.ai, Data Encoding Formats).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.readers.evt import DECODERS, BadWord
from neuroaccel.datasets.readers.recording import Columns, Options, Source
from neuroaccel.errors import FileFormatError

LONGEST = 1 << 16  # bytes of a header
WORD = {"EVT2": "<u4", "EVT2.1": "<u8", "EVT2.1 legacy": "<u8", "EVT3": "<u2", "DAT": "<u8"}
# How a sensor of 2048 x 2048 counts is no sensor that exists: the coordinates' 11 bits bound nothing.
_NAMES = {"1": None, "2": "EVT2", "20": "EVT2", "21": "EVT2.1", "3": "EVT3", "30": "EVT3"}


@dataclass(frozen=True)
class Header:
    """The text before the words.

    Arguments:
        fields: what its lines say, names in lower case.
        encoding: a key of ``WORD``.
        sensor_size: ``(W, H, 2)`` where it is stated.
        end: offset of the first word.
    """

    fields: dict[str, str]
    encoding: str
    sensor_size: tuple[int, int, int] | None
    end: int


def read(path: Path, options: Options) -> Source:
    """Open a RAW or DAT file; its words are decoded block by block as they are asked for.

    Raises:
        FileFormatError: a header without an encoding that is read here, or too long to be one.
    """
    header = read_header(path)
    camera = header.fields.get("camera_integrator_name") or header.fields.get("integrator_name")
    sensor = header.fields.get("generation") or header.fields.get("sensor_generation")
    metadata: dict[str, Any] = {
        "camera": " ".join(part for part in (camera, f"generation {sensor}" if sensor else None) if part) or None,
        "serial": header.fields.get("serial_number"),
        "date": header.fields.get("date"),
        "header": header.fields,
    }
    source = Source(header.encoding, iter(()), header.sensor_size, metadata)
    source.blocks = _blocks(path, header, options, source)
    return source


def read_header(path: Path) -> Header:
    """Read the lines that begin with ``%``, and of a DAT file the two bytes after them."""
    with path.open("rb") as file:
        text = file.read(LONGEST)
    fields, end, ended = {}, 0, False
    while text[end : end + 1] == b"%":
        stop = text.find(b"\n", end)
        line = text[end : stop if stop >= 0 else len(text)]
        # Without a line that ends the header, a word may begin with the byte of '%'; text it is not.
        if stop < 0 or not all(32 <= byte < 127 or byte in (9, 13) for byte in line):
            if stop < 0 and len(text) == LONGEST:
                raise FileFormatError(f"{path}: the header has no end within {LONGEST} bytes; expected lines of text")
            break
        name, _, value = line[1:].decode("ascii").strip().partition(" ")
        fields[name.lower()] = value.strip()
        end = stop + 1
        if name == "end":
            ended = True
            break
    encoding = _encoding(path, fields)
    if encoding == "DAT":
        if len(text) < end + 2:
            raise FileFormatError(
                f"{path}: the file ends at offset {len(text)}, before the type and size of its events"
            )
        kind, size = text[end], text[end + 1]
        if kind not in (0x00, 0x0C) or size != 8:
            raise FileFormatError(
                f"{path}: events of type {kind:#04x} and {size} bytes at offset {end}; expected type 0x0c (or 0x00) "
                "and 8 bytes, contrast detection"
            )
        end += 2
    elif not fields and not ended:
        raise FileFormatError(f"{path}: no header at offset 0")
    return Header(fields, encoding, _size(path, fields), end)


def _encoding(path: Path, fields: dict[str, str]) -> str:
    stated = fields.get("format", "")
    if stated:
        name, *options = stated.upper().replace(" ", "").split(";")
        number = name.removeprefix("EVT").replace(".", "").replace("_", "")
        legacy = "ENDIANNESS=LEGACY" in options
        found = _NAMES.get(number) if name.startswith("EVT") else None
        if found:
            return f"{found} legacy" if legacy and found == "EVT2.1" else found
        raise FileFormatError(f"{path}: the header states format {stated!r}; expected EVT2, EVT21 or EVT3")
    if "evt" in fields:
        number = fields["evt"].split()[0].replace(".", "") if fields["evt"] else ""
        found = _NAMES.get(number)
        if found:
            return found
        raise FileFormatError(f"{path}: the header states evt {fields['evt']!r}; expected 2.0, 2.1 or 3.0")
    if path.suffix.lower() == ".dat" or "version" in fields or fields.get("data", "").startswith("file"):
        return "DAT"
    raise FileFormatError(f"{path}: the header of {len(fields)} lines states no encoding; expected a line '% evt' or "
                          "'% format'")  # fmt: skip


def _size(path: Path, fields: dict[str, str]) -> tuple[int, int, int] | None:
    """Width and height as newer (geometry, format) or older files (width, height) state them."""
    stated = fields.get("geometry", "")
    pair = re.fullmatch(r"(\d{1,6})x(\d{1,6})", stated)
    if pair is None:
        options = dict(part.split("=", 1) for part in fields.get("format", "").split(";") if "=" in part)
        values = [options.get(name, fields.get(name, "")) for name in ("width", "height")]
        pair = re.fullmatch(r"(\d{1,6})x(\d{1,6})", "x".join(values))
    if pair is None:
        return None
    size = int(pair[1]), int(pair[2])
    if not all(1 <= side <= 2**15 for side in size):
        raise FileFormatError(
            f"{path}: the header states a sensor of {size[0]} x {size[1]} pixels; expected 1 to 32768"
        )
    return (*size, 2)


def _blocks(path: Path, header: Header, options: Options, source: Source) -> Iterator[Columns]:
    word = np.dtype(WORD[header.encoding])
    length = path.stat().st_size - header.end
    rest = length % word.itemsize
    if rest and options.on_error == "raise":
        raise FileFormatError(
            f"{path}: ends amid a word of {word.itemsize} bytes, at offset {header.end + length} ({rest} bytes of it); "
            "the file is truncated, and on_error='drop' reads what is whole"
        )
    source.lost["truncated_bytes"] = rest
    decoder = DECODERS[header.encoding](options.on_error != "raise")
    each = max(1, options.block)
    with path.open("rb") as file:
        file.seek(header.end)
        while True:
            words: NDArray[Any] = np.fromfile(file, word, each)
            try:
                yield from decoder.decode(words)
            except BadWord as error:
                offset = header.end + error.word * word.itemsize
                raise FileFormatError(
                    f"{path}: a word of type {error.kind:#x} at offset {offset}, which {header.encoding} reserves; the "
                    "file is damaged, and on_error='drop' skips such words"
                ) from error
            if len(words) < each:
                break
    source.lost["unknown_words"] = decoder.unknown
    source.metadata |= {"triggers": decoder.triggers, "events_before_time_base": decoder.untimed}
