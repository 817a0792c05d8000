"""Sources of the numba kernels that make frames and decode recordings, as :mod:`neuroaccel.engine.kernels` has the
engine's: functions ``kernel`` with a ``SIGNATURE`` in which ``V`` stands for the frames' type.
"""

from __future__ import annotations

from neuroaccel import compiling
from neuroaccel.compiling import Kernel


def load(name: str, number: str = "float32") -> Kernel:
    """Return the kernel of ``datasets/kernels/{name}.py``, compiled once per machine.

    Arguments:
        name: of the file.
        number: the type that ``V`` stands for in its signature.
    """
    return compiling.load(__name__, name, number)
