"""Books of real runs of the torch executor; networks go through lowering."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuroaccel.errors import InputError
from neuroaccel.graph import Input
from neuroaccel.graph.lower import lower
from neuroaccel.ledger import COLUMNS, count
from neuroaccel.ledger.torch_hooks import lowered
from neuroaccel.network import Network
from neuroaccel.neurons import LIF
from neuroaccel.synapses import Conv2d, Flatten, Linear, SumPool2d
from tests.conftest import examples
from tests.ledger.brute import Brute
from tests.random_graphs import random_graph, random_input


def network() -> Network:
    torch.manual_seed(0)
    return Network(
        {
            "conv": Conv2d(2, 3, 3, padding=1),
            "norm": nn.BatchNorm2d(3),
            "lif1": LIF(beta=0.5, threshold=0.3),
            "pool": SumPool2d(2),
            "flatten": Flatten(),
            "linear": Linear(12, 4),
            "lif2": LIF(beta=0.5, threshold=0.3),
        }
    ).eval()


def spikes(maximum: int = 1) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.tensor(rng.integers(0, maximum + 1, (4, 2, 2, 4, 4)), dtype=torch.float32)


@settings(max_examples=examples(30, 300))
@given(st.integers(0, 2**32 - 1))
def test_runs_of_random_graphs_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, "tiny")
    x = random_input(graph, rng, T=4, N=2)
    with torch.no_grad():
        values, _, trace = Network.from_graph(graph).emissions(torch.tensor(x))
    emissions = {name: v.numpy() for name, v in values.items()}
    expected = Brute(graph, emissions, trace.states).columns()
    book = count(graph, x, executor="torch")
    for name in book.facts:
        for c in COLUMNS:
            assert book.columns[name][c].tolist() == expected[name].get(c, [0, 0]), (name, c)


def test_a_network_is_lowered_folded_and_counted() -> None:
    net, x = network(), spikes()
    book = count(net, x, executor="torch")
    assert book.differences(count(lower(net, x), x, executor="torch")) == []
    assert "norm" not in book.facts
    assert book.samples == 2
    assert book.total("spikes").all()
    assert book.total("macs").sum() == 0  # the pool is folded, so every edge is binary


def test_folded_and_unfolded_lowerings_have_one_dense_network() -> None:
    net, x = network(), spikes()
    folded, unfolded = (count(lower(net, x, fold=fold), x, executor="torch") for fold in (True, False))
    assert folded.ann_macs == unfolded.ann_macs
    assert unfolded.total("macs").all()
    assert folded.total("nominal")[0] > unfolded.total("nominal")[0]
    assert folded.columns["lif2"]["spikes"].tolist() == unfolded.columns["lif2"]["spikes"].tolist()


def test_counts_in_the_input_are_noticed() -> None:
    graph = lowered(network(), spikes(maximum=3))
    (name,) = graph.inputs
    node = graph.nodes[name]
    assert isinstance(node, Input)
    assert (node.edge, node.maximum) == ("count", 3)


def test_samples_are_counted_apart() -> None:
    net, x = network(), spikes()
    together = count(net, x, executor="torch")
    alone = count(lower(net, x), x[:, 1:], executor="torch")
    for name in together.facts:
        for c in COLUMNS:
            assert together.columns[name][c][1:].tolist() == alone.columns[name][c].tolist()


def test_bad_requests() -> None:
    with pytest.raises(InputError, match="executor is 'engine' or 'torch', not 'lava'"):
        count(network(), spikes(), executor="lava")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="event streams go to executor='engine'"):
        count(lower(network(), spikes()), [object()], executor="torch")


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan")])
def test_torch_counts_what_the_engine_counts_and_refuses_what_it_refuses(value: float) -> None:
    graph = lower(network(), spikes())
    wrong = spikes()
    wrong[1, 0, 0, 2, 3] = value
    messages = []
    for executor in ("engine", "torch"):
        with pytest.raises(InputError, match=r"tick 1, sample 0, index \(0, 2, 3\); expected 0 or 1") as error:
            count(graph, wrong, executor=executor)  # type: ignore[arg-type]
        messages.append(str(error.value))
        with pytest.raises(InputError, match="expected numbers"):
            count(graph, spikes()[..., 1:], executor=executor)  # type: ignore[arg-type]
    assert messages[0] == messages[1]
