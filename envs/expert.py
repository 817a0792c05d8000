"""A policy that knows the maze: the shortest path, followed by looking one step ahead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroaccel.envs.maze_layouts import Walls, distances
from neuroaccel.envs.maze_world import DIRECTIONS, FRICTION, move

_GLIDE = FRICTION / (1.0 - FRICTION)  # how far a velocity of 1 still carries without force


def expert_action(
    walls: Walls,
    position: NDArray[np.float64],
    velocity: NDArray[np.float64],
    goal: NDArray[np.float64],
    actions: int = 8,
) -> int:
    """The direction whose step brings the disc nearest to the next cell of a shortest path to the goal.

    "Nearest" is where the disc would come to rest: position + v·friction/(1 − friction).

    Arguments:
        walls: ``[rows, columns]``.
        position, velocity, goal: x and y, of a ``MazeWorld``'s row.
        actions: how many directions there are.

    Returns:
        The action. A disc whose cell has no path to the goal heads for it as the crow flies.
    """
    row, column = int(position[1]), int(position[0])
    steps = distances(walls, (int(goal[1]), int(goal[0])))
    target = np.asarray(goal)
    if steps[row, column] > 1:
        near = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        after = next(cell for cell in near if steps[cell] == steps[row, column] - 1)
        target = np.array([after[1] + 0.5, after[0] + 0.5])

    def repeated(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.repeat(np.asarray(values, dtype=np.float64)[None], actions, axis=0)

    to, speed = move(
        np.repeat(walls[None], actions, axis=0), repeated(position), repeated(velocity), DIRECTIONS[:actions]
    )
    rest = to + _GLIDE * speed - target
    return int(np.argmin((rest * rest).sum(axis=1)))
