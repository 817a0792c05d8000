"""Offline trajectories: experts, collection, and storage as Minari data sets."""

from neuroaccel.envs.offline.collect import MEASURING_SEEDS, Measured, collect, make_set, measure
from neuroaccel.envs.offline.experts import EXPERTS, expert, medium
from neuroaccel.envs.offline.making import make_env
from neuroaccel.envs.offline.policies import Policy, random_policy
from neuroaccel.envs.offline.storage import Stored, dataset_id, load_trajectories, save_trajectories, stored
from neuroaccel.envs.offline.trajectories import Trajectory, TrajectorySet, combine, normalised_return

__all__ = [
    "EXPERTS",
    "MEASURING_SEEDS",
    "Measured",
    "Policy",
    "Stored",
    "Trajectory",
    "TrajectorySet",
    "collect",
    "combine",
    "dataset_id",
    "expert",
    "load_trajectories",
    "make_env",
    "make_set",
    "measure",
    "medium",
    "normalised_return",
    "random_policy",
    "save_trajectories",
    "stored",
]
