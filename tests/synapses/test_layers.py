"""Layers on sequences: equal to torch tick by tick; delay, dropout, readout and recurrence by their equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neuroaccel.errors import InputError, StateError
from neuroaccel.neurons import LIF
from neuroaccel.synapses import (
    AvgPool2d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Delay,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Readout,
    Recurrent,
    SumPool2d,
)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Linear(4, 3), (4,)),
        (Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2), (2, 9)),
        (Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2), (2, 8, 7)),
        (AvgPool2d(2), (2, 6, 6)),
        (MaxPool2d(3, 2, 1), (2, 6, 6)),
        (Flatten(1), (2, 3, 4)),
    ],
)
def test_equals_torch_tick_by_tick(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(5, 3, *shape)
    y, state = layer(x)
    plain = type(layer).__mro__[2]
    assert state is None
    expected = torch.stack([plain.forward(layer, tick) for tick in x])
    assert torch.allclose(y, expected, atol=1e-6)


def test_sum_pool_is_the_sum_over_the_window() -> None:
    x = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    assert SumPool2d(2)(x)[0].flatten().tolist() == [10.0, 18.0, 42.0, 50.0]
    assert SumPool2d(3, 2, 1)(x)[0].shape[-2:] == (2, 2)


def test_batch_norm_takes_its_statistics_over_ticks_and_samples() -> None:
    x = torch.randn(6, 5, 3, 4, 4) * 2 + 1
    y, _ = BatchNorm2d(3)(x)
    assert torch.allclose(y.mean(dim=(0, 1, 3, 4)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(y.var(dim=(0, 1, 3, 4), unbiased=False), torch.ones(3), atol=1e-3)


def test_dropout_keeps_one_mask_per_sample_over_all_ticks() -> None:
    torch.manual_seed(0)
    layer = Dropout(0.5)
    y, _ = layer(torch.ones(7, 4, 50))
    assert torch.equal(y[0], y[6])
    assert not torch.equal(y[0, 0], y[0, 1])
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(layer.eval()(y)[0], y)
    with pytest.raises(InputError, match="p must be"):
        Dropout(1.0)


def test_delay_gives_what_came_so_many_ticks_ago_and_its_state_goes_on() -> None:
    x = torch.randn(9, 2, 3)
    layer = Delay(torch.tensor([1, 4, 2]))
    y, _ = layer(x)
    for neuron, ticks in enumerate((1, 4, 2)):
        assert torch.equal(y[ticks:, :, neuron], x[:-ticks, :, neuron])
        assert not y[:ticks, :, neuron].any()
    first, state = layer(x[:4])
    second, _ = layer(x[4:], state)
    assert torch.equal(torch.cat([first, second]), y)
    assert torch.equal(Delay(3)(x)[0][3:], x[:-3])
    with pytest.raises(InputError, match="whole"):
        Delay(0)
    with pytest.raises(StateError, match="Delay"):
        layer(x[:, :1], state)


def test_delay_reset_empties_the_line_of_the_samples_that_are_done() -> None:
    x = torch.randn(3, 2, 3)
    layer = Delay(2)
    _, state = layer(x)
    after = layer.reset(state, torch.tensor([True, False]))
    assert not after[:, 0].any()
    assert torch.equal(after[:, 1], state[:, 1])


@pytest.mark.parametrize("how", ["spike_count", "mean_membrane", "max_membrane", "last_membrane"])
def test_readout_running_values(how: str) -> None:
    x = torch.randn(6, 2, 3)
    y, _ = Readout(how)(x)
    expected = {
        "spike_count": x.cumsum(0),
        "mean_membrane": x.cumsum(0) / torch.arange(1.0, 7.0)[:, None, None],
        "max_membrane": x.cummax(0).values,
        "last_membrane": x,
    }[how]
    assert torch.allclose(y, expected, atol=1e-6)
    layer = Readout(how)
    _, state = layer(x[:3])
    state = layer.reset(state, torch.tensor([True, False]))
    z, _ = layer(x[3:], state)
    assert torch.allclose(z[:, 0], Readout(how)(x[3:])[0][:, 0], atol=1e-6)
    assert torch.allclose(z[:, 1], y[3:, 1], atol=1e-6)


def test_recurrent_feeds_back_the_last_tick() -> None:
    torch.manual_seed(1)
    layer = Recurrent(LIF(beta=0.9), Linear(4, 4))
    x = torch.rand(8, 2, 4)
    y, _ = layer(x)
    state, last = None, torch.zeros(2, 4)
    for t in range(8):
        back = nn.functional.linear(last, layer.synapse.weight, layer.synapse.bias)
        last, state = layer.neuron.step(x[t] + back, state)
        assert torch.equal(last, y[t])
    assert y.sum() > 0


@pytest.mark.parametrize("layer", [Readout(), Readout("max_membrane"), Recurrent(LIF(), Linear(4, 4)), Delay(2), LIF()])
def test_a_batch_size_change_with_live_state_raises(layer: nn.Module) -> None:
    _, state = layer(torch.ones(3, 2, 4))
    for samples in (1, 3):
        with pytest.raises(StateError, match=r"state .*shape \(2, 4\), the input"):
            layer(torch.ones(3, samples, 4), state)


@pytest.mark.parametrize("layer", [Readout(), Recurrent(LIF(), Linear(4, 4)), Delay(2), LIF()])
def test_a_reset_mask_has_a_value_per_sample(layer: Any) -> None:
    _, state = layer(torch.ones(3, 2, 4))
    for done in (torch.tensor([True]), torch.tensor([True, False, True])):
        with pytest.raises(StateError, match=r"done has shape .*, the state 2 samples"):
            layer.reset(state, done)
