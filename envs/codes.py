"""Numbers as spikes: population, latency, phase and delta codes, as functions on arrays, each with its inverse.

``spikes, state = code(x, state)`` turns numbers ``[..., *S]`` into binary spikes ``[T, ..., *S, *cells]``.
``state=None`` is fresh, and codes without memory return ``None``. ``code.decode(spikes)`` estimates the numbers.
:mod:`neuroaccel.envs.encoders` wraps them around environments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroaccel.errors import InputError, StateError

Spikes = NDArray[np.uint8]
Numbers = NDArray[np.float64]
Levels = NDArray[np.int64]

CANDIDATES = 1025  # places in a number's range that a population's spikes are compared with


class Code(ABC):
    """Numbers in a range as spikes over T ticks.

    u = (x − low) / (high − low), clipped to 0…1: numbers outside of their range are taken for its ends.

    Arguments:
        low, high: finite ends of every number's range, shape S.
        ticks: T.

    Raises:
        InputError: a range that is empty or not finite, or no ticks.
    """

    cells: tuple[int, ...] = ()  # how one number's spike trains are arranged
    draws: bool = False  # a generator must be given

    def __init__(self, low: ArrayLike, high: ArrayLike, *, ticks: int) -> None:
        self.low, self.high = np.array(low, np.float64), np.array(high, np.float64)
        same = self.low.shape == self.high.shape and self.low.size > 0
        if not same or not (np.isfinite(self.low) & np.isfinite(self.high) & (self.low < self.high)).all():
            raise InputError(
                f"{type(self).__name__}: a finite range is needed for every number, found {self.low.tolist()} to "
                f"{self.high.tolist()}"
            )
        self.ticks = _whole(self, "ticks", ticks, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """``[T, *S, *cells]``: the spikes of one observation."""
        return (self.ticks, *self.low.shape, *self.cells)

    def unit(self, x: ArrayLike) -> Numbers:
        """Where numbers ``[..., *S]`` lie in their ranges, 0 to 1.

        Raises:
            InputError: other shapes, or NaN.
        """
        numbers, dims = np.asarray(x, np.float64), self.low.ndim
        if numbers.ndim < dims or numbers.shape[numbers.ndim - dims :] != self.low.shape:
            raise InputError(
                f"{type(self).__name__}: numbers of shape {numbers.shape}, expected [..., *{self.low.shape}]"
            )
        if np.isnan(numbers).any():
            where = np.argwhere(np.isnan(numbers))[0].tolist()
            raise InputError(f"{type(self).__name__}: the number at {where} is NaN")
        inside = np.clip(numbers, self.low, self.high)
        unit: Numbers = (inside - self.low) / (self.high - self.low)
        return unit

    def numbers(self, unit: Numbers) -> Numbers:
        """The inverse of :meth:`unit`."""
        numbers: Numbers = self.low + unit * (self.high - self.low)
        return numbers

    def __call__(
        self, x: ArrayLike, state: Levels | None = None, *, generator: np.random.Generator | None = None
    ) -> tuple[Spikes, Levels | None]:
        """Spikes uint8 ``[T, ..., *S, *cells]`` of numbers ``[..., *S]``, and the state after them.

        Arguments:
            x: the numbers.
            state: of a code that has one; ``None`` is fresh.
            generator: of a code that draws.

        Raises:
            InputError: numbers of another shape or NaN, or no generator for a code that draws.
            StateError: a state of another batch, or one for a code that has none.
        """
        if state is not None:
            raise StateError(f"{type(self).__name__} has no state, found one of shape {state.shape}")
        return self.spikes(self.unit(x), generator), None

    @abstractmethod
    def spikes(self, unit: Numbers, generator: np.random.Generator | None = None) -> Spikes:
        """Spikes ``[T, ..., *cells]`` of numbers that lie at ``unit`` in their ranges."""

    @abstractmethod
    def decode(self, spikes: ArrayLike, state: Levels | None = None) -> Numbers:
        """Estimate numbers ``[..., *S]`` from their spikes ``[T, ..., *S, *cells]``; state: before these spikes."""

    def reset(self, state: Levels | None, done: ArrayLike) -> Levels | None:
        """The state with the rows of the batch where ``done`` fresh again."""
        return state

    def _checked(self, spikes: ArrayLike) -> Spikes:
        found, inner = np.asarray(spikes), (*self.low.shape, *self.cells)
        if found.ndim <= len(inner) or found.shape[0] != self.ticks or found.shape[found.ndim - len(inner) :] != inner:
            raise InputError(
                f"{type(self).__name__}: spikes of shape {found.shape}, expected [{self.ticks}, ..., *{inner}]"
            )
        if not np.isin(found, (0, 1)).all():
            raise InputError(f"{type(self).__name__}: spikes are 0 or 1")
        return found.astype(np.uint8)


class PopulationCode(Code):
    """Each number is seen by K cells with Gaussian receptive fields over its range.

    r_k = exp(−(u − μ_k)² / (2·σ²)),  μ_k = k / (K − 1),  σ = width / (K − 1)

    ``rate``: a spike at tick t where ⌊(t + 1)·r + ½⌋ > ⌊t·r + ½⌋, so that T ticks hold the rate, rounded;
    ``latency``: one spike at tick ⌊(1 − r)·(T − 1) + ½⌋ of the cells with r ≥ cutoff;
    ``bernoulli``: at each tick a spike with probability r, drawn from a generator.

    Arguments:
        low, high, ticks: as of :class:`Code`; ``latency`` needs at least 2 ticks.
        cells: K, at least 2.
        width: σ in distances between cells; 2/3 is the 1/β of the source with its β = 1.5.
        mode: ``rate``, ``latency`` or ``bernoulli``.
        cutoff: in ``latency``, cells that respond less than this stay silent.

    Raises:
        InputError: a range, number or mode that there is not.

    Source: Bohte, Kok & La Poutré 2002 (Gaussian receptive fields, late cells silent); Tang et al. 2020, PopSAN,
    arXiv 2010.09635 (populations over observations, deterministic and drawn). Cells at the ends of the range, and the
    rounding, are ours.

    >>> code = PopulationCode([0.0], [1.0], ticks=4, cells=3)
    >>> code([0.5])[0][:, 0].tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0], [0, 1, 0]]
    """

    def __init__(
        self,
        low: ArrayLike,
        high: ArrayLike,
        *,
        ticks: int = 8,
        cells: int = 8,
        width: float = 2 / 3,
        mode: str = "rate",
        cutoff: float = 0.1,
    ) -> None:
        super().__init__(low, high, ticks=ticks)
        if mode not in ("rate", "latency", "bernoulli"):
            raise InputError(f"PopulationCode: mode is rate, latency or bernoulli, not {mode!r}")
        if not width > 0 or not 0 < cutoff < 1:
            raise InputError(
                f"PopulationCode: width {width}, cutoff {cutoff}; expected more than 0, and between 0 and 1"
            )
        self.cells = (_whole(self, "cells", cells, 2),)
        _whole(self, "ticks", ticks, 2 if mode == "latency" else 1)
        self.mode, self.width, self.cutoff = mode, float(width), float(cutoff)
        self.draws = mode == "bernoulli"

    def rates(self, unit: Numbers) -> Numbers:
        """The cells' responses ``[..., K]``, in spikes a tick."""
        last = self.cells[0] - 1
        rates: Numbers = np.exp(-0.5 * ((unit[..., None] * last - np.arange(last + 1)) / self.width) ** 2)
        return rates

    def spikes(self, unit: Numbers, generator: np.random.Generator | None = None) -> Spikes:
        rates = self.rates(unit)
        t = np.arange(self.ticks + 1, dtype=np.float64).reshape(-1, *(1,) * rates.ndim)
        if self.mode == "rate":
            spread: Spikes = np.diff(np.floor(t * rates + 0.5), axis=0).astype(np.uint8)
            return spread
        if self.mode == "latency":
            at = np.where(rates >= self.cutoff, np.floor((1.0 - rates) * (self.ticks - 1) + 0.5), self.ticks)
            one: Spikes = (t[:-1] == at).astype(np.uint8)
            return one
        if generator is None:
            raise InputError("PopulationCode: mode bernoulli draws, and needs a generator")
        return (generator.random((self.ticks, *rates.shape)) < rates).astype(np.uint8)

    def decode(self, spikes: ArrayLike, state: Levels | None = None) -> Numbers:
        """The place whose noiseless spikes are nearest in squared distance.

        Compared are spike counts up to every tick (``rate``), times of first spikes (``latency``), or counts over all
        ticks (``bernoulli``). Where several of the 1025 places fit equally well, their middle one is taken: spikes of
        one of these places decode to a number with the same spikes.
        """
        found = self._signature(self._checked(spikes))
        places = np.linspace(0.0, 1.0, CANDIDATES)
        known = self.ticks * self.rates(places) if self.mode == "bernoulli" else self._signature(self.spikes(places))
        rows = found.reshape(-1, known.shape[-1])
        unit = np.empty(len(rows))
        for at in range(0, len(rows), 512):  # the distances of all rows at once might not fit into memory
            part = rows[at : at + 512]
            distance = (known**2).sum(1) - 2.0 * part @ known.T + (part**2).sum(1, keepdims=True)
            nearest = distance == distance.min(1, keepdims=True)  # of whole numbers, so that ties are exact
            middle = (nearest * np.arange(CANDIDATES)).sum(1, keepdims=True) / nearest.sum(1, keepdims=True)
            away = np.where(nearest, np.abs(np.arange(CANDIDATES) - middle), np.inf)
            unit[at : at + 512] = places[np.argmin(away, axis=1)]
        return self.numbers(unit.reshape(found.shape[:-1]))

    def _signature(self, spikes: Spikes) -> Numbers:
        """What is compared, ``[..., values]``."""
        if self.mode == "latency":
            return np.where(spikes.any(0), np.argmax(spikes, axis=0), self.ticks).astype(np.float64)
        if self.mode == "bernoulli":
            counts: Numbers = spikes.sum(0, dtype=np.float64)
            return counts
        so_far = np.moveaxis(spikes.cumsum(0, dtype=np.float64), 0, -1)
        flat: Numbers = so_far.reshape(*so_far.shape[:-2], -1)
        return flat


