"""harmonic-cochlea: determinism, the cochlea's response, speakers of their own in every split."""

import numpy as np
import pytest

from neuroaccel.datasets import cochlea
from neuroaccel.datasets.cochlea import CLASSES, SPEAKERS, HarmonicCochlea
from neuroaccel.errors import RecipeError
from tests.datasets.generated_sets import digest

FEW = np.array([0, 7, 1999, 2000, 2999])


def make(numbers=FEW, **parameters):
    return cochlea.generate(HarmonicCochlea(**parameters), np.asarray(numbers))


def test_events_are_those_of_this_generator_version():
    """Where this fails the generator has changed: raise GENERATOR_VERSION, so that no old cache is read."""
    assert cochlea.GENERATOR_VERSION == 1
    assert digest(make()) == "61bf39bd1e967afbff3df0dedebdcc4d7a7fc6575f865c3a4dc000092bd28159"
    assert digest(make()) != digest(make(seed=1))


def test_a_recording_does_not_depend_on_the_others():
    together, alone = make(), make([1999])
    part = slice(together["start"][2], together["start"][3])
    np.testing.assert_array_equal(together["t_us"][part], alone["t_us"])
    np.testing.assert_array_equal(together["address"][part], alone["address"])


def test_no_speaker_of_one_split_speaks_in_another():
    parameters = HarmonicCochlea()
    who = cochlea.speakers_of(parameters, np.arange(3000))
    parts = {"train": who[:2000], "validation": who[2000:2500], "test": who[2500:]}
    met = set()
    for split, speakers in parts.items():
        assert len(set(speakers)) == SPEAKERS[split]
        assert not met & set(speakers)
        met |= set(speakers)
        labels = np.arange(len(speakers)) % len(CLASSES)
        assert len(set(zip(speakers.tolist(), labels.tolist(), strict=True))) == SPEAKERS[split] * len(CLASSES)
    voices = [cochlea.speaker(parameters, int(number)) for number in sorted(met)]
    for field in ("pitch_hz", "tract", "tilt", "pace"):
        assert len({getattr(voice, field) for voice in voices}) == sum(SPEAKERS.values())
    assert voices[0] != cochlea.speaker(HarmonicCochlea(seed=1), 0)


def test_statistics_of_recordings():
    arrays = make()
    assert np.all((np.diff(arrays["start"]) > 2000) & (np.diff(arrays["start"]) < 15_000))
    assert 0 <= arrays["address"].min() <= arrays["address"].max() < 700
    for first, end in zip(arrays["start"], arrays["start"][1:], strict=False):
        t = arrays["t_us"][first:end]
        assert np.all(np.diff(t) >= 0)
        assert t[-1] < 1_000_000


def test_silence_is_a_poisson_process_of_the_spontaneous_rate():
    parameters = HarmonicCochlea(spontaneous_hz=20.0, peak_hz=40.0)
    silent = np.zeros((100, 700), np.float32)
    t_us, channel = cochlea._spikes(parameters, silent, np.random.default_rng(0))
    expected = 20.0 * 700
    assert abs(len(t_us) - expected) < 5 * np.sqrt(expected)
    per_channel = np.bincount(channel, minlength=700)
    assert 0.8 < per_channel.var() / per_channel.mean() < 1.2


def test_the_fundamental_moves_as_the_contour_says():
    parameters = HarmonicCochlea()
    best = cochlea.best_frequencies(parameters)
    assert np.all(np.diff(best) > 0)
    np.testing.assert_allclose(best[[0, -1]], [80, 8000], atol=0.001)
    voice = cochlea.Speaker(pitch_hz=150.0, tract=1.0, tilt=0.2, pace=1.0)
    table = cochlea.responses(parameters)
    for label, name in enumerate(CLASSES):
        power = cochlea._power(parameters, voice, label, np.random.default_rng(3), table)
        assert power.max() == 1
        sounding = np.flatnonzero(power.max(1) > 0)
        steps = sounding[[1, len(sounding) // 2, -2]]
        contour = np.array(cochlea.CONTOURS[name.split()[0]])
        below_second = 1.5 * 150 * contour  # where the contour is as it shall be, the second partial is higher
        heard = [best[np.argmax(power[step, best < limit])] for step, limit in zip(steps, below_second, strict=True)]
        ratio = np.array(heard) / heard[1]
        np.testing.assert_allclose(ratio, contour / contour[1], rtol=0.12)


def test_splits_and_groups_of_load(cache_dir):
    few = HarmonicCochlea(train=40, validation=20, test=20)
    parts = {split: cochlea.load(split, parameters=few) for split in few.sizes}
    for part in parts.values():
        assert set(part.labels) == set(range(20))
        np.testing.assert_array_equal(part.groups, cochlea.speakers_of(few, part.indices))
        assert part.sensor_size == (700, 1, 1)
    assert not set(parts["train"].groups) & set(parts["test"].groups)
    with pytest.raises(RecipeError, match="unknown split 'dev'"):
        cochlea.load("dev", parameters=few)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"test": 0}, {"channels": 1}, {"highest_hz": 50.0}, {"peak_hz": 0.1}, {"duration_us": 7}]
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(RecipeError, match="expected"):
        HarmonicCochlea(**wrong)
