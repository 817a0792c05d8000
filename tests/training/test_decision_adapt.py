"""Consecutive episodes under other dynamics: what is changed, what is counted, and what a slot's head learns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.decision.deploy import Decider, SessionExecutor
from neuroaccel.decision.to_graph import to_graph
from neuroaccel.errors import InputError
from neuroaccel.graph import Plastic
from neuroaccel.training.decision_adapt import adapted, changed
from tests.decision.runs import untrained

TRAINED = untrained()


class Counting(gymnasium.Env[Any, Any]):
    """Ends after 1 to 4 steps, as its seed says; each is worth its number."""

    observation_space = spaces.Box(0, 10, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.length, self.at = int(self.np_random.integers(1, 5)), 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += 1
        ends = self.at == self.length
        return np.full(1, self.at, np.float32), float(self.at), ends and self.length % 2 == 0, ends, {}


class Watching:
    """Keeps what it is shown and told, of every slot."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []
        self.told: list[list[tuple[float, bool]]] = []

    def act(self, observations: Any) -> Any:
        self.seen.append(observations[:, 0].tolist())
        return np.zeros(len(observations), np.int64)

    def observe(self, rewards: Any, done: Any = None) -> None:
        self.told.append(list(zip(rewards.tolist(), done.tolist(), strict=True)))


class Keeping(SessionExecutor):
    """Keeps every slot's head as it is when one of its episodes has been learnt from and is forgotten."""

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self.heads: dict[int, list[NDArray[np.float32]]] = {}

    def forget(self, done: NDArray[np.bool_]) -> None:
        before = self.head()
        super().forget(done)
        assert np.array_equal(self.head(), before)
        for slot in np.flatnonzero(done):
            self.heads.setdefault(int(slot), []).append(before[slot])

    def head(self) -> NDArray[np.float32]:
        return np.array(self.session.state()["head/weight"])


def learning(
    seeds: list[int], *, rate: float = 0.3, online: bool = True, episodes: int = 4
) -> tuple[NDArray[np.float64], Keeping]:
    """Returns and heads of slots on a long pole; every decision's third factor is its slot's own, half the time 1."""
    executor = Keeping(engine.open(to_graph(TRAINED.model, Plastic(0.9, rate, 2.0)), len(seeds)))  # type: ignore[arg-type]
    decider = Decider(
        executor,
        TRAINED.config,
        30.0,
        TRAINED.normaliser,
        episodes=len(seeds),
        online=_alternating if online else False,
    )
    return adapted(decider, lambda: changed("CartPole-v1", length=2.0), seeds, episodes), executor


