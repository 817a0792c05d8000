"""The maze: gymnasium's contract, the dynamics, layouts, the vectorised twin bit for bit, rendering, the expert."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections import deque
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.envs import LAYOUTS, MAZE, MazeEnv, MazeVectorEnv, distances, expert_action, generate, layout
from neuroaccel.envs.maze_render import DISC, FLOOR, GOAL, PIXELS, WALL
from neuroaccel.envs.maze_world import DIRECTIONS, GOAL_RADIUS, MAX_SPEED, RADIUS
from neuroaccel.errors import InputError, StateError
from tests.conftest import examples

EVERY = [*LAYOUTS, "generated"]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("actions", [4, 8])
def test_check_env_finds_nothing(name: str, actions: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in (None, "rgb_array", "ansi"):
            check_env(gymnasium.make(MAZE, layout=name, actions=actions, render_mode=mode).unwrapped)


def test_the_registered_id_makes_both() -> None:
    single = gymnasium.make(MAZE)
    assert isinstance(single.unwrapped, MazeEnv)
    assert single.observation_space.shape == (6,)
    assert single.action_space == gymnasium.spaces.Discrete(8)
    vector = gymnasium.make_vec(MAZE, num_envs=3)
    assert isinstance(vector.unwrapped, MazeVectorEnv)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert vector.single_observation_space == single.observation_space
    assert vector.observation_space.shape == (3, 6)


def test_gymnasium_imports_the_module_by_itself() -> None:
    code = (
        "import gymnasium; e = gymnasium.make('neuroaccel.envs:neuroaccel/Maze-v0'); e.reset(seed=0);"
        "import sys; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr


def test_umaze_is_that_of_d4rl() -> None:
    walls, goal = layout("umaze")
    drawn = ["".join("#" if w else "O" for w in row) for row in walls]
    assert drawn == ["#####", "#OOO#", "###O#", "#OOO#", "#####"]
    assert goal == (1, 1)
    assert distances(walls, goal)[3, 1] == 6


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_closed_and_connected(name: str) -> None:
    walls, goal = layout(name)
    assert walls[0].all()
    assert walls[-1].all()
    assert walls[:, 0].all()
    assert walls[:, -1].all()
    assert ((distances(walls, goal) >= 0) == ~walls).all()


@settings(max_examples=examples(50, 500))
@given(size=st.integers(2, 8).map(lambda k: 2 * k + 1), seed=st.integers(0, 2**32 - 1))
def test_a_generated_maze_is_a_tree_that_reaches_every_room(size: int, seed: int) -> None:
    walls, goal = generate(size, 0.0, np.random.default_rng(seed))
    cells = int((~walls).sum())
    passages = int((~walls[:, 1:] & ~walls[:, :-1]).sum() + (~walls[1:] & ~walls[:-1]).sum())
    assert passages == cells - 1  # a connected graph with one edge fewer than nodes has no loop
    assert ((distances(walls, goal) >= 0) == ~walls).all()
    assert not walls[1::2, 1::2].any()


def test_loops_open_walls_and_the_seed_decides() -> None:
    tree, _ = generate(11, 0.0, np.random.default_rng(3))
    some, _ = generate(11, 0.3, np.random.default_rng(3))
    most, _ = generate(11, 1.0, np.random.default_rng(3))
    assert (~tree).sum() < (~some).sum() < (~most).sum()
    assert (some <= tree).all()
    assert most[2::2, 2::2].all()  # pillars between four rooms stay
    assert most[0].all()
    again, _ = generate(11, 0.3, np.random.default_rng(3))
    other, _ = generate(11, 0.3, np.random.default_rng(4))
    assert (again == some).all()
    assert (other != some).any()


def test_mazes_of_one_seed_stay_and_those_of_none_change() -> None:
    fixed = MazeEnv(layout="generated", layout_seed=5)
    fresh = MazeEnv(layout="generated", layout_seed=None)
    drawn: dict[str, list[Any]] = {"fixed": [], "fresh": []}
    for seed in range(3):
        for name, env in (("fixed", fixed), ("fresh", fresh)):
            env.reset(seed=seed)
            drawn[name].append(env.world.walls[0].copy())
    assert all((walls == drawn["fixed"][0]).all() for walls in drawn["fixed"])
    assert any((walls != drawn["fresh"][0]).any() for walls in drawn["fresh"])
    fresh.reset(seed=0)
    assert (fresh.world.walls[0] == drawn["fresh"][0]).all()


@pytest.mark.parametrize("name", EVERY)
def test_nothing_enters_a_wall_or_runs_faster_than_half_a_cell(name: str) -> None:
    env = MazeEnv(layout=name, max_steps=10**6)
    generator = np.random.default_rng(1)
    env.reset(seed=1)
    for step in range(1500):
        observation, *_ = env.step(int(generator.integers(8)) if step % 7 else int(generator.integers(4)))
        assert env.observation_space.contains(observation)
        x, y = env.world.position[0]
        corners = [(x + a * RADIUS, y + b * RADIUS) for a in (-1, 1) for b in (-1, 1)]
        assert not any(env.world.walls[0][int(b), int(a)] for a, b in corners)
        assert np.abs(env.world.velocity).max() <= MAX_SPEED


def test_one_push_is_as_documented() -> None:
    env = MazeEnv(layout="open")
    env.reset(seed=0, options={"start": (1, 1), "goal": (3, 3)})
    velocity, position = np.zeros(2), np.array([1.5, 1.5])
    for action in (0, 4, 1):
        observation, reward, terminated, truncated, info = env.step(action)
        velocity = 0.6 * velocity + 0.2 * DIRECTIONS[action]
        position = position + velocity
        np.testing.assert_allclose(observation, [*position, 3.5, 3.5, *velocity], rtol=1e-6)
        assert (reward, terminated, truncated, info) == (-0.01, False, False, {"success": False})


def test_a_wall_takes_the_speed_along_its_axis_only() -> None:
    env = MazeEnv(layout="umaze")
    env.reset(seed=0, options={"start": (3, 1), "goal": (1, 1)})
    for _ in range(6):
        observation, *_ = env.step(7)  # right and up; a wall is above
    assert observation[5] == 0.0
    assert observation[4] > 0.3
    assert observation[1] == pytest.approx(3 + RADIUS, abs=1e-5)


def test_the_goal_pays_once_and_ends_the_episode() -> None:
    env = MazeEnv(layout="open")
    env.reset(seed=0, options={"start": (1, 1), "goal": (1, 3)})
    rewards, terminated = [], False
    while not terminated:
        _, reward, terminated, truncated, info = env.step(0)
        rewards.append(reward)
        distance = float(np.hypot(*(env.world.position[0] - env.world.goal[0])))
        assert terminated == info["success"] == (distance <= GOAL_RADIUS)
        assert not truncated
    assert rewards[:-1] == [-0.01] * (len(rewards) - 1)
    assert rewards[-1] == 0.99
    assert len(rewards) == 5  # 1.5 cells, of 2, with v = .2, .32, .392, .4352, .46112


def test_the_time_limit_truncates() -> None:
    env = MazeEnv(layout="umaze", max_steps=4)
    env.reset(seed=0, options={"start": (3, 1), "goal": (1, 1)})
    ends = [env.step(2)[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]
    assert MazeEnv(layout="medium").world.options.max_steps == 16 * 16


def test_starts_and_goals_are_drawn_from_different_cells() -> None:
    env = MazeEnv(layout="umaze")
    cells = set()
    for seed in range(200):
        x, y, gx, gy, *v = env.reset(seed=seed)[0]
        cells.add((int(x), int(y)))
        assert (int(x), int(y)) != (int(gx), int(gy))
        assert v == [0.0, 0.0]
    assert len(cells) == 7
    fixed = MazeEnv(layout="umaze", goal="fixed")
    assert {tuple(np.floor(fixed.reset(seed=s)[0][2:4])) for s in range(20)} == {(1.0, 1.0)}


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("options", [{}, {"layout": "generated", "layout_seed": None, "size": 5}])
def test_the_vectorised_one_is_the_single_one_bit_for_bit(mode: AutoresetMode, options: dict[str, Any]) -> None:
    """Against gymnasium's own SyncVectorEnv of single ones: observations, rewards, ends and infos."""
    options = {**options, "max_steps": 12}
    one: VectorEnv[Any, Any, Any] = SyncVectorEnv([lambda: MazeEnv(**options)] * 5, autoreset_mode=mode)
    two = gymnasium.make_vec(MAZE, num_envs=5, autoreset_mode=mode, **options)
    _same(one.reset(seed=7), two.reset(seed=7))
    generator, ended = np.random.default_rng(0), 0
    for _ in range(150):
        actions = generator.integers(8, size=5)
        first, second = one.step(actions), two.step(actions)
        _same(first, second)
        done = first[2] | first[3]
        ended += int(done.sum())
        if mode == AutoresetMode.DISABLED and done.any():
            _same(one.reset(options={"reset_mask": done}), two.reset(options={"reset_mask": done}))
    assert ended > 50
    _same(one.reset(seed=[3, 1, 4, 1, 5]), two.reset(seed=[3, 1, 4, 1, 5]))
    _same(one.reset(), two.reset())


