"""Decision models in their environments: whole episodes, and what asking for more or less changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.deploy import Decider, Executor, SessionExecutor, TorchExecutor
from neuroaccel.decision.file import Trained
from neuroaccel.errors import InputError

TEST, VALIDATION = 1_000_000, 2_000_000  # first seeds of environments: training data are made with small ones
LARGEST = 200  # episodes at once
ExecutorName = Literal["module", "compiled", "int8", "torch", "engine"]
Progress = Callable[[int, int], None]


class Acting(Protocol):
    """A :class:`~neuroaccel.decision.deploy.Decider`, or a policy with its methods."""

    def act(self, observations: ArrayLike) -> NDArray[Any]: ...

    def observe(self, rewards: ArrayLike, done: ArrayLike | None = None) -> None: ...


@dataclass(frozen=True, eq=False)
class Episodes:
    """One episode for each seed.

    Arguments:
        returns: float64 ``[E]``.
        lengths: int64 ``[E]``, decisions.
        terminated: bool ``[E]``, which ended by themselves, not by the time limit.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    terminated: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Asked:
    """What came of asking for a return.

    Arguments:
        target: what was asked for.
        episodes: what came, all seeds' episodes one after the other.
        normalised: mean return between that of random actions (0) and the expert's (1); None where these are not known.
    """

    target: float
    episodes: Episodes
    normalised: float | None

    @property
    def mean(self) -> float:
        return float(self.episodes.returns.mean())

    @property
    def sd(self) -> float:
        """Sample standard deviation over episodes."""
        return float(self.episodes.returns.std(ddof=1)) if len(self.episodes.returns) > 1 else 0.0


def play(
    acting: Acting,
    env: Any,
    seeds: Sequence[int],
    *,
    ended: Callable[[NDArray[np.bool_]], None] | None = None,
    progress: Progress | None = None,
) -> Episodes:
    """Play one episode per seed; what an environment does after its first episode is not counted.

    Arguments:
        acting: decides for as many episodes as there are seeds.
        env: a gymnasium vector environment of any autoreset mode.
        seeds: of the environments' first reset.
        ended: called after each step in which episodes ended, with which.
        progress: called with (ended episodes, all).

    Raises:
        InputError: another number of environments than seeds, spaces that are not the model's, or an observation that
            is not finite.
    """
    count = len(seeds)
    if getattr(env, "num_envs", None) != count:
        raise InputError(f"{count} seeds for {getattr(env, 'num_envs', 'no')} vectorised environments")
    if isinstance(acting, Decider):
        check_fits(acting.config, env.single_observation_space, env.single_action_space)
    mode = getattr(env.metadata.get("autoreset_mode"), "value", None)
    observation, _ = env.reset(seed=[int(seed) for seed in seeds])
    running, terminated = np.ones(count, np.bool_), np.zeros(count, np.bool_)
    returns, lengths = np.zeros(count), np.zeros(count, np.int64)
    while True:
        # Finished environments go on by themselves; those that act are given zeros for them and begin anew each time.
        at = running.reshape(-1, *[1] * (np.ndim(observation) - 1))
        actions = acting.act(np.where(at, observation, 0.0))
        observation, rewards, ends, late, _ = env.step(actions)
        ends, late = np.asarray(ends), np.asarray(late)
        returns[running] += np.asarray(rewards, np.float64)[running]
        lengths[running] += 1
        terminated |= running & ends
        stopped = running & (ends | late)
        running &= ~stopped
        if stopped.any() and ended is not None:
            ended(stopped)
        if progress is not None:
            progress(count - int(running.sum()), count)
        if not running.any():
            return Episodes(returns, lengths, terminated)
        acting.observe(np.where(running | stopped, rewards, 0.0), ~running)
        if mode == "Disabled" and (ends | late).any():
            observation, _ = env.reset(options={"reset_mask": ends | late})


def check_fits(config: DecisionConfig, observation: Any, action: Any) -> None:
    """Refuse an environment in which a model cannot act.

    Arguments:
        config: of the model.
        observation, action: the environment's spaces.

    Raises:
        InputError: other sizes, or another kind of action.
    """
    from gymnasium import spaces

    size = int(np.prod(observation.shape)) if isinstance(observation, spaces.Box) else None
    if size != config.state_size:
        raise InputError(
            f"the environment is observed in {observation}, the model reads {config.state_size} numbers: is it another "
            "environment's?"
        )
    if config.continuous:
        fits = isinstance(action, spaces.Box) and action.shape == (config.actions,)
    else:
        fits = isinstance(action, spaces.Discrete) and (int(action.n), int(action.start)) == (config.actions, 0)
    if not fits:
        kind = f"real ones of {config.actions} numbers" if config.continuous else f"0 to {config.actions - 1}"
        raise InputError(
            f"the environment takes actions in {action}, the model gives {kind}: is it another environment's?"
        )


def make_env(env_id: str, episodes: int) -> Any:
    """A vector environment of that many episodes.

    Raises:
        InputError: there is no such environment.
    """
    import gymnasium

    import neuroaccel.envs  # noqa: F401  (registers its own environments)

    try:
        return gymnasium.make_vec(env_id, num_envs=episodes, vectorization_mode="sync")
    except (gymnasium.error.Error, ImportError, AttributeError) as error:
        raise InputError(f"environment '{env_id}' cannot be made: {error}") from error


