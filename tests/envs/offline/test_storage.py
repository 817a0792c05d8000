"""Minari data sets: ours come back as they were, anybody's load, damaged ones are named, nothing is half-written."""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

from neuroaccel.envs.offline import (
    TrajectorySet,
    dataset_id,
    load_trajectories,
    make_set,
    save_trajectories,
    storage,
    stored,
)
from neuroaccel.errors import CacheError, FileFormatError, InputError
from tests.envs.offline.test_trajectories import episode, some

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.fixture(scope="module")
def pendulum() -> TrajectorySet:
    return make_set("Pendulum-v1", steps=600, measure_seeds=(1, 2))


def foreign(name: str, observation: spaces.Space[Any], action: spaces.Space[Any], **more: Any) -> None:
    """A data set as somebody else makes it, with Minari alone: 2 episodes of 5 steps."""

    def buffer(seed: int) -> EpisodeBuffer:
        observation.seed(seed)
        action.seed(seed)
        seen = [observation.sample() for _ in range(6)]
        if isinstance(observation, spaces.Dict):
            seen = {key: np.stack([one[key] for one in seen]) for key in observation}  # type: ignore[assignment]
        given: dict[str, Any] = {
            "observations": seen,
            "actions": [action.sample() for _ in range(5)],
            "rewards": [0.5] * 5,
            "terminations": [False] * 5,
            "truncations": [False] * 4 + [True],
            "infos": {"speed": [1.0] * 6},
        }
        return EpisodeBuffer(**given)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari's, on authors and links
        minari.create_dataset_from_buffers(
            name, [buffer(0), buffer(1)], observation_space=observation, action_space=action, **more
        )


