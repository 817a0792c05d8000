"""Augmentations: against a sample-by-sample reference, seeded, and the same before binning as after it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroaccel.datasets.augment import (
    Crop,
    Downsample,
    DropEvents,
    DropRegion,
    DropTime,
    EventMix,
    FlipPolarity,
    FlipX,
    Shift,
    TimeJitter,
    augment,
    augment_from,
)
from neuroaccel.datasets.frames import CountBins, TimeBins, TimeSurface, VoxelGrid, Windows
from neuroaccel.datasets.packed import PackedEvents
from neuroaccel.errors import EventsError, RecipeError
from tests.conftest import examples
from tests.datasets.packed_batches import BATCHES, BINNINGS, batch

SEEDS = st.integers(0, 2**32)
PROBABILITY = st.sampled_from([0.0, 0.5, 1.0])
STEP_US = 50
IN_PLACE = st.one_of(st.builds(FlipX, PROBABILITY), st.builds(FlipPolarity, PROBABILITY))
CUTTING = st.one_of(
    st.builds(Crop, st.sampled_from([1, (3, 1), (4, 1)]), st.booleans()),
    st.builds(Shift, st.integers(0, 9)),
    st.builds(DropRegion, st.sampled_from([0.0, 0.3, 1.0]), PROBABILITY),
)
DROP_TIME = st.builds(
    DropTime, st.sampled_from([50, 520, 1000]), st.sampled_from([0, 49, 50]), st.just(STEP_US), PROBABILITY
) | st.just(DropTime(1000, 700, STEP_US))
OTHERS = st.one_of(
    st.builds(TimeJitter, st.sampled_from([0.0, 3.0, 1e5])),
    st.builds(DropEvents, PROBABILITY),
    st.builds(Downsample, st.integers(1, 4)),
)
BY_TIME = st.one_of(
    st.builds(TimeBins, st.integers(1, 9), st.just(STEP_US * 1e-6), st.sampled_from(BINNINGS)),
    st.builds(Windows, st.integers(1, 9), st.just(1e-4), st.just(4e-5), st.sampled_from(BINNINGS)),
    st.builds(TimeSurface, st.integers(1, 9), st.just(1e-4), st.just(1e-3)),
)
OF_ALL = BY_TIME | st.one_of(st.builds(CountBins, st.integers(1, 6), st.integers(1, 9), st.sampled_from(BINNINGS)))


def commutes(augmentation, frames, packed, seed, exact=True):
    changed = augmentation(packed, np.random.default_rng(seed)).validate()
    x, _ = frames.frames(changed)
    before, _ = frames.frames(packed)
    kept = before.copy()
    after = augmentation.on_frames(before, np.random.default_rng(seed))
    assert (after.shape, after.dtype) == (x.shape, x.dtype)
    if exact:
        np.testing.assert_array_equal(x, after)
    else:
        np.testing.assert_allclose(x, after, atol=1e-5)
    np.testing.assert_array_equal(before, kept)


@given(BATCHES, IN_PLACE, OF_ALL, SEEDS)
@settings(max_examples=examples(150, 2000))
def test_mirrors_are_the_same_on_events_and_on_frames(packed, augmentation, frames, seed):
    commutes(augmentation, frames, packed, seed)
    commutes(augmentation, VoxelGrid(4, signed=False), packed, seed, exact=False)


@given(BATCHES, CUTTING, BY_TIME, SEEDS)
@settings(max_examples=examples(200, 2000))
def test_cuts_are_the_same_on_events_and_on_frames(packed, augmentation, frames, seed):
    commutes(augmentation, frames, packed, seed)


@given(BATCHES, DROP_TIME, st.integers(1, 30), st.sampled_from(BINNINGS), SEEDS)
@settings(max_examples=examples(100, 1000))
def test_dropped_time_is_the_same_on_events_and_on_frames(packed, augmentation, ticks, binning, seed):
    commutes(augmentation, TimeBins(ticks, STEP_US * 1e-6, binning), packed, seed)


@given(BATCHES, st.integers(1, 5), st.sampled_from(["binary", "count"]), st.integers(1, 9))
@settings(max_examples=examples(100, 1000))
def test_coarser_pixels_are_the_same_on_events_and_on_frames(packed, factor, binning, ticks):
    commutes(Downsample(factor, binning), TimeBins(ticks, 1e-4, binning), packed, 0)
    commutes(Downsample(factor, binning), CountBins(ticks, 7, binning), packed, 0)


@pytest.mark.parametrize(
    "augmentation", [FlipX(), FlipPolarity(), Crop(2), Shift(2), DropRegion(0.8), Downsample(2)], ids=str
)
@pytest.mark.parametrize("counts", [[400, 300, 0], [1, 0, 2], [0, 0], []])
def test_many_events_and_few_go_the_same_way(augmentation, counts):
    """Many events go through a table of their sensor, few one by one."""
    packed = batch(7, (5, 3, 2), counts)
    commutes(augmentation, TimeBins(4, 1e-4, "binary"), packed, 3)
    changed = augmentation(packed, np.random.default_rng(3))
    assert changed.t_us.dtype == changed.address.dtype == np.int32


def test_an_event_outside_the_sensor_goes_nowhere():
    packed = PackedEvents(np.array([0, 90]), np.zeros(90, np.int32), np.arange(90, dtype=np.int32), (5, 3, 2))
    with pytest.raises(EventsError, match="event 30 of the batch has the address 30; expected 0 to 29"):
        FlipX(1.0)(packed, np.random.default_rng(0))


def test_coarser_counts_stop_where_the_binning_does():
    n = 200
    packed = PackedEvents(
        np.array([0, 2 * n]), np.zeros(2 * n, np.int32), np.arange(2 * n, dtype=np.int32) % 2, (2, 1, 1)
    )
    frames, coarser = TimeBins(1, 1e-3, "count"), Downsample(2, "count")
    x, _ = frames.frames(packed, dtype=np.uint8)
    assert coarser.on_frames(x).reshape(-1).tolist() == [255]
    assert frames.frames(coarser(packed), dtype=np.uint8)[0].reshape(-1).tolist() == [255]


@given(BATCHES, IN_PLACE | CUTTING | DROP_TIME | OTHERS, SEEDS)
@settings(max_examples=examples(150, 1500))
def test_a_seed_says_what_comes_out_and_the_batch_stays(packed, augmentation, seed):
    before = [packed.start.copy(), packed.t_us.copy(), packed.address.copy()]
    one = augmentation(packed, np.random.default_rng(seed)).validate()
    two = augmentation(packed, np.random.default_rng(seed))
    for name, given_array in zip(("start", "t_us", "address"), before, strict=True):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        np.testing.assert_array_equal(getattr(packed, name), given_array)
    assert len(one) == len(packed)
    assert (one.counts <= packed.counts).all()


def test_samples_are_mirrored_each_on_its_own():
    packed = batch(0, (5, 3, 2), [30] * 400)
    mirrored = FlipX(0.5)(packed, np.random.default_rng(0))
    changed = [not np.array_equal(mirrored.x[packed.sample == n], packed.x[packed.sample == n]) for n in range(400)]
    assert 150 < sum(changed) < 250
    for n in np.flatnonzero(changed)[:5]:
        part = packed.sample == n
        np.testing.assert_array_equal(mirrored.x[part], 4 - packed.x[part])
        np.testing.assert_array_equal(mirrored.y[part], packed.y[part])
        np.testing.assert_array_equal(mirrored.p[part], packed.p[part])
    swapped = FlipPolarity(1.0)(packed, np.random.default_rng(0))
    np.testing.assert_array_equal(swapped.p, 1 - packed.p)
    np.testing.assert_array_equal(swapped.x, packed.x)


def test_moves_and_cuts_reach_every_place():
    packed = PackedEvents(np.arange(2001), np.zeros(2000, np.int32), np.full(2000, 12, np.int32), (5, 5, 1))
    moved = Shift(2)(packed, np.random.default_rng(0))
    assert sorted(set(zip(moved.x.tolist(), moved.y.tolist(), strict=True))) == [
        (x, y) for x in range(5) for y in range(5)
    ]
    assert len(moved.t_us) == 2000
    cut = Crop(3)(packed, np.random.default_rng(0))
    assert cut.sensor_size == (3, 3, 1)
    assert {(x, y) for x, y in zip(cut.x.tolist(), cut.y.tolist(), strict=True)} == {
        (x, y) for x in range(3) for y in range(3)
    }
    middle = Crop(3, centred=True)(packed, np.random.default_rng(0))
    assert (set(middle.x.tolist()), set(middle.y.tolist())) == ({1}, {1})


def test_regions_and_intervals_have_the_size_that_was_asked_for():
    full = np.arange(20 * 10, dtype=np.int32)
    packed = PackedEvents(np.arange(301) * 200, np.tile(full, 300), np.tile(full, 300), (20, 10, 1))
    gone = 200 - DropRegion(0.5)(packed, np.random.default_rng(0)).counts
    assert gone.max() <= 0.56 * 200  # sides are rounded to whole pixels
    assert gone.mean() == pytest.approx(0.25 * 200, rel=0.15)
    assert not (200 - DropRegion(0.5, p=0)(packed, np.random.default_rng(0)).counts).any()
    gone = 200 - DropTime(200, 100)(packed, np.random.default_rng(0)).counts
    assert gone.max() <= 100
    assert gone.mean() == pytest.approx(50, rel=0.15)


def test_jitter_has_its_deviation_and_dropping_its_probability():
    n = 20_000
    packed = PackedEvents(np.array([0, n]), np.full(n, 10_000, np.int32), np.zeros(n, np.int32), (1, 1, 1))
    moved = TimeJitter(100)(packed, np.random.default_rng(0))
    assert moved.t_us.std() == pytest.approx(100, rel=0.05)
    assert moved.t_us.mean() == pytest.approx(10_000, abs=5)
    assert TimeJitter(1e6)(packed, np.random.default_rng(0)).t_us.min() == 0
    assert DropEvents(0.3)(packed, np.random.default_rng(0)).counts[0] == pytest.approx(0.7 * n, rel=0.03)


def test_jitter_takes_an_events_address_along():
    packed = PackedEvents(
        np.array([0, 3, 4]), np.array([0, 5, 9, 2], np.int32), np.arange(4, dtype=np.int32), (4, 1, 1)
    )
    moved = TimeJitter(10)(packed, np.random.default_rng(1))
    assert moved.t_us.tolist() != packed.t_us.tolist()
    assert sorted(moved.address[:3].tolist()) == [0, 1, 2]
    assert moved.address[3] == 3
    still = TimeJitter(0)(packed, np.random.default_rng(1))
    assert (still.t_us.tolist(), still.address.tolist()) == (packed.t_us.tolist(), packed.address.tolist())


@given(BATCHES, st.sampled_from([0.3, 1.0, 5.0]), PROBABILITY, SEEDS)
@settings(max_examples=examples(100, 1000))
def test_a_mix_weighs_labels_by_the_events_that_remain(packed, alpha, p, seed):
    labels = np.arange(len(packed)) % 3
    mixed, weights = EventMix(3, alpha, p)(packed, np.random.default_rng(seed), labels)
    mixed.validate()
    assert (weights.shape, weights.dtype) == ((len(packed), 3), np.float32)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    known = {(int(t), int(a)) for t, a in zip(packed.t_us, packed.address, strict=True)}
    assert {(int(t), int(a)) for t, a in zip(mixed.t_us, mixed.address, strict=True)} <= known
    if p == 0:
        np.testing.assert_array_equal(mixed.t_us, packed.t_us)
        np.testing.assert_array_equal(weights, np.eye(3, dtype=np.float32)[labels])


def test_a_mix_takes_its_events_from_two_samples():
    """Each sample's events have an address of their own, so that one sees whose they are."""
    n, samples = 500, 40
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 10**6, (samples, n)), axis=1).astype(np.int32)
    address = np.repeat(np.arange(samples), n).astype(np.int32)
    packed = PackedEvents(np.arange(samples + 1) * n, times.reshape(-1), address, (samples, 1, 1))
    mixed, weights = EventMix(samples, p=1.0)(packed, rng, np.arange(samples))
    for sample in range(samples):
        found = np.bincount(mixed.address[mixed.sample == sample], minlength=samples)
        assert np.count_nonzero(found) <= 2
        np.testing.assert_allclose(weights[sample], found / found.sum(), rtol=1e-5)
    assert np.count_nonzero((weights > 0.02) & (weights < 0.98)) > 20


