"""Frames of environments, and what is said where they cannot be drawn."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from neuroaccel.envs import MAZE
from neuroaccel.envs.frames import rendered
from neuroaccel.errors import InputError, MissingExtra


@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCar-v0", MAZE])
def test_a_frame_shows_the_state(name: str) -> None:
    env = gymnasium.make(name, render_mode="rgb_array")
    env.reset(seed=0)
    first = rendered(env)
    assert first.dtype == np.uint8
    assert first.std() > 0
    for _ in range(8):
        env.step(env.action_space.sample())
    assert rendered(env).shape == first.shape
    assert (rendered(env) != first).any()
    env.close()


def test_another_render_mode_is_refused() -> None:
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=0)
    with pytest.raises(InputError, match="render_mode is None"):
        rendered(env)
    text = gymnasium.make(MAZE, render_mode="ansi")
    text.reset(seed=0)
    with pytest.raises(InputError, match="'ansi'"):
        rendered(text)


def test_without_pygame_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(MissingExtra, match=r"cannot be drawn.*neuroaccel\[gym\]"):
        rendered(env)


def test_nothing_is_printed() -> None:
    code = (
        "import gymnasium; from neuroaccel.envs.frames import rendered\n"
        "e = gymnasium.make('CartPole-v1', render_mode='rgb_array'); e.reset(seed=0); rendered(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
