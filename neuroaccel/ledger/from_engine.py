"""The two books of a run of the event engine: its counts are the algorithm's, its moves the execution's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neuroaccel.engine import Result, run
from neuroaccel.graph import Graph
from neuroaccel.ledger.assemble import assemble
from neuroaccel.ledger.book import Book
from neuroaccel.ledger.execution import ExecutionBook, execution_book


def book_of(graph: Graph, result: Result) -> Book:
    """The algorithm book of a finished run.

    Raises:
        InputError: the run counted nothing.
        ImbalanceError: the books do not balance.
    """
    return assemble(graph, result.counts, ticks=result.ticks)


def count_with_engine(graph: Graph, x: Any, **options: Any) -> tuple[Book, ExecutionBook]:
    """Run the engine and make its counts into both books.

    Arguments:
        graph: the lowered graph.
        x: ``[T, N, *shape]`` array, one event stream per sample, or input name → one of them.
        options: further arguments of :func:`neuroaccel.engine.run` (``arithmetic``).

    Raises:
        InputError: an input that does not fit the graph.
        UnsupportedNode: the engine cannot hold a node.
        ImbalanceError: the books do not balance.
    """
    inputs = {name: _readable(value) for name, value in x.items()} if isinstance(x, Mapping) else _readable(x)
    result = run(graph, inputs, counts=True, **options)
    book = book_of(graph, result)
    return book, execution_book(book, "engine", seconds=result.seconds, touched=result.touched)


def _readable(x: Any) -> Any:
    """Event streams as they are, anything array-like (a torch tensor too) as an array."""
    return list(x) if isinstance(x, (list, tuple)) else np.asarray(x)