def test_a_list_of_augmentations_is_applied_in_order():
    packed, labels = batch(0, (6, 4, 2), [50, 60, 70]), np.array([2, 0, 1])
    made = augment_from(
        [{"kind": "crop", "size": [4, 4]}, {"kind": "flip_x", "p": 1.0}, {"kind": "drop_events", "p": 0.5}]
    )
    assert made == (Crop((4, 4)), FlipX(1.0), DropEvents(0.5))
    found, same = augment(made, packed, np.random.default_rng(5), labels)
    assert same is labels
    rng = np.random.default_rng(5)
    expected = made[2](made[1](made[0](packed, rng), rng), rng)
    np.testing.assert_array_equal(found.address, expected.address)
    mix = augment_from([{"kind": "event_mix", "classes": 3}, {"kind": "event_mix", "classes": 3, "p": 1.0}])
    _, weights = augment(mix, packed, np.random.default_rng(5), labels)
    assert weights.shape == (3, 3)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "flip_z"}, "kind 'flip_z'; expected flip_x, flip_polarity, crop"),
        ({}, "kind None"),
        ({"kind": "flip_x", "q": 1}, r"'flip_x' with the fields \['q'\]; expected p"),
        ({"kind": "shift"}, "expected max_pixels"),
        ({"kind": "flip_x", "p": 1.5}, "p is 1.5; expected a number from 0 to 1"),
        ({"kind": "flip_x", "p": True}, "p is True"),
        ({"kind": "flip_polarity", "p": -0.1}, "p is -0.1"),
        ({"kind": "shift", "max_pixels": 1.5}, "max_pixels is 1.5; expected a whole number ≥ 0"),
        ({"kind": "crop", "size": 0}, "size is 0"),
        ({"kind": "crop", "size": [1, 2, 3]}, "expected .width, height. or one number"),
        ({"kind": "time_jitter", "std_us": float("nan")}, "std_us is nan"),
        ({"kind": "time_jitter", "std_us": "much"}, "std_us is 'much'"),
        ({"kind": "drop_time", "span_us": 10, "max_us": 11}, "max_us is 11; expected a whole number from 0 to 10"),
        ({"kind": "drop_region", "max_area": 2}, "max_area is 2"),
        ({"kind": "downsample", "factor": 0}, "factor is 0"),
        ({"kind": "downsample", "factor": 2, "binning": "sum"}, "binning is 'sum'"),
        ({"kind": "event_mix", "classes": 0}, "classes is 0"),
    ],
)
def test_a_table_that_names_none_is_refused(table, message):
    with pytest.raises(RecipeError, match=message):
        augment_from([table])


def test_what_cannot_be_done_says_so():
    packed = batch(0, (5, 3, 2), [10, 10])
    rng = np.random.default_rng(0)
    x, _ = TimeBins(2, 1e-3, "first").frames(packed)
    for augmentation in (TimeJitter(1), DropEvents(0.1)):
        with pytest.raises(RecipeError, match="works on events only"):
            augmentation.on_frames(x, rng)
    with pytest.raises(RecipeError, match="do not say what came first"):
        Downsample(2, "first").on_frames(x)
    with pytest.raises(RecipeError, match="at most the sensor's"):
        Crop(4)(packed, rng)
    for labels in (None, np.array([0, 3]), np.array([0]), np.array([0.0, 1.0])):
        with pytest.raises(RecipeError, match="labels"):
            EventMix(3)(packed, rng, labels)
