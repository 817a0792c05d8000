"""The algorithm book from a run of the torch executor, every node's emissions recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroaccel.engine.inputs import Feed, by_name, entering
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, Input
from neuroaccel.graph.lower import lower
from neuroaccel.ledger.book import Book
from neuroaccel.ledger.dense import count_from_emissions
from neuroaccel.network import Network


def _tensors(x: Any) -> Tensor | dict[str, Tensor]:
    if isinstance(x, Mapping):
        return {name: _tensor(value) for name, value in x.items()}
    return _tensor(x)


def _tensor(x: Any) -> Tensor:
    if isinstance(x, (list, tuple)):
        raise InputError("count: torch reads [T, N, ...] arrays; event streams go to executor='engine'")
    return torch.as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x.detach().cpu()).to(torch.float32)


def _checked(graph: Graph, name: str, x: Tensor) -> Tensor:
    """An input as the engine takes it, refused where the engine refuses it."""
    node = graph.nodes[name]
    assert isinstance(node, Input)
    feed = Feed(name, node, x.numpy())
    ticks = [entering(name, node, value, tick, np.float32) for tick, value in enumerate(feed)]
    return torch.from_numpy(np.array(ticks, np.float32).reshape(x.shape))


def lowered(net: nn.Module, x: Any) -> Graph:
    """A torch network as a graph, folded and snapped, with the input's own shape and largest count.

    Raises:
        UnsupportedNode: a layer that no graph can hold.
    """
    example = _tensors(x)
    top = max(float(v.max()) for v in (example.values() if isinstance(example, dict) else [example]))
    whole = top.is_integer() and top > 1
    return lower(net, example, maximum=int(top) if whole else None)


def count_with_torch(graph: Graph, x: Any) -> Book:
    """Run ``Network.from_graph(graph)`` and count what its nodes emitted.

    Arguments:
        graph: the lowered graph.
        x: ``[T, N, *shape]``, or input name → one.

    Returns:
        The book, checked.

    Raises:
        UnsupportedNode: torch cannot run a node.
        InputError: an input that does not fit.
    """
    values, states, _ = emissions_with_torch(graph, x)
    return count_from_emissions(graph, values, states)


def emissions_with_torch(graph: Graph, x: Any) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]], Network]:
    """Run ``Network.from_graph(graph)`` and keep what its nodes emitted, its neurons' states, and the network.

    Arguments:
        graph, x: as :func:`count_with_torch` takes them.

    Returns:
        Node → ``[T, N, *shape]``; neuron → state → ``[T, N, *shape]``; the network that ran.
    """
    inputs = {name: _checked(graph, name, value) for name, value in by_name(graph, _tensors(x)).items()}
    net = Network.from_graph(graph).eval()
    with torch.no_grad():
        values, _, trace = net.emissions(inputs)
    states = {name: {k: torch.from_numpy(v) for k, v in kept.items()} for name, kept in trace.states.items()}
    return values, states, net
