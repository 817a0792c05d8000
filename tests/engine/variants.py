"""Every way in which the engine may run a graph, for holding them against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine.conv_population import ConvPopulation
from neuroaccel.engine.convolution import Convolution
from neuroaccel.engine.inputs import Feed, by_name
from neuroaccel.engine.populations import Population
from neuroaccel.engine.schedule import LinearRule, Schedule
from neuroaccel.graph import Graph, Input

Arrays = dict[str, NDArray[Any]]


@dataclass
class Seen:
    """What a session gave: outputs of all ticks, its state at the end, its counts."""

    outputs: Arrays
    state: Arrays
    counts: dict[str, Arrays]

    def differences(self, other: Seen) -> list[str]:
        """What differs, bit for bit."""
        flat = (
            {**s.outputs, **s.state} | {f"{n}:{k}": v for n, c in s.counts.items() for k, v in c.items()}
            for s in (self, other)
        )
        mine, theirs = flat
        return sorted(set(mine) ^ set(theirs)) + [
            k for k in mine.keys() & theirs.keys() if not equal(mine[k], theirs[k])
        ]


def equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays have the same bits."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def play(graph: Graph, x: Any, block: int | None = None) -> Seen:
    """A session over a whole sequence, in blocks of so many ticks."""
    plan = engine.compile_graph(graph)
    feeds = {}
    for name, values in by_name(graph, x).items():
        node = graph.nodes[name]
        assert isinstance(node, Input)
        feeds[name] = Feed(name, node, values)
    ticks, batch = next((f.ticks, f.batch) for f in feeds.values())
    session = engine.Session(plan, batch, block=block)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in graph.outputs}
    for _ in session.blocks(feeds, ticks):
        for name in graph.outputs:
            parts[name].append(session.output(name))
    outputs = {name: np.concatenate(given) for name, given in parts.items()}
    return Seen(outputs, session.state(), session.counts)


@contextmanager
def linear(kind: str) -> Iterator[None]:
    """Linears sum by one kernel, where it can hold them."""
    usual = LinearRule.choose

    def choose(rule: LinearRule, rows: int, events: int) -> Schedule:
        with patch.object(LinearRule, "times", only):
            return usual(rule, rows, events)

    times = LinearRule.times

    def only(rule: LinearRule, rows: int, events: int) -> dict[Any, float]:
        every = times(rule, rows, events)
        return {kind: every[kind]} if kind in every else every  # type: ignore[index,dict-item]

    with patch.object(LinearRule, "choose", choose):
        yield


@contextmanager
def convolutions(together: bool) -> Iterator[None]:
    """Convolutions run together with their neurons wherever they can, or nowhere."""

    def suits(synapse: Convolution, population: Population) -> bool:
        return together and population.program.emit.kind == "spike" and population.dtype.kind == "f"

    with patch.object(ConvPopulation, "suits", staticmethod(suits)):
        yield


def variants(graph: Graph, x: Any, turn: int | None = None) -> dict[str, Seen]:
    """The graph's run in every variant, by name; the first is the engine's own choice.

    Arguments:
        turn: with an even one kernels that pruned and dense inputs are for are not forced, with an odd one convolutions
            run as the engine chooses; None: everything.
    """
    kinds = (
        ("strict", "blocked") if turn is not None and turn % 2 == 0 else ("strict", "blocked", "csr", "lines", "dense")
    )
    fused = () if turn is not None and turn % 2 == 1 else (True, False)
    batch = max(len(v[0]) for v in by_name(graph, x).values())
    found = {"default": play(graph, x), "tick by tick": play(graph, x, 1), "blocks of 3": play(graph, x, 3)}
    for kind in kinds:
        with linear(kind):
            found[kind] = play(graph, x)
    for together in fused:
        with convolutions(together):
            name = "convolutions with neurons" if together else "convolutions apart"
            found[name] = play(graph, x)
            found[f"{name}, tick by tick"] = play(graph, x, 1)
    for threads in {1, 2, batch}:
        result = engine.run(graph, x, threads=threads)
        found[f"{threads} threads"] = Seen(result.trace.outputs, found["default"].state, dict(result.counts))
    return found


def differing(
    graph: Graph, x: Any, check: Callable[[str], bool] = lambda _: True, turn: int | None = None
) -> dict[str, list[str]]:
    """Variant → what of it differs from the engine's own choice; empty if nothing does."""
    found = variants(graph, x, turn)
    default = found.pop("default")
    return {name: odd for name, seen in found.items() if check(name) and (odd := default.differences(seen))}