def _same(one: Any, two: Any) -> None:
    assert type(one) is type(two)
    if isinstance(one, tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            _same(a, b)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            _same(one[key], two[key])
    else:
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        if one.dtype == object:
            assert [None if v is None else v.tolist() for v in one] == [None if v is None else v.tolist() for v in two]
        else:
            assert one.tobytes() == two.tobytes()


def test_an_observation_handed_out_does_not_change() -> None:
    env = gymnasium.make_vec(MAZE, num_envs=4)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(np.zeros(4, dtype=np.int64))
    assert (first == kept).all()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("actions", [4, 8])
def test_the_expert_reaches_every_goal_at_about_the_pace_that_is_possible(name: str, actions: int) -> None:
    env = MazeEnv(layout=name, actions=actions)
    for seed in range(30):
        env.reset(seed=seed)
        w = env.world
        start, goal = (tuple(int(v) for v in p[0][::-1]) for p in (w.position, w.goal))
        cells = _path_length(w.walls[0], (start[0], start[1]), (goal[0], goal[1]))
        steps = 0
        terminated = truncated = False
        while not (terminated or truncated):
            *_, terminated, truncated, _ = env.step(env.expert())
            steps += 1
        assert terminated, (name, seed)
        # Half a cell a step at best; in a path of n cells no more than a few steps are lost at each.
        assert steps <= 8 + 4 * cells


def _path_length(walls: np.ndarray, start: tuple[int, int], goal: tuple[int, int]) -> int:
    """Breadth first once more, written apart from the one that is tested."""
    seen, queue = {start}, deque([(start, 0)])
    while queue:
        cell, length = queue.popleft()
        if cell == goal:
            return length
        for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            near = (cell[0] + a, cell[1] + b)
            if not walls[near] and near not in seen:
                seen.add(near)
                queue.append((near, length + 1))
    raise AssertionError("there is no path")


def test_the_expert_goes_around_the_wall() -> None:
    walls, _ = layout("umaze")
    start, goal = np.array([1.5, 3.5]), np.array([1.5, 1.5])
    assert expert_action(walls, start, np.zeros(2), goal, 4) == 0
    assert expert_action(walls, np.array([3.5, 1.5]), np.zeros(2), goal, 4) == 2


def test_the_picture_shows_walls_goal_and_disc() -> None:
    env = gymnasium.make(MAZE, render_mode="rgb_array").unwrapped
    env.reset(seed=0, options={"start": (3, 1), "goal": (1, 1)})
    frame: Any = env.render()
    assert (frame.shape, frame.dtype) == ((5 * PIXELS, 5 * PIXELS, 3), np.uint8)
    middle = PIXELS // 2
    at = {(0, 0): WALL, (1, 1): GOAL, (3, 1): DISC, (2, 3): FLOOR, (2, 1): WALL}
    for (row, column), colour in at.items():
        assert tuple(frame[row * PIXELS + middle, column * PIXELS + middle]) == colour
    vector = gymnasium.make_vec(MAZE, num_envs=2, render_mode="rgb_array")
    vector.reset(seed=0)
    assert [f.shape for f in vector.render() or ()] == [frame.shape, frame.shape]
    silent = MazeEnv()
    silent.reset(seed=0)
    assert silent.render() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "spiral"}, "spiral.*umaze.*generated"),
        ({"actions": 6}, "4 or 8, not 6"),
        ({"goal": "moving"}, "'random' or 'fixed', not 'moving'"),
        ({"max_steps": 0}, "at least 1, not 0"),
        ({"layout": "generated", "size": 8}, "odd size of at least 5, not 8"),
        ({"layout": "generated", "loops": 2.0}, "between 0 and 1, not 2"),
        ({"speed": 3}, "no option speed; expected some of layout"),
        ({"render_mode": "human"}, "rgb_array, ansi, not 'human'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MazeEnv(**options)
    with pytest.raises(InputError, match=message):
        MazeVectorEnv(2, **options)


def test_wrong_calls_are_named() -> None:
    env = MazeEnv()
    with pytest.raises(StateError, match="before the first reset"):
        env.step(0)
    with pytest.raises(InputError, match=r"start \(0, 0\) is not a free cell"):
        env.reset(options={"start": (0, 0)})
    with pytest.raises(InputError, match=r"goal is \(row, column\), not 3"):
        env.reset(options={"goal": 3})
    with pytest.raises(InputError, match="does not know the options"):
        env.reset(options={"colour": 3})
    env.reset(seed=0)
    with pytest.raises(InputError, match="expected 0 to 7"):
        env.step(8)
    with pytest.raises(InputError, match="whole numbers"):
        env.step(0.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is a wall"):
        distances(env.world.walls[0], (0, 0))
    vector = MazeVectorEnv(2, autoreset_mode="Disabled", max_steps=1)
    with pytest.raises(StateError, match="before the first reset"):
        vector.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(InputError, match="3 seeds for 2"):
        vector.reset(seed=[1, 2, 3])
    with pytest.raises(InputError, match="reset_mask is a bool array of 2"):
        vector.reset(options={"reset_mask": np.ones(3, dtype=np.bool_)})
    vector.reset(seed=0)
    vector.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(StateError, match=r"episodes of \[0, 1\] have ended"):
        vector.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(InputError, match="num_envs is at least 1"):
        MazeVectorEnv(0)


def test_text_has_a_character_for_each_cell() -> None:
    env = MazeEnv(layout="rooms", render_mode="ansi")
    env.reset(seed=2)
    shown = env.render().split("\n")
    assert {len(row) for row in shown} == {11}
    assert sorted("".join(shown).replace("#", "").replace(" ", "")) == ["A", "G"]
