"""A cache folder for generated data: keyed by every parameter, checked on reading, written atomically."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.npz import read_npz, write_npz
from neuroaccel.errors import FileFormatError
from neuroaccel.folders import user_cache

log = logging.getLogger("neuroaccel")

Progress = Callable[[int, int], None]
"""Called with (done, total) while something is generated."""

FILE_KIND, FILE_VERSION = "neuroaccel-cache", 1


def cache_dir() -> Path:
    """Return ``NEUROACCEL_CACHE``, else ``XDG_CACHE_HOME/neuroaccel``, else ``~/.cache/neuroaccel``."""
    own = os.environ.get("NEUROACCEL_CACHE")
    return Path(own) if own else user_cache()


def cache_key(version: int, parameters: Mapping[str, Any]) -> str:
    """Return a hash of a generator's version and of all of its parameters.

    Arguments:
        version: version of the generator, raised whenever the same parameters give other data.
        parameters: plain JSON values by name; their order does not matter.

    Returns:
        32 hexadecimal digits.
    """
    text = json.dumps({"version": version, "parameters": dict(parameters)}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached(name: str, key: str, build: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the arrays under a key, generated and stored if they are not there or are damaged.

    Arguments:
        name: readable start of the file name.
        key: from ``cache_key``.
        build: generates the arrays.

    Returns:
        The arrays by name.

    Raises:
        FileFormatError: ``name`` or ``key`` would leave the cache folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or not re.fullmatch(r"[0-9a-f]+", key):
        raise FileFormatError(f"cache entry {name!r}, {key!r}: expected a plain name and a hexadecimal key")
    path = cache_dir() / f"{name}-{key}.npz"
    if path.exists():
        try:
            arrays = read_npz(path, FILE_KIND, FILE_VERSION, ("checksum",))
            found = str(arrays.pop("checksum"))
            if found == _checksum(arrays):
                log.debug("read %s", path)
                return arrays
            log.warning("%s: the checksum does not fit the data; generating it again", path)
        except FileFormatError as error:
            log.warning("%s; generating it again", error)
    arrays = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(path, FILE_KIND, FILE_VERSION, {**arrays, "checksum": np.array(_checksum(arrays))})
    except OSError as error:  # a full or read-only disk costs the next run's time, not this run
        log.warning("%s: cannot be written (%s); the data is generated again next time", path, error)
    return arrays


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
