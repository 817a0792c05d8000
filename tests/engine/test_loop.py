"""Closed loops with gymnasium: a spiking controller balances a pole, and its state begins anew with every episode."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.engine import EventStream, Session
from neuroaccel.engine.loop import Decision, control
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph, Input, Linear, Output, WeightGrid, chain
from neuroaccel.program import LIF
from tests.graphs.parts import neuron

TICKS = 4


def controller() -> Graph:
    """Two neurons, for left and right, that add up how the pole leans, swings and strays; what is left of a decision
    stays in their membranes for the next."""
    right = np.float32([0.125, 0.25, 4, 1.5])
    weight = np.stack([-right, right])
    spec = LIF(beta=0.875, threshold=0.0625)
    return chain(
        {
            "x": Input((4,), "analog"),
            "w": Linear(weight, np.float32([0.03125, 0.03125]), grid=WeightGrid(5)),
            "n": neuron(spec, 2),
            "y": Output(),
        }
    )


def encode(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(observation[None], TICKS, axis=0)


def decide(outputs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    assert outputs["y"].shape[0] == TICKS
    return outputs["y"].sum(axis=0).argmax(axis=1)


def cart(limit: int = 40) -> Any:
    return gymnasium.make("CartPole-v1", max_episode_steps=limit)


def clumsy(outputs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Decides so that poles fall, each at another time."""
    return (outputs["y"].sum(axis=0) > 0).any(axis=1).astype(np.int64)


def rows(found: list[Decision], sample: int, how_many: int) -> list[Any]:
    """The first live decisions of one environment, with all that can be compared."""
    out = []
    for d in found:
        if d.live[sample]:
            counts = {f"{n} {k}": int(v[sample]) for n, columns in d.counts.items() for k, v in columns.items()}
            ends = (d.terminated[sample].item(), d.truncated[sample].item(), d.begins[sample].item())
            out.append(
                (d.observation[sample].tolist(), d.action[sample].item(), d.reward[sample].item(), *ends, counts)
            )
    assert len(out) >= how_many
    return out[:how_many]


def test_it_balances() -> None:
    env = cart(limit=500)
    found = list(control(engine.open(controller()), env, encode, decide, decisions=1500, seed=3))
    env.close()
    returns = [len(list(g)) for _, g in itertools.groupby(np.cumsum([d.begins[0] for d in found]))]
    assert np.mean(returns) > 100  # without control a pole falls within some 20 steps
    assert all(d.seconds > 0 and d.live.all() for d in found)
    assert {d.action[0].item() for d in found} == {0, 1}


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("rule", [decide, clumsy])
def test_a_vector_does_what_single_environments_do(mode: AutoresetMode, rule: Any) -> None:
    """Observations, actions, rewards, ends, resets and counts, for three environments over several episodes."""
    envs = SyncVectorEnv([cart] * 3, autoreset_mode=mode)
    found = list(control(engine.open(controller(), 3), envs, encode, rule, decisions=170, seed=11))
    envs.close()
    for sample in range(3):
        env = cart()
        single = list(control(engine.open(controller()), env, encode, rule, decisions=150, seed=11 + sample))
        env.close()
        assert rows(found, sample, 150) == rows(single, 0, 150)
        ends = [bool(d.terminated[0] or d.truncated[0]) for d in single]
        assert sum(ends) >= 3
        assert [d.begins[0] for d in single] == [True, *ends[:-1]]
    idle = sum(int((~d.live).sum()) for d in found)
    assert (idle > 0) == (mode is AutoresetMode.NEXT_STEP)
    for d in found:
        assert all((v[~d.live] == 0).all() for columns in d.counts.values() for v in columns.values())
        assert (d.reward[~d.live] == 0).all()


