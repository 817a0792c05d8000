"""Making an environment by its name, with the errors that a user can act on."""

from __future__ import annotations

import difflib
import warnings
from typing import Any

import gymnasium
from gymnasium.error import DependencyNotInstalled

import neuroaccel.envs as own
from neuroaccel.envs.offline.trajectories import check_spaces
from neuroaccel.errors import InputError, MissingExtra

EXTRAS = {"box2d": "box2d", "mujoco": "mujoco"}
"""The part of gymnasium that an environment is in -> the extra of this distribution that installs what it needs."""


def make_env(env_id: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """Make an environment that trajectories can be collected in.

    Arguments:
        env_id: its registered name; ``MODULE:NAME`` imports the module first.
        options: for ``gymnasium.make``, such as ``render_mode``.

    Raises:
        InputError: no such environment, or spaces that no decision model reads.
        MissingExtra: what it needs is not installed.
    """
    own.register_envs()
    try:
        with warnings.catch_warnings():
            # Box2D's types of C warn when they are imported; turned into an error there, that kills the process.
            warnings.filterwarnings("ignore", message="builtin type .* has no __module__", category=DeprecationWarning)
            env = gymnasium.make(env_id, **options)
    except (DependencyNotInstalled, ModuleNotFoundError) as error:
        raise _missing(env_id, error) from error
    except gymnasium.error.Error as error:
        raise InputError(f"environment {env_id!r} is unknown{_nearest(env_id)}: {error}") from error
    try:
        check_spaces(env.observation_space, env.action_space, env_id)
    except InputError:
        env.close()
        raise
    return env


def space_of_actions(env_id: str) -> gymnasium.Space[Any]:
    """Return the space of an environment's actions; raises as :func:`make_env`."""
    env = make_env(env_id)
    env.close()
    return env.action_space


def _missing(env_id: str, error: Exception) -> Exception:
    spec = gymnasium.registry.get(env_id)
    entry = str(spec.entry_point) if spec is not None else ""
    extra = next((name for part, name in EXTRAS.items() if f"gymnasium.envs.{part}" in entry), None)
    if extra is not None:
        return MissingExtra(
            f"environment '{env_id}' needs what the extra '{extra}' holds: pip install \"neuroaccel[{extra}]\""
        )
    if isinstance(error, ModuleNotFoundError) and ":" in env_id:
        return InputError(f"environment {env_id!r}: its module cannot be imported: {error}")
    return MissingExtra(f"environment '{env_id}' needs a module that is not installed: {error}")


def _nearest(env_id: str) -> str:
    near = difflib.get_close_matches(env_id, list(gymnasium.registry), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
