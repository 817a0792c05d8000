"""Observations as spikes: wrappers around gymnasium's environments, single and vectorised.

``SpikeObservation(gymnasium.make("CartPole-v1"), "latency", ranges=RANGES["CartPole-v1"])`` observes uint8
``[T, *S, *cells]``, 0 or 1; :class:`VectorSpikeObservation` the same with the environments in front,
``[N, T, *S, *cells]``. The codes themselves are in :mod:`neuroaccel.envs.codes` and need no environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from neuroaccel.envs.codes import (
    CODES,
    Code,
    DeltaCode,
    LatencyCode,
    Levels,
    Numbers,
    PhaseCode,
    PopulationCode,
    Spikes,
)
from neuroaccel.errors import InputError

__all__ = [
    "CODES",
    "RANGES",
    "Code",
    "DeltaCode",
    "LatencyCode",
    "PhaseCode",
    "PopulationCode",
    "SpikeObservation",
    "VectorSpikeObservation",
    "measured_ranges",
    "observation_ranges",
]

Ranges = tuple[ArrayLike, ArrayLike]

# ours: what a policy that balances visits, with room; gymnasium's own limits are infinite for the two velocities.
RANGES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {"CartPole-v1": ((-2.4, -3.0, -0.21, -3.5), (2.4, 3.0, 0.21, 3.5))}
)
AS_GOOD_AS_INFINITE = 1e30  # some spaces end at the largest float32 instead
STREAM = 0x5B1CE  # keeps the spikes' draws apart from the environment's, which has the same seed


def observation_ranges(space: spaces.Space[Any], ranges: Ranges | None = None) -> tuple[Numbers, Numbers]:
    """The finite range of every number of an observation: as given, or the space's own limits.

    Arguments:
        space: a Box of at least one dimension.
        ranges: (low, high), each of the Box's shape or a number for all.

    Raises:
        InputError: no Box, ranges of another shape or empty, or a Box without finite limits and no ranges.
    """
    if not isinstance(space, spaces.Box) or not space.shape:
        raise InputError(f"spikes encode the observations of a Box with at least one dimension, not of {space}")
    low, high = (np.asarray(end, np.float64) for end in ((space.low, space.high) if ranges is None else ranges))
    try:
        low, high = np.broadcast_to(low, space.shape), np.broadcast_to(high, space.shape)
    except ValueError:
        raise InputError(f"ranges of shapes {low.shape} and {high.shape} for observations of {space.shape}") from None
    endless = ~((np.abs(low) < AS_GOOD_AS_INFINITE) & (np.abs(high) < AS_GOOD_AS_INFINITE))  # NaN is endless too
    if endless.any():
        where = ", ".join(str(at[0] if len(at) == 1 else tuple(at)) for at in np.argwhere(endless)[:8].tolist())
        raise InputError(
            f"the observation has no finite limits at index {where}: give ranges=(low, high), such as "
            "RANGES['CartPole-v1'], or measured_ranges(observations) of recorded ones"
        )
    if not (low < high).all():
        raise InputError(f"ranges from {low.tolist()} to {high.tolist()}: each low must be below its high")
    return low, high


def measured_ranges(observations: ArrayLike, *, margin: float = 0.05) -> tuple[Numbers, Numbers]:
    """The range that every number takes in recorded observations, widened at both ends.

    low = min − margin·(max − min), high likewise; a number that never changes gets ±1 around it.

    Arguments:
        observations: ``[n, *S]``.
        margin: a fraction of the range, at least 0.

    Returns:
        (low, high), each of shape S.

    Raises:
        InputError: no observations, numbers that are not finite, or a negative margin.
    """
    seen = np.asarray(observations, np.float64)
    if seen.ndim < 2 or not len(seen) or not np.isfinite(seen).all():
        raise InputError(f"measured_ranges: observations of shape {seen.shape}, expected finite numbers [n, *S], n > 0")
    if not margin >= 0:
        raise InputError(f"measured_ranges: margin {margin}, expected at least 0")
    low, high = seen.min(axis=0), seen.max(axis=0)
    room = np.where(low < high, margin * (high - low), 1.0)
    return low - room, high + room


def _code(kind: str, space: spaces.Space[Any], ranges: Ranges | None, options: dict[str, Any]) -> Code:
    if kind not in CODES:
        raise InputError(f"there is no code {kind!r}; expected one of {', '.join(CODES)}")
    low, high = observation_ranges(space, ranges)
    try:
        return CODES[kind](low, high, **options)
    except TypeError as error:
        raise InputError(f"code '{kind}': {error}") from error


def _space(code: Code) -> Any:
    # Not MultiBinary: that is int8, and a batch of it a Box again.
    return spaces.Box(0, 1, code.shape, np.uint8)


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.default_rng(None if seed is None else np.random.SeedSequence(int(seed), spawn_key=(STREAM,)))


class SpikeObservation(gymnasium.Wrapper[Spikes, Any, Any, Any], RecordConstructorArgs):
    """An environment whose observations are spikes over T ticks: uint8 ``[T, *S, *cells]``, 0 or 1.

    Arguments:
        env: observes a Box of shape S.
        code: ``population``, ``latency``, ``phase`` or ``delta``; see :data:`~neuroaccel.envs.codes.CODES`.
        ranges: (low, high) of the numbers; without them the Box's own limits, which must be finite.
        options: of the code, such as ``ticks=4`` or ``cells=8``.

    A code with a state (``delta``) begins it anew at every reset; one that draws (``population`` in mode
    ``bernoulli``) draws from the seed of the last seeded reset on.

    Raises:
        InputError: an observation that is no Box or has no finite limits, an unknown code or option, NaN observed.

    >>> import gymnasium
    >>> env = SpikeObservation(gymnasium.make("CartPole-v1"), "phase", ranges=RANGES["CartPole-v1"], ticks=4)
    >>> env.reset(seed=0)[0].tolist()
    [[1, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1]]
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        code: str = "population",
        *,
        ranges: Ranges | None = None,
        **options: Any,
    ) -> None:
        RecordConstructorArgs.__init__(self, code=code, ranges=ranges, **options)
        gymnasium.Wrapper.__init__(self, env)
        self.code = _code(code, env.observation_space, ranges, options)
        self.observation_space = _space(self.code)
        self._state: Levels | None = None
        self._draws: np.random.Generator | None = None

    def _observe(self, observation: Any) -> Spikes:
        if self.code.draws and self._draws is None:
            self._draws = _generator(None)
        spikes, self._state = self.code(observation, self._state, generator=self._draws)
        return spikes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Spikes, dict[str, Any]]:
        """Begin an episode with the code's state fresh; see gymnasium's interface."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._state = None
        if seed is not None:
            self._draws = _generator(seed)
        return self._observe(observation), info

    def step(self, action: Any) -> tuple[Spikes, Any, bool, bool, dict[str, Any]]:
        """One step; see gymnasium's interface."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._observe(observation), reward, terminated, truncated, info


