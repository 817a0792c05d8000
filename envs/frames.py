"""Frames of environments, with a message that helps where what draws them is not installed."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from neuroaccel.errors import InputError, MissingExtra


def rendered(env: gymnasium.Env[Any, Any]) -> NDArray[np.uint8]:
    """The environment as it is now, ``[H, W, 3]``.

    Arguments:
        env: made with ``render_mode="rgb_array"``, and reset.

    Raises:
        InputError: another render mode, or a frame that is no picture.
        MissingExtra: the package that draws this environment is not installed.

    >>> import gymnasium
    >>> env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    >>> _ = env.reset(seed=0)
    >>> rendered(env).shape
    (400, 600, 3)
    """
    if env.render_mode != "rgb_array":
        raise InputError(f"render_mode is {env.render_mode!r}: make the environment with render_mode='rgb_array'")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it greets on standard output
    try:
        frame: Any = env.render()
    except DependencyNotInstalled as error:
        cure = "the extra 'gym' draws classic control: pip install \"neuroaccel[gym]\""
        raise MissingExtra(f"{env} cannot be drawn: {error}; {cure}") from error
    found = np.asarray(frame)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[-1] != 3:
        raise InputError(f"{env} was drawn as {found.dtype} {list(found.shape)}, expected uint8 [H, W, 3]")
    return found
