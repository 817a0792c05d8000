"""The maze as a gymnasium environment, single and vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from neuroaccel.envs.expert import expert_action
from neuroaccel.envs.maze_render import draw, text
from neuroaccel.envs.maze_world import MazeOptions, MazeWorld
from neuroaccel.errors import InputError, StateError

Observation = NDArray[np.float32]
RENDER_MODES = ["rgb_array", "ansi"]
Frame = NDArray[np.uint8] | str


def _spaces(world: MazeWorld) -> tuple[spaces.Space[Observation], spaces.Discrete]:
    box: Any = spaces.Box(world.low, world.high, dtype=np.float32)
    return box, spaces.Discrete(world.options.actions)


def _checked_render_mode(mode: str | None) -> str | None:
    if mode is not None and mode not in RENDER_MODES:
        raise InputError(f"Maze: render_mode is one of {', '.join(RENDER_MODES)}, not {mode!r}")
    return mode


def _frame(world: MazeWorld, which: int, mode: str) -> Frame:
    show = draw if mode == "rgb_array" else text
    return show(world.walls[which], world.position[which], world.goal[which])


class MazeEnv(gymnasium.Env[Observation, np.int64]):
    """A disc that is pushed through a maze to a goal: ``neuroaccel/Maze-v0``.

    v = 0.6·v + 0.2·direction;  position = position + v (in cells), stopped by walls, along x and then along y.

    Observation: (x, y, goal x, goal y, vx, vy), float32, in cells (y grows downwards) and cells a step. Action: one of
    8 directions (right, down, left, up, and the diagonals), or of the first 4. Reward: 1 on reaching the goal (within
    half a cell, which ends the episode), and −0.01 for every step, that one too. Nothing else is rewarded. Start and
    goal are drawn anew for every episode, from two different cells.

    Arguments:
        options: those of :class:`~neuroaccel.envs.maze_world.MazeOptions` by name: ``layout``, ``actions``, ``goal``,
            ``max_steps``, and ``size``, ``loops``, ``layout_seed`` of generated mazes.
        render_mode: ``rgb_array``, ``ansi`` or none.

    ``reset(options={"start": (row, column), "goal": (row, column)})`` puts either into a cell's centre. The info holds
    ``success``: whether the goal has been reached.

    Raises:
        InputError: an unknown layout or option.

    Source: layouts ``umaze`` and ``medium``, the goal's radius and the observation (with the goal added) after D4RL's
    Maze2D, arXiv 2004.07219; dynamics and rewards are ours, and no MuJoCo is needed.

    >>> import gymnasium, neuroaccel.envs
    >>> env = gymnasium.make("neuroaccel/Maze-v0", layout="umaze", render_mode="ansi")
    >>> observation, info = env.reset(seed=0, options={"start": (3, 1), "goal": (1, 1)})
    >>> observation.tolist(), info
    ([1.5, 3.5, 1.5, 1.5, 0.0, 0.0], {'success': False})
    >>> print(env.render())
    #####
    #G  #
    ### #
    #A  #
    #####
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 10}  # noqa: RUF012  # gymnasium's own field

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:
        self.render_mode = _checked_render_mode(render_mode)
        self.world = MazeWorld(_options(options), 1)
        self.observation_space, self.action_space = _spaces(self.world)
        self._begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; see gymnasium's interface."""
        super().reset(seed=seed)
        self.world.begin(0, self.np_random, options)
        self._begun = True
        return self.world.observe()[0], {"success": False}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Push once; see gymnasium's interface.

        Raises:
            InputError: there is no such action.
            StateError: before the first reset.
        """
        if not self._begun:
            raise StateError("Maze: step before the first reset")
        rewards, reached, late = self.world.step(np.asarray([action]))
        success = bool(reached[0])
        return self.world.observe()[0], float(rewards[0]), success, bool(late[0]), {"success": success}

    def render(self) -> Any:
        """The frame as an array ``[height, width, 3]`` or as text; ``None`` without a render mode."""
        return None if self.render_mode is None else _frame(self.world, 0, self.render_mode)

    def expert(self) -> int:
        """What a policy that knows the maze does here."""
        w = self.world
        return expert_action(w.walls[0], w.position[0], w.velocity[0], w.goal[0], w.options.actions)


class MazeVectorEnv(VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """N mazes in one: what ``SyncVectorEnv`` makes of N :class:`MazeEnv`, bit for bit, and faster.

    Arguments:
        num_envs: N.
        autoreset_mode: when an ended episode is followed by the next one, as gymnasium calls it: at the next step
            (whose action is ignored), in the same one (``infos["final_obs"]`` then holds the end), or by
            ``reset(options={"reset_mask": ...})``.
        render_mode, options: as of :class:`MazeEnv`.

    ``reset(seed=s)`` seeds maze i with s + i; a list gives each its own seed.

    Raises:
        InputError: an unknown layout or option.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  # gymnasium's own field
        "render_modes": RENDER_MODES,
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise InputError(f"Maze: num_envs is at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.render_mode = _checked_render_mode(render_mode)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.world = MazeWorld(_options(options), num_envs)
        self.single_observation_space, self.single_action_space = _spaces(self.world)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators: list[np.random.Generator] = []
        self._over = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in all mazes, or in those of ``options["reset_mask"]``; see gymnasium's interface.

        Raises:
            InputError: another number of seeds than mazes, or a mask that is not one bool a maze.
        """
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + which for which in range(self.num_envs)]
        seeds: list[int | None] = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise InputError(f"Maze: {len(seeds)} seeds for {self.num_envs} environments")
        wishes = dict(options or {})
        mask = wishes.pop("reset_mask", np.ones(self.num_envs, dtype=np.bool_))
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise InputError(f"Maze: reset_mask is a bool array of {self.num_envs}, not {mask!r}")
        if not self._generators:
            self._generators = [seeding.np_random(None)[0] for _ in seeds]
        for which in np.flatnonzero(mask):
            if seeds[which] is not None:
                self._generators[which] = seeding.np_random(seeds[which])[0]
            self.world.begin(int(which), self._generators[which], wishes)
        self._over = self._over & ~mask
        return self.world.observe(), self._infos(np.zeros(self.num_envs, dtype=np.bool_), mask)

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Push in all mazes; see gymnasium's interface.

        Raises:
            InputError: an action that there is not.
            StateError: before the first reset; or an episode that has ended, if nothing resets it by itself.
        """
        if not self._generators:
            raise StateError("Maze: step before the first reset")
        over, everywhere = self._over, np.ones(self.num_envs, dtype=np.bool_)
        if self.autoreset_mode == AutoresetMode.DISABLED and over.any():
            raise StateError(f"Maze: the episodes of {np.flatnonzero(over).tolist()} have ended and were not reset")
        rewards, reached, late = self.world.step(actions)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:  # there the step is the reset
            for which in np.flatnonzero(over):
                self.world.begin(int(which), self._generators[which])
            rewards, reached, late = np.where(over, 0.0, rewards), reached & ~over, late & ~over
        self._over = reached | late
        infos: dict[str, Any] = {}
        success = reached
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._over.any():
            infos = self._final(reached, self._over)
            for which in np.flatnonzero(self._over):
                self.world.begin(int(which), self._generators[which])
            success, self._over = reached & ~self._over, np.zeros(self.num_envs, dtype=np.bool_)
        infos.update(self._infos(success, everywhere))
        return self.world.observe(), rewards, reached, late, infos

    def render(self) -> Any:
        """A frame of every maze, as :meth:`MazeEnv.render`; ``None`` without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(_frame(self.world, which, self.render_mode) for which in range(self.num_envs))

    def _infos(self, success: NDArray[np.bool_], mask: NDArray[np.bool_]) -> dict[str, Any]:
        return {"success": success.copy(), "_success": mask.copy()}

    def _final(self, reached: NDArray[np.bool_], over: NDArray[np.bool_]) -> dict[str, Any]:
        """What ended in this step, in gymnasium's form."""
        final = np.full(self.num_envs, None, dtype=object)
        last = self.world.observe()
        for which in np.flatnonzero(over):
            final[which] = last[which]
        info = self._infos(reached & over, over)
        return {"final_obs": final, "_final_obs": over.copy(), "final_info": info, "_final_info": over.copy()}


def _options(given: dict[str, Any]) -> MazeOptions:
    expected = [field.name for field in fields(MazeOptions)]
    if unknown := sorted(set(given) - set(expected)):
        raise InputError(f"Maze: there is no option {', '.join(unknown)}; expected some of {', '.join(expected)}")
    return MazeOptions(**given)
