"""Windows: returns to go, order of tokens, padding, and where windows come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.tokens import ACTION, RETURN, STATE, tokens
from neuroaccel.decision.windows import Windows, config_for, returns_to_go
from neuroaccel.envs.offline import Trajectory, TrajectorySet
from neuroaccel.errors import InputError
from tests.decision.sets import cartpole, of, rewarded


def config(**changes: object) -> DecisionConfig:
    sizes = {"model": "dt", "state_size": 2, "actions": 2, "width": 4, "heads": 1, "context": 3, "max_steps": 10}
    return DecisionConfig.model_validate(sizes | changes)


def test_returns_to_go() -> None:
    assert returns_to_go([1, 1, 1]).tolist() == [3, 2, 1]
    assert returns_to_go([-1, 0, 5]).tolist() == [4, 5, 5]


def test_a_window_holds_returns_standardised_states_actions_steps_and_padding_behind() -> None:
    first, second = rewarded([1, 1, 1, 1, 1], [0, 1, 1, 0, 1]), rewarded([2, 3], [1, 0], seed=1)
    windows = Windows(of(first, second), config(return_scale=2.0))
    batch = windows.at(torch.tensor([1, 4, 5]))
    assert batch.returns[..., 0].tolist() == [[2, 1.5, 1], [0.5, 0, 0], [2.5, 1.5, 0]]
    assert batch.actions.tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert batch.steps.tolist() == [[1, 2, 3], [4, 0, 0], [0, 1, 0]]
    assert batch.mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    every = np.concatenate([first.observations, second.observations])
    standard = (every - every.mean(0)) / every.std(0)
    assert np.allclose(batch.states[0].numpy(), standard[1:4], atol=1e-5)
    assert not batch.states[1, 1:].any()


def test_total_returns_stay_the_same_through_an_episode() -> None:
    windows = Windows(of(rewarded([1, 1, 1], [0, 1, 0]), rewarded([5, -1], [0, 0])), config(return_token="total"))
    assert windows.returns[:, 0].tolist() == [3, 3, 3, 4, 4]


def test_the_order_of_tokens_is_return_state_action() -> None:
    c = config()
    batch = Windows(of(rewarded([1, 2, 3], [1, 0, 1])), c).at(torch.tensor([0]))
    x, steps = tokens(batch, c)
    assert x.shape == (1, 9, c.token_size)
    assert x[0, :, -3:].argmax(-1).tolist() == [RETURN, STATE, ACTION] * 3
    assert x[0, RETURN::3, 0].tolist() == [6, 5, 3]
    assert torch.equal(x[0, STATE::3, 1:3], batch.states[0])
    assert x[0, ACTION::3, 3:5].tolist() == [[0, 1], [1, 0], [0, 1]]
    assert steps[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert not x[0, RETURN::3, 1:5].any()


def test_windows_are_drawn_in_proportion_to_the_length_of_episodes() -> None:
    windows = Windows(of(rewarded([0] * 9, [0] * 9), rewarded([9.0], [1])), config())
    batch = windows.sample(torch.Generator().manual_seed(0), 4000)
    assert float((batch.returns[:, 0, 0] == 9).float().mean()) == pytest.approx(0.1, abs=0.02)
    again = windows.sample(torch.Generator().manual_seed(0), 4000)
    assert torch.equal(batch.states, again.states)


def test_real_actions_lie_between_minus_one_and_one() -> None:
    box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    bounded = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
    taken = np.array([[-2.0, 0.5], [1.0, 1.0]], np.float32)
    one = Trajectory(np.zeros((2, 2), np.float32), taken, np.ones(2, np.float32), False, True, 0)
    data = TrajectorySet("Nothing-v0", box, bounded, (one,))
    c = config_for(data, model="dt", width=4, heads=1)
    assert (c.continuous, c.actions, c.low, c.high) == (True, 2, (-2.0, 0.0), (2.0, 1.0))
    assert Windows(data, c).actions.tolist() == [[-1, 0], [0.5, 1]]


def test_a_config_takes_its_sizes_from_the_data_and_settings_win() -> None:
    data = cartpole(episodes=2, longest=60)
    c = config_for(data, model="dt")
    assert (c.state_size, c.actions, c.continuous, c.max_steps) == (4, 2, False, 500)
    assert c.return_scale == data.returns.max()
    assert config_for(data, return_scale=7.0, max_steps=90).max_steps == 90


def test_data_that_do_not_fit_are_refused_by_episode() -> None:
    data = of(rewarded([1], [0]), rewarded([1, 1, 1], [0, 1, 1]))
    with pytest.raises(InputError, match=r"episode 1: 3 steps.* 2 \(max_steps\)"):
        Windows(data, config(max_steps=2))
    with pytest.raises(InputError, match=r"episode 0: observations of 2 numbers.* 5"):
        Windows(data, config(state_size=5))
    with pytest.raises(InputError, match=r"episode 1: expected actions from 0 to 0"):
        Windows(data, config(actions=1))
    with pytest.raises(InputError, match="0 decisions"):
        Windows(data, config(), length=0)


def test_spaces_that_no_decision_transformer_reads_are_refused() -> None:
    data = of(rewarded([1], [0]))
    half = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    one = Trajectory(np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32), np.ones(1), True, False, 0)
    unbounded = TrajectorySet("Nothing-v0", data.observation_space, half, (one,))
    with pytest.raises(InputError, match="bounded Box"):
        config_for(unbounded)