class LatencyCode(Code):
    """Time to first spike: each number is one spike, the earlier the larger the number.

    spike at tick ⌊(1 − u)·(T − 1) + ½⌋;  decoded u = 1 − t / (T − 1), to within ½ / (T − 1) of the range.

    Arguments:
        low, high: as of :class:`Code`.
        ticks: T, at least 2.

    Raises:
        InputError: a range that is empty or not finite, fewer than 2 ticks.

    Source: Thorpe, Delorme & Van Rullen 2001 (spike-based strategies for rapid processing); linear, as snnTorch's
    ``spikegen.latency(linear=True, normalize=True)``.

    >>> LatencyCode([0.0, 0.0], [1.0, 1.0], ticks=3)([1.0, 0.4])[0].tolist()
    [[1, 0], [0, 1], [0, 0]]
    """

    def __init__(self, low: ArrayLike, high: ArrayLike, *, ticks: int = 8) -> None:
        super().__init__(low, high, ticks=ticks)
        _whole(self, "ticks", ticks, 2)

    def spikes(self, unit: Numbers, generator: np.random.Generator | None = None) -> Spikes:
        at = np.floor((1.0 - unit) * (self.ticks - 1) + 0.5)
        spikes: Spikes = (np.arange(self.ticks).reshape(-1, *(1,) * unit.ndim) == at).astype(np.uint8)
        return spikes

    def decode(self, spikes: ArrayLike, state: Levels | None = None) -> Numbers:
        """The number of the first spike's time.

        Raises:
            InputError: a number without a spike.
        """
        found = self._checked(spikes)
        if not found.any(0).all():
            raise InputError("LatencyCode: every number has one spike, found some without")
        return self.numbers(1.0 - np.argmax(found, axis=0) / (self.ticks - 1))


