"""One call for a user's network: its books, counted by the engine or by torch."""

from __future__ import annotations

from typing import Any, Literal

from neuroaccel.errors import InputError
from neuroaccel.graph import Graph
from neuroaccel.ledger.book import Book

Executor = Literal["engine", "torch"]


def count(net: Any, x: Any, *, executor: Executor = "engine") -> Book:
    """The algorithm book of a network on an input; both executors give the same book.

    Arguments:
        net: a :class:`~neuroaccel.graph.Graph`, or a torch network, which is lowered first (folded and snapped).
        x: ``[T, N, *shape]`` array or tensor, input name → one, or (engine) a list of event streams, one per sample.
        executor: ``engine`` counts while it runs event by event, ``torch`` by dense convolutions of masks.

    Returns:
        The checked book: one entry per sample of ``x``.

    Raises:
        InputError: an unknown executor, or an input that does not fit the network.
        UnsupportedNode: the network holds a layer that cannot be lowered or executed.
    """
    if executor not in ("engine", "torch"):
        raise InputError(f"count: executor is 'engine' or 'torch', not '{executor}'")
    if not isinstance(net, Graph):
        from neuroaccel.ledger.torch_hooks import lowered

        net = lowered(net, x)
    if executor == "torch":
        from neuroaccel.ledger.torch_hooks import count_with_torch

        return count_with_torch(net, x)
    from neuroaccel.ledger.from_engine import count_with_engine

    return count_with_engine(net, x)[0]
