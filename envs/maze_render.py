"""A maze as a picture, drawn with numpy alone, and as text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroaccel.envs.maze_layouts import Walls
from neuroaccel.envs.maze_world import GOAL_RADIUS, RADIUS

WALL, FLOOR, GOAL, DISC = (52, 58, 64), (241, 243, 245), (64, 192, 87), (28, 126, 214)  # red, green, blue
PIXELS = 24  # of a cell's side


def draw(walls: Walls, position: NDArray[np.float64], goal: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The maze from above, ``[rows·24, columns·24, 3]``: walls, the goal's disc and, upon it, the one that moves."""
    walls = walls.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
    picture = np.where(walls[..., None], np.array(WALL, np.uint8), np.array(FLOOR, np.uint8))
    y, x = (np.indices(picture.shape[:2]) + 0.5) / PIXELS
    for centre, radius, colour in ((goal, GOAL_RADIUS, GOAL), (position, RADIUS, DISC)):
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius * radius
        picture[inside & ~walls] = colour
    return picture


def text(walls: Walls, position: NDArray[np.float64], goal: NDArray[np.float64]) -> str:
    """One character a cell: ``#`` wall, ``G`` goal, ``A`` the disc, which hides the goal."""
    cells = np.where(walls, "#", " ")
    cells[int(goal[1]), int(goal[0])] = "G"
    cells[int(position[1]), int(position[0])] = "A"
    return "\n".join("".join(row) for row in cells)
