"""A head that learns while it acts: the same bits in torch and in the engine, and what a Decider tells it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neuroaccel import engine
from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.dense import DenseDT
from neuroaccel.decision.deploy import Decider, SessionExecutor, TorchExecutor
from neuroaccel.decision.spiking import SpikingDT
from neuroaccel.decision.to_graph import to_graph
from neuroaccel.decision.windows import Normaliser
from neuroaccel.errors import InputError
from neuroaccel.graph import Edge, Graph, Input, Linear, Neuron, Output, Plastic, ValueGrid, WeightGrid
from neuroaccel.program import LIF
from tests.conftest import LONG
from tests.decision.sets import small

RULE = Plastic(0.9, 0.05, 2.0)
NORMALISER = Normaliser(np.zeros(4, np.float32), np.ones(4, np.float32), 0.0, 40.0)


def plastic_graph(config: DecisionConfig) -> Graph:
    """Nothing but a head that learns: a token's logits, and y where they are above 0."""
    size = config.token_size
    weight = np.random.default_rng(0).integers(-64, 65, (config.actions, size)).astype(np.float32) / 64
    above = LIF(beta=0.0, threshold=0.0)
    nodes = {
        "token": Input((size,), "analog", grid=ValueGrid(6, -256, 256)),
        "third": Input((1,), "analog", grid=ValueGrid(8, -256, 256)),
        "head": Linear(weight, None, WeightGrid(8), plastic=RULE),
        "actions": Neuron(above.program, {k: np.float32(v) for k, v in above.values.items()}, (config.actions,)),
        "logits": Output(),
    }
    edges = (
        *(Edge("token", "head"), Edge("third", "head", "third"), Edge("actions", "head", "post")),
        *(Edge("head", "logits"), Edge("head", "actions")),
    )
    return Graph(nodes, edges)


def test_ten_thousand_decisions_of_recorded_inputs_are_the_same_bits_in_torch_and_in_the_engine() -> None:
    config = small(model="snn-dt")
    graph, decisions = plastic_graph(config), 10_000
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(decisions, 1, 3, config.token_size, generator=generator)
    third = np.zeros((decisions, 1, 3), np.float32)
    third[:, :, 0] = torch.randn(decisions, 1, generator=generator).numpy() * 0.5
    steps = torch.zeros(1, 3, dtype=torch.long)
    session = engine.open(graph)
    one, other = SessionExecutor(session), TorchExecutor(graph)
    seen = []
    for t in range(decisions):
        logits = [executor.feed(x[t], steps, third[t]) for executor in (one, other)]
        assert torch.equal(*logits), t
        seen.append(logits[0])
        if t % 1000 == 999:
            assert other.state is not None
            by_engine = session.state()
            for key in ("weight", "trace"):
                assert np.array_equal(by_engine[f"head/{key}"], other.state["head"][key].numpy()), (t, key)
    moved = session.state()["head/weight"][0] - graph.nodes["head"].weight  # type: ignore[attr-defined]
    assert (np.abs(moved) > 0.1).mean() > 0.5
    assert len(torch.unique(torch.stack(seen))) > 1000


