"""Executors side by side: the same spikes, the same membranes, bit for bit, and a certificate that can be replayed.

>>> import numpy as np
>>> from neuroaccel.graph import Input, Linear, Neuron, Output, WeightGrid, chain
>>> from neuroaccel.program import IF
>>> from neuroaccel.verify import verify
>>> population = Neuron(IF().program, {"threshold": np.float32(1.0)}, (1,))
>>> weights = Linear(np.array([[0.75, 0.5]], np.float32), grid=WeightGrid(2))
>>> graph = chain({"x": Input((2,)), "w": weights, "n": population, "y": Output()})
>>> report = verify(graph, np.ones((4, 1, 2), np.float32), executors=("torch", "engine"))
>>> report.ok, [(row.name, row.spikes, row.differing) for row in report.executors]
(True, [('torch', 4, 0), ('engine', 4, 0)])
"""

import sys
from types import ModuleType
from typing import Any

from neuroaccel.verify.artifacts import ArtifactReport, check_artifact, compare_graphs
from neuroaccel.verify.certificate import Certificate, replay
from neuroaccel.verify.compare import Comparison, compare
from neuroaccel.verify.divergence import Divergence, first_divergence
from neuroaccel.verify.executors import EXECUTORS, Executor, torch_executor
from neuroaccel.verify.report import Accuracy, ExecutorReport, VerifyReport, table
from neuroaccel.verify.verifier import verify

__all__ = [
    "EXECUTORS",
    "Accuracy",
    "ArtifactReport",
    "Certificate",
    "Comparison",
    "Divergence",
    "Executor",
    "ExecutorReport",
    "VerifyReport",
    "check_artifact",
    "compare",
    "compare_graphs",
    "first_divergence",
    "replay",
    "table",
    "torch_executor",
    "verify",
]


class _Callable(ModuleType):
    """``neuroaccel.verify`` is the function's public name and this package's as well: calling either is the same."""

    def __call__(self, *args: Any, **options: Any) -> VerifyReport:
        return verify(*args, **options)


sys.modules[__name__].__class__ = _Callable
