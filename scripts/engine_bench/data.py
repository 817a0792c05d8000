"""Weights on grids, inputs of given rates, and the reference that says which spikes are right."""

import math
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray

from neuroaccel.engine import EventStream

BETA = 0.9
Storage = Literal["fp32", "bf16", "int8"]
BITS: dict[Storage, int] = {"fp32": 32, "bf16": 16, "int8": 8}


@dataclass(frozen=True, eq=False)
class Layer:
    """A synapse and its neurons: weights whole·2^-q, no bias, LIF with ``BETA`` and reset to zero.

    A neuron's whole weights add up to less than 2^24, so that float32 holds every partial sum, whatever its order.

    Arguments:
        whole: int16 [out, in, ...], never 0 unless pruned.
        q: exponent of the grid.
        storage: the narrowest type that holds every weight.
        threshold: of the neurons, a float32.
    """

    whole: NDArray[np.int16]
    q: int
    storage: Storage
    threshold: float

    @property
    def weight(self) -> NDArray[np.float32]:
        return np.ldexp(self.whole.astype(np.float32), -self.q)


def layer(
    rng: np.random.Generator, shape: tuple[int, ...], storage: Storage = "fp32", *, bits: int | None = None
) -> Layer:
    """A layer of random weights without zeros, within ±1; its threshold, 1, is to be settled.

    Arguments:
        shape: of the weights, torch's.
        storage: whole weights have 11 bits (fp32), 8 significant ones of 11 (bf16) or 7 (int8), and a sign.
        bits: another number of them, where a neuron has more inputs than float32 could add up exactly.
    """
    bits = bits or (7 if storage == "int8" else 11)
    if storage == "bf16":
        size = rng.integers(128, 256, shape, np.int16) << rng.integers(0, bits - 7, shape, np.int16)
    else:
        size = rng.integers(1, 2**bits, shape, np.int16)
    sign = rng.integers(0, 2, shape, np.int8) * 2 - 1
    return Layer(size * sign, bits, storage, 1.0)


def uniform(rng: np.random.Generator, ticks: int, shape: tuple[int, ...], rate: float) -> NDArray[np.bool_]:
    """Independent spikes [T, *shape]."""
    return rng.random((ticks, *shape), np.float32) < rate


def patches(rng: np.random.Generator, ticks: int, shape: tuple[int, int, int], rate: float) -> NDArray[np.bool_]:
    """Spikes [T, C, H, W] of the same rate in squares of 12×12 that move one pixel a tick, a fifth of each firing."""
    side, fill = 12, 0.2
    channels, height, width = shape
    number = max(1, round(rate * height * width / (side * side * fill)))
    fill = rate * height * width / (side * side * number)
    x = np.zeros((ticks, *shape), np.bool_)
    place = rng.integers(0, (height, width), (number, 2))
    way = rng.choice([-1, 1], (number, 2))
    for tick in range(ticks):
        for top, left in place + tick * way:
            rows, columns = (top + np.arange(side)) % height, (left + np.arange(side)) % width
            x[tick][np.ix_(range(channels), rows, columns)] |= rng.random((channels, side, side), np.float32) < fill
    return x


def stream(x: NDArray[np.bool_]) -> EventStream:
    return EventStream.from_dense(x, 1e-3)


@numba.njit(error_model="numpy")
def lif(currents, beta, threshold, spikes):
    """The neurons of a whole layer, compiled: currents [T, N] → spikes u1 [T, N]."""
    ticks, size = currents.shape
    v = np.zeros(size, np.float32)
    for t in range(ticks):
        for n in range(size):
            u = np.float32(beta * v[n]) + currents[t, n]
            fired = u > threshold
            spikes[t, n] = fired
            v[n] = np.float32(0) if fired else u
    return spikes


def neurons(currents: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Spikes [T, N] of a layer's neurons."""
    return lif(currents, np.float32(BETA), np.float32(threshold), np.empty(currents.shape, np.uint8))


def currents(x: NDArray[np.bool_], layer: Layer) -> NDArray[np.float32]:
    """The exact currents [T, out] of a Linear, through float64."""
    sums = x.astype(np.float64) @ layer.whole.T.astype(np.float64)
    return np.ldexp(sums, -layer.q).astype(np.float32)


def calibrated(drive: NDArray[np.float32], rate: float) -> float:
    """The float32 threshold at which neurons driven by these currents fire at about this rate."""
    low, high = 0.0, float(np.abs(drive).max()) / (1 - BETA) + 1.0
    for _ in range(24):
        middle = math.sqrt(low * high) if low else high / 2
        low, high = (middle, high) if neurons(drive, middle).mean() > rate else (low, middle)
    return float(np.float32(high))


def settle(x: NDArray[np.bool_], weights: list[Layer], rate: float) -> tuple[list[Layer], list[NDArray[np.uint8]]]:
    """Layers one after another with thresholds at which each fires at this rate, and the spikes of each."""
    settled, spikes = [], []
    for each in weights:
        drive = currents(x, each)
        threshold = calibrated(drive, rate)
        settled.append(Layer(each.whole, each.q, each.storage, threshold))
        spikes.append(neurons(drive, threshold))
        x = spikes[-1].astype(np.bool_)
    return settled, spikes


def percent(rate: float) -> str:
    return f"{rate * 100:g} %"


def slope(x: list[float], y: list[float]) -> float:
    """Slope of the straight line through log y over log x, by least squares."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def crossing(density: list[float], ours: list[float], theirs: list[float]) -> float:
    """The density from which theirs is faster to the last, by a straight line between neighbours in logarithms.

    1 where it never is, the first density where it always is.
    """
    ratio = np.log(np.asarray(ours) / np.asarray(theirs))
    later = np.flatnonzero(ratio <= 0)
    if not later.size:
        return density[0]
    last = int(later[-1])
    if last == len(density) - 1:
        return 1.0
    part = -ratio[last] / (ratio[last + 1] - ratio[last])
    logs = np.log(density)
    return float(np.exp(logs[last] + part * (logs[last + 1] - logs[last])))
