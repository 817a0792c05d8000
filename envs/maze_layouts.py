"""Mazes as arrays of walls: fixed layouts, generated ones, and shortest paths in them."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import InputError

Walls = NDArray[np.bool_]
Cell = tuple[int, int]

# '#' is wall; G is where a fixed goal lies, which D4RL's two layouts mark too.
# Source of umaze and medium: D4RL, maze_model.py (U_MAZE, MEDIUM_MAZE), Fu et al., arXiv 2004.07219; their rows are
# our rows. open and rooms are ours.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "open": (
        "#####",
        "#   #",
        "#   #",
        "#  G#",
        "#####",
    ),
    "umaze": (
        "#####",
        "#G  #",
        "### #",
        "#   #",
        "#####",
    ),
    "medium": (
        "########",
        "#  ##  #",
        "#  #   #",
        "##   ###",
        "#  #   #",
        "# #  # #",
        "#   # G#",
        "########",
    ),
    "rooms": (
        "###########",
        "#    #    #",
        "#    #    #",
        "#         #",
        "#    #    #",
        "## ####   #",
        "#    ### ##",
        "#    #    #",
        "#         #",
        "#    #   G#",
        "###########",
    ),
}


def layout(name: str) -> tuple[Walls, Cell]:
    """A fixed layout.

    Arguments:
        name: one of ``LAYOUTS``.

    Returns:
        Walls ``[rows, columns]``, and (row, column) of its goal.

    Raises:
        InputError: an unknown name.

    >>> walls, goal = layout("umaze")
    >>> walls.shape, int((~walls).sum()), goal
    ((5, 5), 7, (1, 1))
    """
    if name not in LAYOUTS:
        raise InputError(f"there is no maze layout {name!r}; expected one of {', '.join(LAYOUTS)}, generated")
    drawn = np.array([list(row) for row in LAYOUTS[name]])
    row, column = np.argwhere(drawn == "G")[0]
    return drawn == "#", (int(row), int(column))


def generate(size: int, loops: float, generator: np.random.Generator) -> tuple[Walls, Cell]:
    """A perfect maze (one path between any two cells) in which some walls are then opened, which makes loops.

    A depth-first walk carves passages between rooms at odd rows and columns; afterwards each wall between two rooms
    that still stands is opened with probability ``loops``.

    Arguments:
        size: rows and columns, odd and at least 5.
        loops: between 0 (a tree) and 1 (no wall between two rooms stands).
        generator: where the draws come from.

    Returns:
        Walls ``[size, size]``, and (row, column) of its goal, the lower right corner.

    Raises:
        InputError: an even or too small size, or a probability outside of [0, 1].
    """
    if size < 5 or size % 2 == 0:
        raise InputError(f"a generated maze has an odd size of at least 5, not {size}")
    if not 0.0 <= loops <= 1.0:
        raise InputError(f"loops is a probability between 0 and 1, not {loops}")
    walls = np.ones((size, size), dtype=np.bool_)
    walls[1, 1] = False
    path: list[Cell] = [(1, 1)]
    while path:
        row, column = path[-1]
        near = [(row + a, column + b) for a, b in ((-2, 0), (2, 0), (0, -2), (0, 2))]
        closed = [c for c in near if 0 < c[0] < size and 0 < c[1] < size and walls[c]]
        if not closed:
            path.pop()
            continue
        to = closed[int(generator.integers(len(closed)))]
        walls[(row + to[0]) // 2, (column + to[1]) // 2] = False
        walls[to] = False
        path.append(to)
    # Between two rooms: one of row and column is odd, the other even.
    rows, columns = np.indices(walls.shape)
    between = ((rows + columns) % 2 == 1) & (np.minimum(rows, columns) > 0) & (np.maximum(rows, columns) < size - 1)
    walls[between & (generator.random(walls.shape) < loops)] = False
    return walls, (size - 2, size - 2)


def distances(walls: Walls, cell: Cell) -> NDArray[np.int64]:
    """Steps of the shortest path from every cell to one, moving up, down, left and right.

    Arguments:
        walls: ``[rows, columns]``.
        cell: (row, column) of the goal.

    Returns:
        ``[rows, columns]``; −1 in walls and where no path leads to the cell.

    Raises:
        InputError: the cell is a wall.
    """
    if walls[cell]:
        raise InputError(f"the cell {cell} is a wall of the maze; expected a free one")
    steps = np.full(walls.shape, -1, dtype=np.int64)
    steps[cell] = 0
    queue = deque([cell])
    while queue:
        row, column = queue.popleft()
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if not walls[near] and steps[near] < 0:
                steps[near] = steps[row, column] + 1
                queue.append(near)
    return steps
