"""A graph with other weights of the same shapes on the same grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.errors import GraphError
from neuroaccel.graph import Dendrite, Graph, Scope, Synapse, infer
from neuroaccel.graph.rules import exact_sums
from neuroaccel.graph.signal import WHOLE, summed

Weights = Mapping[str, ArrayLike | Mapping[str, ArrayLike]]


def replaced(graph: Graph, weights: Weights) -> Graph:
    """The graph with some synapses' weights exchanged.

    Arguments:
        graph: the graph.
        weights: synapse → weight, or → ``{"weight": …, "bias": …}``, of a Dendrite also ``"gate"``;
            ``scope/synapse`` is a synapse in a scope.

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
        if isinstance(node, (Synapse, Dendrite)):
            nodes[name] = dataclasses.replace(node, **_arrays(prefix + name, node, given))
        elif rest and isinstance(nodes.get(scope), Scope):
            inner.setdefault(scope, {})[rest] = given
        else:
            known = ", ".join(x for x, y in graph.nodes.items() if isinstance(y, (Synapse, Dendrite))) or "none"
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
    """Nodes whose inputs, and a Dendrite's own sums, are on a grid, so that no sum depends on its order."""
    signals = infer(graph)
    entering = {
        name: [summed(name, [signals[e.source] for e in graph.into(name, port)]) for port in graph.ports(name)]
        for name, node in graph.nodes.items()
    }
    within = {
        name
        for name, node in graph.nodes.items()
        if isinstance(node, Dendrite) and not exact_sums(node, entering[name][0])
    }
    return {name for name, ports in entering.items() if all(signal.frac is not None for signal in ports)} - within


def _arrays(name: str, node: Synapse | Dendrite, given: Any) -> dict[str, Any]:
    """The arrays to exchange in a synapse, checked."""
    arrays = dict(given) if isinstance(given, Mapping) else {"weight": given}
    known = {"weight": "a weight", "gate": "a gate", "bias": "a bias"}
    if not isinstance(node, Dendrite):
        del known["gate"]
    unknown = sorted(set(arrays) - set(known))
    if unknown:
        has = " and ".join(", ".join(known.values()).rsplit(", ", 1))
        raise GraphError(f"synapse '{name}' has {has}, not {', '.join(unknown)}")
    return {key: _checked(name, node, key, value) for key, value in arrays.items()}


def _checked(name: str, node: Synapse | Dendrite, key: str, value: Any) -> NDArray[np.float32]:
    there = getattr(node, key)
    array = np.asarray(value)
    if there is None or array.shape != there.shape or array.dtype.kind not in "iuf":
        expected = "none" if there is None else f"numbers {list(there.shape)}"
        raise GraphError(f"the {key} of synapse '{name}' is {array.dtype}{list(array.shape)}, expected {expected}")
    with np.errstate(over="ignore"):
        exact = array.astype(np.float32)
    if not np.isfinite(exact).all():
        raise GraphError(f"the {key} of synapse '{name}' has values that are not finite in float32")
    grid = node.gate_grid if isinstance(node, Dendrite) and key == "gate" else node.grid
    # A Dendrite's bias is added to a product, which lies on no grid.
    if grid is not None and not (isinstance(node, Dendrite) and key == "bias"):
        scaled = np.ldexp(exact.astype(np.float64), grid.q)
        if (scaled != np.floor(scaled)).any() or (exact != array).any():
            raise GraphError(f"the {key} of synapse '{name}' leaves its grid, whole multiples of 2^-{grid.q}")
        widest = 2.0 ** (node.weight_bits - 1) - 1
        if key != "bias" and _largest(exact, grid.q) > max(widest, _largest(there, grid.q)):
            raise GraphError(f"the {key} of synapse '{name}' does not fit into its {node.weight_bits} bits")
    return exact


def _largest(weight: NDArray[np.float32], q: int) -> float:
    """The largest weight in steps of 2^-q."""
    return float(np.ldexp(np.abs(weight.astype(np.float64)), q).max(initial=0))
