"""moving-gestures: determinism, statistics, and that only the order of the pictures tells a pair's classes apart."""

import numpy as np
import pytest
import torch
from torch import nn

from neuroaccel import neurons, synapses
from neuroaccel.datasets import gestures, linear_baseline
from neuroaccel.datasets.gestures import CLASSES, PAIRS, MovingGestures
from neuroaccel.datasets.registry import describe, load
from neuroaccel.errors import RecipeError
from neuroaccel.network import Network
from tests.datasets.generated_sets import accuracy, digest, fit, readout

TICKS, DT = 40, 0.025
SMALL = MovingGestures(size=32)


def make(numbers, **parameters):
    return gestures.generate(MovingGestures(**{"size": 32, **parameters}), np.asarray(numbers))


def test_events_are_those_of_this_generator_version():
    """Where this fails the generator has changed: raise GENERATOR_VERSION, so that no old cache is read."""
    assert gestures.GENERATOR_VERSION == 1
    assert digest(make(range(11))) == "aa775e1eb93fc5f03d6efc8f81fd33d7206fa05b3bf3d26af18e8a5b13e96fe2"
    assert digest(make([3, 10], size=128)) == "d608c3f5684f13d22805bff0aba0ed245022d5d6b4ede3ad4e5f1b27ed9eef91"
    assert digest(make(range(11))) != digest(make(range(11), seed=1))


def test_a_recording_does_not_depend_on_the_others():
    together, alone = make(range(20)), make([17])
    part = slice(together["start"][17], together["start"][18])
    np.testing.assert_array_equal(together["t_us"][part], alone["t_us"])
    np.testing.assert_array_equal(together["address"][part], alone["address"])


def test_statistics_of_recordings():
    for size, fewest, most in ((32, 200, 8000), (128, 3000, 100_000)):
        arrays = make(range(11), size=size)
        counts = np.diff(arrays["start"])
        assert np.all((counts > fewest) & (counts < most))
        assert 0 <= arrays["address"].min() <= arrays["address"].max() < 2 * size * size
        for first, end in zip(arrays["start"], arrays["start"][1:], strict=False):
            t = arrays["t_us"][first:end]
            assert np.all(np.diff(t) >= 0)
            assert np.bincount(t // 100_000, minlength=10).min() > 0
            assert t[-1] < 1_000_000


def test_splits_follow_each_other_and_hold_all_classes(cache_dir):
    few = MovingGestures(size=32, train=22, validation=11, test=11)
    parts = [gestures.load(split, parameters=few) for split in few.sizes]
    np.testing.assert_array_equal(np.concatenate([part.indices for part in parts]), np.arange(44))
    for part in parts:
        assert set(part.labels) == set(range(11))
        assert part.classes == CLASSES
        assert part.sensor_size == (32, 32, 2)
    assert describe("moving-gestures-32").sensor_size == (32, 32, 2)
    assert describe("moving-gestures").sensor_size == (128, 128, 2)
    whole = gestures.load(None, parameters=few)
    np.testing.assert_array_equal(whole.select(parts[2].indices).t_us, parts[2].t_us)
    some = gestures.load("test", parameters=few, subset=[5, 40])
    np.testing.assert_array_equal(some.indices, [40])
    with pytest.raises(RecipeError, match="there are 44"):
        gestures.load("test", parameters=few, subset=[44])
    with pytest.raises(RecipeError, match="unknown split 'dev'"):
        gestures.load("dev", parameters=few)


def test_a_pair_is_one_motion_and_its_reversal():
    turns = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(gestures.stroke(-turns[::-1] % 1)[::-1], gestures.stroke(-turns), atol=1e-12)
    rise = np.diff(gestures.stroke(np.linspace(0, 1, 1001))) > 0
    assert abs(rise.mean() - gestures.FAST) < 0.01
    assert sorted(np.array(PAIRS).reshape(-1)) == list(range(10))


@pytest.mark.parametrize(
    "wrong", [{"size": 64}, {"seed": -1}, {"train": 0}, {"slowest_hz": 2.0}, {"faintest": 0.0}, {"duration_us": 1000}]
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(RecipeError, match="expected"):
        MovingGestures(**wrong)


@pytest.fixture(scope="module")
def binned():
    return {split: load("moving-gestures-32", split).bin(TICKS, DT) for split in ("train", "validation", "test")}


def seen(binned):
    """Return half the pixels a side, thrice (for three delays), and the labels."""
    x = torch.from_numpy(binned.dense(np.arange(len(binned))))
    half = nn.functional.max_pool2d(x.flatten(0, 1), 2).reshape(TICKS, len(binned), 2, 16, 16)
    return torch.cat([half] * 3, dim=2), torch.from_numpy(np.array(binned.labels))


def shuffled(x, seed):
    """Return the same pictures, each sample's in an order of its own."""
    order = np.argsort(np.random.default_rng(seed).random(x.shape[:2]), axis=0)
    return x[torch.from_numpy(order), torch.arange(x.shape[1])]


def within_pairs(final, labels):
    """Return how often the right one of a pair wins against the other one."""
    right = []
    for one, other in PAIRS:
        chosen = (labels == one) | (labels == other)
        right.append(((final[chosen, other] > final[chosen, one]) == (labels[chosen] == other)).float())
    return float(torch.cat(right).mean())


def network():
    """One convolution that sees the last ticks side by side, and a readout of what it has seen so far."""
    torch.manual_seed(0)
    ticks = torch.tensor([1, 1, 3, 3, 5, 5]).reshape(6, 1, 1).expand(6, 16, 16).clone()
    lif = {"surrogate": "fast_sigmoid", "slope": 10.0}
    return Network(
        {
            "delay": synapses.Delay(ticks),
            "conv": synapses.Conv2d(6, 32, 5, stride=2, padding=2, bias=False),
            "norm": synapses.BatchNorm2d(32),
            "motion": neurons.LIF(beta=0.5, **lif),
            "pool": synapses.SumPool2d(2),
            "flatten": synapses.Flatten(),
            "hidden": synapses.Linear(512, 64),
            "slow": neurons.LIF(beta=0.9, **lif),
            "out": synapses.Linear(64, 11),
            "membrane": neurons.LI(beta=0.95),
            "readout": synapses.Readout(how="mean_membrane"),
        }
    )


def test_a_spiking_network_beats_the_linear_model_by_20_points_and_needs_the_order(binned):
    torch.set_num_threads(1)
    linear = linear_baseline(binned["train"], binned["validation"], binned["test"], choices=(0.01,))
    x, labels = seen(binned["train"])
    x_test, labels_test = seen(binned["test"])
    ordered = network()
    fit(ordered, x, labels, epochs=7, scale=2.0)
    final = readout(ordered, x_test)
    assert accuracy(final, labels_test) > linear.test_accuracy + 0.2
    assert within_pairs(final, labels_test) > 0.8
    assert abs(within_pairs(readout(ordered, shuffled(x_test, 1)), labels_test) - 0.5) < 0.1


def test_a_network_trained_on_shuffled_pictures_stays_at_chance_within_the_pairs(binned):
    torch.set_num_threads(1)
    x, labels = seen(binned["train"])
    x_test, labels_test = seen(binned["test"])
    blind = network()
    fit(blind, shuffled(x, 2), labels, epochs=5, scale=2.0)
    final = readout(blind, shuffled(x_test, 1))
    assert abs(within_pairs(final, labels_test) - 0.5) < 0.1
    assert accuracy(final, labels_test) > 2 / len(CLASSES)  # what is left of the motion's kind it does learn
