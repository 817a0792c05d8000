"""The simulated pixel against what its definition says by hand."""

import numpy as np
import pytest

from neuroaccel.datasets.dvs import PixelArray, simulate
from neuroaccel.errors import RecipeError


def record(sensor, scene, steps, pixels=1, scenes=1, seed=0):
    noise = [np.random.default_rng([seed, 1, number]) for number in range(scenes)]
    return simulate(sensor, scene, steps, pixels, np.random.default_rng(seed), noise)


@pytest.mark.parametrize("slope", [0.03, 0.11, 0.4, -0.03, -0.11, -0.4])
@pytest.mark.parametrize("refractory_us", [1000, 2300])
def test_a_ramp_gives_events_at_the_times_worked_out_by_hand(slope, refractory_us):
    """A steady ramp crosses after θ/|slope|, is held, and takes the same time again from what it then remembers."""
    sensor = PixelArray(threshold=0.25, mismatch=0, refractory_us=refractory_us, noise_hz=0)
    start, t_us, address = record(sensor, lambda step: np.full((1, 1), slope * step, np.float32), 50)
    period = 0.25 / abs(slope) * 1000
    crossing, expected = period, []
    while crossing < 50_000:
        expected.append(crossing)
        crossing += refractory_us + period
    assert start.tolist() == [0, len(expected)]
    np.testing.assert_allclose(t_us, np.array(expected), atol=1 + len(expected))  # each is rounded down to a µs
    assert set(address) == {1 if slope > 0 else 0}


def test_a_step_below_the_threshold_gives_nothing_and_above_it_one_event():
    sensor = PixelArray(threshold=0.25, mismatch=0, noise_hz=0)

    def scene(step):
        return np.array([[0.24], [0.26], [-0.26], [0.9]], np.float32) * (step > 4)

    _, t_us, address = record(sensor, scene, 10, pixels=4)
    assert sorted(address) == [2, 4 + 1, 4 + 3]
    assert all(4000 <= t < 5000 for t in t_us)


def test_a_still_scene_gives_noise_only_at_its_rate():
    def still(_step):
        return np.zeros((400, 5), np.float32)

    assert len(record(PixelArray(noise_hz=0), still, 300, 400, 5)[1]) == 0
    start, t_us, address = record(PixelArray(noise_hz=5), still, 300, 400, 5)
    expected = 5 * 400 * 0.3
    assert np.all(np.abs(np.diff(start) - expected) < 5 * np.sqrt(expected))
    assert 0.4 < np.mean(address >= 400) < 0.6
    assert t_us.min() >= 0
    assert t_us.max() < 300_000
    assert len(np.unique(address % 400)) > 390


def test_mismatch_makes_pixels_differ_and_is_the_same_in_all_scenes():
    def ramp(step):
        return np.full((200, 3), 0.03 * step, np.float32)

    sensor = PixelArray(mismatch=0.1, noise_hz=0)
    start, t_us, address = record(sensor, ramp, 100, 200, 3)
    scenes = [(t_us[start[i] : start[i + 1]], address[start[i] : start[i + 1]]) for i in range(3)]
    for t, where in scenes[1:]:
        np.testing.assert_array_equal(t, scenes[0][0])
        np.testing.assert_array_equal(where, scenes[0][1])
    first = np.array([scenes[0][0][scenes[0][1] == 200 + pixel].min() for pixel in range(200)])
    assert 0.08 < first.std() / first.mean() < 0.12
    same = record(PixelArray(mismatch=0, noise_hz=0), ramp, 100, 200, 3)[1]
    assert len(np.unique(same[:200])) == 1


@pytest.mark.parametrize("noise_hz", [0, 200])
def test_no_pixel_breaks_its_refractory_period(noise_hz):
    rng = np.random.default_rng(3)
    path = np.cumsum(rng.normal(0, 0.6, (101, 30, 4)), 0).astype(np.float32)
    sensor = PixelArray(refractory_us=1500, noise_hz=noise_hz)
    start, t_us, address = record(sensor, lambda step: path[step], 100, 30, 4)
    gaps = []
    for scene in range(4):
        t, pixel = t_us[start[scene] : start[scene + 1]], address[start[scene] : start[scene + 1]] % 30
        assert np.all(np.diff(t) >= 0)
        gaps += [np.diff(t[pixel == number]) for number in range(30)]
    shortest = np.concatenate(gaps).min()
    assert 1500 <= shortest < 1700


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0},
        {"threshold": float("nan")},
        {"mismatch": 0.5},
        {"noise_hz": -1},
        {"refractory_us": 500},
        {"step_us": 0},
    ],
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(RecipeError, match="expected"):
        PixelArray(**wrong)
