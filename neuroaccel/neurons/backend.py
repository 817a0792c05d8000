"""The seam for faster implementations of whole sequences: they register here, neurons ask who takes one.

An implementation must give the reference's values bit for bit. What none takes, the reference runs. The environment
variable ``NEUROACCEL_KERNELS`` forces one by name: ``torch`` (the reference), ``numba``.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from neuroaccel.errors import InputError
from neuroaccel.neurons.interpreter import State
from neuroaccel.program import NeuronSpec

REFERENCE = "torch"
VARIABLE = "NEUROACCEL_KERNELS"


class Backend(Protocol):
    """An implementation of a neuron layer over a whole sequence."""

    name: str

    def refuses(self, spec: NeuronSpec, x: Tensor, values: Mapping[str, Tensor]) -> str:
        """Why it cannot run this, or an empty text."""

    def declines(self, spec: NeuronSpec, x: Tensor) -> str:
        """Why it could run this but the reference does better, or an empty text."""

    def run(self, spec: NeuronSpec, x: Tensor, values: Mapping[str, Tensor], state: State) -> tuple[Tensor, State]:
        """What is emitted, ``[T, N, ...]``, and the state after the last tick."""


_BACKENDS: list[Backend] = []


def register(backend: Backend) -> None:
    """Add an implementation; those added first are asked first."""
    _BACKENDS.append(backend)


def load() -> None:
    """Let the package's own implementations register, when the first sequence is run."""
    if not torch.compiler.is_compiling():  # which cannot trace an import, and comes after a first run or does without
        _import()


@functools.cache
def _import() -> None:
    importlib.import_module("neuroaccel.kernels")


def forced() -> str:
    """The implementation that the environment forces, or an empty text.

    Raises:
        InputError: there is none of that name.
    """
    load()
    name = os.environ.get(VARIABLE, "")
    known = [REFERENCE, *(b.name for b in _BACKENDS)]
    if name and name not in known:
        raise InputError(f"{VARIABLE}={name}: no such implementation; there are {', '.join(known)}")
    return name


def choose(spec: NeuronSpec, x: Tensor, values: Mapping[str, Tensor]) -> tuple[Backend | None, str]:
    """Who runs a layer on ``x`` (``[T, N, ...]``), ``None`` being the reference, and why.

    Raises:
        InputError: the forced implementation does not exist, or cannot run it.
    """
    force = forced()
    if force == REFERENCE:
        return None, f"{VARIABLE}={force}"
    reasons = []
    for backend in _BACKENDS:
        if force not in ("", backend.name):
            continue
        reason = backend.refuses(spec, x, values)
        if force and reason:
            raise InputError(f"{VARIABLE}={force}: it cannot run {spec.program.name}: {reason}")
        if force:
            return backend, f"{VARIABLE}={force}"
        reason = reason or backend.declines(spec, x)
        if not reason:
            return backend, f"{'a whole sequence' if x.shape[0] > 1 else 'one tick'} in float32 on the CPU"
        reasons.append(f"{backend.name}: {reason}")
    return None, "; ".join(reasons) or "no other implementation is registered"
