"""MountainCar by value iteration: its dynamics are known, and two numbers make a state."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from neuroaccel.envs.offline.policies import Observation, Policy, Rule

POSITIONS, VELOCITIES = (-1.2, 0.6), (-0.07, 0.07)
GOAL, FORCE, GRAVITY = 0.5, 0.001, 0.0025
GRID = (361, 281)
"""Points along position and velocity."""
SWEEPS = 400
"""At most; it stops when no value changes any more."""
VERSION = 1
"""Raised when the same grid gives other values."""

Floats = NDArray[np.float64]


def transition(position: Floats, velocity: Floats, action: Floats) -> tuple[Floats, Floats]:
    """One step of the car, as the environment computes it.

    ẋ = clip(ẋ + 0.001·(a − 1) − 0.0025·cos 3x);  x = clip(x + ẋ);  ẋ = 0 where the car stands at the left wall

    Arguments:
        position, velocity, action: of any shapes that broadcast.

    Returns:
        The next position and velocity.
    """
    velocity = np.clip(velocity + (action - 1.0) * FORCE - np.cos(3.0 * position) * GRAVITY, *VELOCITIES)
    position = np.clip(position + velocity, *POSITIONS)
    return position, np.where((position <= POSITIONS[0]) & (velocity < 0.0), 0.0, velocity)


def values(grid: tuple[int, int] = GRID, sweeps: int = SWEEPS) -> Floats:
    """Steps to the goal, by value iteration with linear interpolation between the points of a grid.

    V(s) = min over a of 1 + V(s′),  V = 0 at the goal

    Arguments:
        grid: points along position and velocity.
        sweeps: at most so many.

    Returns:
        ``[positions, velocities]``.
    """
    position, velocity, action = np.meshgrid(
        np.linspace(*POSITIONS, grid[0]), np.linspace(*VELOCITIES, grid[1]), np.arange(3.0), indexing="ij"
    )
    to, speed = transition(position, velocity, action)
    corner, along, across = _place(to, speed, grid)
    at = corner[0] * grid[1] + corner[1]
    steps = np.zeros(grid)
    for _ in range(sweeps):
        flat = steps.ravel()
        low = flat[at] + across * (flat[at + 1] - flat[at])
        high = flat[at + grid[1]] + across * (flat[at + grid[1] + 1] - flat[at + grid[1]])
        after = 1.0 + np.where(to >= GOAL, 0.0, low + along * (high - low)).min(axis=2)
        after[position[:, :, 0] >= GOAL] = 0.0
        if np.abs(after - steps).max() < 1e-6:
            break
        steps = after
    return steps


def mountain_car() -> Policy:
    """The expert: whichever action leaves the fewest steps, by the table of values, which the cache folder keeps."""
    # Here, since importing neuroaccel.envs must not take the whole of neuroaccel.datasets along.
    from neuroaccel.datasets.cache import cache_key, cached

    key = cache_key(VERSION, {"grid": list(GRID), "sweeps": SWEEPS})
    table = np.array(cached("expert-mountain-car", key, lambda: {"steps": values()})["steps"])
    rule = {"rule": "least steps to go by value iteration", "grid": list(GRID), "version": VERSION}
    return Rule("expert", rule, lambda observation: best_action(table, observation))


def best_action(table: Floats, observation: Observation) -> int:
    """The action after which the table, interpolated, has the fewest steps; the lower one of a tie.

    Arguments:
        table: from :func:`values`.
        observation: position and velocity.
    """
    state = np.asarray(observation, dtype=np.float64)
    to, speed = transition(state[0], state[1], np.arange(3.0))
    (row, column), along, across = _place(to, speed, (table.shape[0], table.shape[1]))
    low = table[row, column] + across * (table[row, column + 1] - table[row, column])
    high = table[row + 1, column] + across * (table[row + 1, column + 1] - table[row + 1, column])
    return int(np.argmin(np.where(to >= GOAL, -math.inf, low + along * (high - low))))


def _place(
    position: Floats, velocity: Floats, grid: tuple[int, int]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], Floats, Floats]:
    """Lower corner of the cell that a state lies in, and how far along it is in both directions, 0 to 1."""
    x = (position - POSITIONS[0]) / (POSITIONS[1] - POSITIONS[0]) * (grid[0] - 1)
    y = (velocity - VELOCITIES[0]) / (VELOCITIES[1] - VELOCITIES[0]) * (grid[1] - 1)
    row = np.minimum(x.astype(np.int64), grid[0] - 2)
    column = np.minimum(y.astype(np.int64), grid[1] - 2)
    return (row, column), x - row, y - column
