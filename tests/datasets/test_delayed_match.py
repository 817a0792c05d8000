"""delayed-match: what it holds, that a sum over time says nothing, and that a network with delays learns it."""

import numpy as np
import pytest
import torch

from neuroaccel import neurons, synapses
from neuroaccel.datasets import delayed_match, linear_baseline
from neuroaccel.datasets.delayed_match import CLASSES, DelayedMatch
from neuroaccel.errors import RecipeError
from neuroaccel.network import Network
from tests.datasets.generated_sets import accuracy, digest, fit, readout


def make(numbers, **parameters):
    return delayed_match.generate(DelayedMatch(**parameters), np.asarray(numbers))


def test_events_are_those_of_this_generator_version():
    """Where this fails the generator has changed: raise GENERATOR_VERSION, so that no old cache is read."""
    assert delayed_match.GENERATOR_VERSION == 1
    assert digest(make(range(64))) == "751c47cc9f985eb088c88d29781bef53be5e7cbbcb25dfbe9baa3f5c281cd43a"
    assert digest(make(range(64))) != digest(make(range(64), seed=1))


def test_the_delay_is_the_class_and_nothing_else_is():
    numbers = np.arange(2000)
    arrays = make(numbers)
    first, second = arrays["t_us"].reshape(-1, 2).T
    one, other = arrays["address"].reshape(-1, 2).T
    np.testing.assert_array_equal(one, other)
    off = second - first - (numbers % 8 + 1) * 20_000
    assert -4000 <= off.min() < -3500
    assert 3500 < off.max() <= 4000
    for label in range(8):
        mine = numbers % 8 == label
        assert abs(first[mine].mean() - 65_000) < 5 * 130_000 / np.sqrt(12 * 250)
        assert np.bincount(one[mine], minlength=8).min() > 10
    assert arrays["t_us"].min() >= 0
    assert arrays["t_us"].max() < 300_000


def test_a_recording_does_not_depend_on_the_others():
    together, alone = make(range(20)), make([17])
    np.testing.assert_array_equal(together["t_us"][34:36], alone["t_us"])


def test_splits_follow_each_other(cache_dir):
    few = DelayedMatch(train=16, validation=8, test=8)
    parts = [delayed_match.load(split, parameters=few) for split in few.sizes]
    np.testing.assert_array_equal(np.concatenate([part.indices for part in parts]), np.arange(32))
    assert parts[0].classes == CLASSES
    np.testing.assert_array_equal(delayed_match.load("test", parameters=few, subset=[3, 30]).indices, [30])
    with pytest.raises(RecipeError, match="unknown split 'dev'"):
        delayed_match.load("dev", parameters=few)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"channels": 0}, {"jitter_us": 20_000}, {"duration_us": 200_000}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(RecipeError, match="expected"):
        DelayedMatch(**wrong)


def network():
    """Delay lines of 1 to 17 ticks beside an undelayed copy, and detectors of coincidences."""
    torch.manual_seed(0)
    lif = {"surrogate": "fast_sigmoid", "slope": 10.0}
    lines = torch.arange(1, 19).repeat_interleave(8)  # of the eight channels each
    return Network(
        {
            "delay": synapses.Delay(lines),
            "hidden": synapses.Linear(144, 128),
            "coincidence": neurons.LIF(beta=0.2, **lif),
            "out": synapses.Linear(128, 8),
            "membrane": neurons.LI(beta=0.95),
            "readout": synapses.Readout(how="mean_membrane"),
        }
    )


def test_a_sum_over_time_stays_at_chance_and_a_network_with_delays_learns():
    torch.set_num_threads(1)
    parts = {split: delayed_match.load(split).bin(30, 0.01) for split in ("train", "validation", "test")}
    linear = linear_baseline(parts["train"], parts["validation"], parts["test"])
    assert abs(linear.test_accuracy - 1 / 8) < 0.06

    def seen(part):
        x = torch.from_numpy(part.dense(np.arange(len(part)))).flatten(2)
        return x.repeat(1, 1, 18), torch.from_numpy(np.array(part.labels))

    learner = network()
    fit(learner, *seen(parts["train"]), epochs=10, scale=4.0)
    x, labels = seen(parts["test"])
    assert accuracy(readout(learner, x), labels) > 0.5