def spiking() -> tuple[DecisionConfig, Graph]:
    config = small(model="snn-dt", width=8, layers=1, context=2, max_steps=50, return_scale=40.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return config, to_graph(SpikingDT(config), Plastic(0.9, 0.2, 4.0))


def play(decider: Decider, steps: int = 16) -> list[list[int]]:
    """Some decisions of two episodes at once, in which the first one begins anew at times."""
    rng = np.random.default_rng(1)
    acted = []
    for t in range(steps):
        acted.append(decider.act(rng.normal(size=(2, 4))).tolist())
        decider.observe(rng.normal(size=2) + 1, np.array([t % 5 == 4, False]))
    return acted


def weights(executor: SessionExecutor | TorchExecutor) -> np.ndarray[Any, Any]:
    if isinstance(executor, SessionExecutor):
        return np.array(executor.session.state()["head/weight"])
    assert executor.state is not None
    return executor.state["head"]["weight"].numpy()


def test_online_both_executors_learn_alike_over_episodes_and_without_it_nothing_is_learnt() -> None:
    config, graph = spiking()
    start = graph.nodes["head"].weight  # type: ignore[attr-defined]
    executors = SessionExecutor(engine.open(graph, 2)), TorchExecutor(graph)
    acted = [play(Decider(e, config, 30.0, NORMALISER, episodes=2, online=True)) for e in executors]
    assert acted[0] == acted[1]
    learnt = weights(executors[0])
    assert np.array_equal(learnt, weights(executors[1]))
    assert all((own != start).any() for own in learnt)
    assert (learnt[0] != learnt[1]).any()
    still = SessionExecutor(engine.open(graph, 2)), TorchExecutor(graph)
    for executor in still:
        play(Decider(executor, config, 30.0, NORMALISER, episodes=2))
        assert all(np.array_equal(own, start) for own in weights(executor))


def test_a_whole_model_learns_alike_over_ten_thousand_decisions() -> None:
    """Ten streams of a thousand decisions each in the long profile; ten thousand on end are the head's alone, above."""
    config, graph = spiking()
    streams, length = 10, 1000 if LONG else 100
    executors = SessionExecutor(engine.open(graph, streams)), TorchExecutor(graph)
    deciders = [Decider(e, config, 30.0, NORMALISER, episodes=streams, online=True) for e in executors]
    rng, acted = np.random.default_rng(4), []
    for t in range(length):
        seen, reward = rng.normal(size=(streams, 4)), rng.normal(size=streams) + 1
        one, other = (decider.act(seen).tolist() for decider in deciders)
        assert one == other, t
        acted += one
        done = (t + np.arange(streams)) % 40 == 39
        for decider in deciders:
            decider.observe(reward, done)
    learnt = weights(executors[0])
    assert np.array_equal(learnt, weights(executors[1]))
    assert all((own != graph.nodes["head"].weight).any() for own in learnt)  # type: ignore[attr-defined]
    assert len(acted) == streams * length
    assert 0 < np.mean(acted) < 1


def test_what_was_learnt_outlives_an_episode_and_its_traces_do_not() -> None:
    config, graph = spiking()
    for executor in (SessionExecutor(engine.open(graph, 2)), TorchExecutor(graph)):
        play(Decider(executor, config, 30.0, NORMALISER, episodes=2, online=True), 8)
        learnt = weights(executor)
        executor.forget(np.array([True, False]))
        assert np.array_equal(weights(executor), learnt)
        trace = (
            executor.session.state()["head/trace"]
            if isinstance(executor, SessionExecutor)
            else executor.state["head"]["trace"].numpy()  # type: ignore[index]
        )
        assert (trace[0] == 0).all()
        assert (trace[1] != 0).any()


def test_the_third_factor_comes_with_the_action_s_token_and_an_episodes_last_one_too() -> None:
    config = small(context=2)
    told: list[Any] = []

    class Watching:
        learns = True

        def feed(self, x: torch.Tensor, steps: torch.Tensor, third: np.ndarray[Any, Any]) -> torch.Tensor:
            told.append((x[0, :, -3:].argmax(1).tolist(), third[0].tolist()))
            return torch.zeros(len(x), config.actions)

        def forget(self, done: np.ndarray[Any, Any]) -> None:
            told.append(done.tolist())

    decider = Decider(Watching(), config, 30.0, NORMALISER, online=lambda rewards, ended: np.float32(rewards / 4))
    for t in range(4):
        decider.act(np.zeros((1, 4)))
        decider.observe(np.array([t + 1.0]), np.array([t == 1]))
    assert told == [
        *(([0, 1], [0.0, 0.0]), ([2, 0, 1], [0.25, 0.0, 0.0])),
        *(([2], [0.5]), [True], ([0, 1], [0.0, 0.0]), ([2, 0, 1], [0.75, 0.0, 0.0])),
    ]


def test_what_cannot_learn_online_is_refused() -> None:
    config, graph = spiking()
    with pytest.raises(InputError, match=r"online learning needs .* found DenseDT"):
        Decider(DenseDT(small()), small(), 30.0, NORMALISER, online=True)
    with pytest.raises(InputError, match="plastic head"):
        Decider(TorchExecutor(to_graph(SpikingDT(config))), config, 30.0, NORMALISER, online=True)
    executor = TorchExecutor(graph)
    decider = Decider(executor, config, 30.0, NORMALISER, online=lambda rewards, ended: np.full(3, np.nan, np.float32))
    decider.act(np.zeros((1, 4)))
    with pytest.raises(InputError, match="third factors"):
        decider.observe(np.ones(1))
    with pytest.raises(InputError, match="not finite"):  # an episode's last reward is learnt from, too
        decider.observe(np.full(1, np.nan), np.ones(1, np.bool_))