def played(
    make: Callable[[int], Acting], env_id: str, seeds: Sequence[int], progress: Progress | None = None
) -> Episodes:
    """Play one episode per seed, some hundred at once.

    Arguments:
        make: what acts in that many episodes.
        env_id: the environment.
        seeds: of its resets.
        progress: called with (ended episodes, all).
    """
    if not seeds:
        raise InputError("no episodes to play; expected at least one")
    parts: list[Episodes] = []
    for first in range(0, len(seeds), LARGEST):
        some = seeds[first : first + LARGEST]

        def report(done: int, _: int, before: int = first) -> None:
            if progress is not None:
                progress(before + done, len(seeds))

        env = make_env(env_id, len(some))
        try:
            parts.append(play(make(len(some)), env, some, progress=report))
        finally:
            env.close()
    return Episodes(
        np.concatenate([p.returns for p in parts]),
        np.concatenate([p.lengths for p in parts]),
        np.concatenate([p.terminated for p in parts]),
    )


def episode_seeds(episodes: int, seeds: Sequence[int] = (0,), first: int = TEST) -> list[int]:
    """Seeds of the environments: of each seed, that many, none of another's.

    Raises:
        InputError: fewer than one episode or more than 1000 per seed, a negative seed or one given twice, or one whose
            test episodes would be those of a training's validation.

    >>> episode_seeds(2, (0, 1))
    [1000000, 1000001, 1001000, 1001001]
    """
    if not 1 <= episodes <= 1000:
        raise InputError(f"{episodes} episodes per seed; expected 1 to 1000")
    last = (VALIDATION - TEST) // 1000 - 1
    if min(seeds, default=0) < 0 or (first == TEST and max(seeds, default=0) > last):
        raise InputError(f"seeds of episodes {list(seeds)}; expected 0 to {last}")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds of episodes {list(seeds)}: one is given twice, and would count its episodes twice")
    return [first + 1000 * seed + at for seed in seeds for at in range(episodes)]


def executor(trained: Trained, episodes: int, which: ExecutorName = "module") -> Any:
    """What runs a model's tokens.

    Arguments:
        trained: the model.
        episodes: at once.
        which: ``module``; of a dense model also ``compiled`` and ``int8``; of a spiking one its graph in ``torch`` or
            in the ``engine``.

    Raises:
        InputError: not of this model.
        ExecutorUnavailable: torch.compile does not work here.
    """
    if which == "module":
        return trained.model
    if which in ("compiled", "int8"):
        from neuroaccel.decision.dense import DenseDT
        from neuroaccel.decision.variants import compiled, int8

        if not isinstance(trained.model, DenseDT):
            raise InputError(f"executor '{which}' is a dense model's; this one's model is {trained.config.model}")
        return compiled(trained.model, episodes) if which == "compiled" else int8(trained.model)
    if trained.config.model != "snn-dt":
        raise InputError(f"executor '{which}' runs a spiking model's graph; this one's model is {trained.config.model}")
    from neuroaccel.decision.to_graph import to_graph

    spiking: Any = trained.model
    graph = to_graph(spiking)
    if which == "torch":
        return TorchExecutor(graph)
    from neuroaccel import engine

    return SessionExecutor(engine.open(graph, episodes))


def sweep(
    trained: Trained,
    env_id: str,
    targets: Sequence[float],
    *,
    episodes: int = 50,
    seeds: Sequence[int] = (0,),
    which: ExecutorName = "module",
    progress: Progress | None = None,
) -> list[Asked]:
    """Ask for each target in the same episodes: does asking for more give more?

    Arguments:
        trained: the model.
        env_id: the environment.
        targets: returns to ask for.
        episodes: per seed.
        seeds: of groups of episodes, the same for every model and target.
        which: see :func:`executor`.
        progress: called with (ended episodes, all).
    """
    chosen = episode_seeds(episodes, seeds)
    found: list[Asked] = []
    running: dict[int, Executor] = {}
    warned: set[float] = set()
    for at, target in enumerate(targets):

        def make(count: int, target: float = target) -> Acting:
            model = running[count] if count in running else executor(trained, count, which)
            if which == "compiled":
                running[count] = model
            first = target not in warned
            warned.add(target)
            return Decider(model, trained.config, target, trained.normaliser, episodes=count, warn=first)

        def report(done: int, total: int, before: int = at) -> None:
            if progress is not None:
                progress(before * total + done, len(targets) * total)

        result = played(make, env_id, chosen, report)
        found.append(Asked(float(target), result, normalised(trained, float(result.returns.mean()))))
    return found


def normalised(trained: Trained, value: float) -> float | None:
    """A return between that of random actions (0) and the expert's (1); None where these were not measured."""
    expert, random = trained.about.get("expert_return"), trained.about.get("random_return")
    if expert is None or random is None or expert <= random:
        return None
    return float((value - random) / (expert - random))
