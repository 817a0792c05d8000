"""Gymnasium environments for spiking policies.

Importing this module registers ``neuroaccel/Maze-v0`` and ``neuroaccel/CartPoleNoVelocity-v0``;
``gymnasium.make("neuroaccel.envs:neuroaccel/Maze-v0")`` imports and makes it in one call, ``gymnasium.make_vec`` the
vectorised one.
"""

from __future__ import annotations

from neuroaccel.extras import require

require("gymnasium", "gym")  # before the modules below, which need it, so that its absence has a cure in its message

import gymnasium  # noqa: E402

from neuroaccel.envs.expert import expert_action  # noqa: E402
from neuroaccel.envs.maze import MazeEnv, MazeVectorEnv  # noqa: E402
from neuroaccel.envs.maze_layouts import LAYOUTS, distances, generate, layout  # noqa: E402

MAZE = "neuroaccel/Maze-v0"
CARTPOLE_NO_VELOCITY = "neuroaccel/CartPoleNoVelocity-v0"

__all__ = [
    "CARTPOLE_NO_VELOCITY",
    "LAYOUTS",
    "MAZE",
    "MazeEnv",
    "MazeVectorEnv",
    "distances",
    "expert_action",
    "generate",
    "layout",
    "register_envs",
]


def register_envs() -> None:
    """Register this package's environments with gymnasium; those that are registered stay as they are."""
    if MAZE not in gymnasium.registry:
        gymnasium.register(
            MAZE,
            entry_point="neuroaccel.envs.maze:MazeEnv",
            vector_entry_point="neuroaccel.envs.maze:MazeVectorEnv",
            reward_threshold=0.5,
        )
    if CARTPOLE_NO_VELOCITY not in gymnasium.registry:
        gymnasium.register(
            CARTPOLE_NO_VELOCITY,
            entry_point="neuroaccel.envs.cartpole:CartPoleNoVelocityEnv",
            max_episode_steps=500,
            reward_threshold=475.0,
        )


register_envs()
