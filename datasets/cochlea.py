"""harmonic-cochlea: twenty gliding harmonic sounds, heard by a model of the cochlea; speakers held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroaccel.datasets.cache import Progress, cache_key, cached
from neuroaccel.datasets.generated import Packed, in_chunks, numbers
from neuroaccel.datasets.recordings import Recordings
from neuroaccel.datasets.registry import About
from neuroaccel.errors import RecipeError

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other events."""

CHUNK = 8

STEP_US = 10_000
"""The sound's spectrum is constant for that long."""

SPEAKERS = {"train": 40, "validation": 10, "test": 10}
"""How many speakers a split has; no speaker is in two."""

CONTOURS = {
    "level": (1.0, 1.0, 1.0),
    "rise": (0.7, 1.0, 1.4),
    "fall": (1.4, 1.0, 0.7),
    "peak": (0.75, 1.3, 0.75),
    "dip": (1.3, 0.75, 1.3),
}
"""# ours: the fundamental at the beginning, the middle and the end, times the speaker's own."""

VOWELS = {"a": (730.0, 1090.0, 2440.0), "i": (270.0, 2290.0, 3010.0), "u": (300.0, 870.0, 2240.0)}
"""The first three formants in Hz of a man's vowels (Peterson and Barney, JASA 24, 1952)."""

GLIDES = ("ai", "ia", "au", "ua")

CLASSES = tuple(f"{contour} {glide}" for contour in CONTOURS for glide in GLIDES)

BANDWIDTHS = (90.0, 120.0, 180.0)
"""# ours: of the formants, in Hz."""

PARTIALS = 24
"""# ours: of every voice."""

GRID_HZ = 4.0
"""# ours: frequencies of partials are rounded to it, below a fifth of the narrowest channel's bandwidth."""

ABOUT = About(
    title="twenty harmonic sounds with gliding pitch and formants through a cochlea model; speakers held out",
    classes=CLASSES,
    sensor_size=(700, 1, 1),
    splits=tuple(SPEAKERS),
    source="generated here, in the shape of Spiking Heidelberg Digits (Cramer et al., IEEE TNNLS 33, 2020)",
    licence="generated here",
)


