"""A graph with other weights of the same shapes on the same grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.errors import GraphError
from neuroaccel.graph import Graph, Synapse


def replaced(graph: Graph, weights: Mapping[str, ArrayLike | Mapping[str, ArrayLike]]) -> Graph:
    """The graph with some synapses' weights exchanged.

    Arguments:
        graph: the graph.
        weights: synapse → weight, or → ``{"weight": …, "bias": …}``.

    Raises:
        GraphError: a name that is no synapse, another shape, values that are not finite or off the node's grid.
    """
    nodes = dict(graph.nodes)
    for name, given in weights.items():
        node = nodes.get(name)
        if not isinstance(node, Synapse):
            raise GraphError(f"'{name}' is no synapse of the graph, which has {list(graph.of_type(Synapse))}")
        arrays = dict(given) if isinstance(given, Mapping) else {"weight": given}
        unknown = sorted(set(arrays) - {"weight", "bias"})
        if unknown:
            raise GraphError(f"synapse '{name}' has a weight and a bias, not {', '.join(unknown)}")
        checked = {key: _checked(name, node, key, value) for key, value in arrays.items()}
        nodes[name] = dataclasses.replace(node, **checked)
    return dataclasses.replace(graph, nodes=nodes)


def _checked(name: str, node: Synapse, key: str, value: Any) -> NDArray[np.float32]:
    there = getattr(node, key)
    array = np.asarray(value)
    if there is None or array.shape != there.shape or array.dtype.kind not in "iuf":
        expected = "none" if there is None else f"numbers {list(there.shape)}"
        raise GraphError(f"the {key} of synapse '{name}' is {array.dtype}{list(array.shape)}, expected {expected}")
    exact = array.astype(np.float32)
    if not np.isfinite(exact).all():
        raise GraphError(f"the {key} of synapse '{name}' has values that are not finite")
    if node.grid is not None:
        scaled = np.ldexp(exact.astype(np.float64), node.grid.q)
        if (scaled != np.floor(scaled)).any() or (exact != array).any():
            raise GraphError(f"the {key} of synapse '{name}' leaves its grid, whole multiples of 2^{-node.grid.q}")
    return exact
