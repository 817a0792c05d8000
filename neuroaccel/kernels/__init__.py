"""Fused multi-step neurons generated from programs: numba on the CPU, behind a registered torch operator.

Importing the room makes neurons use it; :mod:`neuroaccel.network` does.
"""

from neuroaccel.kernels.numba_backend import NumbaBackend
from neuroaccel.kernels.which import Choice, which
from neuroaccel.neurons.backend import register

register(NumbaBackend())

__all__ = ["Choice", "NumbaBackend", "which"]
