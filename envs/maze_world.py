"""What happens in a maze, for many at once: how a disc moves, where episodes begin, when they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroaccel.envs.maze_layouts import Cell, Walls, distances, generate, layout
from neuroaccel.errors import InputError

Floats = NDArray[np.float64]

RADIUS = 0.15  # of the disc, in cells; walls see the square around it
GOAL_RADIUS = 0.5  # D4RL's: nearer than half a cell is there
FRICTION, ACCELERATION = 0.6, 0.2
MAX_SPEED = ACCELERATION / (1.0 - FRICTION)  # half a cell a step, so that no step leaps over a wall
JITTER = 0.25  # starts and goals lie this far from their cell's centre at most
GAP = 1e-6  # between the disc and a wall that stopped it, so that it counts as outside of the wall
REWARD_GOAL, REWARD_STEP = 1.0, -0.01

_DIAGONAL = float(np.sqrt(0.5))
# x (columns) and y (rows, downwards): right, down, left, up, then the diagonals between them.
DIRECTIONS: Floats = np.array(
    [
        (1.0, 0.0),
        (0.0, 1.0),
        (-1.0, 0.0),
        (0.0, -1.0),
        (_DIAGONAL, _DIAGONAL),
        (-_DIAGONAL, _DIAGONAL),
        (-_DIAGONAL, -_DIAGONAL),
        (_DIAGONAL, -_DIAGONAL),
    ]
)


@dataclass(frozen=True)
class MazeOptions:
    """Which maze, and what an episode is.

    Arguments:
        layout: a name of ``LAYOUTS``, or ``generated``.
        size: rows and columns of a generated maze, odd.
        loops: share of a generated maze's inner walls that are opened.
        layout_seed: of the generated maze; ``None`` draws a new one for every episode, which the observation does not
            show.
        actions: 8 directions, or 4.
        goal: ``random``, another one in every episode, or ``fixed``, the layout's.
        max_steps: after so many an episode is truncated; ``None`` is 16·(rows + columns).
    """

    layout: str = "umaze"
    size: int = 11
    loops: float = 0.1
    layout_seed: int | None = 0
    actions: Literal[4, 8] = 8
    goal: Literal["random", "fixed"] = "random"
    max_steps: int | None = None

    def checked(self) -> MazeOptions:
        """The same, with ``max_steps`` as a number.

        Raises:
            InputError: a value that is none of those above.
        """
        if self.actions not in (4, 8):
            raise InputError(f"Maze: actions is 4 or 8, not {self.actions!r}")
        if self.goal not in ("random", "fixed"):
            raise InputError(f"Maze: goal is 'random' or 'fixed', not {self.goal!r}")
        if self.max_steps is not None and self.max_steps < 1:
            raise InputError(f"Maze: max_steps is at least 1, not {self.max_steps}")
        walls, _ = self.maze(np.random.default_rng(0))
        return self if self.max_steps else replace(self, max_steps=16 * sum(walls.shape))

    def maze(self, generator: np.random.Generator) -> tuple[Walls, Cell]:
        """The walls and the fixed goal of an episode; ``generator`` is drawn from only if mazes differ by episode."""
        if self.layout != "generated":
            return layout(self.layout)
        if self.layout_seed is not None:
            generator = np.random.default_rng(self.layout_seed)
        return generate(self.size, self.loops, generator)


class MazeWorld:
    """N mazes that move in step; a single environment is a world of one, so that both compute the same bits.

    One step, along x first and then along y, each stopped by walls (which takes the speed along that axis):
    v = friction·v + acceleration·direction;  position = position + v.

    Arguments:
        options: which maze.
        count: N.
    """

    def __init__(self, options: MazeOptions, count: int) -> None:
        self.options = options.checked()
        self.count = count
        first, self._fixed = self.options.maze(np.random.default_rng(0))
        self.walls: Walls = np.repeat(first[None], count, axis=0)
        self.position: Floats = np.zeros((count, 2))
        self.velocity: Floats = np.zeros((count, 2))
        self.goal: Floats = np.zeros((count, 2))
        self.steps: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        rows, columns = first.shape
        self.high = np.array([columns, rows, columns, rows, MAX_SPEED, MAX_SPEED], dtype=np.float32)
        self.low = np.array([0, 0, 0, 0, -MAX_SPEED, -MAX_SPEED], dtype=np.float32)

    def observe(self) -> NDArray[np.float32]:
        """(x, y, goal x, goal y, vx, vy) of all, ``[N, 6]``, in cells and cells a step; a new array."""
        seen = np.concatenate([self.position, self.goal, self.velocity], axis=1).astype(np.float32)
        return np.clip(seen, self.low, self.high)

    def begin(self, which: int, generator: np.random.Generator, wishes: Mapping[str, Any] | None = None) -> None:
        """A new episode in one maze.

        Arguments:
            which: the maze, 0 to N − 1.
            generator: where the maze (if it is new), the goal and the start are drawn from, in this order.
            wishes: ``start`` and ``goal`` as (row, column): the disc and the goal lie in those cells' centres.

        Raises:
            InputError: a wish for a wall, for no cell, or for an unknown thing.
        """
        wishes = wishes or {}
        if unknown := sorted(set(wishes) - {"start", "goal"}):
            raise InputError(f"Maze: reset does not know the options {unknown}; it takes start, goal")
        if self.options.layout == "generated" and self.options.layout_seed is None:
            self.walls[which], self._fixed = self.options.maze(generator)
        walls = self.walls[which]
        cells = [(int(r), int(c)) for r, c in np.argwhere(~walls)]
        jitter = generator.uniform(-JITTER, JITTER, size=(2, 2))
        drawn = cells[int(generator.integers(len(cells)))] if self.options.goal == "random" else self._fixed
        goal = self._wish(wishes, "goal", walls) or drawn
        there = distances(walls, goal)
        far = [cell for cell in cells if there[cell] > 0]  # every cell but the goal's from which a path leads to it
        start = self._wish(wishes, "start", walls) or far[int(generator.integers(len(far)))]
        self.goal[which] = _centre(goal) + (0.0 if "goal" in wishes else jitter[0])
        self.position[which] = _centre(start) + (0.0 if "start" in wishes else jitter[1])
        self.velocity[which] = 0.0
        self.steps[which] = 0

    @staticmethod
    def _wish(wishes: Mapping[str, Any], key: str, walls: Walls) -> Cell | None:
        if key not in wishes:
            return None
        cell = wishes[key]
        if not isinstance(cell, Sequence) or len(cell) != 2:
            raise InputError(f"Maze: the option {key} is (row, column), not {cell!r}")
        row, column = int(cell[0]), int(cell[1])
        if not (0 <= row < walls.shape[0] and 0 <= column < walls.shape[1]) or walls[row, column]:
            raise InputError(f"Maze: the option {key} {(row, column)} is not a free cell of this maze")
        return row, column

    def step(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """One step of all mazes.

        Arguments:
            actions: ``[N]``, each an index of a direction.

        Returns:
            Rewards, terminated, truncated, ``[N]`` each.

        Raises:
            InputError: an action that there is not.
        """
        actions = np.asarray(actions)
        if actions.shape != (self.count,) or actions.dtype.kind not in "iu":
            raise InputError(
                f"Maze: actions {actions.dtype} {list(actions.shape)}, expected {self.count} whole numbers"
            )
        if ((actions < 0) | (actions >= self.options.actions)).any():
            raise InputError(f"Maze: actions {actions.tolist()}, expected 0 to {self.options.actions - 1}")
        self.position, self.velocity = move(self.walls, self.position, self.velocity, DIRECTIONS[actions])
        self.steps = self.steps + 1
        away = self.position - self.goal
        reached = (away * away).sum(axis=1) <= GOAL_RADIUS * GOAL_RADIUS
        rewards = np.where(reached, REWARD_GOAL + REWARD_STEP, REWARD_STEP)
        assert self.options.max_steps is not None
        return rewards, reached, (self.steps >= self.options.max_steps) & ~reached


def move(walls: Walls, position: Floats, velocity: Floats, force: Floats) -> tuple[Floats, Floats]:
    """One step of N discs.

    Arguments:
        walls: ``[N, rows, columns]``.
        position, velocity, force: ``[N, 2]``, x and y.

    Returns:
        Position and velocity after it, new arrays.
    """
    velocity = np.clip(FRICTION * velocity + ACCELERATION * force, -MAX_SPEED, MAX_SPEED)
    position = position.copy()
    every = np.arange(len(walls))
    for axis in (0, 1):
        forward = np.sign(velocity[:, axis])
        to = position[:, axis] + velocity[:, axis]
        edge = np.floor(to + forward * RADIUS).astype(np.int64)  # the cell that the disc's front enters
        beside = position[:, 1 - axis]
        sides = [np.floor(beside + side).astype(np.int64) for side in (-RADIUS, RADIUS)]
        hit = np.zeros(len(walls), dtype=np.bool_)
        for side in sides:
            hit |= walls[every, side, edge] if axis == 0 else walls[every, edge, side]
        stop = np.where(forward > 0, edge - RADIUS - GAP, edge + 1 + RADIUS + GAP)
        position[:, axis] = np.where(hit, stop, to)
        velocity[:, axis] = np.where(hit, 0.0, velocity[:, axis])
    return position, velocity


def _centre(cell: Cell) -> Floats:
    return np.array([cell[1] + 0.5, cell[0] + 0.5])
