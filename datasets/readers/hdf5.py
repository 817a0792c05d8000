"""HDF5: ``CD/events`` (Prophesee), ``events/{x,y,t,p}`` (and its many spellings), ``spikes/{times,units}`` (SHD, SSC).

libhdf5 reads it in a process of its own: damaged files have crashed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuroaccel.datasets.readers import guard
from neuroaccel.datasets.readers.columns import to_us, unit_of, whole
from neuroaccel.datasets.readers.recording import Columns, Options, Source
from neuroaccel.errors import FileFormatError


def read(path: Path, options: Options) -> Source:
    """Open an HDF5 file.

    Raises:
        FileFormatError: truncated, damaged, or without events in a known place.
    """
    messages = guard.run(path, "hdf5", key=options.key, block=options.block)
    about, _ = next(messages)
    kinds, size = about["kinds"], about["sensor_size"]
    if kinds["t"] not in "iuf":
        raise FileFormatError(f"{path}, {about['where']}: t is of the kind {kinds['t']!r}; expected numbers")
    unit = unit_of(None, options.time_unit, kinds["t"] == "f")
    metadata: dict[str, Any] = {"time_unit": unit, "group": about["where"]}
    metadata |= {
        name: about[name] for name in ("camera", "start_us", "label", "speaker", "key") if about.get(name) is not None
    }
    if size is not None and not all(1 <= side <= 2**15 for side in size):
        raise FileFormatError(f"{path}: states a sensor of {size[0]} x {size[1]} pixels; expected 1 to 32768")
    return Source("HDF5", _blocks(path, messages, unit), None if size is None else tuple(size), metadata)


def _blocks(path: Path, messages: Iterator[guard.Message], unit: str) -> Iterator[Columns]:
    for _, part in messages:
        x, y, p = (whole(part[name], name, str(path)) for name in ("x", "y", "p"))
        yield x, y, to_us(part["t"], unit), p
