"""Sources of the numba kernels: plain functions ``kernel`` with a ``SIGNATURE``, in which ``V`` stands for the number
type (float32, float64 or int64). :mod:`neuroaccel.engine.cache` compiles copies of these files; nothing imports them.
"""