class PhaseCode(Code):
    """Weighted spikes: a spike's worth is halved from phase to phase of a period of P ticks, which repeats.

    k = ⌊u·(2ᴾ − 1) + ½⌋;  a spike at tick t where bit P − 1 − (t mod P) of k is set;  decoded u = k / (2ᴾ − 1), to
    within ½ / (2ᴾ − 1) of the range.

    Arguments:
        low, high: as of :class:`Code`.
        ticks: T, a multiple of the period.
        period: P, at most 24; without it T.

    Raises:
        InputError: a range that is empty or not finite, or ticks that are no whole number of periods.

    Source: Kim, Kim, Huh, Lee & Choi 2018, "Deep neural networks with weighted spikes" (phase coding).

    >>> PhaseCode([0.0], [7.0], ticks=3)([5.0])[0][:, 0].tolist()
    [1, 0, 1]
    """

    def __init__(self, low: ArrayLike, high: ArrayLike, *, ticks: int = 8, period: int | None = None) -> None:
        super().__init__(low, high, ticks=ticks)
        self.period = self.ticks if period is None else _whole(self, "period", period, 1)
        if self.period > 24 or self.ticks % self.period:
            raise InputError(f"PhaseCode: {ticks} ticks of period {self.period}; expected whole periods of at most 24")

    def spikes(self, unit: Numbers, generator: np.random.Generator | None = None) -> Spikes:
        k = np.floor(unit * (2**self.period - 1) + 0.5).astype(np.int64)
        bit = self.period - 1 - np.arange(self.ticks) % self.period
        spikes: Spikes = ((k >> bit.reshape(-1, *(1,) * unit.ndim)) & 1).astype(np.uint8)
        return spikes

    def decode(self, spikes: ArrayLike, state: Levels | None = None) -> Numbers:
        """The number of the weighted sum of the first period's spikes."""
        found = self._checked(spikes)[: self.period]
        worth = 2.0 ** np.arange(self.period - 1, -1, -1)
        return self.numbers(np.tensordot(worth, found, axes=1) / (2**self.period - 1))


