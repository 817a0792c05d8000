"""Sources of the numba kernels that make frames, as :mod:`neuroaccel.engine.kernels` has the engine's: functions
``kernel`` with a ``SIGNATURE`` in which ``V`` stands for the frames' type. ``load`` compiles copies of these files.
"""

from __future__ import annotations

import functools
import os
from importlib import resources

from neuroaccel.compiling import Kernel, compile_source


def load(name: str, number: str = "float32") -> Kernel:
    """Return the kernel of ``datasets/kernels/{name}.py``, compiled once per machine.

    Arguments:
        name: of the file.
        number: the type that ``V`` stands for in its signature.
    """
    return _load(os.environ.get("NEUROACCEL_KERNEL_CACHE", ""), name, number)


@functools.cache
def _load(_where: str, name: str, number: str) -> Kernel:
    """As ``load``; the folder is part of the key only."""
    source = resources.files(__name__).joinpath(f"{name}.py").read_text("utf-8")
    return compile_source(f"frames_{name}_{number}", source, number)