def test_a_set_comes_back_as_it_was(minari_dir: Path, pendulum: TrajectorySet) -> None:
    folder = save_trajectories(pendulum, "mine/pendulum-mixed")
    assert folder == minari_dir / "mine" / "pendulum-mixed-v0"
    for name in ("mine/pendulum-mixed", "mine/pendulum-mixed-v0", str(folder), str(folder / "data")):
        back = load_trajectories(name)
        assert (back.env_id, back.expert_return, back.random_return) == (
            "Pendulum-v1",
            pendulum.expert_return,
            pendulum.random_return,
        )
        assert (back.observation_space, back.action_space) == (pendulum.observation_space, pendulum.action_space)
    assert back.metadata["policies"] == pendulum.metadata["policies"]
    assert back.policies == pendulum.policies
    for one, other in zip(back.trajectories, pendulum.trajectories, strict=True):
        for field in ("observations", "actions", "rewards", "final_observation"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        assert (one.terminated, one.truncated, one.seed) == (other.terminated, other.truncated, other.seed)


def test_minari_reads_what_we_write(minari_dir: Path, pendulum: TrajectorySet) -> None:
    save_trajectories(pendulum, "pendulum-v0")
    data = minari.load_dataset("pendulum-v0")
    assert (data.total_episodes, data.total_steps) == (len(pendulum), pendulum.steps)
    assert data.spec.env_spec is not None
    assert data.spec.env_spec.id == "Pendulum-v1"
    assert data[0].observations.shape == (201, 3)
    random = np.array([pendulum.random_return])
    assert minari.get_normalized_score(data, random).item() == pytest.approx(0.0)


@pytest.mark.parametrize(
    "action", [spaces.Discrete(3), spaces.Box(-2.0, 2.0, (2,), np.float32), spaces.Box(-2.0, 2.0, (1,), np.float64)]
)
def test_anybodys_set_loads(minari_dir: Path, action: spaces.Space[Any]) -> None:
    foreign("theirs/set-v3", spaces.Box(0, 255, (4,), np.uint8), action)
    data = load_trajectories("theirs/set-v3")
    assert data.lengths.tolist() == [5, 5]
    assert data.returns.tolist() == [2.5, 2.5]
    assert (data.env_id, data.expert_return, dict(data.metadata)) == ("", None, {})
    assert [(one.terminated, one.truncated, one.seed) for one in data.trajectories] == [(False, True, None)] * 2
    assert data.trajectories[0].observations.shape == (5, 4)


def test_a_set_of_a_known_environment_says_which(minari_dir: Path) -> None:
    box = spaces.Box(-1.0, 1.0, (3,), np.float32)
    foreign("theirs/pendulum-v0", box, spaces.Discrete(2), eval_env="Pendulum-v1", ref_max_score=-150.0)
    data = load_trajectories("theirs/pendulum-v0")
    assert (data.env_id, data.expert_return) == ("Pendulum-v1", -150.0)


def test_dict_observations_are_refused_by_name(minari_dir: Path) -> None:
    foreign("theirs/dicts-v0", spaces.Dict({"goal": BOX, "seen": BOX}), spaces.Discrete(2))
    with pytest.raises(InputError, match="'theirs/dicts-v0': observations are a Dict of 'goal', 'seen'"):
        load_trajectories("theirs/dicts-v0")


def test_nan_and_missing_rewards_name_the_episode(minari_dir: Path) -> None:
    for name in ("nan-v0", "rewards-v0", "empty-v0", "short-v0"):
        foreign(name, BOX, spaces.Discrete(2))

    def change(name: str) -> h5py.File:
        return h5py.File(minari_dir / name / "data" / "main_data.hdf5", "r+")

    with change("nan-v0") as file:
        file["episode_1/observations"][3, 1] = np.nan
    with change("rewards-v0") as file:
        del file["episode_1/rewards"]
    with change("short-v0") as file:
        file["episode_0/observations"].resize((4, 3))
    about = minari_dir / "empty-v0" / "data" / "metadata.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "total_episodes": 0}))
    with pytest.raises(InputError, match=r"'nan-v0', episode 1: .*observations hold nan at 3"):
        load_trajectories("nan-v0")
    with pytest.raises(FileFormatError, match=r"'rewards-v0', episode 1 cannot be read.*rewards"):
        load_trajectories("rewards-v0")
    with pytest.raises(InputError, match=r"'short-v0', episode 0: .*4 observations, 5 actions"):
        load_trajectories("short-v0")
    with pytest.raises(InputError, match="'empty-v0' is empty"):
        load_trajectories("empty-v0")


def test_episodes_of_different_environments_in_one_set_are_refused_by_name(minari_dir: Path) -> None:
    for name in ("seen-v0", "acted-v0"):
        foreign(name, BOX, spaces.Discrete(2))
    with h5py.File(minari_dir / "seen-v0" / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_1/observations"]
        file["episode_1/observations"] = np.zeros((6, 2), np.float32)
    with h5py.File(minari_dir / "acted-v0" / "data" / "main_data.hdf5", "r+") as file:
        file["episode_0/actions"][2] = 7
    with pytest.raises(InputError, match=r"'seen-v0': .*episode 1: observations of 2 numbers.*one environment"):
        load_trajectories("seen-v0")
    with pytest.raises(InputError, match=r"'acted-v0': .*episode 0: actions \d to 7; expected 0 to 1"):
        load_trajectories("acted-v0")


def test_damaged_sets_are_named(minari_dir: Path, tmp_path: Path) -> None:
    folder = save_trajectories(some(), "cut")
    data = folder / "data" / "main_data.hdf5"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(FileFormatError, match="'cut-v0'"):
        load_trajectories("cut")
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"'cut-v0'.*cannot be read"):
        load_trajectories("cut")
    with pytest.raises(InputError, match=r"is no Minari data set: it has no data/metadata\.json"):
        load_trajectories(str(tmp_path))


def test_a_missing_set_and_a_bad_name_are_named(minari_dir: Path) -> None:
    save_trajectories(some(), "here")
    with pytest.raises(InputError, match=r"no data set 'gone-v0' in .* \(there: here-v0\)"):
        load_trajectories("gone")
    for name in ("../out", "a b", "", "/abs/olute-v1", "..-v0", "a/set-v0", "aa//set-v0"):
        with pytest.raises(InputError, match="expected a name"):
            dataset_id(name)


def test_a_taken_name_is_refused_unless_replaced(minari_dir: Path) -> None:
    save_trajectories(some(), "set")
    longer = some(episode(9))
    with pytest.raises(InputError, match="'set-v0' exists"):
        save_trajectories(longer, "set")
    assert load_trajectories("set").steps == 4
    save_trajectories(longer, "set", replace=True)
    assert load_trajectories("set").steps == 9
    assert [one.name for one in minari_dir.iterdir()] == ["set-v0"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_nothing(
    minari_dir: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from minari.dataset._storages.hdf5_storage import HDF5Storage

    save_trajectories(some(), "set")

    def stop(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(HDF5Storage, "update_episode_metadata", stop)
        for name, replace in (("other", False), ("set", True)):
            with pytest.raises(CacheError if isinstance(error, OSError) else KeyboardInterrupt):
                save_trajectories(some(episode(9)), name, replace=replace)
    assert [one.name for one in minari_dir.iterdir()] == ["set-v0"]
    assert load_trajectories("set").steps == 4


def test_a_failing_rename_keeps_the_old_set(minari_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_trajectories(some(), "set")
    rename = os.rename

    def fail_once(a: Path, b: Path) -> None:
        if b.name == "set-v0" and load_trajectories(a).steps == 9:
            raise OSError("no")
        rename(a, b)

    monkeypatch.setattr(storage.os, "rename", fail_once)
    with pytest.raises(CacheError, match="cannot be written"):
        save_trajectories(some(episode(9)), "set", replace=True)
    assert load_trajectories("set").steps == 4


def test_what_a_killed_process_left_is_not_listed_and_goes_after_a_day(minari_dir: Path) -> None:
    left = minari_dir / f"{storage.MAKING}old"
    (left / "data").mkdir(parents=True)
    new = minari_dir / f"{storage.MAKING}new"
    new.mkdir()
    assert stored() == []
    long_ago = time.time() - 2 * storage.STALE_S
    os.utime(left, (long_ago, long_ago))
    save_trajectories(some(), "set")
    assert (left.exists(), new.exists()) == (False, True)


def test_the_listing_tells_what_is_there(
    minari_dir: Path, pendulum: TrajectorySet, caplog: pytest.LogCaptureFixture
) -> None:
    save_trajectories(pendulum, "b")
    foreign("aa/theirs-v1", BOX, spaces.Discrete(2))
    (minari_dir / "broken-v0" / "data").mkdir(parents=True)
    rows = {one.name: one for one in stored()}
    assert set(rows) == {"b-v0", "aa/theirs-v1"}
    ours = rows["b-v0"]
    assert (ours.env_id, ours.episodes, ours.steps) == ("Pendulum-v1", len(pendulum), pendulum.steps)
    assert ours.expert_return == pendulum.expert_return
    assert ours.megabytes > 0.01
    assert rows["aa/theirs-v1"].env_id == ""
    assert "broken-v0" in caplog.text


def test_metadata_must_be_json(minari_dir: Path) -> None:
    with pytest.raises(InputError, match="not plain JSON"):
        save_trajectories(some(metadata={"a": object()}), "set")
    assert not minari_dir.exists() or not list(minari_dir.iterdir())


def test_unknown_seeds_and_last_observations_stay_unknown(minari_dir: Path) -> None:
    save_trajectories(some(episode(seed=None)), "set")
    (one,) = load_trajectories("set").trajectories
    assert (one.seed, one.final_observation, one.policy) == (None, None, "")