class VectorSpikeObservation(VectorWrapper[Any, Any, Any, Any, Any]):
    """N environments whose observations are spikes, uint8 ``[N, T, *S, *cells]``, encoded together.

    It observes what N environments in a :class:`SpikeObservation` each do, bit for bit, in every autoreset mode;
    ``infos["final_obs"]`` holds spikes too.

    Arguments:
        env: a vector environment that observes Boxes of shape S.
        code, ranges, options: as of :class:`SpikeObservation`.

    Raises:
        InputError: an observation that is no Box or has no finite limits, an unknown code or option, NaN observed, or
            an environment that does not say how it resets itself.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        code: str = "population",
        *,
        ranges: Ranges | None = None,
        **options: Any,
    ) -> None:
        super().__init__(env)
        self.code = _code(code, env.single_observation_space, ranges, options)
        self.mode = env.metadata.get("autoreset_mode")
        if not isinstance(self.mode, AutoresetMode):
            raise InputError(f"VectorSpikeObservation: the environment's autoreset mode is {self.mode}")
        self.single_observation_space = _space(self.code)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._state: Levels | None = None
        self._draws: list[np.random.Generator] = []
        self._over: NDArray[np.bool_] = np.zeros(env.num_envs, dtype=np.bool_)
        self._last: Spikes = np.zeros(self.observation_space.shape or (), dtype=np.uint8)

    def _encode(self, observations: Any, rows: NDArray[np.intp]) -> Spikes:
        """Spikes of some environments, whose states move on."""
        numbers = np.asarray(observations)
        if self.code.draws:  # each environment from its own generator, as if it were alone
            drawn = [self.code(x, generator=self._draws[row])[0] for x, row in zip(numbers, rows, strict=True)]
            return np.stack(drawn)
        state = None if self._state is None else self._state[rows]
        spikes, after = self.code(numbers, state)
        if after is not None:
            if self._state is None:
                self._state = np.zeros((self.num_envs, *after.shape[1:]), dtype=np.int64)
            self._state[rows] = after
        return np.moveaxis(spikes, 0, 1)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Spikes, dict[str, Any]]:
        """Begin an episode in all environments, or in those of ``options["reset_mask"]``; see gymnasium's interface."""
        given: Any = seed
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, dtype=np.bool_)))
        observation, infos = self.env.reset(seed=given, options=options)
        if not self._draws:
            self._draws = [_generator(None) for _ in range(self.num_envs)]
        seeds = [seed + at for at in range(self.num_envs)] if isinstance(seed, int | np.integer) else seed
        for at, one in enumerate(seeds or ()):
            if mask[at] and one is not None:
                self._draws[at] = _generator(one)
        rows = np.flatnonzero(mask)
        self._state = self.code.reset(self._state, mask)
        # The others observe what they did: encoding it again would move their states.
        self._last = self._last.copy()
        self._last[rows] = self._encode(np.asarray(observation)[rows], rows)
        self._over = self._over & ~mask
        return self._last.copy(), infos

    def step(self, actions: Any) -> tuple[Spikes, Any, Any, Any, dict[str, Any]]:
        """One step in all environments; see gymnasium's interface."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        done = np.asarray(terminated | truncated, dtype=np.bool_)
        fresh = self._over if self.mode == AutoresetMode.NEXT_STEP else np.zeros_like(done)
        if self.mode == AutoresetMode.SAME_STEP and done.any():
            rows, final = np.flatnonzero(done), np.full(self.num_envs, None, dtype=object)
            ended = self._encode(np.stack([infos["final_obs"][row] for row in rows]), rows)
            for row, spikes in zip(rows, ended, strict=True):
                final[row] = spikes
            infos, fresh = {**infos, "final_obs": final}, done
        self._state = self.code.reset(self._state, fresh)
        self._last = self._encode(observation, np.arange(self.num_envs))
        self._over = done
        return self._last.copy(), rewards, terminated, truncated, infos