def _alternating(rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(ended, -1.0, 0.25 * rewards).astype(np.float32)


def test_an_attribute_is_changed_and_what_follows_from_it_too() -> None:
    env = changed("CartPole-v1", length=2.0, masspole=0.2, gravity=4.9)
    inner = env.unwrapped
    assert (inner.length, inner.masspole, inner.gravity) == (2.0, 0.2, 4.9)
    assert inner.total_mass == inner.masscart + 0.2
    assert inner.polemass_length == 0.2 * 2.0
    assert changed("CartPole-v1", length=2.0, polemass_length=0.3).unwrapped.polemass_length == 0.3
    for physics in ({}, {"gravity": 30.0}, {"length": 3.0}, {"force_mag": 2.0}):
        ours, theirs = changed("CartPole-v1", **physics), gymnasium.make("CartPole-v1")
        ours.reset(seed=1)
        theirs.reset(seed=1)
        both = [np.array([e.step(0)[0] for _ in range(3)]) for e in (ours, theirs)]
        assert np.array_equal(*both) == (not physics)


@pytest.mark.parametrize(
    ("env_id", "physics"),
    [
        ("MountainCar-v0", {"gravity": 0.003, "force": 0.0008}),
        ("Acrobot-v1", {"LINK_LENGTH_1": 1.5, "LINK_COM_POS_1": 0.75}),
        ("Pendulum-v1", {"g": 5.0, "l": 1.2, "m": 0.8}),
        ("neuroaccel/CartPoleNoVelocity-v0", {"length": 1.0}),
    ],
)
def test_other_environments_have_their_own_attributes(env_id: str, physics: dict[str, float]) -> None:
    inner = changed(env_id, **physics).unwrapped
    assert {name: getattr(inner, name) for name in physics} == physics


@pytest.mark.parametrize(
    ("env_id", "physics", "match"),
    [
        ("CartPole-v1", {"poles": 2.0}, r"'CartPole-v1' has no number 'poles' .* gravity, length, masscart"),
        ("CartPole-v1", {"kinematics_integrator": 2.0}, "no number 'kinematics_integrator'"),
        ("CartPole-v1", {"_sutton_barto_reward": 1.0}, "no number"),
        ("Acrobot-v1", {"gravity": 5.0}, r"no number 'gravity' .* LINK_LENGTH_1"),
        ("CartPole-v1", {"gravity": float("nan")}, "gravity nan; expected a finite number"),
        ("NoSuchThing-v0", {}, "cannot be made"),
    ],
)
def test_what_cannot_be_changed_is_refused(env_id: str, physics: dict[str, float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        changed(env_id, **physics)


def test_every_slot_plays_its_episodes_and_is_told_all_of_them() -> None:
    watching, told = Watching(), []
    found = adapted(watching, Counting, [3, 4, 5], 6, lambda *counts: told.append(counts))
    again = adapted(Watching(), Counting, [4], 6)
    assert np.array_equal(found[1], again[0])
    assert len(np.unique(found)) > 2
    for slot, returns in enumerate(found):
        seen, earned, ended = [row[slot] for row in watching.seen], 0.0, []
        for t, row in enumerate(watching.told):
            assert seen[t + 1] == (0 if row[slot][1] else seen[t] + 1)
            earned += row[slot][0]
            if row[slot][1]:
                ended.append(earned)
                earned = 0.0
        assert ended[:6] == returns[: len(ended)].tolist()  # the very last step of all is not told: nothing follows it
        assert len(ended) >= 5
    assert told[-1] == (18, 18)


def test_nothing_to_play_is_refused() -> None:
    with pytest.raises(InputError, match="0 seeds, 3 episodes each"):
        adapted(Watching(), Counting, [], 3)
    with pytest.raises(InputError, match="2 seeds, 0 episodes each"):
        adapted(Watching(), Counting, [1, 2], 0)


def test_a_rate_of_zero_gives_the_same_returns_and_head_as_no_learning() -> None:
    still, frozen = learning([1, 2, 3], online=False)
    zero, unmoved = learning([1, 2, 3], rate=0.0)
    assert np.array_equal(still, zero)
    assert np.array_equal(unmoved.head(), frozen.head())
    learnt, moved = learning([1, 2, 3])
    assert not np.array_equal(learnt, still)
    assert not np.array_equal(moved.head(), frozen.head())


def test_what_an_episode_taught_is_there_in_the_next() -> None:
    _, executor = learning([1], rate=0.02)
    start = to_graph(TRAINED.model, Plastic(0.9, 0.02, 2.0)).nodes["head"].weight  # type: ignore[arg-type, attr-defined]
    heads = [start, *executor.heads[0]]
    assert len(heads) == 4
    assert all(not np.array_equal(a, b) for a, b in pairwise(heads))


def test_a_slot_learns_by_itself() -> None:
    alone, own = learning([7])
    for others in ([8], [9, 10]):
        together, all_heads = learning([*others, 7])
        assert np.array_equal(together[-1], alone[0])
        heads = all_heads.heads[len(others)]
        assert len(heads) >= 3
        assert all(np.array_equal(a, b) for a, b in zip(heads, own.heads[0], strict=False))
        assert not np.array_equal(heads[0], all_heads.heads[0][0])
