"""Many recordings at once give what each gives alone."""

import numpy as np
import pytest

from neuroaccel.datasets import saccade
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
