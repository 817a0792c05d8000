"""A graph with other weights of the same shapes on the same grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.errors import GraphError
from neuroaccel.graph import Graph, Scope, Synapse, infer
from neuroaccel.graph import nodes as n
from neuroaccel.graph.signal import WHOLE, summed

Weights = Mapping[str, ArrayLike | Mapping[str, ArrayLike]]


def replaced(graph: Graph, weights: Weights) -> Graph:
    """The graph with some synapses' weights exchanged.

    Arguments:
        graph: the graph.
        weights: synapse → weight, or → ``{"weight": …, "bias": …}``; ``scope/synapse`` is a synapse in a scope.

    Raises:
        GraphError: a name that is no synapse, another shape, values that are not finite or off the node's grid, or so
            large that sums which every order gave alike would depend on it.
    """
    return _replaced(graph, weights, "")


def _replaced(graph: Graph, weights: Weights, prefix: str) -> Graph:
    nodes = dict(graph.nodes)
    inner: dict[str, dict[str, Any]] = {}
    for name, given in weights.items():
        node, (scope, _, rest) = nodes.get(name), name.partition("/")
        if isinstance(node, Synapse):
            nodes[name] = dataclasses.replace(node, **_arrays(prefix + name, node, given))
        elif rest and isinstance(nodes.get(scope), Scope):
            inner.setdefault(scope, {})[rest] = given
        else:
            known = ", ".join(graph.of_type(Synapse)) or "none"
            raise GraphError(f"'{prefix}{name}' is no synapse of the graph; expected one of {known}")
    for scope, given in inner.items():
        node = nodes[scope]
        assert isinstance(node, Scope)
        nodes[scope] = dataclasses.replace(node, graph=_replaced(node.graph, given, f"{prefix}{scope}/"))
    new = dataclasses.replace(graph, nodes=nodes)
    for name in sorted(_exact(graph) - _exact(new)):
        raise GraphError(
            f"with these weights what enters '{prefix}{name}' could leave the {WHOLE} whole steps of its grid that "
            "float32 adds exactly; load smaller ones, or lower the network again"
        )
    return new


def _exact(graph: Graph) -> set[str]:
    """Nodes whose inputs are on a grid, so that no sum depends on its order."""
    signals = infer(graph)
    entering = {
        name: [summed(name, [signals[e.source] for e in graph.into(name, port)]) for port in n.ports_of(node)]
        for name, node in graph.nodes.items()
    }
    return {name for name, ports in entering.items() if all(signal.frac is not None for signal in ports)}


def _arrays(name: str, node: Synapse, given: Any) -> dict[str, Any]:
    """The arrays to exchange in a synapse, checked."""
    arrays = dict(given) if isinstance(given, Mapping) else {"weight": given}
    unknown = sorted(set(arrays) - {"weight", "bias"})
    if unknown:
        raise GraphError(f"synapse '{name}' has a weight and a bias, not {', '.join(unknown)}")
    return {key: _checked(name, node, key, value) for key, value in arrays.items()}


def _checked(name: str, node: Synapse, key: str, value: Any) -> NDArray[np.float32]:
    there = getattr(node, key)
    array = np.asarray(value)
    if there is None or array.shape != there.shape or array.dtype.kind not in "iuf":
        expected = "none" if there is None else f"numbers {list(there.shape)}"
        raise GraphError(f"the {key} of synapse '{name}' is {array.dtype}{list(array.shape)}, expected {expected}")
    with np.errstate(over="ignore"):
        exact = array.astype(np.float32)
    if not np.isfinite(exact).all():
        raise GraphError(f"the {key} of synapse '{name}' has values that are not finite in float32")
    if node.grid is not None:
        scaled = np.ldexp(exact.astype(np.float64), node.grid.q)
        if (scaled != np.floor(scaled)).any() or (exact != array).any():
            raise GraphError(f"the {key} of synapse '{name}' leaves its grid, whole multiples of 2^-{node.grid.q}")
        widest = 2.0 ** (node.weight_bits - 1) - 1
        if key == "weight" and _largest(exact, node) > max(widest, _largest(there, node)):
            raise GraphError(f"the weight of synapse '{name}' does not fit into its {node.weight_bits} bits")
    return exact


def _largest(weight: NDArray[np.float32], node: Synapse) -> float:
    """The largest weight in steps of the node's grid."""
    assert node.grid is not None
    return float(np.ldexp(np.abs(weight.astype(np.float64)), node.grid.q).max(initial=0))
