"""Many recordings at once give what each gives alone."""

import numpy as np
import pytest

from neuroaccel.datasets import Recordings, saccade
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import EventsError


@pytest.fixture(scope="module")
def recordings(shared_cache):
    return saccade.load(None, subset=[5, 900, 17, 3])


def test_sequence_of_events_and_labels(recordings):
    assert len(recordings) == 4
    labels = [label for _, label in (recordings[sample] for sample in range(4))]
    assert labels == saccade.digits()[1][[5, 900, 17, 3]].tolist()
    assert recordings[-1][0].data.tolist() == recordings[3][0].data.tolist()
    assert sum(len(recordings[sample][0]) for sample in range(4)) == len(recordings.t_us)
    with pytest.raises(IndexError):
        recordings[4]


def test_select_reorders(recordings):
    chosen = recordings.select(np.array([2, 0]))
    assert chosen.indices.tolist() == [17, 5]
    for here, there in ((0, 2), (1, 0)):
        assert chosen[here][1] == recordings[there][1]
        assert chosen[here][0].data.tolist() == recordings[there][0].data.tolist()
    assert len(recordings.select(np.array([], np.int64))) == 0


@pytest.mark.parametrize("binning", ["binary", "count", "first"])
@pytest.mark.parametrize(("ticks", "dt"), [(30, 0.01), (75, 0.004), (40, 0.01)])
def test_binned_equals_each_recording_binned_alone(recordings, binning, ticks, dt):
    binned = recordings.bin(ticks, dt, binning)
    batch = binned.dense(range(4))
    assert batch.shape == (ticks, 4, 2, 34, 34)
    assert batch.dtype == np.float32
    for sample in range(4):
        alone = recordings[sample][0].bin(dt, ticks, binning)
        assert binned.stream(sample) == alone
        np.testing.assert_array_equal(batch[:, sample], alone.to_dense())
        np.testing.assert_array_equal(binned.summed()[sample], alone.to_dense().sum(0).ravel())
    np.testing.assert_array_equal(binned.dense([3, 1, 3]), batch[:, [3, 1, 3]])
    assert binned.merged.sum() > 0


def test_density_suits_a_small_net(recordings):
    rates = [recordings.bin().stream(sample).rate for sample in range(4)]
    assert min(rates) > 0.02
    assert max(rates) < 0.08


@pytest.mark.parametrize(("ticks", "dt"), [(29, 0.01), (0, 0.01), (30, 0.0)])
def test_ticks_that_cut_recordings_are_refused(recordings, ticks, dt):
    with pytest.raises(EventsError, match="expected"):
        recordings.bin(ticks, dt)


def made_up(**changes):
    fields = {
        "start": np.array([0, 2, 2, 5]),
        "t_us": np.array([0, 7, 1, 1, 9], np.int32),
        "address": np.array([3, 0, 1, 2, 3], np.int32),
        "labels": np.array([1, 0, 1]),
        "indices": np.array([4, 5, 6]),
        "sensor_size": (2, 2, 1),
        "durations_us": np.array([8, 0, 12]),
        "classes": ("left", "right"),
        "groups": np.array([0, 1, 1]),
    }
    return Recordings(**{**fields, **changes})


def test_the_longest_recording_is_the_duration():
    assert made_up().duration_us == 12
    assert made_up(durations_us=20).durations_us.tolist() == [20, 20, 20]
    assert made_up().select([1]).duration_us == 0
    assert made_up().select([]).duration_us == 0
    assert made_up().bin(ticks=12, dt=1e-6).ticks == 12
    with pytest.raises(EventsError, match="last 12 µs; expected at least 12 ticks"):
        made_up().bin(ticks=11, dt=1e-6)


@pytest.mark.parametrize("samples", [[2, 0], [0, 1], [1, 2], [1], [], [0, 0, 2]])
def test_select_and_pack_take_the_same_recordings(samples):
    whole = made_up()
    chosen, packed = whole.select(samples), whole.packed(samples)
    assert len(chosen) == len(packed) == len(samples)
    assert packed.sensor_size == (2, 2, 1)
    for here, there in enumerate(samples):
        np.testing.assert_array_equal(chosen[here][0].data, whole[there][0].data)
        np.testing.assert_array_equal(packed.events(here).data, whole[there][0].data)
        for name in ("labels", "indices", "durations_us", "groups"):
            assert getattr(chosen, name)[here] == getattr(whole, name)[there]
    assert chosen.classes == ("left", "right")
    np.testing.assert_array_equal(chosen.packed().t_us, packed.t_us)
    np.testing.assert_array_equal(chosen.packed().start, packed.start)


def test_neighbours_share_memory_and_others_are_copied():
    whole = made_up()
    assert np.shares_memory(whole.select([1, 2]).t_us, whole.t_us)
    assert np.shares_memory(whole.packed().t_us, whole.t_us)
    assert not np.shares_memory(whole.select([2, 1]).t_us, whole.t_us)
    assert isinstance(whole.packed(), PackedEvents)


@pytest.mark.parametrize("samples", [[3], [-1], [0, 7]])
def test_recordings_that_are_not_there_are_refused(samples):
    for take in (made_up().select, made_up().packed):
        with pytest.raises(EventsError, match="there are 3"):
            take(samples)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": np.array([0, 2, 5])}, "start has 3"),
        ({"start": np.array([0, 2, 2, 6])}, "start ends at 6"),
        ({"address": np.zeros(4, np.int32)}, "4 addresses"),
        ({"indices": np.array([1, 2])}, "indices has 2"),
        ({"durations_us": np.array([1])}, "durations_us has 1"),
        ({"groups": np.zeros(4, np.int64)}, "groups has 4"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(EventsError, match=words):
        made_up(**changes)
