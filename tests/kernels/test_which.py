"""Who runs a layer, and why: the conditions, the environment variable, and what `which` tells."""

from __future__ import annotations

import pytest
import torch

from neuroaccel import Network
from neuroaccel.errors import InputError
from neuroaccel.kernels import which
from neuroaccel.kernels.numba_backend import ONE_TICK, ONE_TICK_WITH_GRADIENT
from neuroaccel.neurons import LI, LIF, Neuron
from neuroaccel.neurons.backend import VARIABLE, choose
from neuroaccel.program import NeuronSpec, zoo
from neuroaccel.synapses import BatchNorm1d, BatchNorm2d, Conv2d, Linear, Recurrent, SumPool2d


@pytest.fixture(autouse=True)
def nothing_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_networks_layers_are_told_by_name() -> None:
    net = Network([Linear(3, 4), BatchNorm1d(4), LIF(), Recurrent(LIF(), Linear(4, 4)), Linear(4, 2), LI()])
    mean = {n: b.clone() for n, b in net.named_buffers()}
    found = which(net, torch.rand(6, 2, 3))
    assert {n.removeprefix("layers.layer_"): c.implementation for n, c in found.items()} == {
        "0": "torch",
        "1": "torch",
        "2": "numba",
        "3.neuron": "torch",
        "3.synapse": "torch",
        "4": "torch",
        "5": "numba",
    }
    assert net.training
    assert all(torch.equal(b, mean[n]) for n, b in net.named_buffers())


@pytest.mark.parametrize(
    ("layer", "x", "reason"),
    [
        (LIF(), torch.rand(1, 2, 3), "one tick of 6 neurons, it pays from"),
        (LIF().double(), torch.rand(5, 2, 3), "computes in float32"),
        (LIF(), torch.rand(5, 2, 3, device="meta"), "on meta"),
        (LIF(), torch.rand(5), "no axis of samples"),
        (
            Neuron(NeuronSpec(zoo.LIF().program, {"beta": torch.rand(2, 3).numpy(), "threshold": 1.0})),
            torch.rand(5, 2, 3),
            "per sample",
        ),
    ],
)
def test_what_the_kernels_do_not_run_the_reference_does(layer: Neuron, x: torch.Tensor, reason: str) -> None:
    backend, why = choose(layer.spec, x.to(layer.dtype), layer.values())
    assert backend is None
    assert reason in why
    if x.device.type == "cpu":
        assert layer(x)[0].shape == x.shape


def test_a_neuron_that_is_stepped_is_heard_and_as_before() -> None:
    net = Recurrent(LIF(), Linear(4, 4))
    found = which(net, torch.rand(3, 2, 4))
    assert "one tick of 8 neurons" in found["neuron"].reason
    assert "step" not in vars(net.neuron)
    assert which(Network([Linear(3, 3), net.neuron]), torch.rand(3, 2, 3))["layers.layer_1"].implementation == "numba"


def test_one_tick_of_many_neurons_runs_in_the_kernel_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    layer, x = LIF(beta=0.9), torch.rand(4, ONE_TICK, generator=generator)
    assert str(which(layer, x.unsqueeze(0))[""]) == "numba (one tick in float32 on the CPU)"
    assert which(LIF(learnable=["beta"]), x.unsqueeze(0))[""].implementation == "numba"  # it asks without gradients
    with torch.enable_grad():
        declined = choose(layer.spec, x[:, :9].unsqueeze(0).requires_grad_(), layer.values())[1]
    assert f"it pays from {ONE_TICK_WITH_GRADIENT} on" in declined
    found = []
    for name in ("torch", "numba"):
        monkeypatch.setenv(VARIABLE, name)
        y, state = layer.step(x)
        again, state = layer.step(x, state)
        later, state = layer.step(x, state, gap=3)
        found.append([y, again, later, state["v"]])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert 0 < float(found[0][1].mean()) < 1


def test_the_environment_forces_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = LIF(), torch.rand(5, 2, 3)
    assert which(layer, x)[""].implementation == "numba"
    monkeypatch.setenv(VARIABLE, "torch")
    assert str(which(layer, x)[""]) == "torch (NEUROACCEL_KERNELS=torch)"
    monkeypatch.setenv(VARIABLE, "numba")
    assert which(layer, x[:1])[""].implementation == "numba"
    with pytest.raises(InputError, match=r"cannot run LIF: the arithmetic is torch\.float64"):
        LIF().double()(x)
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(InputError, match=r"NEUROACCEL_KERNELS=fast: no such implementation; there are torch, numba"):
        layer(x)


def test_a_block_that_one_operator_runs_is_told() -> None:
    net = Network([Conv2d(2, 8, 5, padding=2, bias=False), BatchNorm2d(8), LIF(), SumPool2d(2)])
    x = (torch.rand(10, 2, 2, 34, 34) < 0.05).float()
    mean = net["1"].running_mean.clone()
    found = [str(c) for c in which(net, x).values()]
    assert found == ["numba (one operator for 0 → 1 → 2 → 3)"] * 4
    assert net.training
    assert net["1"].training
    assert torch.equal(net["1"].running_mean, mean)
    alone = {n.removeprefix("layers.layer_"): str(c) for n, c in which(net.eval(), x).items()}
    assert "by its events" in alone["0"]
    assert "in evaluation" in alone["1"]
    assert alone["3"] == "numba (channels last)"
