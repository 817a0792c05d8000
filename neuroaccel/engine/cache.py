"""The engine's own kernels, compiled by :mod:`neuroaccel.compiling`."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from importlib import resources

from neuroaccel.compiling import Kernel, compile_source, folder, wanted

__all__ = ["Kernel", "compile_source", "folder", "load", "wanted"]

_HELPERS = re.compile(r"^from neuroaccel\.engine\.kernels\.(\w+) import", re.MULTILINE)


def load(name: str, number: str, **constants: str | int) -> Kernel:
    """The kernel of ``engine/kernels/{name}.py``, compiled for ``float32``, ``float64`` or ``int64``.

    Arguments:
        name: of the file.
        number: the type that ``V`` stands for in its signature.
        constants: values that replace those of the file's lines ``NAME = value``.

    Raises:
        ValueError: the file has no such line.
    """
    where = os.environ.get("NEUROACCEL_KERNEL_CACHE", "")
    return _load(where, name, number, tuple(sorted(constants.items())))


@functools.cache
def _load(_where: str, name: str, number: str, constants: tuple[tuple[str, str | int], ...]) -> Kernel:
    """As :func:`load`; the folder is part of the key only."""
    source, tags = _source(f"{name}.py"), [name, number]
    for key, value in constants:
        source, found = re.subn(rf"^{key} = .*$", f"{key} = {value!r}", source, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"kernel {name} states {key} {found} times, not once")
        tags.append(str(value))
    return compile_source("_".join(tags), source, number)


@functools.cache
def _source(file: str) -> str:
    """A kernel's text, and the hashes of the helpers that it imports: machine code holds them too."""
    return stamped(resources.files("neuroaccel.engine.kernels").joinpath(file).read_text("utf-8"))


def stamped(text: str) -> str:
    """A kernel's text with the hashes of the helpers that it imports from ``engine/kernels``."""
    helpers = sorted(set(_HELPERS.findall(text)))
    hashes = (f"# {name} {hashlib.sha256(_source(f'{name}.py').encode()).hexdigest()}\n" for name in helpers)
    return text + "".join(hashes)