@dataclass(frozen=True)
class HarmonicCochlea:
    """How harmonic-cochlea is made; every field goes into the cache's key.

    Partial h of a voice has the frequency h·f0(t). Channel c, of best frequency F_c, takes up the power

        P_c(t) = Σ_h a_h(t)² · (1 + ((h·f0(t) − F_c) / b_c)²)^−4,    b_c = 1.019 · 24.7 Hz · (4.37 F_c / kHz + 1)

    and spikes as a Poisson process of rate ``peak_hz · (P_c / max P)^(1/4)``, on top of ``spontaneous_hz``. Best
    frequencies lie evenly on the ear's own scale of equivalent rectangular bandwidths; channel 0 is the lowest. a_h
    falls with h, and formants, which glide from one vowel to the other, shape it.

    Arguments:
        seed: draws speakers, recordings and spikes.
        train: recordings of the training split, by 40 speakers; the classes take turns.
        validation: recordings of the validation split, by 10 others.
        test: recordings of the test split, by 10 others still.
        channels: number of channels.
        lowest_hz: best frequency of channel 0.
        highest_hz: best frequency of the last channel.
        peak_hz: rate of the channel that is driven most.
        spontaneous_hz: rate in silence.
        duration_us: length of every recording; the sound begins and ends within.

    Raises:
        RecipeError: a parameter is out of its range.

    Source: Patterson, Holdsworth, Allerhand (1992) for the gammatone's approximate power response and order 4;
    Glasberg and Moore, Hearing Research 47 (1990), for the bandwidths.
    # ours: the sounds, the speakers, the compression by the fourth root, and every constant that has no source.
    """

    seed: int = 0
    train: int = 2000
    validation: int = 500
    test: int = 500
    channels: int = 700
    lowest_hz: float = 80.0
    highest_hz: float = 8000.0
    peak_hz: float = 60.0
    spontaneous_hz: float = 0.5
    duration_us: int = 1_000_000

    def __post_init__(self) -> None:
        checks = {
            "seed ≥ 0": self.seed >= 0,
            "train, validation, test ≥ 1": min(self.train, self.validation, self.test) >= 1,
            "2 ≤ channels ≤ 32768": 2 <= self.channels <= 32768,
            "20 ≤ lowest_hz < highest_hz ≤ 20000": 20 <= self.lowest_hz < self.highest_hz <= 20000,
            "0 ≤ spontaneous_hz ≤ peak_hz ≤ 1000": 0 <= self.spontaneous_hz <= self.peak_hz <= 1000,
            "duration_us a multiple of 10000, at least 100000": self.duration_us >= 100_000
            and self.duration_us % STEP_US == 0,
        }
        for rule, holds in checks.items():
            if not holds:
                raise RecipeError(f"{self}: expected {rule}")

    @property
    def sizes(self) -> dict[str, int]:
        """Recordings per split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class Speaker:
    """A voice.

    Arguments:
        pitch_hz: the fundamental.
        tract: what the formants are multiplied by; a shorter vocal tract has higher ones.
        tilt: how fast the partials fall: partial h has the amplitude 1 / (1 + tilt · (h − 1)).
        pace: length of the sounds, as a share of the longest possible.
    """

    pitch_hz: float
    tract: float
    tilt: float
    pace: float


def load(
    split: str | None = "train",
    seed: int = 0,
    progress: Progress | None = None,
    parameters: HarmonicCochlea | None = None,
    subset: Sequence[int] | None = None,
) -> Recordings:
    """Return the recordings of one split, generated on first use (some ten seconds) and cached.

    Arguments:
        split: ``train``, ``validation`` or ``test``; None: the whole set.
        seed: generation seed; used where ``parameters`` is None.
        progress: called with (done, total) during generation.
        parameters: every parameter of the generator.
        subset: numbers of the recordings to make, of the whole set; the split keeps those that belong to it.

    Returns:
        The recordings; ``groups`` says who speaks.

    Raises:
        RecipeError: an unknown split, or a number that is not there.
    """
    parameters = parameters or HarmonicCochlea(seed=seed)
    indices = numbers(split, parameters.sizes, subset)
    key = cache_key(GENERATOR_VERSION, {**dataclasses.asdict(parameters), "indices": indices.tolist()})
    arrays = cached("harmonic-cochlea", key, lambda: generate(parameters, indices, progress))
    return Recordings(
        start=arrays["start"],
        t_us=arrays["t_us"],
        address=arrays["address"],
        labels=indices % len(CLASSES),
        indices=indices,
        sensor_size=(parameters.channels, 1, 1),
        durations_us=np.full(len(indices), parameters.duration_us, np.int64),
        classes=CLASSES,
        groups=speakers_of(parameters, indices),
    )


def speakers_of(parameters: HarmonicCochlea, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the speaker of every recording; within a split they take turns, each speaking all classes."""
    speaker, first, earlier = np.zeros(len(indices), np.int64), 0, 0
    for split, size in parameters.sizes.items():
        inside = (indices >= first) & (indices < first + size)
        speaker[inside] = earlier + (indices[inside] - first) // len(CLASSES) % SPEAKERS[split]
        first, earlier = first + size, earlier + SPEAKERS[split]
    return speaker


def speaker(parameters: HarmonicCochlea, number: int) -> Speaker:
    """Return one speaker's voice."""
    rng = np.random.default_rng([parameters.seed, 0, number])
    return Speaker(
        pitch_hz=rng.uniform(110, 200),
        tract=rng.uniform(0.95, 1.1),
        tilt=rng.uniform(0.1, 0.4),
        pace=rng.uniform(0.8, 1),
    )


def best_frequencies(parameters: HarmonicCochlea) -> NDArray[np.float64]:
    """Return every channel's best frequency in Hz, ``[channels]``, rising, in units of 1/1024 Hz.

    The rounding keeps the last digit of the platform's logarithm out of the events.
    """
    low, high = (np.log10(4.37e-3 * edge + 1) for edge in (parameters.lowest_hz, parameters.highest_hz))
    scale = 10 ** (low + (high - low) * np.arange(parameters.channels) / (parameters.channels - 1))
    rounded: NDArray[np.float64] = np.rint((scale - 1) / 4.37e-3 * 1024) / 1024
    return rounded


