"""Acting online gives what the whole sequence gives, and refuses what it cannot act on."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.deploy import Decider, ModuleExecutor, SessionExecutor, TorchExecutor
from neuroaccel.decision.tokens import Batch, tokens
from neuroaccel.decision.windows import Normaliser
from neuroaccel.errors import InputError, StateError
from neuroaccel.graph import Edge, Graph, Input, Linear, Memory, Output, Reshape
from tests.decision.sets import small
from tests.decision.test_dense import model_of


def normaliser(size: int = 4) -> Normaliser:
    mean = np.linspace(-0.1, 0.1, size, dtype=np.float32)
    return Normaliser(mean, np.full(size, 0.5, np.float32), 0.0, 100.0)


def drawn(config: DecisionConfig, steps: int, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(steps, episodes, config.state_size)), rng.normal(size=(steps, episodes))


@pytest.mark.parametrize("token", ["to-go", "total"])
@pytest.mark.parametrize("continuous", [False, True])
def test_actions_are_those_of_the_whole_sequence(token: str, continuous: bool) -> None:
    bounds = {"continuous": True, "low": (-2.0, 0.0), "high": (2.0, 8.0)} if continuous else {}
    config = small(return_token=token, return_scale=50.0, layers=2, context=3, **bounds)
    model, norm, steps = model_of(config), normaliser(), 30
    seen, earned = drawn(config, steps, 2)
    decider = Decider(model, config, [60.0, 20.0], norm, episodes=2)
    acted = []
    for t in range(steps):
        acted.append(decider.act(seen[t]))
        decider.observe(earned[t])
    left = np.array([60.0, 20.0]) - np.concatenate([np.zeros((1, 2)), earned.cumsum(0)[:-1]])
    left = left if token == "to-go" else np.broadcast_to([60.0, 20.0], left.shape)
    taken = np.stack(acted, 1)
    entering = taken if not continuous else (taken - np.array([-2, 0])) / np.array([2, 4]) - 1
    batch = Batch(
        torch.tensor(left.T[..., None] / 50, dtype=torch.float32),
        norm.states(seen.transpose(1, 0, 2)),
        torch.tensor(entering, dtype=torch.float32 if continuous else torch.int64),
        torch.arange(steps).expand(2, steps),
        torch.ones(2, steps, dtype=torch.bool),
    )
    with torch.no_grad():
        whole = model(*tokens(batch, config))[:, 1::3].numpy()
    if continuous:
        assert np.abs(whole - entering).max() < 1e-5
        assert taken.dtype == np.float32
    else:
        assert (whole.argmax(-1) == taken).mean() > 0.99  # a tie within rounding may fall either way
        assert 0 < taken.mean() < 1 or len(set(taken.flatten())) == 1


def test_an_episode_that_ends_leaves_the_others_and_begins_anew() -> None:
    config = small(layers=2, context=3, continuous=True, actions=1, low=(-1.0,), high=(1.0,))
    model, norm = model_of(config), normaliser()
    seen, earned = drawn(config, 12, 2)
    both = Decider(model, config, 40.0, norm, episodes=2)
    first, second = [], []
    for t in range(12):
        action = both.act(seen[t])
        first.append(action[0])
        second.append(action[1])
        both.observe(earned[t], np.array([t == 4, False]))
    alone = Decider(model, config, 40.0, norm)
    for t in range(12):
        assert np.allclose(alone.act(seen[t][1:]), second[t], atol=1e-5)
        alone.observe(earned[t][1:])
    anew = Decider(model, config, 40.0, norm)
    for t in range(5, 12):
        assert np.allclose(anew.act(seen[t][:1]), first[t], atol=1e-5)
        anew.observe(earned[t][:1])


def test_a_target_out_of_the_data_is_warned_about_with_its_range(caplog: pytest.LogCaptureFixture) -> None:
    config = small()
    with caplog.at_level(logging.WARNING, "neuroaccel"):
        Decider(model_of(config), config, 50.0, normaliser())
        assert caplog.messages == []
        Decider(model_of(config), config, 500.0, normaliser())
    assert len(caplog.messages) == 1
    assert "500 is out of the data's range, 0 to 100" in caplog.messages[0]


def test_what_cannot_be_acted_on_is_refused() -> None:
    config = small(max_steps=2)
    model, norm = model_of(config), normaliser()
    with pytest.raises(InputError, match="target return nan"):
        Decider(model, config, float("nan"), norm)
    with pytest.raises(InputError, match="one for each of 3"):
        Decider(model, config, [1.0, 2.0], norm, episodes=3)
    decider = Decider(model, config, 5.0, norm, episodes=2)
    seen = np.zeros((2, 4))
    with pytest.raises(InputError, match=r"shape \(2, 3\); expected \(2, 4\)"):
        decider.act(np.zeros((2, 3)))
    seen[1, 2] = np.nan
    with pytest.raises(InputError, match="observation nan in episode 1, feature 2"):
        decider.act(seen)
    with pytest.raises(StateError, match="act"):
        decider.observe(np.zeros(2))
    for _ in range(2):
        decider.act(np.zeros((2, 4)))
        with pytest.raises(StateError, match="observe"):
            decider.act(np.zeros((2, 4)))
        with pytest.raises(InputError, match="not finite"):
            decider.observe(np.array([np.inf, 0.0]))
        decider.observe(np.zeros(2))
    with pytest.raises(InputError, match="lasted 2 decisions"):
        decider.act(np.zeros((2, 4)))


def graph_of(config: DecisionConfig) -> Graph:
    """A tiny graph of one token per tick that remembers: logits of the last two tokens and the timestep."""
    size = config.token_size
    weight = np.random.default_rng(0).integers(-8, 9, (config.actions, 2 * size + 1)).astype(np.float32) / 8
    nodes = {
        "token": Input((size,), "analog"),
        "step": Input((1,), "count", config.max_steps),
        "last": Memory(2),
        "flat": Reshape((2 * size,)),
        "of_tokens": Linear(weight[:, :-1]),
        "of_step": Linear(weight[:, -1:] / 16),
        "logits": Output(),
    }
    edges = ("token last", "last flat", "flat of_tokens", "of_tokens logits", "step of_step", "of_step logits")
    return Graph(nodes, tuple(Edge(*pair.split()) for pair in edges))


def test_a_graph_acts_alike_in_torch_and_in_the_engine_and_its_counts_go_on() -> None:
    from neuroaccel import engine

    config = small(max_steps=50)
    graph, norm = graph_of(config), normaliser()
    seen, earned = drawn(config, 20, 3)
    session = engine.open(graph, 3)
    executors = (SessionExecutor(session), TorchExecutor(graph))
    deciders = [Decider(executor, config, 30.0, norm, episodes=3) for executor in executors]
    done = np.zeros((20, 3), np.bool_)
    done[6, 1] = done[9] = True
    for t in range(20):
        one, other = (decider.act(seen[t]) for decider in deciders)
        assert one.tolist() == other.tolist()
        for decider in deciders:
            decider.observe(earned[t], done[t])
    # Three tokens a decision, but two where all episodes begin; nothing of an ended episode is taken away.
    per_token = config.actions * 2 * config.token_size
    fates = session.counts["of_tokens"]
    found = fates["products"] + fates["zero_input"] + fates["pruned"]
    assert found.tolist() == [per_token * (2 + 9 * 3 + 2 + 9 * 3)] * 3


@pytest.mark.parametrize("continuous", [False, True])
def test_a_spiking_model_its_graph_in_torch_and_in_the_engine_act_alike(continuous: bool) -> None:
    from neuroaccel import engine
    from neuroaccel.decision.spiking import SpikingDT
    from neuroaccel.decision.to_graph import snapped, to_graph

    bounds = {"continuous": True, "low": (-2.0, 0.0), "high": (2.0, 8.0)} if continuous else {}
    config = small(model="snn-dt", layers=2, context=2, max_steps=50, return_scale=50.0, **bounds)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = snapped(SpikingDT(config))
    graph, norm = to_graph(model), normaliser()
    seen, earned = drawn(config, 12, 2)
    executors = (model, SessionExecutor(engine.open(graph, 2)), TorchExecutor(graph))
    deciders = [Decider(executor, config, 30.0, norm, episodes=2) for executor in executors]
    acted = []
    for t in range(12):
        one, *others = (decider.act(seen[t]).tolist() for decider in deciders)
        assert others == [one, one]
        acted.append(one)
        for decider in deciders:
            decider.observe(earned[t], np.array([t == 5, False]))
    assert len({str(a) for a in acted}) > 1


def test_a_graph_of_other_ports_is_refused() -> None:
    nodes = {"x": Input((3,), "analog"), "y": Output()}
    with pytest.raises(InputError, match="'token'"):
        TorchExecutor(Graph(nodes, (Edge("x", "y"),)))


def test_a_model_without_extend_is_stepped() -> None:
    config = small(layers=1)
    model = model_of(config)

    class Stepped(torch.nn.Module):
        def cache(self, batch: int) -> object:
            return model.cache(batch)

        def step(self, *given: object) -> object:
            return model.step(*given)  # type: ignore[arg-type]

    x, steps = torch.randn(2, 3, config.token_size), torch.zeros(2, 3, dtype=torch.long)
    one, other = (ModuleExecutor(m, 2).feed(x, steps) for m in (model, Stepped()))
    assert torch.allclose(one, other, atol=1e-6)
