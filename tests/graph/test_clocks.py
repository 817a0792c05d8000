"""Clocks: windows, dropped ticks, and what may meet."""

from __future__ import annotations

import pytest

from neuroaccel.errors import GraphError
from neuroaccel.graph import Add, Constant, Edge, Graph, Input, Keep, Output, Window, chain
from neuroaccel.graph.clocks import clocks, ticks_of
from tests.graphs import GRAPHS
from tests.graphs.parts import weights


@pytest.mark.parametrize(("ticks", "tokens"), [(0, 0), (3, 0), (4, 1), (6, 1), (7, 2), (16, 5), (100, 33)])
def test_a_window_runs_first_when_it_is_full(ticks: int, tokens: int) -> None:
    graph = chain({"x": Input((2,)), "window": Window(4, 3), "y": Output()})
    ends = [t for t in range(ticks) if t >= 3 and (t - 3) % 3 == 0]
    assert len(ends) == tokens
    assert ticks_of(graph, ticks) == {"x": ticks, "window": tokens, "y": tokens}


def test_windows_behind_windows() -> None:
    graph = GRAPHS["frequency_tokens"]()
    ticks = ticks_of(graph, 32)
    assert (ticks["embed"], ticks["tokens"], ticks["encoder"]) == (10, 2, 2)
    assert clocks(graph)["position"] is None, "a constant is there whenever it is asked for"


def test_dropped_ticks_are_nominal_ticks() -> None:
    assert set(ticks_of(GRAPHS["kept_tokens"](), 9).values()) == {9}


def test_what_meets_has_one_clock() -> None:
    nodes = {"x": Input((2,)), "m": Input((1,)), "a": Keep(), "b": Keep(), "sum": Add(), "y": Output()}
    masked = (Edge("x", "a"), Edge("m", "a", "mask"), Edge("a", "sum"), Edge("sum", "y"))
    with pytest.raises(GraphError, match="edges 'a->sum:in' and 'x->sum:in' meet with different clocks"):
        Graph({k: v for k, v in nodes.items() if k != "b"}, (*masked, Edge("x", "sum"))).validate()
    both = (Edge("x", "b"), Edge("m", "b", "mask"), Edge("b", "sum"))
    Graph(nodes, (*masked, *both)).validate()  # the same mask twice: the same ticks


def test_feedback_across_clocks_is_refused() -> None:
    nodes = {"x": Input((2,)), "w": Window(1, 2), "flat": Add(), "n": Add(), "y": Output()}
    graph = Graph(
        {**nodes, "c": Constant(weights(1, 1, 2))},
        (
            Edge("x", "n"),
            Edge("n", "w"),
            Edge("w", "flat"),
            Edge("c", "flat"),
            Edge("flat", "n", recurrent=True),
            Edge("flat", "y"),
        ),
    )
    with pytest.raises(GraphError, match=r"edges '.*->n:in' and '.*->n:in' meet"):
        clocks(graph)
