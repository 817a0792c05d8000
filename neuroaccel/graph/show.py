"""A graph as a plain text table, and the same as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.graph import nodes as n
from neuroaccel.graph.counting import columns_of, nominal_per_tick, pruned_per_tick
from neuroaccel.graph.file import sha256
from neuroaccel.graph.graph import Graph
from neuroaccel.graph.infer import infer

HEADERS = ("name", "node", "emits", "weights", "living", "grid", "neuron", "from")


def _weights(node: n.Node) -> dict[str, NDArray[Any]]:
    """The arrays whose zeros are pruned synapses."""
    if isinstance(node, n.Dendrite):
        return {"weight": node.weight, "gate": node.gate}
    return {"weight": node.weight} if isinstance(node, n.Synapse) else {}


def _span(value: NDArray[np.float32]) -> list[float]:
    return [float(np.min(value)), float(np.max(value))]


def _parameters(node: n.Node) -> int:
    """Numbers that training could move: weights, biases, neuron parameters; a scope's are its graph's."""
    if isinstance(node, n.Scope):
        return sum(_parameters(x) for x in node.graph.nodes.values())
    arrays: list[NDArray[Any] | None] = list(_weights(node).values())
    if isinstance(node, n.Synapse | n.Dendrite):
        arrays.append(node.bias)
    if isinstance(node, n.Neuron):
        arrays += list(node.parameters.values())
    if isinstance(node, n.LayerNorm):
        arrays += [node.weight, node.bias]
    return sum(np.size(a) for a in arrays if a is not None)


def _grids(node: n.Node) -> dict[str, dict[str, Any]]:
    grids: dict[str, Any] = {"weight": getattr(node, "grid", None), "gate": getattr(node, "gate_grid", None)}
    return {
        key: {"q": grid.q, "largest_change": grid.largest_change}
        for key, grid in grids.items()
        if isinstance(grid, n.WeightGrid)
    }


def _describe_node(graph: Graph, name: str, signals: dict[str, Any]) -> dict[str, Any]:
    node, signal = graph.nodes[name], signals[name]
    row: dict[str, Any] = {
        "name": name,
        "node": node.kind,
        "emits": {"shape": list(signal.shape), "kind": signal.kind, "maximum": signal.maximum, "frac": signal.frac},
        "exact": signal.exact,
        "from": [
            {"source": e.source, "port": e.port, "recurrent": e.recurrent, "name": e.name} for e in graph.into(name)
        ],
        "parameters": _parameters(node),
        "counts": list(columns_of(graph, name, signals)),
        "nominal_per_tick": nominal_per_tick(graph, name, signals),
        "pruned_per_tick": pruned_per_tick(graph, name, signals),
    }
    if arrays := _weights(node):
        zeros = sum(int(np.count_nonzero(a == 0)) for a in arrays.values())
        size = sum(a.size for a in arrays.values())
        row["weights"] = {key: list(a.shape) for key, a in arrays.items()}
        row["connectivity"] = 1 - zeros / size if size else 0.0
        row["bias"] = getattr(node, "bias", None) is not None
        row["plastic"] = getattr(node, "plastic", None) is not None
        row["weight_bits"] = getattr(node, "weight_bits", 32)
    if grids := _grids(node):
        row["grid"] = grids
    if getattr(node, "arithmetic", None) is not None:
        row["arithmetic"] = "integer"
    if isinstance(node, n.Neuron):
        row["neuron"] = {
            "program": node.program.name,
            "key": node.program.key,
            "parameters": {key: _span(value) for key, value in node.parameters.items()},
        }
    if isinstance(node, n.Scope):
        row["scope"] = {
            "ticks": node.ticks,
            "input": node.input,
            "state": node.state,
            "output": node.output,
            **_describe_body(node.graph),
        }
    return row


def _describe_body(graph: Graph) -> dict[str, Any]:
    signals = infer(graph)
    return {"nodes": [_describe_node(graph, name, signals) for name in graph.order]}


def describe(graph: Graph) -> dict[str, Any]:
    """Everything that :func:`show` prints, ready for JSON.

    Arguments:
        graph: a graph that validates.

    Returns:
        timing, dt (seconds), sha256, totals and ``nodes`` in the order of execution; a scope's nodes are under its own
        key ``scope``.

    Raises:
        GraphError: the graph does not validate.
    """
    body = _describe_body(graph)
    arrays = [a for node in _all_nodes(graph) for a in _weights(node).values()]
    return {
        "timing": graph.timing,
        "dt": graph.dt,
        "sha256": sha256(graph),
        "parameters": sum(_parameters(node) for node in graph.nodes.values()),
        "synapses": sum(int(a.size) for a in arrays),
        "living_synapses": sum(int(np.count_nonzero(a)) for a in arrays),
        "neurons": sum(node.size for node in _all_nodes(graph) if isinstance(node, n.Neuron)),
        "metadata": dict(graph.metadata),
        **body,
    }


def _all_nodes(graph: Graph) -> list[n.Node]:
    inner = [x for node in graph.nodes.values() if isinstance(node, n.Scope) for x in _all_nodes(node.graph)]
    return [*graph.nodes.values(), *inner]


def _emits(row: dict[str, Any]) -> str:
    emits = row["emits"]
    shape = "x".join(map(str, emits["shape"])) or "scalar"
    top = f"≤{emits['maximum']}" if emits["kind"] == "count" else ""
    return f"{emits['kind']}{top} {shape} {'exact' if row['exact'] else 'close'}"


def _neuron(row: dict[str, Any]) -> str:
    if "neuron" not in row:
        return ""
    values = (
        f"{key}={low:g}" if low == high else f"{key}={low:g}..{high:g}"
        for key, (low, high) in row["neuron"]["parameters"].items()
    )
    return f"{row['neuron']['program']}({', '.join(values)})"


def _from(edge: dict[str, Any]) -> str:
    port = "" if edge["port"] == "in" else f":{edge['port']}"
    return f"{edge['source']}{port}{' (last tick)' if edge['recurrent'] else ''}"


def _grid(row: dict[str, Any]) -> str:
    cells = [f"q={grid['q']} ±{grid['largest_change']:.2g}" for grid in row.get("grid", {}).values()]
    return ", ".join([*cells, *([row["arithmetic"]] if "arithmetic" in row else [])])


def _rows(nodes: list[dict[str, Any]], depth: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for row in nodes:
        shapes = row.get("weights", {})
        kind = row["node"] + (" plastic" if row.get("plastic") else "")
        if "scope" in row:
            scope = row["scope"]
            kind += f" {scope['ticks']} ticks, {scope['input']}, {scope['state']}, {scope['output']}"
        rows.append(
            (
                "  " * depth + row["name"],
                kind,
                _emits(row),
                " ".join("x".join(map(str, s)) for s in shapes.values()) + (" +bias" if row.get("bias") else ""),
                f"{row['connectivity']:.1%}" if shapes else "",
                _grid(row),
                _neuron(row),
                ", ".join(map(_from, row["from"])),
            )
        )
        if "scope" in row:
            rows += _rows(row["scope"]["nodes"], depth + 1)
    return rows


def show(graph: Graph) -> str:
    """A graph as a table: one line per node in the order of execution, the nodes of a scope indented below it.

    Arguments:
        graph: a graph that validates.

    Returns:
        text without a final newline: a header (timing, dt, SHA-256, totals), then name, node, what it emits (exact or
        close), weight shapes, share of living weights, grid (q, largest change), neuron with ranges of its parameters,
        and where its edges come from.

    Raises:
        GraphError: the graph does not validate.

    >>> from neuroaccel.graph import Input, Output, chain
    >>> print(show(chain({"x": Input((3,)), "y": Output()})).splitlines()[-1])
    y     Output  binary 3 exact  x
    """
    data = describe(graph)
    dt = "not set" if data["dt"] is None else f"{data['dt']:g} s"
    living = data["living_synapses"] / data["synapses"] if data["synapses"] else 0.0
    head = [
        f"timing {data['timing']}, dt {dt}, sha256 {data['sha256']}",
        f"{len(data['nodes'])} nodes, {data['neurons']:,} neurons, {data['parameters']:,} parameters, "
        f"{data['synapses']:,} synapses of which {data['living_synapses']:,} ({living:.1%}) live",
        "",
    ]
    table = [HEADERS, *_rows(data["nodes"], 0)]
    kept = [i for i in range(len(HEADERS)) if any(row[i] for row in table[1:])]
    widths = [max(len(row[i]) for row in table) for i in kept]
    lines = ["  ".join(row[i].ljust(w) for i, w in zip(kept, widths, strict=True)).rstrip() for row in table]
    return "\n".join(head + lines)
