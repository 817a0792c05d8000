"""Networks: sequences, general graphs with skips and recurrence, state as a value, recording, plain torch layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroaccel import Network
from neuroaccel.errors import GraphError, InputError, StateError
from neuroaccel.graph import Edge
from neuroaccel.neurons import LIF
from neuroaccel.synapses import Conv2d, Delay, Flatten, Linear, Readout, Recurrent


def spikes(*shape: int, seed: int = 0, rate: float = 0.4) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def feedback_network() -> Network:
    torch.manual_seed(2)
    return Network(
        {"a": Linear(5, 6), "n": LIF(), "back": Linear(6, 6), "line": Delay(2), "late": Linear(6, 6), "m": LIF()},
        [
            ("input", "a"),
            ("a", "n"),
            Edge("n", "back", recurrent=True),
            ("back", "n"),
            ("n", "m"),
            ("m", "line"),
            ("line", "late"),
            ("late", "m"),
            ("m", "output"),
        ],
    )


def test_plain_torch_layers_are_applied_over_ticks_and_samples() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(2, 3, 3)
    net = Network([plain, LIF(), nn.Flatten(), nn.Linear(48, 4), nn.ReLU()])
    x = spikes(5, 2, 2, 6, 6)
    y, state = net(x)
    hidden, _ = LIF()(torch.stack([plain(t) for t in x]))
    expected = torch.stack([net["4"](net["3"](h.flatten(1))) for h in hidden])
    assert torch.allclose(y, expected, atol=1e-6)
    assert set(state) == {"1"}


@pytest.mark.parametrize("net", [feedback_network(), Network([Linear(5, 6), Recurrent(LIF(), Linear(6, 6)), Delay(3)])])
def test_pieces_and_steps_equal_the_whole(net: Network) -> None:
    x = spikes(11, 3, 5)
    whole, _ = net(x)
    first, state = net(x[:4])
    second, _ = net(x[4:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    state = None
    for t in range(11):
        y, state = net.step(x[t], state)
        assert torch.equal(y, whole[t])
    assert whole.abs().sum() > 0


def test_general_graph_by_hand() -> None:
    net = feedback_network()
    x = spikes(9, 2, 5, seed=4)
    y, _, trace = net.trace(x)
    n_state = m_state = None
    n_last = torch.zeros(2, 6)
    sent: list[torch.Tensor] = []
    for t in range(9):
        i = net["a"](x[t : t + 1])[0][0] + net["back"](n_last[None])[0][0]
        n_last, n_state = net["n"].step(i, n_state)
        line = sent[t - 2] if t >= 2 else torch.zeros(2, 6)
        j = net["late"](line[None])[0][0] + n_last
        m, m_state = net["m"].step(j, m_state)
        sent.append(m)
        assert torch.equal(m, y[t])
        assert torch.allclose(torch.from_numpy(trace.currents["m"][t]), j, atol=1e-6)
    assert trace.states["n"]["v"].shape == (9, 2, 6)


def test_masked_reset_makes_done_samples_fresh() -> None:
    net, x = feedback_network(), spikes(6, 3, 5)
    _, state = net(x)
    done = torch.tensor([False, True, False])
    z, _ = net(x, net.reset(state, done))
    assert torch.equal(z[:, 1], net(x)[0][:, 1])
    assert torch.equal(z[:, 0], net(x, state)[0][:, 0])


def test_state_of_another_batch_size_raises() -> None:
    net = feedback_network()
    _, state = net(spikes(3, 4, 5))
    with pytest.raises(StateError, match="4 samples"):
        net(spikes(3, 2, 5), state)


def test_several_inputs_and_outputs_go_by_name() -> None:
    from neuroaccel.network.nodes import InputPort, OutputPort

    net = Network(
        {"p": InputPort(), "q": InputPort(), "n": LIF(), "r": Readout(), "y": OutputPort(), "z": OutputPort()},
        [("p", "n"), ("q", "n"), ("n", "y"), ("n", "r"), ("r", "z")],
    )
    y, _ = net({"p": spikes(4, 2, 3), "q": spikes(4, 2, 3, seed=1)})
    assert torch.equal(y["z"], y["y"].cumsum(0))
    with pytest.raises(GraphError, match=r"\['p'\].*\['p', 'q'\]"):
        net({"p": spikes(4, 2, 3)})


def test_errors_name_the_layer() -> None:
    with pytest.raises(GraphError, match="'ghost'"):
        Network({"a": LIF()}, [("input", "ghost"), ("a", "output")])
    with pytest.raises(GraphError, match="'b': nothing enters"):
        Network({"a": LIF(), "b": LIF()}, [("input", "a"), ("a", "output")])
    with pytest.raises(GraphError, match="cycle"):
        Network({"a": LIF(), "b": LIF()}, [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")])


def test_trains_with_surrogate_gradients_through_time() -> None:
    torch.manual_seed(0)
    net = Network([Conv2d(1, 4, 3), LIF(), Flatten(1), Linear(64, 2), LIF(), Readout()])
    x = spikes(8, 16, 1, 6, 6)
    x[:, ::2, :, :3] = 0
    labels = torch.arange(16) % 2
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(40):
        loss = nn.functional.cross_entropy(net(x)[0][-1], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (net(x)[0][-1].argmax(1) == labels).float().mean() == 1.0


def test_the_state_of_another_network_is_refused() -> None:
    net, x = Network({"a": Linear(5, 6), "n": LIF()}), spikes(3, 2, 5)
    with pytest.raises(StateError, match="the state holds m, which this network does not have"):
        net(x, {"m": {"v": torch.zeros(2, 6)}})


def test_a_layer_that_does_not_take_its_input_is_named() -> None:
    with pytest.raises(GraphError, match=r"layer 'b' does not take an input of shape \(6,\)"):
        Network({"a": Linear(5, 6), "b": Linear(7, 2)}).shapes(spikes(3, 2, 5))
    with pytest.raises(InputError, match="LSTM gives a tuple"):
        Network([nn.LSTM(5, 6)]).shapes(spikes(3, 2, 5))
