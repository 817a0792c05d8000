"""Kernels that are written by hand: texts for :mod:`neuroaccel.compiling`, each with ``SIGNATURE`` and ``kernel``.

An inner loop in vectors (``add_rows.py``) lies beside the plain one (``add_rows_plain.py``) that it must equal.
"""
