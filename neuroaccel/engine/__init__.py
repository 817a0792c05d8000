"""The event engine: runs a graph in float32, float64 or integer arithmetic at a cost that follows its events.

>>> import numpy as np
>>> from neuroaccel import engine
>>> from neuroaccel.graph import Input, Linear, Neuron, Output, chain
>>> from neuroaccel.program import IF
>>> population = Neuron(IF().program, {"threshold": np.float32(1.0)}, (1,))
>>> graph = chain({"x": Input((2,)), "w": Linear(np.array([[0.75, 0.5]], np.float32)), "n": population, "y": Output()})
>>> result = engine.run(graph, np.ones((4, 1, 2)), record=True)
>>> result.trace.spikes["n"].ravel().tolist()
[1, 1, 1, 1]
>>> result.counts["w"]["products"].tolist()
[8]
"""

from neuroaccel.engine.compiler import compile_graph, refusals
from neuroaccel.engine.events import EventStream
from neuroaccel.engine.explain import explain
from neuroaccel.engine.loop import Decision, control
from neuroaccel.engine.run import Result, run
from neuroaccel.engine.session import Session, open
from neuroaccel.engine.streams import Report, play

__all__ = [
    "Decision",
    "EventStream",
    "Report",
    "Result",
    "Session",
    "compile_graph",
    "control",
    "explain",
    "open",
    "play",
    "refusals",
    "run",
]
