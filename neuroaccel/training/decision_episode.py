"""One episode of a decision model to look at: every frame, and the spikes of every layer behind every decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.decision.deploy import Decider, SessionExecutor
from neuroaccel.decision.file import Trained
from neuroaccel.errors import InputError
from neuroaccel.training.decision_evaluate import Progress, check_fits, episode_seeds

Frame = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Watched:
    """An episode of n decisions.

    Arguments:
        frames: uint8 ``[n, H, W, 3]``, what each decision was taken on.
        spikes: layer → ``[n, 3 T, neurons]``, of the three tokens first computed in each decision: of the action
            before (none in the first decision), of the return and of the state; ``phase`` is the phase code. Empty of a
            dense model.
        rewards: float64 ``[n]``.
        terminated: whether it ended by itself, not by a limit.
    """

    frames: Frame
    spikes: Mapping[str, NDArray[np.uint8]]
    rewards: NDArray[np.float64]
    terminated: bool


class WatchedSession(SessionExecutor):
    """A session that keeps what its neurons emitted at every tick of the last call of ``feed``.

    Arguments:
        session: made with ``record="spikes"``.
    """

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self._ticks: list[dict[str, NDArray[np.uint8]]] = []

    def _tick(self, given: dict[str, NDArray[Any]]) -> Any:
        found = super()._tick(given)
        records = {layer_of(path): value for (what, path, _), value in self.session.records().items()}
        self._ticks.append({name: np.array(value[:, 0] != 0, np.uint8) for name, value in records.items()})
        return found

    def taken(self) -> dict[str, NDArray[np.uint8]]:
        """Layer → ``[ticks · T, neurons]`` since it was last asked."""
        ticks, self._ticks = self._ticks, []
        return {name: np.concatenate([tick[name] for tick in ticks]) for name in ticks[0]}


def layer_of(path: str) -> str:
    """What :func:`~neuroaccel.decision.spiking.spike_counts` calls a neuron of the graph.

    >>> [layer_of(p) for p in ("embed_spikes/lif", "block0.counts/qkv", "block1.out/after", "block1.out/mix")]
    ['embed', 'block0.qkv', 'block1.out', 'block1.mix']
    """
    scope, _, neuron = path.partition("/")
    if neuron == "lif":
        return scope.removesuffix("_spikes")
    return scope if neuron == "after" else f"{scope.partition('.')[0]}.{neuron}"


def open_env(env_id: str, render_mode: str | None = None) -> Any:
    """An environment by itself, that can be drawn if a mode is given.

    Raises:
        InputError: there is no such environment, or it has no such mode.
    """
    import gymnasium

    import neuroaccel.envs  # noqa: F401  (registers its own environments)

    try:
        env = gymnasium.make(env_id)
        if render_mode is None:
            return env
        modes = list(env.metadata.get("render_modes") or ())
        env.close()
        if render_mode not in modes:
            raise InputError(f"environment '{env_id}' cannot be drawn: its render modes are {modes}, not {render_mode}")
        return gymnasium.make(env_id, render_mode=render_mode)
    except (gymnasium.error.Error, ImportError, AttributeError) as error:
        raise InputError(f"environment '{env_id}' cannot be made: {error}") from error


def watch(
    trained: Trained,
    target: float,
    seed: int = 0,
    *,
    steps: int | None = None,
    frame: Callable[[Frame], Frame] = lambda found: found,
    progress: Progress | None = None,
) -> Watched:
    """Play one episode, a spiking model's in the engine.

    Arguments:
        trained: the model; its notes name the environment.
        target: the return to ask for.
        seed: the episode is the first of those that :func:`~neuroaccel.training.decision_evaluate.sweep` plays for it.
        steps: most decisions; None: the whole episode.
        frame: what to keep of a frame, such as a smaller one.
        progress: called with (decisions, most of them).

    Raises:
        InputError: an environment that cannot be made or drawn or that the model does not fit, fewer steps than 1.
        MissingExtra: what draws the environment is not installed.
    """
    from neuroaccel.envs.frames import rendered

    most = trained.config.max_steps if steps is None else min(steps, trained.config.max_steps)
    if most < 1:
        raise InputError(f"an episode of {most} decisions; expected at least one")
    env = open_env(trained.about["env_id"], "rgb_array")
    try:
        check_fits(trained.config, env.observation_space, env.action_space)
        observation, _ = env.reset(seed=episode_seeds(1, (seed,))[0])
        first = frame(rendered(env))  # before the model is compiled: it may turn out that nothing can be drawn
        session = _recording(trained)
        decider = Decider(session or trained.model, trained.config, target, trained.normaliser)
        frames, ends = [first], False
        spikes: list[dict[str, NDArray[np.uint8]]] = []
        rewards: list[float] = []
        while True:
            (action,) = decider.act(np.asarray(observation)[None])
            if session is not None:
                spikes.append(session.taken() | _phase(trained, len(rewards)))
            observation, reward, ends, late, _ = env.step(action)
            rewards.append(float(reward))
            if progress is not None:
                progress(len(rewards), most)
            if ends or late or len(rewards) == most:
                break
            decider.observe([reward])
            frames.append(frame(rendered(env)))
    finally:
        env.close()
    return Watched(np.stack(frames), _stacked(spikes), np.array(rewards), bool(ends))


def _recording(trained: Trained) -> WatchedSession | None:
    """A spiking model's graph in the engine; None of a dense one."""
    if trained.config.model != "snn-dt":
        return None
    from neuroaccel.decision.to_graph import to_graph
    from neuroaccel.engine import Session, compile_graph

    spiking: Any = trained.model
    return WatchedSession(Session(compile_graph(to_graph(spiking)), 1, counts=False, record="spikes"))


def phase_codes(trained: Trained, step: int) -> NDArray[np.uint8] | None:
    """The phase code of a decision's new tokens, ``[tokens · T, heads]``; the first decision has no action before."""
    import torch

    phase = getattr(trained.model, "phase", None)
    if phase is None:
        return None
    with torch.no_grad():
        code = phase(torch.tensor([step - 1, step, step] if step else [0, 0]))
    found: NDArray[np.uint8] = code.flatten(0, 1).numpy().astype(np.uint8)
    return found


def _phase(trained: Trained, step: int) -> dict[str, NDArray[np.uint8]]:
    code = phase_codes(trained, step)
    return {} if code is None else {"phase": code}


def _stacked(spikes: list[dict[str, NDArray[np.uint8]]]) -> dict[str, NDArray[np.uint8]]:
    """Decisions in one array per layer; an episode's first one lacks the token of an action before."""
    if not spikes:
        return {}
    rows = 3 * (len(next(iter(spikes[0].values()))) // 2)
    lacking = {name: ((rows - len(value), 0), (0, 0)) for name, value in spikes[0].items()}
    spikes[0] = {name: np.pad(value, lacking[name]) for name, value in spikes[0].items()}
    return {name: np.stack([decision[name] for decision in spikes]) for name in spikes[0]}
