"""neuroaccel trajectories make | list | show | experts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroaccel.envs.offline import MEASURING_SEEDS, load_trajectories, make_set
from tests.cli.calling import assert_refused, call, files_in

MAKE = ("trajectories", "make", "CartPole-v1", "--steps", "400")


@pytest.fixture
def minari_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for this test's data sets, and two episodes where a hundred are measured."""
    folder = tmp_path / "minari"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    monkeypatch.setitem(make_set.__kwdefaults__, "measure_seeds", MEASURING_SEEDS[:2])
    return folder


def test_make_list_and_show_agree(minari_dir: Path) -> None:
    made = call(*MAKE, "--medium-share", "0.25", "--json").json
    assert (made["name"], made["made"]) == ("cartpole-v1-seed0-v0", True)
    assert [row["policy"] for row in made["returns"]] == ["expert", "medium", "random", "all"]
    whole = made["returns"][-1]
    assert whole["steps"] == sum(row["steps"] for row in made["returns"][:-1])
    assert (made["expert_return"], made["metadata"]["recipe"]["noise"]) == (500.0, 0.2)
    shown = call("trajectories", "show", "cartpole-v1-seed0", "--json").json
    assert shown["returns"] == made["returns"]
    assert shown["action_space"] == "Discrete(2)"
    data = load_trajectories("cartpole-v1-seed0")
    assert whole["mean"] == pytest.approx(np.mean(data.returns))
    listed = call("trajectories", "list", "--json").json
    assert listed["folder"] == str(minari_dir)
    (row,) = listed["sets"]
    assert (row["name"], row["env_id"], row["steps"]) == ("cartpole-v1-seed0-v0", "CartPole-v1", whole["steps"])
    text = call("trajectories", "show", str(minari_dir / "cartpole-v1-seed0-v0")).out
    for words in ("expert", "medium", "random", "Discrete(2)", "measured without noise: expert 500.00"):
        assert words in text
    assert "cartpole-v1-seed0-v0" in call("trajectories", "list").out


def test_made_twice_is_made_once(minari_dir: Path) -> None:
    assert call(*MAKE).code == 0
    before = files_in(minari_dir)
    again = call(*MAKE, "--json").json
    assert again["made"] is False
    assert "already there" in call(*MAKE).out
    assert files_in(minari_dir) == before
    assert_refused(call(*MAKE, "--noise", "0.5"), "cartpole-v1-seed0-v0", "--name", "--force")
    assert files_in(minari_dir) == before
    forced = call(*MAKE, "--noise", "0.5", "--force", "--json").json
    assert forced["metadata"]["recipe"]["noise"] == 0.5
    named = call(*MAKE, "--noise", "0.5", "--name", "own/noisy", "--seed", "3", "--json").json
    assert named["name"] == "own/noisy-v0"
    assert (minari_dir / "own" / "noisy-v0").is_dir()


def test_an_interrupted_make_leaves_nothing(minari_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minari.dataset._storages.hdf5_storage.HDF5Storage.update_episodes", stop)
    done = call(*MAKE)
    assert (done.code, done.out) == (130, "")
    assert list(minari_dir.iterdir()) == []
    assert call("trajectories", "list", "--json").json["sets"] == []
    assert "is empty" in call("trajectories", "list").out


def test_experts_measures_all_three(minari_dir: Path) -> None:
    found = call("trajectories", "experts", "CartPole-v1", "--episodes", "3", "--json").json
    rows = {row["policy"]: row for row in found["policies"]}
    assert list(rows) == ["expert", "medium", "random"]
    assert (rows["expert"]["mean"], rows["expert"]["seeds"]) == (500.0, list(MEASURING_SEEDS[:3]))
    text = call("trajectories", "experts", "CartPole-v1", "--episodes", "2").out
    assert "returns of 2 episodes, seeds 2000000 to 2000001" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("make", "CartPoll-v1"), ("CartPoll-v1", "did you mean 'CartPole-v1'")),
        (("make", "FrozenLake-v1"), ("FrozenLake-v1", "Discrete")),
        (("make", "neuroaccel/Maze-v0"), ("neuroaccel/Maze-v0", "no expert")),
        (("make", "CartPole-v1", "--expert-share", "0.8", "--medium-share", "0.4"), ("exceed 1",)),
        (("make", "CartPole-v1", "--noise", "2"), ("--noise",)),
        (("make", "CartPole-v1", "--name", "../out"), ("../out",)),
        (("show", "nothing"), ("nothing-v0", "trajectories make")),
        (("experts", "Nothing-v0"), ("Nothing-v0", "unknown")),
    ],
)
def test_mistakes_are_named(minari_dir: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert_refused(call("trajectories", *arguments), *words)
    assert files_in(minari_dir) == {}


def test_show_of_a_damaged_set(minari_dir: Path) -> None:
    call(*MAKE)
    about = minari_dir / "cartpole-v1-seed0-v0" / "data" / "metadata.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "total_episodes": 1000}))
    assert_refused(call("trajectories", "show", "cartpole-v1-seed0"), "cannot be read", "episode")


@pytest.mark.parametrize("command", ["", "make", "list", "show", "experts"])
def test_help_has_examples(command: str) -> None:
    done = call("trajectories", *filter(None, [command]), "--help")
    assert done.code == 0
    assert "$ neuroaccel trajectories" in done.out
