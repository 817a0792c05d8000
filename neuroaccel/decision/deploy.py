"""Deciding online: the stream of tokens of E episodes, cached, on any executor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.plasticity import OnlineModulator
from neuroaccel.decision.tokens import ACTION, RETURN, STATE
from neuroaccel.decision.windows import Normaliser
from neuroaccel.errors import InputError, StateError

if TYPE_CHECKING:
    from neuroaccel.graph import Graph

log = logging.getLogger("neuroaccel")

# Rewards [E] and which episodes ended [E] -> the third factor of each one's last decision, [E].
Modulate = Callable[[NDArray[np.float64], NDArray[np.bool_]], NDArray[np.float32]]


class Executor(Protocol):
    """What runs tokens: a decision transformer with its caches."""

    def feed(self, x: Tensor, steps: Tensor) -> Tensor:
        """The next L tokens of every episode, ``[E, L, token_size]`` and ``[E, L]`` → ``[E, actions]`` at the last."""

    def forget(self, done: NDArray[np.bool_]) -> None:
        """Forget all tokens of the episodes where ``done``; weights that learn stay as they are, their traces go."""


class ModuleExecutor:
    """A model of this room, run by torch.

    Arguments:
        model: a :class:`~neuroaccel.decision.dense.DenseDT` or a spiking one.
        batch: E.
    """

    def __init__(self, model: nn.Module, batch: int) -> None:
        self.model = cast(Any, model)
        self.cache: Any = self.model.cache(batch)

    def feed(self, x: Tensor, steps: Tensor) -> Tensor:
        predicted: Tensor
        with torch.no_grad():
            if hasattr(self.model, "extend"):
                several, self.cache = self.model.extend(x, steps, self.cache)
                predicted = several[:, -1]
            else:
                for i in range(x.shape[1]):
                    predicted, self.cache = self.model.step(x[:, i], steps[:, i], self.cache)
        return predicted

    def forget(self, done: NDArray[np.bool_]) -> None:
        self.cache = self.model.reset(self.cache, torch.from_numpy(done))


class TorchExecutor:
    """A graph of one token per tick, run by torch.

    Arguments:
        graph: Inputs ``token``, ``step`` if it has a phase code, ``third`` if it learns; one Output.
    """

    def __init__(self, graph: Graph) -> None:
        from neuroaccel.network import Network

        self.network = Network.from_graph(graph).eval()
        self.state: dict[str, Any] | None = None
        self.ports, self._squash, self._plastic = _ports(graph), _squashes(graph), _plastic(graph)
        self.learns = "third" in self.ports

    def feed(self, x: Tensor, steps: Tensor, third: NDArray[np.float32] | None = None) -> Tensor:
        """As of :class:`Executor`; ``third`` ``[E, L]`` is the third factor of every token, None: 0."""
        predicted: Any = None
        with torch.no_grad():
            for i in range(x.shape[1]):
                given = _given(self.ports, x[:, i], steps[:, i], None if third is None else third[:, i])
                entering: Any = {name: torch.from_numpy(value) for name, value in given.items()}
                entering = entering if len(entering) > 1 else next(iter(entering.values()))
                predicted, self.state = self.network.step(entering, self.state)
        return torch.tanh(predicted) if self._squash else torch.as_tensor(predicted)

    def forget(self, done: NDArray[np.bool_]) -> None:
        if self.state is not None:
            learnt = {name: self.state[name]["weight"] for name in self._plastic}
            state = self.network.reset(self.state, torch.from_numpy(done))
            self.state = state | {name: {**state[name], "weight": weight} for name, weight in learnt.items()}


class SessionExecutor:
    """A graph of one token per tick, run by a session of the engine.

    The session's counts go on where an episode is forgotten; it is ``engine.open(graph, batch)``'s, or has the same
    ``step``, ``refresh`` and ``plan``.

    Arguments:
        session: of E samples.
    """

    def __init__(self, session: Any) -> None:
        self.session, graph = session, session.plan.graph
        self.ports, self._squash, self._plastic = _ports(graph), _squashes(graph), _plastic(graph)
        self.learns = "third" in self.ports
        (self.output,) = graph.outputs

    def feed(self, x: Tensor, steps: Tensor, third: NDArray[np.float32] | None = None) -> Tensor:
        """As of :class:`Executor`; ``third`` ``[E, L]`` is the third factor of every token, None: 0."""
        found: Any = None
        for i in range(x.shape[1]):
            given = _given(self.ports, x[:, i], steps[:, i], None if third is None else third[:, i])
            found = self._tick(given)
        values = torch.from_numpy(np.array(found[self.output], np.float32))
        return values.tanh() if self._squash else values

    def _tick(self, given: dict[str, NDArray[Any]]) -> Any:
        return self.session.step(given)

    def forget(self, done: NDArray[np.bool_]) -> None:
        before = self.session.state() if self._plastic else {}
        self.session.refresh(done)
        if self._plastic:
            learnt = {f"{name}/weight": before[f"{name}/weight"] for name in self._plastic}
            self.session.restore(self.session.state() | learnt)


class Decider:
    """Acts in E episodes at once, a stream (G₁, s₁, a₁, G₂, …) for each.

    The token of an action enters with the next decision. A target is what is left to earn (``to-go``: rewards are
    taken off) or what the whole episode shall earn (``total``: it stays).

        decider = Decider(model, config, 500.0, normaliser, episodes=8)
        actions = decider.act(observations)
        ...
        decider.observe(rewards, done)

    Arguments:
        model: a module of this room, or an :class:`Executor`, such as of a graph.
        config: of the model.
        target_return: to ask for, one or ``[E]``; a warning tells if it is out of the data's range.
        normaliser: the data's.
        episodes: E.
        warn: whether to warn of a target out of range.
        online: whether the head goes on learning, each of the E by itself and from one episode to the next: the third
            factor of a decision comes with its action's token, once the reward is known. True: that of
            :class:`~neuroaccel.decision.plasticity.OnlineModulator` over the data's returns; or a function of rewards
            and of which episodes ended. The executor's graph needs a plastic head (``to_graph(model, Plastic(…))``),
            which learns nothing without ``online``.

    Raises:
        InputError: a target that is not finite, or of another shape; ``online`` for what cannot learn.
    """

    def __init__(
        self,
        model: nn.Module | Executor,
        config: DecisionConfig,
        target_return: ArrayLike,
        normaliser: Normaliser,
        *,
        episodes: int = 1,
        warn: bool = True,
        online: bool | Modulate = False,
    ) -> None:
        self.config, self.normaliser, self.episodes = config, normaliser, episodes
        self.executor: Executor = ModuleExecutor(model.eval(), episodes) if isinstance(model, nn.Module) else model
        if online and not getattr(self.executor, "learns", False):
            raise InputError(
                "online learning needs a graph with a plastic head, to_graph(model, Plastic(...)), and an executor of "
                f"it; found {type(model).__name__}"
            )
        returns = normaliser.lowest, normaliser.highest
        self._modulate: Modulate | None = OnlineModulator(episodes, *returns) if online is True else online or None
        self._third = np.zeros(episodes, np.float32)
        target = np.asarray(target_return, np.float64)
        if target.shape not in ((), (episodes,)) or not np.isfinite(target).all():
            raise InputError(
                f"target return {target_return!r}: expected a finite number, or one for each of {episodes}"
            )
        if warn and ((target < normaliser.lowest).any() or (target > normaliser.highest).any()):
            log.warning(
                "target return %g is out of the data's range, %g to %g: what it leads to was never seen",
                target.flat[int(np.argmax(np.abs(target - (normaliser.lowest + normaliser.highest) / 2)))],
                normaliser.lowest,
                normaliser.highest,
            )
        self.target = np.broadcast_to(target, (episodes,)).copy()
        self.remaining = self.target.copy()
        self.steps = np.zeros(episodes, np.int64)
        self._fresh = np.ones(episodes, np.bool_)
        self._begun = False  # whether the executor has seen a token since everything was forgotten
        self._waiting = False  # whether an action waits for its reward
        # Tokens of a decision: return, state, and the action that came of the last one.
        self._tokens = np.zeros((episodes, 3, config.token_size), np.float32)
        self._tokens[:, :, -3:] = np.eye(3)
        self._times = np.zeros((episodes, 2), np.int64)

    def act(self, observations: ArrayLike) -> NDArray[Any]:
        """Decide in every episode.

        Arguments:
            observations: ``[E, S]``.

        Returns:
            int64 ``[E]``, the largest logit's index (the lower one wins a tie), or float32 ``[E, A]`` inside the
            action's bounds.

        Raises:
            InputError: another shape, numbers that are not finite, or an episode longer than ``config.max_steps``.
            StateError: the rewards of the last actions have not been observed.
        """
        if self._waiting:
            raise StateError("act: the rewards of the last actions are missing; observe(rewards, done) takes them")
        seen = self._checked(observations)
        self._tokens[:, RETURN, 0] = self.remaining / self.config.return_scale
        self._tokens[:, STATE, 1 : 1 + self.config.state_size] = (seen - self.normaliser.mean) / self.normaliser.std
        self._times[:] = self.steps[:, None]
        values = self._fed()
        self._begun, self._waiting, self._fresh = True, True, np.zeros(self.episodes, np.bool_)
        return self._acted(values)

    def _fed(self) -> Tensor:
        """What the model says to the last action, the return and the state; an episode that begins has no last one."""
        # In the stream the last action comes before this decision's return: kept apart, since it may be left out.
        last, last_time = self._tokens[:, [ACTION]], np.maximum(self.steps - 1, 0)[:, None]
        first, times = self._tokens[:, :2], self._times
        fresh, learns = self._fresh, self._modulate is not None
        if not fresh.any():
            first, times = np.concatenate([last, first], 1), np.concatenate([last_time, times], 1)
        elif self._begun:
            # A token is every episode's: what those that begin are given here is forgotten, but for what it teaches.
            if learns or not fresh.all():
                self._feed(last, last_time, self._third)
            self.executor.forget(fresh)
        return self._feed(first, times, None if fresh.any() else self._third)

    def _feed(self, x: NDArray[Any], times: NDArray[Any], third: NDArray[np.float32] | None) -> Tensor:
        """Some tokens of every episode, the first of which brings a third factor ``[E]``."""
        given = torch.from_numpy(np.array(x)), torch.from_numpy(np.array(times))
        if self._modulate is None:
            return self.executor.feed(*given)
        every = np.zeros(times.shape, np.float32)
        if third is not None:
            every[:, 0] = third
        predicted: Tensor = cast(Any, self.executor).feed(*given, every)
        return predicted

    def observe(self, rewards: ArrayLike, done: ArrayLike | None = None) -> None:
        """Take in what the actions earned; an episode that is done begins anew with the next observation.

        Arguments:
            rewards: ``[E]``.
            done: bool ``[E]``; None: none is.
        """
        if not self._waiting:
            raise StateError("observe: no actions wait for rewards; act(observations) comes first")
        earned = np.asarray(rewards, np.float64)
        ended = np.zeros(self.episodes, np.bool_) if done is None else np.asarray(done, np.bool_)
        if earned.shape != (self.episodes,) or ended.shape != (self.episodes,):
            raise InputError(f"rewards {earned.shape} and done {ended.shape}; expected one for each of {self.episodes}")
        if not np.isfinite(earned if self._modulate is not None else earned[~ended]).all():
            raise InputError("observe: a reward that is not finite")
        if self._modulate is not None:
            third = np.asarray(self._modulate(earned, ended), np.float32)
            if third.shape != (self.episodes,) or not np.isfinite(third).all():
                raise InputError(f"third factors {third.shape}: expected one finite number for each of {self.episodes}")
            self._third = third
        if self.config.return_token == "to-go":
            self.remaining = self.remaining - np.where(ended, 0.0, earned)
        self.steps = np.where(ended, 0, self.steps + 1)
        self.remaining = np.where(ended, self.target, self.remaining)
        self._fresh, self._waiting = ended.copy(), False

    def _checked(self, observations: ArrayLike) -> NDArray[np.float32]:
        seen = np.asarray(observations, np.float32)
        if len(seen.shape) < 2 or seen.shape[0] != self.episodes or seen[0].size != self.config.state_size:
            raise InputError(
                f"observations of shape {seen.shape}; expected ({self.episodes}, {self.config.state_size}): is it "
                "another environment's?"
            )
        seen = seen.reshape(self.episodes, -1)
        if not np.isfinite(seen).all():
            episode, feature = np.argwhere(~np.isfinite(seen))[0]
            raise InputError(f"observation {seen[episode, feature]} in episode {episode}, feature {feature}")
        if (self.steps >= self.config.max_steps).any():
            raise InputError(
                f"an episode has lasted {self.config.max_steps} decisions, and the model's table of timesteps holds no "
                "more (max_steps)"
            )
        return seen

    def _acted(self, values: Tensor) -> NDArray[Any]:
        """The actions, whose tokens are kept for the next decision."""
        c, at = self.config, 1 + self.config.state_size
        token = self._tokens[:, ACTION, at : at + c.actions]
        if not c.continuous:
            chosen = values.numpy().argmax(axis=1).astype(np.int64)
            token[:] = 0.0
            token[np.arange(self.episodes), chosen] = 1.0
            return np.asarray(chosen)
        token[:] = values.numpy().clip(-1, 1)
        low, high = np.asarray(c.low), np.asarray(c.high)
        return np.asarray(low + (token.astype(np.float64) + 1) / 2 * (high - low), np.float32)


def _ports(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Input → shape, of a graph that takes tokens."""
    entering: dict[str, Any] = {name: graph.nodes[name] for name in graph.inputs}
    shapes: dict[str, tuple[int, ...]] = {name: node.shape for name, node in entering.items()}
    if "token" not in shapes or set(shapes) - {"token", "step", "third"} or len(graph.outputs) != 1:
        raise InputError(
            f"a graph with Inputs {', '.join(shapes)} and Outputs {', '.join(graph.outputs)}; a decision transformer's "
            "has the Input 'token', 'step' where it knows the time, 'third' where it learns, and one Output"
        )
    return shapes


def _plastic(graph: Graph) -> list[str]:
    """Synapses whose weights learn."""
    return [name for name, node in graph.nodes.items() if getattr(node, "plastic", None) is not None]


def _squashes(graph: Graph) -> bool:
    """Whether the graph's logits are continuous actions before their tanh, as its notes say."""
    notes = graph.metadata.get("decision")
    return isinstance(notes, Mapping) and bool(notes.get("continuous"))


def _given(
    ports: Mapping[str, tuple[int, ...]], x: Tensor, steps: Tensor, third: NDArray[np.float32] | None
) -> dict[str, NDArray[Any]]:
    """The values of one tick."""
    found: dict[str, NDArray[Any]] = {}
    for name, shape in ports.items():
        if name == "token":
            found[name] = x.numpy().reshape(len(x), *shape)
            continue
        each = steps.numpy() if name == "step" else np.zeros(len(x)) if third is None else third
        many = np.asarray(each, np.float32).reshape(-1, *[1] * len(shape))
        found[name] = np.array(np.broadcast_to(many, (len(x), *shape)))
    return found
