"""A lowered policy in its environment: whole episodes decided by the event engine, every decision in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuroaccel import engine
from neuroaccel.errors import InputError
from neuroaccel.graph import Graph
from neuroaccel.ledger import Book, book_of, join


@dataclass(frozen=True, eq=False)
class PolicyEvaluation:
    """One episode for each seed.

    Arguments:
        terminated: bool ``[episodes]``, which ended by themselves (in the maze: at the goal), not by the time limit.
        returns, steps: of each episode, ``[episodes]``.
        book: the algorithm book; a decision is a sample.
    """

    terminated: NDArray[np.bool_]
    returns: NDArray[np.float64]
    steps: NDArray[np.int64]
    book: Book

    @property
    def decisions(self) -> int:
        """How many decisions were made and counted."""
        return int(self.steps.sum())

    def per_decision(self, column: str) -> float:
        """Mean of a column of the book, summed over the network, per decision."""
        return float(self.book.total(column).sum()) / self.decisions


def evaluate_policy(
    graph: Graph,
    encode: Callable[[torch.Tensor], torch.Tensor],
    env: Any,
    seeds: Sequence[int],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> PolicyEvaluation:
    """Play one episode per seed with the engine deciding, greedily: by the largest output or the outputs themselves.

    Arguments:
        graph: the lowered actor, with one output of as many values as there are actions, or numbers in a Box's action
            (which they are clipped to, as stable-baselines3 does with the means).
        encode: observations ``[N, ...]`` → the graph's input ``[T, N, ...]``, such as ``policy.encoder``.
        env: a gymnasium vector environment with as many environments as seeds, which begins episodes anew by itself.
        seeds: of the environments' first reset.
        progress: called with (ended episodes, all).

    Returns:
        The evaluation; what happens after an environment's first episode is neither decided nor counted.

    Raises:
        InputError: another number of environments than seeds, one that does not reset itself, or a graph with other
            outputs than actions.
        UnsupportedNode: the engine cannot hold a node.
    """
    count = len(seeds)
    if getattr(env, "num_envs", None) != count:
        raise InputError(f"{count} seeds for {getattr(env, 'num_envs', 'no')} vectorised environments")
    mode = getattr(env.metadata.get("autoreset_mode"), "value", None)
    if mode not in ("NextStep", "SameStep"):
        raise InputError(f"the environment's autoreset mode is {mode}; expected NextStep or SameStep")
    plan = engine.compile_graph(graph)
    observation, _ = env.reset(seed=[int(seed) for seed in seeds])
    running, terminated = np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    returns, steps = np.zeros(count), np.zeros(count, dtype=np.int64)
    books: list[Book] = []
    while running.any():
        result = engine.run(plan, encode(torch.as_tensor(observation[running])).numpy())
        values = np.asarray(result.trace.outputs[graph.outputs[0]])[-1]
        decided = _greedy(values, env.single_action_space)
        books.append(book_of(plan.graph, result))
        actions = np.zeros((count, *decided.shape[1:]), dtype=decided.dtype)
        actions[running] = decided
        observation, rewards, ends, late, _ = env.step(actions)
        returns[running] += rewards[running]
        steps[running] += 1
        terminated |= running & ends
        running &= ~(ends | late)
        if progress is not None:
            progress(count - int(running.sum()), count)
    return PolicyEvaluation(terminated, returns, steps, join(books))


def _greedy(values: NDArray[Any], space: Any) -> NDArray[Any]:
    """Actions ``[N, ...]`` by a graph's outputs ``[N, values]``."""
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is not None and high is not None:
        if values.shape[1:] != (low.size,):
            raise InputError(
                f"the graph gives {list(values.shape[1:])} values for an action of shape {list(low.shape)}"
            )
        numbers: NDArray[Any] = np.clip(values.reshape(-1, *low.shape), low, high).astype(space.dtype)
        return numbers
    count = getattr(space, "n", None)
    if not isinstance(count, int | np.integer) or space.shape != ():  # MultiBinary has an n, too
        raise InputError(f"a greedy evaluation acts in Discrete or Box, not in {space}")
    if values.shape[1:] != (int(count),):
        raise InputError(f"the graph gives {list(values.shape[1:])} values for {count} actions")
    largest: NDArray[Any] = np.argmax(values, axis=1) + int(getattr(space, "start", 0))
    return largest
