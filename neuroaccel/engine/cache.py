"""The engine's own kernels, compiled by :mod:`neuroaccel.compiling`."""

from __future__ import annotations

from neuroaccel import compiling
from neuroaccel.compiling import Kernel, compile_source, folder, stamped, wanted

__all__ = ["Kernel", "compile_source", "folder", "load", "stamped", "wanted"]


def load(name: str, number: str, **constants: str | int) -> Kernel:
    """The kernel of ``engine/kernels/{name}.py``, compiled for ``float32``, ``float64`` or ``int64``.

    Arguments:
        name: of the file.
        number: the type that ``V`` stands for in its signature.
        constants: values that replace those of the file's lines ``NAME = value``.

    Raises:
        ValueError: the file has no such line.
    """
    return compiling.load("neuroaccel.engine.kernels", name, number, constants)
