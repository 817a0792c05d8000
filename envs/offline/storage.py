"""Trajectories on disk: Minari data sets, ours and anybody's."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from neuroaccel.envs.offline.trajectories import Trajectory, TrajectorySet, check_spaces
from neuroaccel.errors import CacheError, FileFormatError, InputError, MissingExtra
from neuroaccel.extras import require

log = logging.getLogger("neuroaccel")

OURS = "neuroaccel"
"""Key of our own metadata in Minari's."""
MAKING = ".neuroaccel-making-"
"""Begins the name of a folder that is being written; hidden, so that nobody lists it."""
STALE_S = 86_400.0
"""A folder that is older than this and still being written was left behind by a killed process."""
_NAME = re.compile(r"(?!.*//)(?:[\w-][\w/-]*[\w-]/)?[\w-]+-v\d+")  # Minari's: a namespace has two letters or more
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, AssertionError, AttributeError)
"""What Minari and h5py raise on files that are not as they should be."""


@dataclass(frozen=True)
class Stored:
    """A data set in Minari's folder, as a listing shows it.

    Arguments:
        name: Minari's id.
        env_id: the environment, empty where it is not said.
        episodes, steps: how many.
        megabytes: on disk.
        expert_return, random_return: measured ones, None where there are none.
        path: its folder.
    """

    name: str
    env_id: str
    episodes: int
    steps: int
    megabytes: float
    expert_return: float | None
    random_return: float | None
    path: Path


def dataset_id(name: str) -> str:
    """Minari's id for a name: ``(namespace/)name-v0``, the version added where there is none.

    Raises:
        InputError: other characters than letters, digits, ``_`` and ``-``.

    >>> dataset_id("cartpole-mixed"), dataset_id("mine/acrobot-v2")
    ('cartpole-mixed-v0', 'mine/acrobot-v2')
    """
    full = name if re.search(r"-v\d+$", name) else f"{name}-v0"
    if not _NAME.fullmatch(full):
        raise InputError(
            f"data set {name!r}: expected a name of letters, digits, '_' and '-', such as cartpole-mixed-v0"
        )
    return full