def responses(parameters: HarmonicCochlea) -> NDArray[np.float32]:
    """Return every channel's power response to tones of 0, 4, 8, ... Hz, ``[tones, channels]``."""
    tones = np.arange(0, parameters.highest_hz * 1.25, GRID_HZ)
    best = best_frequencies(parameters)
    off = ((tones[:, None] - best) / (1.019 * 24.7 * (4.37e-3 * best + 1))) ** 2 + 1
    return (1 / (off * off) / (off * off)).astype(np.float32)


def generate(
    parameters: HarmonicCochlea, indices: NDArray[np.int64], progress: Progress | None = None
) -> dict[str, NDArray[Any]]:
    """Make recordings; each depends on its number and the seed alone.

    All bulk arithmetic is +, −, ·, / and square roots, elementwise, which every machine rounds alike.

    Arguments:
        parameters: how.
        indices: numbers of the recordings, whose class is their remainder modulo 20.
        progress: called with (done, total).

    Returns:
        ``start`` ``[N + 1]``, ``t_us`` and ``address`` of all events, one recording after the other.
    """
    table = responses(parameters)

    def record(chunk: NDArray[np.int64]) -> Packed:
        times, addresses = [], []
        for index, who in zip(chunk, speakers_of(parameters, chunk), strict=True):
            rng = np.random.default_rng([parameters.seed, 1, int(index)])
            power = _power(parameters, speaker(parameters, int(who)), int(index) % len(CLASSES), rng, table)
            t_us, channel = _spikes(parameters, power, rng)
            times.append(t_us)
            addresses.append(channel)
        start = np.cumsum([0, *map(len, times)])
        return start, np.concatenate(times), np.concatenate(addresses)

    return in_chunks(indices, CHUNK, record, progress)


def _power(
    parameters: HarmonicCochlea,
    voice: Speaker,
    label: int,
    rng: np.random.Generator,
    table: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return what every channel takes up in every step, ``[steps, channels]``, at most 1."""
    steps = parameters.duration_us // STEP_US
    contour, glide = CLASSES[label].split()
    length = voice.pace * rng.uniform(0.8, 1) * 0.9 * steps
    begin = rng.uniform(0, 1) * (steps - length)
    part = (np.arange(steps) + 0.5 - begin) / length
    sounding = (part >= 0) & (part < 1)
    part = np.clip(part, 0, 1)

    first, middle, last = CONTOURS[contour]
    relative = np.where(part < 0.5, first + (middle - first) * 2 * part, middle + (last - middle) * (2 * part - 1))
    pitch = voice.pitch_hz * rng.uniform(0.93, 1.07) * relative
    formants = [
        voice.tract * (start + (end - start) * part)
        for start, end in zip(VOWELS[glide[0]], VOWELS[glide[1]], strict=True)
    ]
    loud = np.minimum(1, np.minimum(part, 1 - part) * 8) * sounding
    power = np.zeros((steps, table.shape[1]), np.float32)
    for partial in range(1, PARTIALS + 1):
        frequency = partial * pitch
        shape = np.full(steps, 0.02)
        for formant, bandwidth in zip(formants, BANDWIDTHS, strict=True):
            shape = shape + 1 / (1 + ((frequency - formant) / bandwidth) ** 2)
        amplitude = loud * shape / (1 + voice.tilt * (partial - 1))
        place = np.rint(frequency / GRID_HZ).astype(np.int64)
        heard = place < len(table)
        weight = np.where(heard, amplitude * amplitude, 0).astype(np.float32)
        power += weight[:, None] * table[np.where(heard, place, 0)]
    scaled: NDArray[np.float32] = power / max(power.max(), np.float32(1e-9))
    return scaled


def _spikes(
    parameters: HarmonicCochlea, power: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw an inhomogeneous Poisson process by thinning a homogeneous one; returns time and channel."""
    rate = np.float32(parameters.spontaneous_hz) + np.float32(parameters.peak_hz) * np.sqrt(np.sqrt(power))
    most = parameters.spontaneous_hz + parameters.peak_hz
    cells = parameters.channels * parameters.duration_us
    count = rng.poisson(most * cells * 1e-6)
    t_us, channel = np.divmod(np.sort(rng.integers(0, cells, count)), parameters.channels)
    kept = rng.random(count, np.float32) * np.float32(most) < rate[t_us // STEP_US, channel]
    return t_us[kept].astype(np.int32), channel[kept].astype(np.int32)