def test_environments_in_processes_of_their_own() -> None:
    make = functools.partial(gymnasium.make, "CartPole-v1", max_episode_steps=40)  # they cannot import this file
    apart = AsyncVectorEnv([make] * 2, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    here = SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    both = []
    for envs in (apart, here):
        found = list(control(engine.open(controller(), 2), envs, encode, clumsy, decisions=40, seed=5))
        envs.close()
        both.append([rows(found, sample, 40) for sample in range(2)])
    assert both[0] == both[1]


def test_a_state_goes_on_within_an_episode_and_not_beyond_it() -> None:
    """Against the engine's own runs: all ticks of an episode are one sequence from the fresh state."""
    env = cart()
    found = list(control(engine.open(controller()), env, encode, clumsy, decisions=100, seed=2))
    env.close()
    episode = np.cumsum([d.begins[0] for d in found])
    carried = 0
    for number in range(1, int(episode.max()) + 1):
        mine = [d for d, e in zip(found, episode, strict=True) if e == number]
        x = np.concatenate([encode(d.observation) for d in mine])
        whole = engine.run(controller(), x)
        y = whole.trace.outputs["y"].reshape(len(mine), TICKS, 1, 2)
        assert [d.action[0] for d in mine] == [clumsy({"y": part})[0] for part in y]
        for name, columns in whole.counts.items():
            for column, value in columns.items():
                assert value[0] == sum(int(d.counts[name][column][0]) for d in mine)
        alone = [engine.run(controller(), encode(d.observation)).trace.outputs["y"] for d in mine]
        carried += sum(bool((a != b).any()) for a, b in zip(alone, y, strict=True))
    assert carried > 0


def test_streams_may_be_encoded_and_nothing_need_be_counted() -> None:
    graph = chain({"x": Input((4,)), "w": Linear(np.float32([[1, 1, 0, 0], [0, 0, 1, 1]])), "y": Output()})

    def events(observation: NDArray[np.float32]) -> list[EventStream]:
        return [EventStream.from_dense((row > 0)[None], 0.02) for row in observation]

    def dense(observation: NDArray[np.float32]) -> NDArray[np.bool_]:
        return (observation > 0)[None]

    def larger(outputs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        return outputs["y"][-1].argmax(axis=1)

    both = []
    for how in (events, dense):
        envs = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
        session = engine.open(graph, 2, counts=False)
        both.append([rows([d], 0, 0) for d in control(session, envs, how, larger, decisions=30, seed=1)])
        envs.close()
    assert both[0] == both[1]
    assert all(row[0][-1] == {} for row in both[0] if row)


class Told:
    """An environment that has been told what to say, and remembers what it was asked."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.at, self.asked = iter(lengths), 0, []  # type: ignore[var-annotated]

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.asked.append(("reset", seed))
        self.left, self.at = next(self.lengths), 0
        return {"place": np.float32([0.0]), "parts": (np.int64(1), np.float32([2, 3]))}, {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.asked.append(action)
        self.at += 1
        seen = {"place": np.float32([self.at]), "parts": (np.int64(1), np.float32([2, 3]))}
        return seen, self.at / 4, self.at == self.left, False, {"at": self.at}


def one_place() -> Session:
    return engine.open(chain({"x": Input((1,), "analog"), "y": Output()}))


def test_any_environment_of_the_kind_will_do() -> None:
    env = Told([2, 3, 9])

    def place(observation: Any) -> NDArray[np.float32]:
        assert observation["parts"][0].tolist() == [1]
        assert observation["parts"][1].tolist() == [[2, 3]]
        return np.float32(observation["place"])[None]

    loop = control(one_place(), env, place, lambda outputs: outputs["y"][-1], seed=4)
    found = list(itertools.islice(loop, 6))
    assert env.asked == [("reset", 4), [0], [1], ("reset", None), [0], [1], [2], ("reset", None), [0]]
    assert [d.begins[0] for d in found] == [True, False, True, False, False, True]
    assert [d.reward[0] for d in found] == [0.25, 0.5, 0.25, 0.5, 0.75, 0.25]
    assert [d.info["at"] for d in found] == [1, 2, 1, 2, 3, 1]


def test_what_does_not_fit_is_refused() -> None:
    ones = np.ones((1, 1, 1), np.float32)

    def loop(env: Any = None, **changes: Any) -> Decision:
        given = {"encode": lambda seen: ones, "decide": lambda outputs: outputs["y"][-1], **changes}
        return next(control(one_place(), env or Told([5, 5]), **given))

    assert loop().reward.tolist() == [0.25]
    with pytest.raises(InputError, match="the session has 1 samples for 2 environments"):
        loop(SyncVectorEnv([cart] * 2))
    with pytest.raises(InputError, match=r"encode gave ticks \{'x': 0\}, expected at least one"):
        loop(encode=lambda seen: ones[:0])
    with pytest.raises(InputError, match=r"input 'x' is float32\[1, 1\], expected numbers \[T, N, 1\]"):
        loop(encode=lambda seen: ones[0])
    with pytest.raises(InputError, match="'x' is nan at tick 0"):
        loop(encode=lambda seen: ones * np.nan)
    with pytest.raises(InputError, match=r"decide gave actions \[\], expected one for each of 1"):
        loop(decide=lambda outputs: 1)
    old = SyncVectorEnv([cart])
    old.metadata = {}
    with pytest.raises(InputError, match=r"metadata\['autoreset_mode'\] is None, expected NextStep, SameStep"):
        loop(old)
