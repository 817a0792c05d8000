"""CartPole that shows positions only: whoever balances it has to remember."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray

SEEN = [0, 2]
"""Where the cart's position and the pole's angle stand in CartPole's observation."""


class CartPoleNoVelocityEnv(CartPoleEnv):
    """CartPole-v1 without its velocities: ``neuroaccel/CartPoleNoVelocity-v0``.

    Observation: (x, θ), float32. Actions, rewards, dynamics and the 500 steps of an episode are those of CartPole-v1,
    and the same seed gives the same episode. One observation does not tell which way the pole is falling; two do.

    Arguments:
        render_mode, sutton_barto_reward: as CartPole's.

    >>> import gymnasium, neuroaccel.envs
    >>> env = gymnasium.make("neuroaccel/CartPoleNoVelocity-v0")
    >>> env.reset(seed=0)[0].shape
    (2,)
    """

    def __init__(self, sutton_barto_reward: bool = False, render_mode: str | None = None) -> None:
        super().__init__(sutton_barto_reward=sutton_barto_reward, render_mode=render_mode)
        box: Any = self.observation_space
        self.observation_space = spaces.Box(box.low[SEEN], box.high[SEEN], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; see gymnasium's interface."""
        observation, info = super().reset(seed=seed, options=options)
        return observation[SEEN], info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Push once; see gymnasium's interface."""
        observation, reward, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return observation[SEEN], float(reward), terminated, truncated, info
