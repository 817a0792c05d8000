"""Blocks in which nothing enters: left out where they change nothing, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine.conv_population import ConvPopulation
from neuroaccel.engine.operation import Operation
from neuroaccel.engine.populations import Population
from neuroaccel.engine.session import Session
from neuroaccel.graph import Conv2d, Flatten, Graph, Input, Linear, Node, Output, WeightGrid, chain
from neuroaccel.program import ALIF, IF, LIF, CubaLIF, NeuronSpec
from tests.graphs.parts import neuron, weights

RESTING = [
    LIF(beta=0.9, threshold=0.5),
    LIF(beta=0.9, threshold=0.5, reset="subtract"),
    LIF(form="euler", rate=0.25, threshold=0.5),
    CubaLIF(beta=0.9, threshold=0.5),
    IF(threshold=0.5),
    ALIF(beta=0.9, threshold=0.5),
]
RESTLESS = [LIF(beta=0.9, threshold=0.0, tie="ge"), LIF(beta=0.9, v_leak=0.1)]


def dense(spec: NeuronSpec, bias: bool = False) -> Graph:
    b = np.ldexp(np.arange(12, dtype=np.float32) - 6, -5) if bias else None
    nodes: dict[str, Node] = {
        "x": Input((2, 5)),
        "flat": Flatten(),
        "w": Linear(weights(1, 12, 10), b, grid=WeightGrid(5)),
        "n": neuron(spec, 12),
        "w2": Linear(weights(2, 7, 12), grid=WeightGrid(5)),
        "n2": neuron(spec, 7),
        "y": Output(),
    }
    return chain(nodes).validate()


def image(spec: NeuronSpec) -> Graph:
    """Large enough for neurons to run together with their convolution."""
    nodes: dict[str, Node] = {
        "x": Input((2, 48, 48)),
        "w": Conv2d(weights(3, 8, 2, 3, 3), grid=WeightGrid(5), padding=(1, 1)),
        "n": neuron(spec, 8, 48, 48),
        "y": Output(),
    }
    return chain(nodes).validate()


def sparse(graph: Graph, ticks: int, seed: int) -> NDArray[np.float32]:
    """``[T, 2, *shape]`` with a silent beginning, events in a few ticks, and a long silent end."""
    (name,) = graph.inputs
    shape = graph.nodes[name].shape
    rng = np.random.default_rng(seed)
    x = (rng.random((ticks, 2, *shape)) < 0.2).astype(np.float32)
    x[rng.random((ticks, 2)) < 0.6] = 0
    x[:3], x[ticks // 2 :] = 0, 0
    return x


def left_out(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """The populations that will have run, once for every time."""
    ran: list[Operation] = []
    for kind in (Population, ConvPopulation):
        usual = kind.run

        def run(self: Any, work: Any, usual: Any = usual) -> None:
            ran.append(self)
            usual(self, work)

        monkeypatch.setattr(kind, "run", run)
    return ran


def follow(graph: Graph, x: NDArray[np.float32]) -> None:
    """Tick by tick, where silence can be left out, against all at once, where there is none."""
    whole = engine.run(graph, x, record=True)
    session = engine.open(graph, x.shape[1])
    for repeat in range(2):
        for t, row in enumerate(x):
            given = session.step(row)["y"]
            np.testing.assert_array_equal(given, whole.trace.outputs["y"][t], err_msg=f"tick {t}, repeat {repeat}")
            for name, states in whole.trace.states.items():
                for key, value in session.neuron_state(name).items():
                    assert value.tobytes() == states[key][t].tobytes(), (name, key, t)
        for name, columns in whole.counts.items():
            for key, value in columns.items():
                np.testing.assert_array_equal(session.counts[name][key], value, err_msg=f"{name}: {key}")
        session.reset()


@pytest.mark.parametrize("spec", RESTING + RESTLESS, ids=lambda s: s.program.name)
def test_silence_left_out_is_silence_run(spec: NeuronSpec) -> None:
    follow(dense(spec), sparse(dense(spec), 40, 1))
    follow(dense(spec, bias=True), sparse(dense(spec), 40, 2))


@pytest.mark.parametrize("spec", [RESTING[0], RESTING[3], RESTLESS[0]], ids=lambda s: s.program.name)
def test_the_same_of_convolutions(spec: NeuronSpec) -> None:
    follow(image(spec), sparse(image(spec), 12, 3))


@pytest.mark.parametrize("graph", [dense(RESTING[0]), image(RESTING[0])], ids=["dense", "image"])
def test_neurons_at_rest_are_left_alone(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    session = engine.open(graph)
    ran = left_out(session, monkeypatch)
    (name,) = graph.inputs
    silence = np.zeros((1, *graph.nodes[name].shape), np.float32)
    for _ in range(3):
        session.step(silence)
    assert not ran
    session.step(np.ones_like(silence))
    assert ran
    session.reset()
    ran.clear()
    session.step(silence)
    assert not ran


def test_restless_neurons_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for graph in (dense(RESTLESS[0]), dense(RESTLESS[1]), dense(RESTING[0], bias=True)):
        session = engine.open(graph)
        ran = left_out(session, monkeypatch)
        session.step(np.zeros((1, 2, 5), np.float32))
        assert ran


def test_a_reset_of_some_samples_and_a_state_put_back() -> None:
    graph = dense(RESTING[0])
    x = sparse(graph, 20, 5)
    session = engine.open(graph, 2)
    for row in x[:10]:
        session.step(row)
    state = session.state()
    session.reset(np.array([True, False]))
    after = session.state()
    assert not after["n/v"][0].any()
    np.testing.assert_array_equal(after["n/v"][1], state["n/v"][1])
    session.reset()
    session.step(np.zeros_like(x[0]))
    session.restore(state)
    np.testing.assert_array_equal(session.state()["n/v"], state["n/v"])
    session.reset()
    assert not session.state()["n/v"].any()
