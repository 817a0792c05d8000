"""What synapses carry, checked by brute force over every event and weight, and information on known joint laws."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from neuroaccel import neurons, synapses
from neuroaccel.cli import figures_pruning
from neuroaccel.errors import InputError
from neuroaccel.graph.lower import lower
from neuroaccel.ledger import count
from neuroaccel.ledger.transfer import LayerTransfer, mutual_information, transfer
from neuroaccel.network import Network
from neuroaccel.synapses.pruning import prune


def test_operations_currents_and_multiplications_are_those_of_a_brute_force_count() -> None:
    torch.manual_seed(0)
    net = Network([synapses.DendriticLinear(12, 9, bias=False), neurons.LIF(), synapses.Linear(9, 4), neurons.LIF()])
    with torch.no_grad():
        net["0"].gate.mul_(10)  # as large as W, so that the common threshold leaves some of both
    pruner = prune(net, "nsp", 0.2)
    pruner.step(10, 10)
    pruner.fold()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(8)
    x = (torch.rand(7, 5, 12) < 0.4).float()
    graph = lower(net.eval(), x)
    rows = transfer(graph, x)
    assert len(rows) == 2
    first, second = rows
    node = graph.nodes[first.node]
    w, v = node.weight, node.gate  # type: ignore[attr-defined]
    in_w = in_v = both = 0
    current = 0.0
    for t in range(7):
        for sample in range(5):
            event = x[t, sample].numpy()
            for o in range(9):
                hits_w = sum(1 for i in range(12) if event[i] and w[o, i])
                hits_v = sum(1 for i in range(12) if event[i] and v[o, i])
                in_w, in_v, both = in_w + hits_w, in_v + hits_v, both + bool(hits_w and hits_v)
                y, z = float(event @ w[o]), float(event @ v[o])
                current += abs(y * z + y)
    assert first.sops_w * 5 == pytest.approx(in_w)
    assert first.sops_v * 5 == pytest.approx(in_v)
    assert first.interactions * 5 == pytest.approx(both)
    assert both > 0
    assert first.current == pytest.approx(current / 35, rel=1e-5)
    assert (first.living_w, first.living_v) == (np.count_nonzero(w), np.count_nonzero(v))
    assert first.connectivity == (first.living_w + first.living_v) / 216
    assert first.current_per_synapse == first.current / (first.living_w + first.living_v)
    book = count(graph, x.numpy(), executor="torch")
    for row in rows:
        executed = book.columns[row.node]["executed"].mean()
        assert row.sops_w + row.sops_v + row.interactions == pytest.approx(executed)
    assert (second.total_v, second.sops_v, second.interactions) == (0, 0, 0)
    assert second.information is not None
    sops = (second.sops_w) / 7
    assert second.information_per_operation == (second.information / sops if sops else None)
    assert set(first.to_json()) >= {"node", "connectivity", "current_per_synapse", "energy_pj"}
    written = json.loads(json.dumps(first.to_json()))
    assert LayerTransfer.from_json(written) == first
    del written["ticks"], written["sops_w"]
    with pytest.raises(InputError, match="no sops_w, ticks"):
        LayerTransfer.from_json(written)


def test_arithmetic_energy_is_adds_and_multiply_adds_of_living_synapses() -> None:
    """0.9 pJ per addition of a spike's weight, 4.6 per multiply-accumulate, in the synapse column of the profile."""
    from neuroaccel.ledger import energy

    torch.manual_seed(1)
    net = Network([synapses.DendriticLinear(12, 9, bias=False), neurons.LIF()])
    with torch.no_grad():
        net["0"].gate.mul_(10)
    pruner = prune(net, "nsp", 0.4)
    pruner.step(10, 10)
    pruner.fold()
    x = (torch.rand(7, 5, 12) < 0.5).float()
    graph = lower(net.eval(), x)
    (row,) = transfer(graph, x)
    assert row.interactions > 0
    report = energy(count(graph, x.numpy(), executor="torch"), "cmos45")
    synapse = next(r for r in report.rows if r.node == row.node).energies["synapse"].mean(axis=1)
    expected = 0.9 * (row.sops_w + row.sops_v) + 4.6 * row.interactions
    assert synapse[0] == pytest.approx(expected)


def test_information_of_known_laws() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(np.arange(8), 1000)
    assert mutual_information(x, x) == pytest.approx(3.0, abs=1e-3)
    assert mutual_information(x, x // 4) == pytest.approx(1.0, abs=1e-3)
    assert mutual_information(x, np.zeros_like(x)) == 0
    assert mutual_information(x, rng.permutation(x)) < 0.01


def test_pictures_of_connectivity_and_transfer_are_drawn() -> None:
    metrics = [{"epoch": e, "living_share": 1 - 0.3 * e, "living_share_weight": 1 - 0.2 * e} for e in range(3)]
    overall = figures_pruning.connectivity(metrics, "run")
    assert overall.startswith(b"\x89PNG")
    with_layers = [{**m, "living_share/a.b.weight": 0.5, "living_share/a.b.gate": 0.0} for m in metrics]
    assert len(figures_pruning.connectivity(with_layers, "run")) > len(overall)
    net = Network([synapses.Linear(12, 9), neurons.LIF()])
    x = (torch.rand(7, 5, 12) < 0.5).float()
    rows = transfer(lower(net.eval(), x), x)
    assert figures_pruning.efficiency({"dense": rows, "again": rows}, "run").startswith(b"\x89PNG")
    assert set(figures_pruning.of_run(with_layers, [], "run")) == {"connectivity"}
    assert figures_pruning.of_run([{"train_loss": 1.0}], [], "run") == {}
    points = {"nsp": [(0.1, 0.9, 0.01), (0.05, 0.8, 0.0)], "dense": [(1.0, 0.95, 0.0)]}
    assert figures_pruning.accuracy(points, "task").startswith(b"\x89PNG")
