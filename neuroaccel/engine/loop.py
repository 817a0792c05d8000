"""A session in a closed loop with an environment that follows gymnasium's interface, single or vector.

gymnasium itself is not imported: an environment is whatever has ``reset`` and ``step`` of its kind, and a vector one
says ``num_envs`` and, in ``metadata["autoreset_mode"]``, when it begins an episode anew (gymnasium 1.1 and newer).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine.inputs import Feed, by_name, is_stream
from neuroaccel.engine.session import Session
from neuroaccel.engine.streams import Columns, checked, copied, difference
from neuroaccel.errors import InputError
from neuroaccel.graph import Input

Encode = Callable[[Any], Any]
Decide = Callable[[dict[str, NDArray[Any]]], Any]

NEXT_STEP, SAME_STEP, DISABLED = "NextStep", "SameStep", "Disabled"


@dataclass(frozen=True, eq=False)
class Decision:
    """One decision for each of N environments, and what came of it.

    Arguments:
        observation: ``[N, ...]``, what was decided on; dicts and tuples of such where the environment has them.
        action: ``[N, ...]``.
        reward: float64 ``[N]``.
        terminated, truncated: bool ``[N]``, whether the episode ended with this action.
        begins: bool ``[N]``, whether it is an episode's first decision: the session's sample was reset before it.
        live: bool ``[N]``, false where the environment did nothing but begin its next episode: in a vector environment
            that does so at the step after an end, this decision is of no episode, and neither it nor its reward counts.
        counts: node → column → int64 ``[N]``, the session's counts of this decision, 0 where not ``live``; empty if
            the session does not count.
        seconds: from observation to action: encoding, the network's ticks, deciding.
        info: what the environment told beside.
    """

    observation: Any
    action: Any
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    begins: NDArray[np.bool_]
    live: NDArray[np.bool_]
    counts: Columns
    seconds: float
    info: Any


def control(
    session: Session,
    env: Any,
    encode: Encode,
    decide: Decide,
    *,
    decisions: int | None = None,
    seed: Any = None,
) -> Iterator[Decision]:
    """Let a session control an environment: observe, run some ticks, act, and again.

    The session is reset at the beginning, and a sample of it exactly when an episode of its environment begins; within
    an episode its state goes on from decision to decision.

    Arguments:
        session: with one sample for each environment.
        env: the environment, or vector of them; the caller closes it.
        encode: observations ``[N, ...]`` → what a decision's ticks take in: ``[T, N, *shape]``, an EventStream for
            every sample, or Input name → one of these.
        decide: Output name → values of these ticks ``[T, N, *shape]``, → actions ``[N, ...]``, of which a single
            environment gets the first.
        decisions: how many; the default is to go on without end.
        seed: for the environment's first reset.

    Yields:
        A decision for every step of the environment. Who stops asking stops the loop there.

    Raises:
        InputError: a session of another batch than the environments are, an environment that does not say when it
            begins anew, no ticks, or actions that are not one for each environment.
    """
    world = _Vector(env) if getattr(env, "num_envs", None) is not None else _Single(env)
    if world.count != session.batch:
        raise InputError(f"the session has {session.batch} samples for {world.count} environments")
    begins, live = np.ones(world.count, np.bool_), np.ones(world.count, np.bool_)
    observation = world.reset(seed)
    session.reset()
    made = 0
    while decisions is None or made < decisions:
        if made and begins.any():
            session.reset(begins)
        before = copied(session.counts)
        started = time.perf_counter()
        action = np.asarray(decide(_outputs(session, encode(observation))))
        seconds = time.perf_counter() - started
        if action.shape[:1] != (world.count,):
            raise InputError(f"decide gave actions {list(action.shape)}, expected one for each of {world.count}")
        counts = {
            name: {key: value * live for key, value in columns.items()}
            for name, columns in difference(session.counts, before).items()
        }
        following, reward, terminated, truncated, info = world.step(action)
        made += 1
        yield Decision(observation, action, reward, terminated, truncated, begins, live, counts, seconds, info)
        done = terminated | truncated
        observation, begins, live = world.after(following, done, live)


def _outputs(session: Session, values: Any) -> dict[str, NDArray[Any]]:
    """Run what was encoded; nothing has run where it is refused."""
    graph = session.plan.graph
    given = by_name(graph, values)
    feeds: Mapping[str, Feed] = {}
    if any(is_stream(value) for value in given.values()):
        feeds = checked(session, given).feeds
    else:
        feeds = {name: Feed(name, node, given[name]) for name, node in graph.nodes.items() if isinstance(node, Input)}
    lengths = {name: feed.ticks for name, feed in feeds.items()}
    ticks = next(iter(lengths.values()))
    if ticks < 1 or len(set(lengths.values())) != 1:
        raise InputError(f"encode gave ticks {lengths}, expected at least one, and the same number for every Input")
    session.check(feeds, 0, ticks)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in graph.outputs}
    for _ in session.blocks(feeds, ticks):
        for name, found in parts.items():
            found.append(session.output(name))
    return {name: np.concatenate(found) for name, found in parts.items()}


Step = tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Any]
After = tuple[Any, NDArray[np.bool_], NDArray[np.bool_]]


class _Single:
    """One environment as a vector of one, which begins anew before the decision after an end."""

    count = 1

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, seed: Any = None) -> Any:
        return _batched(self.env.reset(seed=seed)[0])

    def step(self, action: NDArray[Any]) -> Step:
        observation, reward, terminated, truncated, info = self.env.step(action[0])
        ends = np.array([terminated], np.bool_), np.array([truncated], np.bool_)
        return _batched(observation), np.array([reward], np.float64), *ends, info

    def after(self, observation: Any, done: NDArray[np.bool_], live: NDArray[np.bool_]) -> After:
        """What the next decision sees, whether it begins an episode, and whether it is of any."""
        return self.reset() if done[0] else observation, done, live


class _Vector:
    """Several environments, whose vector says when they begin anew."""

    def __init__(self, env: Any) -> None:
        self.env, self.count = env, int(env.num_envs)
        mode = (getattr(env, "metadata", None) or {}).get("autoreset_mode")
        self.mode = getattr(mode, "value", mode)
        if self.mode not in (NEXT_STEP, SAME_STEP, DISABLED):
            raise InputError(
                f"the environments' metadata['autoreset_mode'] is {mode!r}, expected {NEXT_STEP}, {SAME_STEP} or "
                f"{DISABLED}, as gymnasium 1.1 and newer say"
            )

    def reset(self, seed: Any = None) -> Any:
        return self.env.reset(seed=seed)[0]

    def step(self, action: NDArray[Any]) -> Step:
        observation, reward, terminated, truncated, info = self.env.step(action)
        ends = np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        return observation, np.array(reward, np.float64), *ends, info

    def after(self, observation: Any, done: NDArray[np.bool_], live: NDArray[np.bool_]) -> After:
        """What the next decision sees, which of it begin an episode, and which are of any."""
        if self.mode == NEXT_STEP:  # the step that follows an end begins anew, whatever the action
            return observation, ~live, ~done
        if self.mode == DISABLED and done.any():
            observation = self.env.reset(options={"reset_mask": done.copy()})[0]
        return observation, done, live


def _batched(observation: Any) -> Any:
    """An observation as one of N = 1."""
    if isinstance(observation, Mapping):
        return {key: _batched(value) for key, value in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_batched(value) for value in observation)
    return np.array(observation)[None]
