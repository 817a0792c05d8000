"""An episode to look at: what was seen, and every spike behind every decision."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
import torch

from neuroaccel.decision.spiking import spike_counts
from neuroaccel.decision.to_graph import snapped
from neuroaccel.decision.tokens import Batch, tokens
from neuroaccel.envs import CARTPOLE_NO_VELOCITY
from neuroaccel.errors import InputError, MissingExtra
from neuroaccel.training.decision_episode import watch
from neuroaccel.training.decision_evaluate import episode_seeds, sweep
from tests.decision.runs import untrained


def small(frame: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return frame[::50, ::50]


@pytest.mark.parametrize("options", [{}, {"phase": False, "layers": 2}, {"stream": "analog"}], ids=str)
def test_the_spikes_are_those_of_the_module_on_the_same_tokens(options: dict[str, object]) -> None:
    trained = untrained(**options)
    found = watch(trained, 30.0, 1, frame=small)
    model, c, n = snapped(trained.model), trained.config, len(found.rewards)  # type: ignore[arg-type]
    # The episode once more, with the same seed: its states are those of the frames.
    env = gymnasium.make("CartPole-v1")
    state, _ = env.reset(seed=episode_seeds(1, (1,))[0])
    states, acted, x, steps = [], [], torch.empty(0), torch.empty(0)
    for t in range(n):
        states.append(state)
        batch = Batch(
            torch.arange(30.0, 30 - len(states), -1)[None, :, None] / 100,
            trained.normaliser.states(np.array(states))[None],
            torch.tensor([[*acted, 0]]),
            torch.arange(t + 1)[None],
            torch.ones(1, t + 1, dtype=torch.bool),
        )
        x, steps = tokens(batch, c)
        with torch.no_grad():
            acted.append(int(model(x, steps)[0, 3 * t + 1].argmax()))
        state, _, ends, _, _ = env.step(acted[-1])
    assert ends
    assert found.terminated
    assert found.rewards.tolist() == [1.0] * n
    # The last action has no token yet.
    expected = spike_counts(model, x[:, :-1], steps[:, :-1])
    assert set(found.spikes) == set(expected)
    for name, spikes in found.spikes.items():
        assert spikes.shape[:2] == (n, 3 * c.micro_steps), name
        by_token = np.pad(expected[name][0].numpy(), (1, 0)).reshape(n, 3)  # decisions begin with the action before
        assert spikes.reshape(n, 3, -1).sum(2).tolist() == by_token.tolist(), name
    assert sum(int(s.sum()) for s in found.spikes.values()) > 0
    assert found.frames.shape == (n, 8, 12, 3)
    assert (found.frames[0] != found.frames[-1]).any()


@pytest.mark.parametrize("model", ["dt", "snn-dt"])
def test_the_episode_is_the_evaluations(model: str) -> None:
    trained = untrained(model)
    (asked,) = sweep(trained, "CartPole-v1", [30.0], episodes=1, seeds=(2,))
    found = watch(trained, 30.0, 2, frame=small)
    assert found.rewards.sum() == asked.episodes.returns[0]
    assert bool(found.spikes) == (model == "snn-dt")
    short = watch(trained, 30.0, 2, steps=3, frame=small)
    assert (len(short.rewards), len(short.frames), short.terminated) == (3, 3, False)
    assert np.array_equal(short.frames, found.frames[:3])
    one = watch(trained, 30.0, 2, steps=1, frame=small)
    assert all(np.array_equal(one.spikes[name][0], found.spikes[name][0]) for name in found.spikes)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    watch(untrained("dt"), 30.0, steps=2, frame=small, progress=lambda *at: told.append(at))
    assert told == [(1, 2), (2, 2)]


class Blind(gymnasium.Wrapper):  # type: ignore[type-arg]
    """An environment that cannot be drawn."""

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))


def test_what_cannot_be_drawn_or_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        gymnasium.registry, "Blind-v0", gymnasium.envs.registration.EnvSpec("Blind-v0", entry_point=Blind)
    )
    with pytest.raises(InputError, match=r"'Blind-v0' cannot be drawn: its render modes are \['ansi'\]"):
        watch(untrained(env_id="Blind-v0"), 30.0)
    with pytest.raises(InputError, match="'Nothing-v9' cannot be made"):
        watch(untrained(env_id="Nothing-v9"), 30.0)
    with pytest.raises(InputError, match=r"another\s+environment"):
        watch(untrained(env_id=CARTPOLE_NO_VELOCITY), 30.0)
    with pytest.raises(InputError, match="0 decisions"):
        watch(untrained(), 30.0, steps=0)
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(MissingExtra, match=r"neuroaccel\[gym\]"):
        watch(untrained(), 30.0)
