"""Every node type × executor passes conformance or is refused by name; the README holds the table found here.

NEUROACCEL_WRITE_README=1 .venv/bin/pytest tests/verify/test_support.py      writes the table anew
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neuroaccel.graph import Edge, Graph, Input, Output, chain, infer
from neuroaccel.graph import nodes as n
from neuroaccel.program import ALIF, IF, LI, LIF, CubaLIF, GradedLIF, NeuronSpec
from neuroaccel.verify import verify
from neuroaccel.verify.decisions import is_exact

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- support table -->", "<!-- end of support table -->"
EXECUTORS = ("torch", "engine", "nir", "lava-float", "lava-fixed")
CONCRETE = sorted(
    t.__name__
    for t in vars(n).values()
    if isinstance(t, type) and issubclass(t, n.Node) and t not in (n.Node, n.Synapse, n.Pool2d)
)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).integers(-16, 25, shape) / 32).astype(np.float32)


GRID = n.WeightGrid(5)


def population(spec: NeuronSpec, *shape: int) -> n.Neuron:
    return n.Neuron(spec.program, {k: np.float32(v) for k, v in spec.values.items()}, shape)


def linear(out: int, inputs: int, seed: int = 0) -> n.Linear:
    return n.Linear(weights(out, inputs, seed=seed), weights(out, seed=seed + 1), GRID)


def conv2d(out: int, inputs: int, kernel: int = 3) -> n.Conv2d:
    return n.Conv2d(weights(out, inputs, kernel, kernel), None, GRID, padding=(1, 1))


def vector(**layers: n.Node) -> Graph:
    return chain({"x": Input((6,)), **layers, "y": Output()}, dt=0.001)


def image(**layers: n.Node) -> Graph:
    return chain({"x": Input((2, 6, 6)), **layers, "y": Output()}, dt=0.001)


def then(shape: int) -> dict[str, n.Node]:
    return {"w": linear(4, shape, seed=7), "n": population(LIF(), 4)}


def two_paths(join: n.Node, port: str = "in") -> Graph:
    nodes: dict[str, n.Node] = {"x": Input((6,))}
    for side in "ab":
        nodes |= {f"w{side}": linear(6, 6, seed=ord(side)), f"n{side}": population(LIF(), 6)}
    nodes |= {"join": join, **then(6), "y": Output()}
    edges = ["x wa", "x wb", "wa na", "wb nb", "na join", "join w", "w n", "n y"]
    return Graph(nodes, (*(Edge(*e.split()) for e in edges), Edge("nb", "join", port)), dt=0.001)


CASES: dict[str, Graph] = {
    "Input": vector(**then(6)),
    "Output": vector(**then(6)),
    "Linear": vector(**then(6)),
    "Conv1d": chain(
        {
            "x": Input((2, 8)),
            "c": n.Conv1d(weights(3, 2, 3), None, GRID, padding=1),
            "n": population(LIF(), 3, 8),
            "y": Output(),
        },
        dt=0.001,
    ),
    "Conv2d": image(c=conv2d(3, 2), n=population(LIF(), 3, 6, 6)),
    "Dendrite": image(
        c=n.Dendrite(weights(3, 2, 3, 3), weights(3, 2, 3, 3, seed=1), None, GRID, GRID, (1, 1), padding=(1, 1)),
        m=population(LIF(), 3, 6, 6),
        f=n.Flatten(),
        d=n.Dendrite(weights(4, 108), weights(4, 108, seed=1), weights(4, seed=2), GRID, GRID),
        n=population(LIF(), 4),
    ),
    "SumPool2d": image(p=n.SumPool2d((2, 2), (2, 2)), c=conv2d(3, 2), n=population(LIF(), 3, 3, 3)),
    "AvgPool2d": image(p=n.AvgPool2d((2, 2), (2, 2)), c=conv2d(3, 2), n=population(LIF(), 3, 3, 3)),
    "MaxPool2d": image(p=n.MaxPool2d((2, 2), (2, 2)), c=conv2d(3, 2), n=population(LIF(), 3, 3, 3)),
    "Flatten": image(f=n.Flatten(), **then(72)),
    "Reshape": image(r=n.Reshape((72,)), **then(72)),
    "Select": vector(s=n.Select((4, 1, 0)), **then(3)),
    "Delay": vector(d=n.Delay(np.int32(2)), **then(6)),
    "Add": two_paths(n.Add()),
    "Multiply": two_paths(n.Multiply(), "gate"),
    "Probe": vector(w=linear(4, 6), n=population(LIF(), 4), p=n.Probe()),
    "Readout": vector(w=linear(4, 6), n=population(LIF(), 4), r=n.Readout()),
    "Table": vector(t=n.Table(np.array([0.0, 1.0], np.float32)), **then(6)),
    "Constant": Graph(
        {"x": Input((6,)), "w": linear(4, 6), "k": n.Constant(weights(4)), "n": population(LIF(), 4), "y": Output()},
        (Edge("x", "w"), Edge("w", "n"), Edge("k", "n"), Edge("n", "y")),
        dt=0.001,
    ),
}
INNER = chain({"in": Input((6,)), "w": linear(4, 6), "n": population(LIF(), 4), "o": Output()})
CASES |= {
    "Window": vector(c=n.Window(2, 2), f=n.Flatten(), **then(12)),
    "Memory": vector(m=n.Memory(2), f=n.Flatten(), **then(12)),
    "Scope": vector(s=n.Scope(INNER, 3, state="carry", output="sum"), **then(4)),
    "Keep": Graph(
        {"x": Input((6,)), "one": n.Select((2,)), "k": n.Keep(), **then(6), "y": Output()},
        (*(Edge(*e.split()) for e in ["x one", "x k", "k w", "w n", "n y"]), Edge("one", "k", "mask")),
        dt=0.001,
    ),
}
CASES["Linear, plastic"] = Graph(
    {
        "x": Input((6,)),
        "third": n.Select((2,)),
        "w": n.Linear(weights(4, 6), None, GRID, plastic=n.Plastic(0.5, 0.25, 1.0)),
        "n": population(LIF(), 4),
        "y": Output(),
    },
    (
        *(Edge(*e.split()) for e in ["x third", "x w", "w n", "n y"]),
        Edge("third", "w", "third"),
        Edge("n", "w", "post"),
    ),
    dt=0.001,
)


def attention(node: n.Attention) -> Graph:
    nodes: dict[str, n.Node] = {"x": Input((6,)), "m": n.Memory(3), "one": n.Select((0,), -1), "band": n.Flatten()}
    nodes |= {"a": node, **then(6), "y": Output()}
    edges = [
        "x m in",
        "m one in",
        "one band in",
        "x a q",
        "m a k",
        "m a v",
        "band a mask",
        "a w in",
        "w n in",
        "n y in",
    ]
    return Graph(nodes, tuple(Edge(*e.split()) for e in edges), dt=0.001)


CASES |= {
    "Attention, counts": attention(n.Attention(2)),
    "Attention, softmax": attention(n.Attention(2, "softmax")),
    "LayerNorm": vector(norm=n.LayerNorm(weights(6) + 1, weights(6)), **then(6)),
    "Softmax": vector(s=n.Softmax(), **then(6)),
}
CLOSE = {"Attention, softmax", "LayerNorm", "Softmax"}
NEURONS: dict[str, NeuronSpec] = {
    "Neuron IF": IF(),
    "Neuron LIF": LIF(),
    "Neuron LIF, ≥": LIF(tie="ge"),
    "Neuron LIF, subtractive": LIF(reset="subtract"),
    "Neuron LIF, reset to a value": LIF(reset="to_value", v_reset=0.25),
    "Neuron LIF, leak potential": LIF(v_leak=0.5),
    "Neuron LIF, euler": LIF(form="euler", rate=0.25),
    "Neuron CubaLIF": CubaLIF(),
    "Neuron LI": LI(),
    "Neuron ALIF": ALIF(),
    "Neuron GradedLIF": GradedLIF(),
}
CASES |= {name: vector(w=linear(4, 6), n=population(spec, 4)) for name, spec in NEURONS.items()}
CASES["recurrent edge"] = Graph(
    {"x": Input((6,)), "w": linear(4, 6), "n": population(LIF(), 4), "back": linear(4, 4, seed=5), "y": Output()},
    (Edge("x", "w"), Edge("w", "n"), Edge("n", "back", recurrent=True), Edge("back", "n"), Edge("n", "y")),
    dt=0.001,
)


def cells(graph: Graph) -> dict[str, str]:
    x = (np.random.default_rng(1).random((8, 2, *infer(graph)[graph.inputs[0]].shape)) < 0.5).astype(np.float32)
    report = verify(graph, x, executors=EXECUTORS, lava_samples=1)
    found = {}
    for row in report.executors:
        assert row.status in ("ok", "refused"), (row.name, row.status, row.reason)
        assert row.status == "ok" or any(f"'{name}" in str(row.reason) for name in graph.nodes), row.reason
        kept = "ok" if is_exact(graph) else "close"
        found[row.name] = kept if row.status == "ok" else "–"
    return found


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, str]]:
    return {name: cells(graph) for name, graph in CASES.items()}


def rendered(table: dict[str, dict[str, str]]) -> str:
    lines = [f"| node | {' | '.join(EXECUTORS)} |", f"|---|{'---|' * len(EXECUTORS)}"]
    lines += [f"| {name} | {' | '.join(row[e] for e in EXECUTORS)} |" for name, row in sorted(table.items())]
    return "\n".join(lines)


def test_every_node_type_has_a_row() -> None:
    assert {name.split()[0].rstrip(",") for name in CASES} >= set(CONCRETE)
    for name, graph in CASES.items():
        kinds = {node.kind for node in graph.nodes.values()}
        assert name.split()[0].rstrip(",") in kinds or name == "recurrent edge"


def test_the_readme_holds_this_table(table: dict[str, dict[str, str]]) -> None:
    assert all(row["torch"] == row["engine"] in ("ok", "close") for row in table.values())
    assert {name for name, row in table.items() if row["engine"] == "close"} == CLOSE
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    expected = f"{before}{BEGIN}\n{rendered(table)}\n{END}{after}"
    if os.environ.get("NEUROACCEL_WRITE_README"):
        README.write_text(expected, encoding="utf-8")
    assert README.read_text(encoding="utf-8") == expected
