"""saccade-digits: determinism, split, statistics of the recordings."""

import hashlib
import math

import numpy as np
import pytest
from scipy import ndimage

from neuroaccel.datasets import saccade
from neuroaccel.datasets.dvs import PixelArray
from neuroaccel.datasets.saccade import SPLITS, SaccadeDigits
from neuroaccel.errors import RecipeError

FEW = [0, 11, 500, 1796]


def make(indices=FEW, images=None, **parameters):
    images = saccade.digits()[0][list(indices)] if images is None else images
    return saccade.generate(images, SaccadeDigits(**parameters), np.asarray(indices))


def digest(arrays):
    hashed = hashlib.sha256()
    for name in ("start", "t_us", "address"):
        hashed.update(arrays[name].tobytes())
    return hashed.hexdigest()


def test_same_seed_same_bytes_other_seed_other_bytes():
    assert digest(make()) == digest(make())
    assert digest(make()) != digest(make(seed=1))


def test_events_are_those_of_this_generator_version():
    """Where this fails the generator has changed: raise GENERATOR_VERSION, so that no old cache is read."""
    assert saccade.GENERATOR_VERSION == 1
    assert digest(make()) == "00e8a54869c4ec312f0ff5f0dbbf95bae05b4b624b4b159f51be99a290b74c64"


def test_a_recording_does_not_depend_on_the_others(monkeypatch):
    together, alone = make(), make([500])
    part = slice(together["start"][2], together["start"][3])
    np.testing.assert_array_equal(together["t_us"][part], alone["t_us"])
    np.testing.assert_array_equal(together["address"][part], alone["address"])
    monkeypatch.setattr(saccade, "CHUNK", 3)
    assert digest(make()) == digest(together)


def test_split_is_disjoint_complete_and_stratified():
    _, labels = saccade.digits()
    parts = {split: saccade.split_indices(split) for split in SPLITS}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(1797))
    for split, share in SPLITS.items():
        per_class = np.bincount(labels[parts[split]], minlength=10)
        assert np.all(np.abs(per_class - share * np.bincount(labels)) <= 1)
        np.testing.assert_array_equal(parts[split], saccade.split_indices(split))
    with pytest.raises(RecipeError, match="unknown split 'dev'; there are train, validation, test"):
        saccade.split_indices("dev")


def test_statistics_of_recordings():
    arrays = make()
    per_recording = np.diff(arrays["start"])
    assert np.all((per_recording > 2000) & (per_recording < 6000))
    assert arrays["t_us"].min() >= 0
    assert arrays["t_us"].max() < 300_000
    assert 0.4 < np.mean(arrays["address"] >= 34 * 34) < 0.6
    for sample in range(len(FEW)):
        part = slice(arrays["start"][sample], arrays["start"][sample + 1])
        t, address = arrays["t_us"][part], arrays["address"][part]
        assert np.all(np.diff(t) >= 0)
        assert len(np.unique(t % 1000)) > 500  # µs, not milliseconds
        by_pixel = np.lexsort((t, address % 1156))
        same = np.diff(address[by_pixel] % 1156) == 0
        assert np.diff(t[by_pixel])[same].min() >= 1000
        saccades = np.bincount(t // 100_000, minlength=3)
        assert saccades.min() > 500


def test_blank_or_still_pictures_give_noise_only():
    blank = np.zeros((3, 8, 8), np.int64)
    expected = 0.5 * 34 * 34 * 0.3
    quiet, loud = {"sensor": PixelArray(noise_hz=0)}, {}
    for images, still in ((blank, {}), (None, {"amplitude": 0.0})):
        assert len(make([0, 1, 2], images, **still, **quiet)["t_us"]) == 0
        counts = np.diff(make([0, 1, 2], images, **still, **loud)["start"])
        assert np.all(np.abs(counts - expected) < 5 * math.sqrt(expected))
    first, second = make([0], blank[:1]), make([1], blank[:1])
    assert digest(first) != digest(second)


def test_bright_front_edge_and_dark_rear_edge():
    """A bright bar that goes down brightens the pixels below it and darkens those above."""
    bar = np.zeros((1, 8, 8), np.int64)
    bar[0, 3:5] = 16
    arrays = make([0], bar, sensor=PixelArray(noise_hz=0))
    going = arrays["t_us"] < 100_000  # the first saccade goes down
    polarity, pixel = np.divmod(arrays["address"][going], 34 * 34)
    row = pixel // 34
    assert row[polarity == 1].mean() > row[polarity == 0].mean() + 3


def test_upscaling_is_bilinear_and_keeps_the_place():
    images = saccade.digits()[0][:5]
    canvas, margin = saccade.log_canvas(images, SaccadeDigits(background=0.1))
    ink = (np.exp(saccade.shifted(canvas, margin, 34, 0.0, 0.0)) - 0.1) / 0.9
    place = (np.arange(34) - 3 + 0.5) * 8 / 28 + 0.5  # pixel centres on the 8×8 image with a border of one
    grid = np.meshgrid(place, place, indexing="ij")
    for sample, image in enumerate(images):
        expected = ndimage.map_coordinates(np.pad(image / 16, 1), grid, order=1)
        expected[:3] = expected[31:] = expected[:, :3] = expected[:, 31:] = 0
        np.testing.assert_allclose(ink[:, :, sample], expected, atol=1e-6)


def test_shift_moves_the_picture_by_pixels():
    canvas, margin = saccade.log_canvas(saccade.digits()[0][:2], SaccadeDigits())
    still = saccade.shifted(canvas, margin, 34, 0.0, 0.0)
    moved = saccade.shifted(canvas, margin, 34, 2.0, -1.0)
    np.testing.assert_array_equal(moved[:-1, 2:], still[1:, :-2])
    half = saccade.shifted(canvas, margin, 34, 0.5, 0.0)
    np.testing.assert_allclose(half[:, 1:], (still[:, 1:] + still[:, :-1]) / 2, atol=1e-6)


def test_trajectory_is_a_closed_triangle_without_jumps():
    path = np.array(saccade.trajectory(SaccadeDigits()))
    assert len(path) == 301
    np.testing.assert_array_equal(path[0], path[-1])
    np.testing.assert_array_equal(path[[0, 100, 200]], [[-2.5, -2.5], [0, 2.5], [2.5, -2.5]])
    assert np.hypot(*np.diff(path, axis=0).T).max() < 0.1
    assert np.abs(path).max() == 2.5


def test_load_gives_events_of_the_split(cache_dir):
    calls = []
    both = saccade.load("train", subset=range(20), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(20, 20)]
    assert set(both.indices) == set(saccade.split_indices("train")) & set(range(20))
    events, label = both[0]
    assert label == saccade.digits()[1][both.indices[0]]
    assert events.sensor_size == (34, 34, 2)
    rest = [saccade.load(split, subset=range(20)) for split in ("validation", "test")]
    assert len(both) + sum(len(part) for part in rest) == 20
    assert len(list(cache_dir.iterdir())) == 1


def test_load_refuses_digits_that_are_not_there(cache_dir):
    with pytest.raises(RecipeError, match="there are 1797"):
        saccade.load(None, subset=[1797])
    assert not list(cache_dir.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"digit_size": 40},
        {"sensor_size": 200},
        {"amplitude": -1.0},
        {"background": 0.0},
        {"saccade_us": 1500},
    ],
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(RecipeError, match="expected"):
        SaccadeDigits(**wrong)