def save_trajectories(data: TrajectorySet, name: str, *, replace: bool = False) -> Path:
    """Write a set as a Minari data set into Minari's folder, whole or not at all.

    Minari's folder is ``MINARI_DATASETS_PATH``, by default ``~/.minari/datasets``.

    Arguments:
        data: the set; its metadata must be plain JSON values.
        name: Minari's id, the version may be left out.
        replace: whether a set of that name is replaced.

    Returns:
        The folder of the data set.

    Raises:
        InputError: the name is malformed or taken, or the metadata is not JSON.
        CacheError: the disk is full or read-only.
        MissingExtra: Minari is not installed.
    """
    full, root = dataset_id(name), minari_root()
    target = root / full
    if target.exists() and not replace:
        raise InputError(f"data set '{full}' exists in {root}; choose another name or replace it")
    _ours(data)  # before anything is written
    building = root / f"{MAKING}{uuid.uuid4().hex}"
    try:
        _sweep(root)
        _write(data, full, building)
        target.parent.mkdir(parents=True, exist_ok=True)
        old = root / f"{MAKING}{uuid.uuid4().hex}"
        replaced = target.exists()
        if replaced:
            os.rename(target, old)
        try:
            os.rename(building, target)
        except OSError:
            if replaced:
                os.rename(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise CacheError(f"data set '{full}' cannot be written into {root}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def load_trajectories(name_or_path: str | Path) -> TrajectorySet:
    """Read a Minari data set, by its id or from its folder.

    Any data set will do whose observations are a ``Box`` of one axis and whose actions are ``Discrete`` or such a Box.

    Arguments:
        name_or_path: Minari's id (the version may be left out) or the folder of a data set.

    Raises:
        InputError: no such data set; spaces or numbers that no decision model reads (the message names the episode).
        FileFormatError: a file that is damaged or incomplete.
        MissingExtra: Minari, or what its storage format needs, is not installed.
    """
    folder, where = _find(name_or_path)
    storage_class = require("minari.dataset.minari_storage", "gym").MinariStorage
    try:
        metadata = storage_class.read_raw_metadata(folder)
        storage = storage_class.read(folder)
    except ImportError as error:
        raise MissingExtra(f"data set '{where}': {error}") from error
    except (*_UNREADABLE, gymnasium.error.Error) as error:
        raise FileFormatError(f"data set '{where}': {folder} cannot be read: {error!r}") from error
    check_spaces(storage.observation_space, storage.action_space, f"data set '{where}'")
    trajectories = tuple(_trajectories(storage, where))
    if not trajectories:
        raise InputError(f"data set '{where}' is empty; expected at least one episode")
    own = metadata.get(OURS)
    try:
        return TrajectorySet(
            _env_id(metadata),
            storage.observation_space,
            storage.action_space,
            trajectories,
            _number(metadata.get("ref_max_score")),
            _number(metadata.get("ref_min_score")),
            own if isinstance(own, dict) else {},
        )
    except InputError as error:
        raise InputError(f"data set '{where}': {error}") from error


def stored() -> list[Stored]:
    """Data sets in Minari's folder, in the order of their names; those that cannot be read are logged and left out."""
    minari = require("minari.storage.local", "gym")
    root = minari_root()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = minari.list_local_datasets()
    for one in told:
        log.warning("%s: %s", root, one.message)
    return [
        Stored(
            name,
            _env_id(metadata),
            int(metadata.get("total_episodes", 0)),
            int(metadata.get("total_steps", 0)),
            sum(path.stat().st_size for path in (root / name).rglob("*") if path.is_file()) / 1e6,
            _number(metadata.get("ref_max_score")),
            _number(metadata.get("ref_min_score")),
            root / name,
        )
        for name, metadata in found.items()
    ]


def minari_root() -> Path:
    """Minari's folder, which is made where it is missing.

    Raises:
        CacheError: it cannot be made.
        MissingExtra: Minari is not installed.
    """
    try:
        return Path(require("minari.storage.datasets_root_dir", "gym").get_dataset_path())
    except OSError as error:
        raise CacheError(f"Minari's folder cannot be made: {error}") from error


def _write(data: TrajectorySet, full: str, building: Path) -> None:
    minari = require("minari", "gym")
    require("h5py", "gym")
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    building.mkdir(parents=True)
    spec = gymnasium.registry.get(data.env_id)
    storage = MinariStorage.new(building / "data", data.observation_space, data.action_space, spec, "hdf5")
    known = {"ref_max_score": data.expert_return, "ref_min_score": data.random_return}
    storage.update_metadata(
        {
            "dataset_id": full,
            "minari_version": minari.__version__,
            "algorithm_name": ", ".join(filter(None, data.policies)) or "unknown",
            **{key: value for key, value in known.items() if value is not None},
            OURS: _ours(data),
        }
    )
    buffers: list[Any] = []
    for index, one in enumerate(data.trajectories):
        ends = np.zeros((2, len(one)), dtype=bool)
        ends[:, -1] = one.terminated, one.truncated
        final = [] if one.final_observation is None else [one.final_observation]
        buffers.append(
            EpisodeBuffer(
                id=index,
                seed=one.seed,
                observations=[*one.observations.astype(data.observation_space.dtype), *final],
                actions=list(one.actions),
                rewards=list(one.rewards),
                terminations=list(ends[0]),
                truncations=list(ends[1]),
            )
        )
    storage.update_episodes(buffers)
    storage.update_episode_metadata([{"policy": one.policy} for one in data.trajectories])


def _ours(data: TrajectorySet) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps({"env_id": data.env_id, **data.metadata}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"trajectories: the metadata is not plain JSON: {error}") from error
    return plain


def _sweep(root: Path) -> None:
    for left in root.glob(f"{MAKING}*"):
        with contextlib.suppress(FileNotFoundError):  # another process sweeps too
            if left.stat().st_mtime < time.time() - STALE_S:
                shutil.rmtree(left, ignore_errors=True)


def _find(name_or_path: str | Path) -> tuple[Path, str]:
    given = Path(name_or_path).expanduser()
    for folder in (given, given / "data"):
        if (folder / "metadata.json").is_file():
            return folder, str(name_or_path)
    if given.is_dir():
        raise InputError(f"{given} is no Minari data set: it has no data/metadata.json")
    full, root = dataset_id(str(name_or_path)), minari_root()
    folder = root / full / "data"
    if not (folder / "metadata.json").is_file():
        here = ", ".join(one.name for one in stored()) or "none"
        raise InputError(f"no data set '{full}' in {root} (there: {here}); `neuroaccel trajectories make` makes one")
    return folder, full


def _trajectories(storage: Any, where: str) -> Iterator[Trajectory]:
    discrete = isinstance(storage.action_space, spaces.Discrete)
    for index in range(storage.total_episodes):
        here = f"data set '{where}', episode {index}"
        try:
            (episode,) = storage.get_episodes([index])
            (about,) = storage.get_episode_metadata([index])
            rewards = np.asarray(episode["rewards"])
            if not len(rewards):
                log.warning("%s has no decision and is left out", here)
                continue
            seen = np.asarray(episode["observations"])
            actions = np.asarray(episode["actions"], dtype=np.int64 if discrete else np.float32)
            terminated, truncated = (bool(np.asarray(episode[key])[-1]) for key in ("terminations", "truncations"))
        except _UNREADABLE as error:
            raise FileFormatError(
                f"{here} cannot be read: {error}; expected observations, actions, rewards and ends"
            ) from error
        complete = len(seen) == len(rewards) + 1
        try:
            yield Trajectory(
                seen[: len(rewards)] if complete else seen,
                actions.reshape(len(actions), -1)[:, 0] if discrete and actions.size == len(actions) else actions,
                rewards,
                terminated,
                truncated,
                None if about.get("seed") is None else int(about["seed"]),
                str(about.get("policy", "")),
                seen[-1] if complete else None,
            )
        except InputError as error:
            raise InputError(f"{here}: {error}") from error


def _env_id(metadata: dict[str, Any]) -> str:
    for key in ("env_spec", "eval_env_spec"):
        if isinstance(metadata.get(key), str):
            found = json.loads(metadata[key]).get("id")
            if found:
                return str(found)
    own = metadata.get(OURS)
    return str(own.get("env_id", "")) if isinstance(own, dict) else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None