class DeltaCode(Code):
    """Send on delta: events say by how much a number has moved since the last one, in steps of a threshold.

    e = trunc((u − ½) / θ − n), at most T either way;  n ← n + e;  |e| spikes at the first ticks, in the second of a
    number's two trains if it rose, in the first if it fell;  decoded u = ½ + θ·n.  What T ticks cannot carry follows
    with the next observation.

    The state is n, int64 ``[..., *S]``, whole steps from the middle of the range, where a fresh state begins: what
    reads the spikes knows it without being told. While no number moves by more than T·θ between two observations,
    decoding is less than θ off.

    Arguments:
        low, high, ticks: as of :class:`Code`.
        threshold: θ, as a fraction of the range, at most ½.

    Raises:
        InputError: a range that is empty or not finite, or a threshold that there is not.

    Source: Miskowicz 2006, "Send-on-delta concept"; the pixel of an event camera does it in the logarithm of light
    (Lichtsteiner, Posch & Delbruck 2008). Beginning at the middle is ours.

    >>> code = DeltaCode([0.0], [1.0], ticks=2, threshold=0.125)
    >>> spikes, state = code([0.8])
    >>> spikes[:, 0].tolist(), state.tolist(), code.decode(spikes).tolist()
    ([[0, 1], [0, 1]], [2], [0.75])
    """

    cells = (2,)

    def __init__(self, low: ArrayLike, high: ArrayLike, *, ticks: int = 4, threshold: float = 1 / 16) -> None:
        super().__init__(low, high, ticks=ticks)
        if not 0 < threshold <= 0.5:
            raise InputError(f"DeltaCode: threshold {threshold}, expected more than 0 and at most 0.5 of the range")
        self.threshold = float(threshold)

    def __call__(
        self, x: ArrayLike, state: Levels | None = None, *, generator: np.random.Generator | None = None
    ) -> tuple[Spikes, Levels | None]:
        unit = self.unit(x)
        before = self._levels(state, unit.shape)
        moved = np.clip(np.trunc((unit - 0.5) / self.threshold - before), -self.ticks, self.ticks).astype(np.int64)
        return self._events(moved), before + moved

    def spikes(self, unit: Numbers, generator: np.random.Generator | None = None) -> Spikes:
        return self(self.numbers(unit))[0]

    def decode(self, spikes: ArrayLike, state: Levels | None = None) -> Numbers:
        found = self._checked(spikes).sum(0, dtype=np.int64)
        after = self._levels(state, found.shape[:-1]) + found[..., 1] - found[..., 0]
        return self.numbers(0.5 + self.threshold * after)

    def reset(self, state: Levels | None, done: ArrayLike) -> Levels | None:
        if state is None:
            return None
        mask = np.asarray(done, np.bool_)
        if mask.shape != state.shape[: state.ndim - self.low.ndim]:
            raise StateError(f"DeltaCode: done of shape {mask.shape} for a state of shape {state.shape}")
        fresh: Levels = np.where(mask.reshape(*mask.shape, *(1,) * self.low.ndim), 0, state)
        return fresh

    def _levels(self, state: Levels | None, shape: tuple[int, ...]) -> Levels:
        if state is None:
            return np.zeros(shape, dtype=np.int64)
        if np.shape(state) != shape:
            raise StateError(f"DeltaCode: a state of shape {np.shape(state)} for numbers of shape {shape}")
        return state

    def _events(self, moved: Levels) -> Spikes:
        t = np.arange(self.ticks).reshape(-1, *(1,) * (moved.ndim + 1))
        return (t < np.stack([-moved, moved], axis=-1)).astype(np.uint8)


CODES: dict[str, type[Code]] = {
    "population": PopulationCode,
    "latency": LatencyCode,
    "phase": PhaseCode,
    "delta": DeltaCode,
}


def _whole(code: Code, name: str, value: Any, least: int) -> int:
    if not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{type(code).__name__}: {name} is a whole number of at least {least}, not {value!r}")
    return int(value)
