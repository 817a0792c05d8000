"""A neuron that a user wrote, in torch, in the engine and in the ledger, without a line about it in any of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuroaccel import ledger
from neuroaccel.graph import Neuron as NeuronNode
from neuroaccel.graph.lower import lower
from neuroaccel.network import Network
from neuroaccel.neurons import Neuron
from neuroaccel.program import Assign, Emit, Fire, NeuronSpec, Parameter, Program, State
from neuroaccel.synapses import Linear, Readout
from neuroaccel.verify import verify

T, N = 20, 6


def resonator(decay: float = 0.875, turn: float = 0.25, threshold: float = 1.0, rest: int = 3) -> NeuronSpec:
    """A resonate-and-fire neuron with a refractory time, and bursts: it sends 2 where it overshoots.

    x and y turn around each other; ``wait`` counts the ticks in which it takes nothing in; on a spike y returns to 0.
    """
    program = Program(
        name="Resonator",
        states=(State("x"), State("y"), State("wait")),
        parameters=(
            Parameter("decay", 0.0, 1.0),
            Parameter("turn"),
            Parameter("threshold"),
            Parameter("rest", 0.0, None),
        ),
        derived=(Assign("twice", "mul", ("threshold", 2.0)),),
        body=(
            Assign("wait", "sub", ("wait", 1.0)),
            Assign("wait", "max", ("wait", 0.0)),
            Assign("free", "le", ("wait", 0.0)),
            Assign("drive", "select", ("free", "i", 0.0)),
            Assign("a", "mul", ("turn", "y")),
            Assign("x", "mul", ("decay", "x")),
            Assign("x", "sub", ("x", "a")),
            Assign("x", "add", ("x", "drive")),
            Assign("b", "mul", ("turn", "x")),
            Assign("y", "mul", ("decay", "y")),
            Assign("y", "flush", ("y",)),
            Assign("y", "add", ("y", "b")),
            Assign("over", "gt", ("y", "twice")),
            Assign("burst", "add", ("over", 1.0)),
        ),
        fire=Fire("y", "gt", "threshold"),
        on_fire=(Assign("y", "copy", (0.0,)), Assign("wait", "copy", ("rest",))),
        emit=Emit("count", "burst", 2),
        membrane="y",
    )
    values = {"decay": decay, "turn": turn, "threshold": threshold, "rest": float(rest)}
    return NeuronSpec(program, {name: np.float32(value) for name, value in values.items()})


@pytest.fixture(name="net", scope="module")
def net_fixture() -> Network:
    torch.manual_seed(7)
    wide = Linear(12, 16)
    with torch.no_grad():
        wide.weight.mul_(4)
        wide.weight[torch.rand(16, 12) < 0.3] = 0
    return Network([wide, Neuron(resonator(threshold=0.25)), Linear(16, 4), Neuron(resonator(0.75)), Readout()])


@pytest.fixture(name="x", scope="module")
def x_fixture() -> torch.Tensor:
    return (torch.rand(T, N, 12, generator=torch.Generator().manual_seed(8)) < 0.4).float()


def test_torch_and_engine_agree_bit_for_bit(net: Network, x: torch.Tensor) -> None:
    report = verify(net, x, executors=("torch", "engine", "nir", "lava-fixed"))
    torch_row = report.executor("torch")
    assert torch_row.status == "ok"
    assert (torch_row.differing, torch_row.states_differing, torch_row.max_membrane_error) == (0, 0, 0.0)
    assert torch_row.spikes
    assert report.executor("engine").status == "ok"
    for name in ("nir", "lava-fixed"):  # these know the field's neurons only
        assert report.executor(name).status == "refused"
        assert "Resonator" in report.executor(name).reason
    assert report.ok


def test_it_bursts_and_rests(net: Network, x: torch.Tensor) -> None:
    """The program's own features are in what was verified."""
    _, _, trace = Network.from_graph(lower(net, x)).trace(x)
    name = next(n for n, v in trace.spikes.items() if v.shape[2:] == (16,))
    assert {0.0, 1.0, 2.0} == set(np.unique(trace.spikes[name]).tolist())
    wait = trace.states[name]["wait"]
    assert wait.max() == 3


def test_the_ledger_counts_it_and_both_executors_count_the_same(net: Network, x: torch.Tensor) -> None:
    graph = lower(net, x)
    books = [ledger.count(graph, x.numpy(), executor=executor) for executor in ("engine", "torch")]
    for name, column in books[0].columns.items():
        for key, values in column.items():
            np.testing.assert_array_equal(values, books[1].columns[name][key], err_msg=f"{name}, {key}")
    neurons = graph.of_type(NeuronNode)
    assert all(books[0].columns[name]["spikes"].sum() > 0 for name in neurons)
    node = graph.nodes[neurons[0]]
    assert isinstance(node, NeuronNode)
    operations = node.program.operations()
    assert (operations["mul"], operations["select"], operations["compare"]) == (4, 1, 1)
    text = ledger.format_table(ledger.energy(books[0], "cmos45"))
    assert all(name in text for name in neurons)
