"""Who runs a layer, and why: the conditions, the environment variable, and what `which` tells."""

from __future__ import annotations

import pytest
import torch

from neuroaccel import Network
from neuroaccel.errors import InputError
from neuroaccel.kernels import which
from neuroaccel.neurons import LI, LIF, Neuron
from neuroaccel.neurons.backend import VARIABLE, choose
from neuroaccel.program import NeuronSpec, zoo
from neuroaccel.synapses import BatchNorm1d, Linear, Recurrent


@pytest.fixture(autouse=True)
def nothing_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_networks_layers_are_told_by_name() -> None:
    net = Network([Linear(3, 4), BatchNorm1d(4), LIF(), Recurrent(LIF(), Linear(4, 4)), Linear(4, 2), LI()])
    mean = {n: b.clone() for n, b in net.named_buffers()}
    found = which(net, torch.rand(6, 2, 3))
    assert {n.removeprefix("layers.layer_"): c.implementation for n, c in found.items()} == {
        "2": "numba",
        "3.neuron": "torch",
        "5": "numba",
    }
    assert net.training
    assert all(torch.equal(b, mean[n]) for n, b in net.named_buffers())


@pytest.mark.parametrize(
    ("layer", "x", "reason"),
    [
        (LIF(), torch.rand(1, 2, 3), "one tick is no sequence"),
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
