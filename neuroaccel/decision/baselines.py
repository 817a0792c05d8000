"""Smaller policies on the same data: a multilayer perceptron and a linear one, which clone the data's actions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.windows import Normaliser, Windows
from neuroaccel.errors import InputError

if TYPE_CHECKING:
    from neuroaccel.envs.offline import TrajectorySet


class MLPPolicy(nn.Module):
    """Action of a standardised state: Linear, ReLU, …, Linear; tanh where actions are continuous.

    It knows neither the past nor a return to ask for.

    Arguments:
        config: spaces; none of a transformer's sizes is read.
        hidden: widths of the layers between; none: a linear policy.

    >>> import torch
    >>> policy = MLPPolicy(DecisionConfig(state_size=4, actions=2), hidden=())
    >>> sum(p.numel() for p in policy.parameters())
    10
    """

    def __init__(self, config: DecisionConfig, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.config, self.hidden = config, tuple(hidden)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((config.state_size, *hidden, config.actions)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, states: Tensor) -> Tensor:
        """``[..., S]`` → ``[..., actions]``."""
        out: Tensor = self.layers(states)
        return out.tanh() if self.config.continuous else out


def linear_policy(config: DecisionConfig) -> MLPPolicy:
    """action = argmax(W s + b): as small as a policy gets."""
    return MLPPolicy(config, ())


class Reactive:
    """A memoryless policy with a :class:`~neuroaccel.decision.deploy.Decider`'s methods.

    Arguments:
        policy: what acts.
        normaliser: its data's.
    """

    def __init__(self, policy: MLPPolicy, normaliser: Normaliser) -> None:
        self.policy, self.normaliser = policy.eval(), normaliser

    def act(self, observations: ArrayLike) -> NDArray[Any]:
        """``[E, S]`` → int64 ``[E]`` or float32 ``[E, A]``."""
        c, seen = self.policy.config, np.asarray(observations, np.float32)
        if seen.ndim < 2 or seen[0].size != c.state_size or not np.isfinite(seen).all():
            raise InputError(f"observations of shape {seen.shape}; expected (E, {c.state_size}) finite numbers")
        with torch.no_grad():
            values = self.policy(self.normaliser.states(seen.reshape(len(seen), -1))).numpy()
        if not c.continuous:
            return np.asarray(values.argmax(axis=1), np.int64)
        low, high = np.asarray(c.low), np.asarray(c.high)
        return np.asarray(low + (values.astype(np.float64) + 1) / 2 * (high - low), np.float32)

    def observe(self, rewards: ArrayLike, done: ArrayLike | None = None) -> None:
        """It learns nothing from rewards and remembers nothing of an episode."""


def clone(
    policy: MLPPolicy,
    data: TrajectorySet,
    *,
    steps: int = 1500,
    batch: int = 256,
    learning_rate: float = 1e-3,
    best: float = 1.0,
    seed: int = 0,
    validate: Callable[[Reactive], float] | None = None,
    every: int = 250,
) -> Normaliser:
    """Train a policy in place to do as the data do.

    Arguments:
        policy: to train.
        data: the trajectories.
        steps, batch, learning_rate: of AdamW.
        best: share of the data's steps that are cloned, those of the best episodes (at least one episode).
        seed: of the draws; the weights are what they are.
        validate: return of the policy; where it is given the best of the checkpoints is kept, one every ``every``
            steps.
        every: as above.

    Returns:
        The data's normaliser, that of all episodes.
    """
    if not 0 < best <= 1:
        raise InputError(f"best is {best}; expected a share above 0, up to 1")
    windows = Windows(data, policy.config, length=1)
    chosen = torch.from_numpy(_best(data, best))
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=learning_rate)
    kept: tuple[float, dict[str, Tensor]] | None = None
    for step in range(1, steps + 1):
        places = chosen[torch.randint(len(chosen), (batch,), generator=generator)]
        predicted, taken = policy(windows.states[places]), windows.actions[places]
        loss = nn.functional.mse_loss if policy.config.continuous else nn.functional.cross_entropy
        optimiser.zero_grad(set_to_none=True)
        loss(predicted, taken).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if validate is not None and (step % every == 0 or step == steps):
            found = validate(Reactive(policy, windows.normaliser))
            policy.train()
            if kept is None or found >= kept[0]:
                kept = found, {name: value.detach().clone() for name, value in policy.state_dict().items()}
    if kept is not None:
        policy.load_state_dict(kept[1])
    policy.eval()
    return windows.normaliser


def _best(data: TrajectorySet, share: float) -> NDArray[np.int64]:
    """Numbers of the steps of the best episodes, until they are ``share`` of all."""
    lengths = data.lengths
    starts = np.concatenate([[0], np.cumsum(lengths)])
    order = np.argsort(-data.returns, kind="stable")
    before = np.concatenate([[0], np.cumsum(lengths[order])[:-1]])
    taken = order[before < share * lengths.sum()]
    return np.concatenate([np.arange(starts[i], starts[i + 1]) for i in taken]).astype(np.int64)
