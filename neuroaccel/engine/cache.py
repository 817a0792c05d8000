"""The engine's own kernels, compiled by :mod:`neuroaccel.compiling`."""

from __future__ import annotations

import functools
from importlib import resources

from neuroaccel.compiling import Kernel, compile_source, folder, wanted

__all__ = ["Kernel", "compile_source", "folder", "load", "wanted"]


def load(name: str, number: str) -> Kernel:
    """The kernel of ``engine/kernels/{name}.py``, compiled for ``float32``, ``float64`` or ``int64``."""
    return compile_source(f"{name}_{number}", _source(f"{name}.py"), number)


@functools.cache
def _source(file: str) -> str:
    return resources.files("neuroaccel.engine.kernels").joinpath(file).read_text("utf-8")
