"""A simulated DVS: pixels that fire where the logarithm of the light has changed by a threshold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroaccel.errors import RecipeError

Float = NDArray[np.float32]
Packed = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]


@dataclass(frozen=True)
class PixelArray:
    """A DVS pixel array.

    A pixel remembers the log-intensity ``m`` and, between two instants of the scene, sees it change linearly:

        brighter (p = 1) where  L(t) − m = θ_on;   darker (p = 0) where  L(t) − m = −θ_off

    After an event it is held for the refractory period, at whose end it remembers ``m = L(t)`` and looks again.

    Arguments:
        threshold: mean of θ_on and θ_off, in units of ln(intensity).
        mismatch: standard deviation of both over the pixels, as a fraction of ``threshold``.
        refractory_us: how long a pixel is blind after an event; at least ``step_us``.
        noise_hz: background events per pixel and second, of random polarity and uniform in time.
        step_us: time between two instants of the scene.

    Raises:
        RecipeError: a parameter is out of its range.

    Source: Lichtsteiner, Posch, Delbruck, IEEE JSSC 43 (2008); the linear crossing within a step is that of ESIM
    (Rebecq, Gehrig, Scaramuzza, CoRL 2018).
    """

    threshold: float = 0.25
    mismatch: float = 0.1
    refractory_us: int = 1000
    noise_hz: float = 0.5
    step_us: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "threshold > 0": self.threshold > 0,
            "0 ≤ mismatch ≤ 0.3": 0 <= self.mismatch <= 0.3,
            "noise_hz ≥ 0": 0 <= self.noise_hz < 1e6,
            "refractory_us ≥ step_us ≥ 1": self.refractory_us >= self.step_us >= 1,
        }
        for rule, holds in checks.items():
            if not holds:
                raise RecipeError(f"{self}: expected {rule}")


def simulate(
    sensor: PixelArray,
    scene: Callable[[int], Float],
    steps: int,
    pixels: int,
    threshold_rng: np.random.Generator,
    noise_rngs: Sequence[np.random.Generator],
) -> Packed:
    """Record several scenes with one and the same array, all at once.

    Arguments:
        sensor: the array.
        scene: ``scene(k)`` is the log-intensity ``[pixels, N]`` of N scenes at time ``k · step_us``, k from 0 to steps.
        steps: number of steps.
        pixels: number of pixels.
        threshold_rng: draws the pixels' thresholds; the same generator state is the same array.
        noise_rngs: N generators, one per scene, so that a recording does not depend on its neighbours.

    Returns:
        ``(start, t_us, address)``: scene i has the events from ``start[i]`` to ``start[i + 1]``, in the order of time;
        ``address = p · pixels + pixel``.
    """
    scenes = len(noise_rngs)
    spread = 1 + sensor.mismatch * np.clip(threshold_rng.standard_normal((2, pixels, 1)), -3, 3)
    on, off = (sensor.threshold * spread).astype(np.float32)
    t, unit, polarity = _signal(sensor, scene, steps, on, off)
    pixel, sample = np.divmod(unit, scenes)
    noise = [_noise(sensor, rng, steps, pixels) for rng in noise_rngs]
    noise_sample = np.repeat(np.arange(scenes), [len(drawn[0]) for drawn in noise])
    noise_t, noise_pixel, noise_polarity = (np.concatenate(column) for column in zip(*noise, strict=True))

    span = steps * sensor.step_us
    is_noise = np.repeat([False, True], [len(t), len(noise_t)])
    sample = np.concatenate([sample, noise_sample])
    pixel = np.concatenate([pixel, noise_pixel])
    t = np.concatenate([t, noise_t])
    polarity = np.concatenate([polarity, noise_polarity])
    # A noise event within the refractory period of its pixel's neighbour in time is dropped, so that no pixel ever
    # breaks its refractory period. A real pixel would sometimes drop the signal instead.  # ours: the simplification
    key = (((sample * pixels + pixel) * span + t) * 2 + polarity) * 2 + is_noise
    key.sort()
    is_noise, rest = (key & 1).astype(bool), key >> 2
    close = (np.diff(rest) < sensor.refractory_us) & (rest[1:] // span == rest[:-1] // span)
    near = np.zeros(len(key), bool)
    near[1:] |= close
    near[:-1] |= close
    kept = key[~(near & is_noise)] >> 1
    polarity, unit_time = kept & 1, kept >> 1
    unit, t = np.divmod(unit_time, span)
    sample, pixel = np.divmod(unit, pixels)
    order = np.argsort((sample * span + t) * pixels + pixel)
    start = np.zeros(scenes + 1, np.int64)
    np.cumsum(np.bincount(sample, minlength=scenes), out=start[1:])
    address = polarity * pixels + pixel
    return start, t[order].astype(np.int32), address[order].astype(np.int32)


def _signal(
    sensor: PixelArray, scene: Callable[[int], Float], steps: int, on: Float, off: Float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return time, flat index over ``[pixels, N]`` and polarity of the events that the scenes cause, unordered.

    Each operation is elementwise and rounded on its own: the result is the same on every machine and for every N.
    """
    step_us = sensor.step_us
    before = scene(0)
    remembered = before.copy()  # NaN while a pixel is held: no comparison with it is true
    scenes = before.shape[1]
    flat_remembered = remembered.reshape(-1)
    ready_us = np.zeros(before.size, np.int64)
    held: defaultdict[int, list[NDArray[np.int64]]] = defaultdict(list)  # by the step in which the hold ends
    times, units, polarities = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(steps):
        now, start_us = scene(step + 1), step * step_us
        flat_before, flat_now = before.reshape(-1), now.reshape(-1)
        for unit in held.pop(step, []):
            part = ((ready_us[unit] - start_us) / step_us).astype(np.float32)
            flat_remembered[unit] = flat_before[unit] + part * (flat_now[unit] - flat_before[unit])
        change = now - remembered
        unit = np.flatnonzero((change >= on) | (change <= -off))
        if unit.size:
            pixel = unit // scenes
            brighter = change.reshape(-1)[unit] > 0
            target = flat_remembered[unit] + np.where(brighter, on[pixel, 0], -off[pixel, 0])
            part = (target - flat_before[unit]) / (flat_now[unit] - flat_before[unit])
            inside = np.clip(np.floor(part * np.float32(step_us)), 0, step_us - 1).astype(np.int64)
            t = np.maximum(start_us + inside, ready_us[unit])
            ready_us[unit] = t + sensor.refractory_us
            flat_remembered[unit] = np.nan
            release = ready_us[unit] // step_us
            for at in np.unique(release):
                held[int(at)].append(unit[release == at])
            times.append(t)
            units.append(unit)
            polarities.append(brighter.astype(np.int64))
        before = now
    return np.concatenate(times), np.concatenate(units), np.concatenate(polarities)


def _noise(
    sensor: PixelArray, rng: np.random.Generator, steps: int, pixels: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw time, pixel and polarity of one recording's background events."""
    span = steps * sensor.step_us
    count = rng.poisson(sensor.noise_hz * pixels * span * 1e-6)
    return rng.integers(0, span, count), rng.integers(0, pixels, count), rng.integers(0, 2, count)
